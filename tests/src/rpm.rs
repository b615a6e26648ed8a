//! Databases of rpm with real headers, in each of its three kinds: rpmbuild makes the packages, rpm installs them into an
//! SQLite file, and the headers go from there into the other kinds.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::command::{run_with_input, succeed};

/// What has to be installed for it.
pub const PROGRAMS: [&str; 4] = ["rpm", "rpmbuild", "sqlite3", "db5.3_load"];

/// How many packages there are.
pub const PACKAGES: usize = 120;

/// How rpm and we write a package, to be compared.
pub const FORMAT: &str = "%{name}|%|epoch?{%{epoch}}:{0}||%{version}|%{release}|%{arch}|%{vendor}|%{url}|%{summary}|%{description}";

/// What stands behind each package that rpm tells of: descriptions have several lines.
const END: &str = "<end of package>";

/// A folder with an SQLite database, `rpmdb.sqlite`, of [`PACKAGES`] packages.
pub struct RpmDatabase {
    folder: TempDir,
}

impl RpmDatabase {
    /// Builds the packages and installs them: one with many files and long texts, the rest small.
    pub fn new() -> RpmDatabase {
        let folder = tempfile::Builder::new().prefix("guestfs-rpm-").tempdir().expect("a folder");
        let spec = folder.path().join("packages.spec");
        fs::write(&spec, specification()).expect("the folder is ours");
        let top = folder.path().join("top");
        let mut rpmbuild = Command::new("rpmbuild");
        rpmbuild.args(["--quiet", "-bb", "--define"]).arg(format!("_topdir {}", top.display()));
        // Whatever the compression, nobody unpacks them.
        succeed(rpmbuild.args(["--define", "_binary_payload w0.gzdio"]).arg(&spec));
        let database = RpmDatabase { folder };
        let mut rpm = database.rpm("sqlite", database.path());
        rpm.args(["-i", "--justdb", "--nodeps", "--force-debian"]);
        let built = fs::read_dir(top.join("RPMS/noarch")).expect("rpmbuild has made packages");
        succeed(rpm.args(built.map(|entry| entry.expect("it can be listed").path())));
        fs::remove_dir_all(&top).expect("the folder is ours");
        database
    }

    /// Gives the folder of the SQLite database.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the SQLite database. Its log is empty.
    pub fn sqlite(&self) -> Vec<u8> {
        fs::read(self.path().join("rpmdb.sqlite")).expect("rpm has made it")
    }

    /// Gives the headers with the numbers of their packages.
    pub fn headers(&self) -> Vec<(u32, Vec<u8>)> {
        let mut sqlite = Command::new("sqlite3");
        sqlite
            .arg(self.path().join("rpmdb.sqlite"))
            .arg("select hnum, hex(blob) from Packages order by hnum");
        let rows = succeed(&mut sqlite);
        let header = |row: &str| {
            let (number, digits) = row.split_once('|').expect("two columns");
            (number.parse().expect("a number"), bytes(digits))
        };
        rows.lines().map(header).collect()
    }

    /// Makes a hash table of Berkeley DB with the headers, in pages of so many bytes.
    pub fn berkeley(&self, page_bytes: u32, is_big_endian: bool) -> Vec<u8> {
        let number = |number: u32| if is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        let order = if is_big_endian { 4321 } else { 1234 };
        let mut dump = format!(
            "VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize={page_bytes}\ndb_lorder={order}\nHEADER=END\n"
        );
        let next = u32::try_from(PACKAGES + 1).expect("they are few");
        let records = [(0, number(next).to_vec())].into_iter().chain(self.headers());
        for (key, value) in records {
            writeln!(dump, " {}\n {}", digits(&number(key)), digits(&value)).expect("a string takes all");
        }
        dump += "DATA=END\n";
        let (source, made) = (self.path().join("dump"), self.path().join("Packages"));
        fs::write(&source, dump).expect("the folder is ours");
        let loaded =
            run_with_input(Command::new("db5.3_load").arg(&made), File::open(&source).expect("it is there"));
        assert!(loaded.status.success(), "{loaded:?}");
        let table = fs::read(&made).expect("db5.3_load has made it");
        fs::remove_file(&made).expect("the folder is ours");
        table
    }

    /// Makes a file of SUSE's kind with the headers.
    pub fn ndb(&self) -> Vec<u8> {
        ndb(&self.headers())
    }

    /// Asks rpm for the packages in the database of some kind in a folder.
    pub fn told_by_rpm(&self, kind: &str, folder: &Path) -> Vec<String> {
        let told = succeed(self.rpm(kind, folder).args(["-qa", "--qf", &format!("{FORMAT}{END}")]));
        let mut packages: Vec<String> = told
            .split(END)
            .map(|package| package.trim().to_owned())
            .filter(|package| !package.is_empty())
            .collect();
        packages.sort();
        packages
    }

    fn rpm(&self, kind: &str, folder: &Path) -> Command {
        let mut rpm = Command::new("rpm");
        rpm.arg("--define").arg(format!("_db_backend {kind}")).arg("--dbpath").arg(folder);
        // Without it, the user's own settings count.
        rpm.env("HOME", self.path());
        rpm
    }
}

impl Default for RpmDatabase {
    fn default() -> RpmDatabase {
        RpmDatabase::new()
    }
}

/// Writes the specification of all packages.
fn specification() -> String {
    // Nobody looks at what is in the files, nor at what needs what.
    let mut text = "%define __os_install_post %{nil}\nAutoReqProv: no\nName: large\nVersion: 1.0~rc1\nRelease: 2.el9\nEpoch: 3\nSummary: Many files\nLicense: MIT\n\
        Vendor: Vendor & Sons\nURL: https://example.org/large\nBuildArch: noarch\n%description\nA long text.\n"
        .to_owned();
    text += &"Lines and lines of it, with caf\u{e9}.\n".repeat(60);
    for number in 1..PACKAGES {
        let epoch = if number % 7 == 0 { format!("Epoch: {number}\n") } else { String::new() };
        write!(
            text,
            "%package -n small-{number}\nAutoReqProv: no\nVersion: {number}.0\nSummary: The small package {number}\n{epoch}\
             %description -n small-{number}\nIt is number {number}.\n%files -n small-{number}\n"
        )
        .expect("a string takes all");
    }
    text + "%install\nmkdir -p %{buildroot}/files\nfor number in $(seq 1 900); do : >%{buildroot}/files/$number-of-large; done\n\
        %files\n/files\n"
}

/// Makes a database of SUSE's kind: slots in pages of 4096 bytes, then headers in blocks of 16.
pub fn ndb(headers: &[(u32, Vec<u8>)]) -> Vec<u8> {
    const BLOCK_BYTES: usize = 16;
    let numbers = |numbers: [u32; 4]| numbers.map(u32::to_le_bytes).concat();
    let word = |text: &[u8; 4]| u32::from_le_bytes(*text);
    let count = |count: usize| u32::try_from(count).expect("it is small");
    let pages = (2 + headers.len()).div_ceil(256);
    let mut slots =
        [numbers([word(b"RpmP"), 0, 1, count(pages)]), numbers([count(headers.len() + 1), 0, 0, 0])].concat();
    let mut blobs = Vec::new();
    for (number, header) in headers {
        let block = (pages * 4096 + blobs.len()) / BLOCK_BYTES;
        let start = blobs.len();
        blobs.extend(numbers([word(b"BlbS"), *number, 1, count(header.len())]));
        blobs.extend_from_slice(header);
        // The tail fills the last block: a checksum, which nobody looks at, the length again, and a mark.
        blobs.resize(start + (blobs.len() - start + 12).next_multiple_of(BLOCK_BYTES) - 12, 0);
        blobs.extend([0, count(header.len()), word(b"BlbE")].map(u32::to_le_bytes).concat());
        slots.extend(numbers([
            word(b"Slot"),
            *number,
            count(block),
            count((blobs.len() - start) / BLOCK_BYTES),
        ]));
    }
    // Slots without a number are free.
    while slots.len() < pages * 4096 {
        slots.extend(numbers([word(b"Slot"), 0, 0, 0]));
    }
    [slots, blobs].concat()
}

/// Says which of the programs that make databases are missing.
pub fn missing() -> Option<PathBuf> {
    PROGRAMS.iter().find(|program| !crate::programs::is_installed(program)).map(PathBuf::from)
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits")).collect()
}
