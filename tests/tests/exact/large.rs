//! Much of everything: directories with very many names, and programs built from their sources by make.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use guestfs_tests::command::{run, succeed};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::{is_root, skip};

use crate::native::mounted_as_native;

/// How many names the tests put into one directory.
const NAMES: u32 = 10_000;
/// How many the long form does, when `GUESTFS_SOAK_NAMES` does not say.
const SOAK_NAMES: u32 = 1_000_000;
/// How many of them, the last, are made through the mount: a small part, so that most time goes into listing.
const NEW_NAMES: u32 = 2_000;
/// How many parts the program has that is built.
const PARTS: u32 = 24;

fn name(number: u32) -> String {
    format!("a name that is some forty bytes long {number:07}")
}

/// Lists a directory, which must have the names of these numbers and no other; gives the inode number of each.
fn assert_has(folder: &Path, numbers: impl Iterator<Item = u32>) -> HashSet<(u32, u64)> {
    let mut missing: HashSet<u32> = numbers.collect();
    let mut found = HashSet::new();
    let mut inodes = HashSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let text = entry.file_name().into_string().unwrap();
        let number = text.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(text, name(number));
        assert!(missing.remove(&number), "{text} is listed twice, or was not to be there");
        assert!(inodes.insert(entry.ino()), "{text} has the inode number of another");
        found.insert((number, entry.ino()));
    }
    assert_eq!(missing.len(), 0, "names are missing");
    found
}

fn make_files(folder: &Path, numbers: Range<u32>) {
    for number in numbers {
        File::create_new(folder.join(name(number))).unwrap();
    }
}

/// Makes so many files in a directory, the last of them through a mount, lists them, removes some of these and lists
/// again, also in another mount.
fn fill_and_list(names: u32) {
    // Of the disk an inode takes 256 bytes, and its name some 60.
    let disk = Disk::partitioned(u64::from(128 + names / 2_000));
    disk.mkfs("ext4", &["-q", "-F", "-N", &(names + 1_000).to_string()]);
    let old = names.saturating_sub(NEW_NAMES);
    {
        let device = disk.attach();
        let native = device.mount("rw");
        fs::create_dir(native.path().join("many")).unwrap();
        make_files(&native.path().join("many"), 0..old);
    }
    let mounted = mounted_as_native(&disk);
    let folder = mounted.path().join("many");
    let start = Instant::now();
    make_files(&folder, old..names);
    let made = start.elapsed();
    let start = Instant::now();
    let before = assert_has(&folder, 0..names);
    let listed = start.elapsed();
    let is_left = |number: &u32| *number < old || number % 3 != 0;
    for number in (old..names).filter(|number| !is_left(number)) {
        fs::remove_file(folder.join(name(number))).unwrap();
    }
    let after = assert_has(&folder, (0..names).filter(is_left));
    mounted.unmount();
    let mounted = Mounted::read_only(disk.path(), disk.device());
    let folder = mounted.path().join("many");
    let again = assert_has(&folder, (0..names).filter(is_left));
    assert!(again.is_subset(&before) && again == after, "inode numbers differ from mount to mount");
    for (number, inode) in again {
        let attributes = fs::symlink_metadata(folder.join(name(number))).unwrap();
        assert_eq!((attributes.ino(), attributes.len(), attributes.is_file()), (inode, 0, true), "{number}");
    }
    mounted.unmount();
    let new = names - old;
    println!("names: {names}, the last {new} of them made in {made:.1?}; listed in {listed:.1?}, 0 failures");
}

#[test]
fn a_directory_with_very_many_names_is_listed_whole() {
    match is_root() {
        true => fill_and_list(NAMES),
        false => skip("loop devices need root"),
    }
}

/// Run by `make soak`.
#[test]
#[ignore = "takes minutes: make soak"]
fn soak_names() {
    let names = std::env::var("GUESTFS_SOAK_NAMES").ok().and_then(|text| text.parse().ok());
    fill_and_list(names.unwrap_or(SOAK_NAMES));
}

/// Writes a program of many parts, each with a header that the next one includes, and a Makefile.
fn write_sources(folder: &Path) {
    let makefile = "CC := gcc\nprogram: $(patsubst %.c,%.o,$(wildcard *.c))\n\t$(CC) -o $@ $^\n\
         %.o: %.c\n\t$(CC) -MMD -c -o $@ $<\n-include $(wildcard *.d)\n";
    fs::write(folder.join("Makefile"), makefile).unwrap();
    let mut sum = String::new();
    for part in 0..PARTS {
        fs::write(folder.join(format!("part{part}.h")), format!("int part{part}(void);\n")).unwrap();
        let source = format!("#include \"part{part}.h\"\nint part{part}(void) {{ return {part}; }}\n");
        fs::write(folder.join(format!("part{part}.c")), source).unwrap();
        write!(sum, " + part{part}()").unwrap();
    }
    let headers: String = (0..PARTS).map(|part| format!("#include \"part{part}.h\"\n")).collect();
    let source = format!("#include <stdio.h>\n{headers}int main(void) {{ printf(\"%d\\n\", 0{sum}); }}\n");
    fs::write(folder.join("main.c"), source).unwrap();
}

fn make(folder: &Path) -> String {
    succeed(Command::new("make").arg("--jobs=2").current_dir(folder))
}

#[test]
fn make_builds_what_has_changed_and_nothing_else() {
    if !is_root() {
        return skip("loop devices need root");
    }
    let disk = Disk::formatted(64, "ext4", &["-q", "-F"]);
    let mounted = mounted_as_native(&disk);
    let folder = mounted.path();
    write_sources(&folder);
    assert_eq!(make(&folder).matches(" -c ").count(), PARTS as usize + 1);
    let expected = (0..PARTS).sum::<u32>().to_string();
    assert_eq!(succeed(&mut Command::new(folder.join("program"))).trim(), expected);
    mounted.unmount();

    // Times are what make goes by, and are the same in another mount.
    let mounted = mounted_as_native(&disk);
    let folder = mounted.path();
    let is_up_to_date = || run(Command::new("make").arg("--question").current_dir(&folder)).code() == 0;
    assert!(is_up_to_date());
    let header = folder.join("part3.h");
    fs::write(&header, fs::read_to_string(&header).unwrap() + "/* changed */\n").unwrap();
    assert!(!is_up_to_date());
    // The part itself and the main program include it.
    assert_eq!(make(&folder).matches(" -c ").count(), 2);
    assert_eq!(succeed(&mut Command::new(folder.join("program"))).trim(), expected);
    mounted.unmount();
}
