//! Writes the "newc" archives the kernel unpacks as its initramfs. Owners are root and times zero, so the same
//! content gives the same bytes. Archives may follow one another in one file: the kernel unpacks them in turn.

use std::io::{self, Write};

/// The length of an entry's header, before its name.
const HEADER_LENGTH: usize = 110;

/// The type and permissions of an entry, as in `st_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Directory = 0o040_755,
    Program = 0o100_755,
    File = 0o100_644,
    Symlink = 0o120_777,
}

/// Writes one archive.
#[derive(Debug)]
pub struct CpioWriter<W> {
    output: W,
    entries: u32,
}

impl<W: Write> CpioWriter<W> {
    /// Starts an archive at the current position of `output`, which must be a multiple of 4.
    pub fn new(output: W) -> CpioWriter<W> {
        CpioWriter { output, entries: 0 }
    }

    /// Adds a folder; its parents must have been added before.
    ///
    /// # Errors
    /// Fails when the output cannot be written.
    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, Mode::Directory, &[])
    }

    /// Adds a file with mode 0755.
    ///
    /// # Errors
    /// Fails when the output cannot be written or the content is 4 GiB or more.
    pub fn program(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.entry(name, Mode::Program, content)
    }

    /// Adds a file with mode 0644.
    ///
    /// # Errors
    /// Fails when the output cannot be written or the content is 4 GiB or more.
    pub fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.entry(name, Mode::File, content)
    }

    /// Adds a symlink to `target`.
    ///
    /// # Errors
    /// Fails when the output cannot be written.
    pub fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(name, Mode::Symlink, target.as_bytes())
    }

    /// Ends the archive and gives the output back.
    ///
    /// # Errors
    /// Fails when the output cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.header("TRAILER!!!", 0, 0, 0)?;
        Ok(self.output)
    }

    fn entry(&mut self, name: &str, mode: Mode, content: &[u8]) -> io::Result<()> {
        let size = u32::try_from(content.len())
            .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, format!("{name}: 4 GiB or more")))?;
        self.entries += 1;
        self.header(name, self.entries, mode as u32, size)?;
        self.output.write_all(content)?;
        self.output.write_all(padding(content.len()))
    }

    fn header(&mut self, name: &str, inode: u32, mode: u32, size: u32) -> io::Result<()> {
        // Magic and thirteen numbers of eight hexadecimal digits: inode, mode, uid, gid, links, time, size, the
        // device's numbers, the node's numbers, the name's length with its NUL, and a check sum newc does not use.
        write!(
            self.output,
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{2:08x}{0:08x}{name}\0",
            0,
            1,
            name.len() + 1,
        )?;
        self.output.write_all(padding(HEADER_LENGTH + name.len() + 1))
    }
}

/// Finds a file in an archive this module wrote.
pub fn find<'a>(archive: &'a [u8], name: &str) -> Option<&'a [u8]> {
    const SIZE_AT: usize = 6 + 6 * 8;
    const NAME_LENGTH_AT: usize = 6 + 11 * 8;
    let mut rest = archive;
    loop {
        let number = |at: usize| -> Option<usize> {
            usize::from_str_radix(std::str::from_utf8(rest.get(at..at + 8)?).ok()?, 16).ok()
        };
        let (size, name_length) = (number(SIZE_AT)?, number(NAME_LENGTH_AT)?);
        let name_end = HEADER_LENGTH.checked_add(name_length)?;
        let content_at = name_end.checked_next_multiple_of(4)?;
        let content_end = content_at.checked_add(size)?;
        if rest.get(HEADER_LENGTH..name_end)?.strip_suffix(b"\0")? == name.as_bytes() {
            return rest.get(content_at..content_end);
        }
        rest = rest.get(content_end.checked_next_multiple_of(4)?..)?;
    }
}

/// The zeros that bring `length` to a multiple of four.
fn padding(length: usize) -> &'static [u8] {
    &[0; 3][..(4 - length % 4) % 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_has_the_documented_bytes() {
        let mut writer = CpioWriter::new(Vec::new());
        writer.file("a/b", b"hello").unwrap();
        let bytes = writer.finish().unwrap();
        let expected = "070701\
            00000001000081a4000000000000000000000001000000000000000500000000000000000000000000000000\
            0000000400000000a/b\0\0\0hello\0\0\0\
            070701\
            00000000000000000000000000000000000000010000000000000000000000000000000000000000\
            000000000000000b00000000TRAILER!!!\0\0\0\0";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn file_is_found_behind_others_and_absent_ones_are_not() {
        let mut writer = CpioWriter::new(Vec::new());
        writer.directory("modules").unwrap();
        writer.file("modules/x.ko", b"odd").unwrap();
        writer.file("modules/boot", b"virtio\n").unwrap();
        let archive = writer.finish().unwrap();
        assert_eq!(find(&archive, "modules/boot"), Some(&b"virtio\n"[..]));
        assert_eq!(find(&archive, "modules"), Some(&b""[..]));
        assert_eq!(find(&archive, "boot"), None);
        assert_eq!(find(&archive[..archive.len() / 2], "absent"), None);
        assert_eq!(find(b"070701", "absent"), None);
    }

    #[test]
    fn every_archive_ends_on_a_multiple_of_four() {
        for name in ["a", "ab", "abc", "abcd"] {
            for length in 0..5 {
                let mut writer = CpioWriter::new(Vec::new());
                writer.program(name, &vec![b'x'; length]).unwrap();
                writer.symlink("link", name).unwrap();
                writer.directory("folder").unwrap();
                assert_eq!(writer.finish().unwrap().len() % 4, 0, "{name} {length}");
            }
        }
    }
}
