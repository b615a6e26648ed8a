//! Small file trees of guests, written from texts that people can read (`tests/guests/*.txt`).
//!
//! Lines before the first entry are comments. An entry begins with `--- PATH`: a file whose lines follow; a directory when
//! the path ends in `/`; a symbolic link when ` -> TARGET` follows; the headers of a program when ` elf MACHINE` or
//! ` pe MACHINE` does; a hive of the Windows registry when ` hive` does, with lines `KEY\KEY|NAME=type:value`.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::hive::NewKey;

/// What a line of an entry begins with.
const MARK: &str = "\n--- ";

/// Writes the tree that `text` describes below `folder`.
pub fn write(text: &str, folder: &Path) {
    let mut entries = text.split(MARK);
    // What stands before the first entry is a comment.
    entries.next();
    for entry in entries {
        let (head, body) = entry.split_once('\n').unwrap_or((entry, ""));
        let body = if body.is_empty() { String::new() } else { format!("{}\n", body.trim_end_matches('\n')) };
        write_entry(head, &body, folder);
    }
}

fn write_entry(head: &str, body: &str, folder: &Path) {
    let place = |path: &str| {
        let below = path.strip_prefix('/').unwrap_or_else(|| panic!("{path} is absolute"));
        let place = folder.join(below);
        let directory = place.parent().expect("a file has a directory");
        std::fs::create_dir_all(directory).expect("a directory of the tree");
        place
    };
    if head.ends_with('/') {
        std::fs::create_dir_all(place(head)).expect("a directory of the tree");
    } else if let Some((path, target)) = head.split_once(" -> ") {
        symlink(target, place(path)).expect("a link of the tree");
    } else {
        let (path, content) = if let Some((path, machine)) = head.split_once(" elf ") {
            (path, elf(machine))
        } else if let Some((path, machine)) = head.split_once(" pe ") {
            (path, pe(machine))
        } else if let Some(path) = head.strip_suffix(" hive") {
            (path, hive(body))
        } else {
            (head, body.as_bytes().to_vec())
        };
        std::fs::write(place(path), content).expect("a file of the tree");
    }
}

/// The header of an ELF program.
fn elf(machine: &str) -> Vec<u8> {
    let (class, number): (u8, u16) = match machine {
        "i386" => (1, 3),
        "x86_64" => (2, 62),
        "aarch64" => (2, 183),
        "arm" => (1, 40),
        "s390x" => (2, 22),
        "ppc64le" => (2, 21),
        _ => panic!("no such machine: {machine}"),
    };
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1]);
    header[16] = 2;
    header[18..20].copy_from_slice(&number.to_le_bytes());
    header[20] = 1;
    header
}

/// The headers of a PE program.
fn pe(machine: &str) -> Vec<u8> {
    let (number, magic): (u16, u16) = match machine {
        "i386" => (0x14c, 0x10b),
        "x86_64" => (0x8664, 0x20b),
        _ => panic!("no such machine: {machine}"),
    };
    let mut header = vec![0; 0x200];
    header[..2].copy_from_slice(b"MZ");
    header[0x3c] = 0x80;
    header[0x80..0x84].copy_from_slice(b"PE\0\0");
    header[0x84..0x86].copy_from_slice(&number.to_le_bytes());
    header[0x94] = 0xf0;
    header[0x98..0x9a].copy_from_slice(&magic.to_le_bytes());
    header
}

/// A hive with the values of the lines.
fn hive(body: &str) -> Vec<u8> {
    let mut root = NewKey::new("ROOT");
    for line in body.lines() {
        let (path, value) = line.split_once('|').expect("KEY|NAME=type:value");
        let (name, value) = value.split_once('=').expect("KEY|NAME=type:value");
        let path: Vec<&str> = path.split('\\').collect();
        root.add(&path, |key| match value.split_once(':') {
            Some(("text", text)) => key.text(name, text),
            Some(("number", number)) => key.number(name, number.parse().expect("a number")),
            Some(("binary", digits)) => key.binary(name, &bytes(digits)),
            _ => panic!("what is {value}?"),
        });
    }
    root.to_hive()
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits")).collect()
}
