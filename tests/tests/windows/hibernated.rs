//! NTFS that Windows has not let go of: hibernated, shut down by fast startup, or cut off.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use guestfs_tests::command::{Outcome, run};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::{Mounted, guestmount, mountpoint};
use guestfs_tests::windows_disk::{Table, Volume, start_of, windows_10, windows_disk};

/// Mounts, looks at a file, unmounts; gives what was said.
fn said_when_mounted(image: &Path, arguments: &[&str]) -> String {
    let folder = mountpoint();
    let mut command = guestmount([OsString::from("-a"), image.into()]);
    let outcome = run(command.args(arguments).arg(folder.path()));
    let content = fs::read_to_string(folder.path().join("Users/Anna/Documents/Letter.txt"));
    let unmounted =
        run(std::process::Command::new(guestfs_tests::programs::program("guestunmount")).arg(folder.path()));
    assert_eq!((outcome.code(), unmounted.code()), (0, 0), "{outcome:?} {unmounted:?}");
    assert_eq!(content.unwrap(), "Dear all\n");
    outcome.stderr
}

/// Tries to mount with arguments that must be refused.
fn refused(image: &Path, arguments: &[&str]) -> Outcome {
    let folder = mountpoint();
    let mut command = guestmount([OsString::from("-a"), image.into()]);
    let outcome = run(command.args(arguments).arg(folder.path()));
    assert_eq!(outcome.code(), 1, "{outcome:?}");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    outcome
}

fn assert_only_read(disk: &Disk) {
    for how in [&["-m", "/dev/sda1"][..], &["-i"]] {
        let said = said_when_mounted(disk.path(), how);
        let warnings: Vec<&str> = said.lines().filter(|line| line.contains("Windows hibernates")).collect();
        assert!(matches!(warnings[..], [line] if line.contains("warning: /dev/sda1: ")), "{said}");
        let refused = refused(disk.path(), &[how, &["--rw"]].concat()).stderr;
        assert!(refused.contains("/dev/sda1 to write: Windows hibernates"), "{refused}");
        assert!(refused.contains("mount it read-only") && !refused.contains("damaged"), "{refused}");
    }
}

#[test]
fn a_hibernated_windows_is_only_read_unless_its_memory_is_thrown_away() {
    let tree =
        windows_10("ASLEEP", Table::Mbr, [1, 1]) + &format!("--- /hiberfil.sys\nhibr{}\n", "x".repeat(8192));
    let disk = windows_disk(Table::Mbr, &[Volume::of(&tree)]);
    assert_only_read(&disk);
    let thrown_away = ["-m", "/dev/sda1:/:remove_hiberfile", "--rw"];
    let mounted = Mounted::new(
        [OsString::from("-a"), disk.path().into()].into_iter().chain(thrown_away.map(OsString::from)),
    );
    let gone = fs::metadata(mounted.path().join("hiberfil.sys")).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    fs::write(mounted.path().join("new"), "new").unwrap();
    mounted.unmount();
    let again = Mounted::read_write(disk.path(), "/dev/sda1");
    assert_eq!(fs::read_to_string(again.path().join("new")).unwrap(), "new");
}

#[test]
fn a_windows_shut_down_by_fast_startup_is_only_read() {
    let disk = windows_disk(Table::Mbr, &[Volume::of(&windows_10("FAST", Table::Mbr, [1, 1]))]);
    write_journal(&disk, (2, 0));
    assert_only_read(&disk);
}

#[test]
fn a_windows_that_was_cut_off_is_mounted_with_a_warning() {
    let disk = windows_disk(Table::Mbr, &[Volume::of(&windows_10("CUT", Table::Mbr, [1, 1]))]);
    write_journal(&disk, (1, 1));
    let said = said_when_mounted(disk.path(), &["-m", "/dev/sda1"]);
    assert!(said.contains("/dev/sda1: Windows did not unmount it: changes in its journal are not"), "{said}");
    let said = said_when_mounted(disk.path(), &["-m", "/dev/sda1", "--rw"]);
    assert!(
        said.contains("/dev/sda1: Windows did not unmount it: changes in its journal are lost"),
        "{said}"
    );
    let said = said_when_mounted(disk.path(), &["-m", "/dev/sda1"]);
    assert!(!said.contains("warning"), "{said}");
}

/// The size of a page of the journal, in bytes.
const PAGE_BYTES: usize = 4096;

/// Writes the first two pages of the journal of the only volume, as Windows leaves them while it has changes in it;
/// version 2.0 stands for changes that only it can know.
fn write_journal(disk: &Disk, version: (u16, u16)) {
    let image = fs::OpenOptions::new().read(true).write(true).open(disk.path()).unwrap();
    let volume = start_of(1)..fs::metadata(disk.path()).unwrap().len();
    // mkntfs fills the journal with ones, and nothing else as large.
    let is_empty = |offset: u64| {
        let mut page = [0; PAGE_BYTES];
        image.read_exact_at(&mut page, offset).is_ok() && page.iter().all(|byte| *byte == 0xff)
    };
    let pages = volume.step_by(PAGE_BYTES);
    let journal: Vec<u64> =
        pages.skip_while(|offset| !is_empty(*offset)).take_while(|offset| is_empty(*offset)).collect();
    let length = u64::try_from(journal.len() * PAGE_BYTES).unwrap();
    assert!(length >= 256 << 10, "the journal is not where {length} bytes of ones are");
    let page = restart_page(length, version);
    for offset in &journal[..2] {
        image.write_all_at(&page, *offset).unwrap();
    }
}

/// A page that says where a journal of `length` bytes goes on: with one client, that has not finished.
fn restart_page(length: u64, (major, minor): (u16, u16)) -> Vec<u8> {
    /// Where the last bytes of sectors are kept, with a number in their place in the sectors themselves.
    const UPDATES: usize = 30;
    const AREA: usize = 48;
    const CLIENT: usize = AREA + 48;
    const NONE: u16 = 0xffff;
    let mut page = vec![0; PAGE_BYTES];
    let mut put = |offset: usize, bytes: &[u8]| page[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, b"RSTR");
    for (offset, value) in [(4, 30), (6, 9), (24, 48), (26, minor), (28, major)] {
        put(offset, &u16::to_le_bytes(value));
    }
    for offset in [16, 20] {
        put(offset, &4096u32.to_le_bytes());
    }
    for (offset, value) in
        [(8, 1), (10, NONE), (12, 0), (14, 0), (20, 48 + 160), (22, 48), (36, 48), (38, 64)]
    {
        put(AREA + offset, &u16::to_le_bytes(value));
    }
    // The bits of a sequence number are those that an offset into the journal leaves.
    put(AREA + 16, &(67 - (64 - length.leading_zeros())).to_le_bytes());
    put(AREA + 24, &length.to_le_bytes());
    for (offset, value) in [(16, NONE), (18, NONE), (28, 8)] {
        put(CLIENT + offset, &u16::to_le_bytes(value));
    }
    put(CLIENT + 32, &"NTFS".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    page[UPDATES..UPDATES + 2].copy_from_slice(&1u16.to_le_bytes());
    for (number, end) in (512..=PAGE_BYTES).step_by(512).enumerate() {
        let kept = UPDATES + 2 + 2 * number;
        page.copy_within(end - 2..end, kept);
        page[end - 2..end].copy_from_slice(&1u16.to_le_bytes());
    }
    page
}
