//! Directories by path: making, removing, listing.

use std::io::{BufWriter, Write};

use guestfs_api::frame::MESSAGE_BYTES_MAX;
use guestfs_api::procedures::directories::Directories;
use guestfs_api::records::Dirent;
use guestfs_api::values::{ByteString, GuestPath};
use guestfs_api::xdr::{Encode, Encoder};
use guestfs_api::{CHUNK_BYTES_MAX, Errno, Failure, FileOut};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::rand::{GetRandomFlags, getrandom};

use super::arguments::permissions;
use crate::server::Server;
use crate::sysroot::{failed, tree};

/// What new directories get before the mask: everything for all.
const DIRECTORY_MODE: u32 = 0o777;

/// What a temporary directory gets: everything for its owner.
const PRIVATE_MODE: u32 = 0o700;

/// What mkdtemp replaces.
const TEMPLATE_END: &[u8] = b"XXXXXX";

/// What mkdtemp puts in its place.
const NAME_LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// How often mkdtemp looks for a name that is free.
const NAME_TRIES_MAX: u32 = 100;

/// The most bytes of a listing in one reply, beside the header and the count.
const LISTING_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 64;

impl Directories for Server {
    fn mkdir(&self, path: &GuestPath) -> Result<(), Failure> {
        self.make_directory("mkdir", path, self.masked(DIRECTORY_MODE))
    }

    fn mkdir_mode(&self, path: &GuestPath, mode: i32) -> Result<(), Failure> {
        let mode = permissions("mkdir_mode", mode)?;
        self.make_directory("mkdir_mode", path, self.masked(mode))
    }

    fn mkdir_p(&self, path: &GuestPath) -> Result<(), Failure> {
        // The deepest directory that is there is looked for from below: usually few are missing.
        let mut missing = Vec::new();
        let mut path = path.clone();
        while let Err(failure) = self.sysroot.open(&path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            let above = parent(&path);
            if failure.errno != Some(Errno::ENOENT) || above == path {
                return Err(failure);
            }
            missing.push(std::mem::replace(&mut path, above));
        }
        missing.iter().rev().try_for_each(|path| match self.mkdir(path) {
            // Of `missing/.` both forms are on the list.
            Err(failure) if failure.errno == Some(Errno::EEXIST) => {
                self.sysroot.open_directory(path).map(drop)
            }
            result => result,
        })
    }

    fn mkdtemp(&self, tmpl: &GuestPath) -> Result<GuestPath, Failure> {
        let Some(stem) = tmpl.as_bytes().strip_suffix(TEMPLATE_END) else {
            return Err(Failure::plain(format!("mkdtemp {tmpl}: the template must end with XXXXXX")));
        };
        for _ in 0..NAME_TRIES_MAX {
            let mut name = [0; TEMPLATE_END.len()];
            getrandom(&mut name, GetRandomFlags::empty())
                .map_err(|error| failed(error, format_args!("mkdtemp {tmpl}")))?;
            let name = name.map(|byte| NAME_LETTERS[usize::from(byte) % NAME_LETTERS.len()]);
            let path = GuestPath::new(&[stem, &name].concat())
                .map_err(|error| Failure::plain(format!("mkdtemp {tmpl}: {error}")))?;
            match self.make_directory("mkdtemp", &path, Mode::from_raw_mode(PRIVATE_MODE)) {
                Err(failure) if failure.errno == Some(Errno::EEXIST) => {}
                result => return result.map(|()| path),
            }
        }
        Err(Failure::errno(Errno::EEXIST, format_args!("mkdtemp {tmpl}")))
    }

    fn rmdir(&self, path: &GuestPath) -> Result<(), Failure> {
        let (parent, name) = self.sysroot.open_parent(path)?;
        rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)
            .map_err(|error| failed(error, format_args!("rmdir {path}")))
    }

    fn ls0(&self, dir: &GuestPath, filenames: FileOut<'_>) -> Result<(), Failure> {
        let operation = format_args!("ls0 {dir}").to_string();
        let directory = self.sysroot.open_directory(dir)?;
        let mut out = BufWriter::with_capacity(CHUNK_BYTES_MAX, filenames.content);
        tree::list(&directory, &operation, |entry| match entry.name.to_bytes() {
            b"." | b".." => Ok(()),
            _ => sent(&operation, out.write_all(entry.name.to_bytes_with_nul())),
        })?;
        sent(&operation, out.flush())
    }

    fn find0(&self, directory: &GuestPath, files: FileOut<'_>) -> Result<(), Failure> {
        let operation = format_args!("find0 {directory}").to_string();
        let top = self.sysroot.open_directory(directory)?;
        let mut out = BufWriter::with_capacity(CHUNK_BYTES_MAX, files.content);
        tree::visit(top, &operation, |entry| {
            sent(&operation, out.write_all(entry.path).and_then(|()| out.write_all(&[0])))
        })?;
        sent(&operation, out.flush())
    }

    fn readdir(&self, dir: &GuestPath) -> Result<Vec<Dirent>, Failure> {
        let operation = format_args!("readdir {dir}").to_string();
        let directory = self.sysroot.open_directory(dir)?;
        let mut entries = Vec::new();
        let mut reply_bytes = 0;
        tree::list(&directory, &operation, |entry| {
            let entry = dirent(&entry);
            reply_bytes += entry.to_xdr().len();
            if reply_bytes > LISTING_BYTES_MAX {
                return Err(Failure::plain(format!("{operation}: the list is over 4 MiB: use ls0 or find0")));
            }
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    fn internal_readdir(&self, dir: &GuestPath, filename: FileOut<'_>) -> Result<(), Failure> {
        let operation = format_args!("readdir {dir}").to_string();
        let directory = self.sysroot.open_directory(dir)?;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES_MAX);
        let mut send = |chunk: &mut Vec<u8>| {
            let result = filename.content.write_all(chunk).and_then(|()| filename.content.flush());
            chunk.clear();
            sent(&operation, result)
        };
        tree::list(&directory, &operation, |entry| {
            let mut record = Encoder::new();
            dirent(&entry).encode(&mut record);
            // A record is not to be cut in two: chunks are flushed before they are full.
            if chunk.len() + record.len() > CHUNK_BYTES_MAX {
                send(&mut chunk)?;
            }
            chunk.extend_from_slice(&record.into_bytes());
            Ok(())
        })?;
        if chunk.is_empty() { Ok(()) } else { send(&mut chunk) }
    }
}

impl Server {
    fn make_directory(&self, operation: &str, path: &GuestPath, mode: Mode) -> Result<(), Failure> {
        let (parent, name) = self.sysroot.open_parent_of_new(path)?;
        rustix::fs::mkdirat(&parent, name, mode)
            .map_err(|error| failed(error, format_args!("{operation} {path}")))
    }
}

/// Gives the path above; the root's is the root.
fn parent(path: &GuestPath) -> GuestPath {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let slash = bytes[..end].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    GuestPath::new(&bytes[..slash.max(1)]).expect("the beginning of a path is a path")
}

fn dirent(entry: &tree::Entry<'_>) -> Dirent {
    let letter = match entry.kind {
        FileType::RegularFile => b'r',
        FileType::Directory => b'd',
        FileType::Symlink => b'l',
        FileType::BlockDevice => b'b',
        FileType::CharacterDevice => b'c',
        FileType::Fifo => b'f',
        FileType::Socket => b's',
        FileType::Unknown => b'u',
    };
    Dirent {
        ino: i64::from_ne_bytes(entry.inode.to_ne_bytes()),
        ftyp: letter.into(),
        name: ByteString::new(entry.name.to_bytes()).expect("a C string holds no NUL"),
    }
}

/// Reports that a list could not be sent.
fn sent(operation: &str, result: std::io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| Failure::io(&error, operation))
}
