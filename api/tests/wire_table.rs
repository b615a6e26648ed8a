//! Compares the topic traits with the protocol's own table, `procedures.txt`.
//!
//! A difference is a line of the table (`-`) that the traits do not say, or a line the traits say (`+`) that is not in
//! the table. For a procedure of libguestfs the table is right: its peers send and expect just that, so correct the
//! trait. For one of our own both ends are ours, but an appliance may be older than the client: change the line only
//! together with the appliance's version. A new procedure needs a new line; take it from the protocol, not from `+`.

use std::collections::BTreeMap;

use guestfs_api::{Argument, OWN_PROCEDURES_FIRST, Procedure, procedures};

const TABLE: &str = include_str!("procedures.txt");

/// The highest number that libguestfs 1.61 gives; 0 is none.
const PROTOCOL_NUMBER_LAST: u32 = 522;

/// Writes a procedure as a line of the table.
fn line(procedure: &Procedure) -> String {
    let mut line = format!("{} {}", procedure.number, procedure.name);
    if let Some(group) = procedure.group {
        line += &format!(" [{group}]");
    }
    for Argument { name, kind } in procedure.arguments {
        line += &match *kind {
            "FileIn" => format!(" <{name}"),
            "FileOut" => format!(" >{name}"),
            kind => format!(" {name}:{}", wire_kind(kind)),
        };
    }
    for name in procedure.optional_arguments {
        line += &format!(" ?{name}");
    }
    if procedure.result != "()" {
        line += &format!(" -> {}", wire_kind(procedure.result));
    }
    line
}

/// Says what a Rust type of the traits is on the wire.
fn wire_kind(rust: &str) -> String {
    let element = |prefix, suffix| rust.strip_prefix(prefix).and_then(|rest: &str| rest.strip_suffix(suffix));
    if let Some(value) = element("Option<", ">") {
        return format!("{}?", wire_kind(value));
    }
    if rust.starts_with("Table<") {
        return "string[]".to_owned();
    }
    if ["[u8]", "Vec<u8>", "Secret"].contains(&rust) {
        return "opaque".to_owned();
    }
    if let Some(value) = element("Vec<", ">").or(element("[", "]")) {
        return format!("{}[]", wire_kind(value));
    }
    let kind = match rust {
        "str" | "String" | "ByteString" | "FileName" | "GuestPath" | "DeviceName" | "Mountable"
        | "DeviceOrPath" | "MountableOrPath" | "Key" => "string",
        "bool" => "bool",
        "i32" => "int",
        "u32" => "uint",
        "i64" => "hyper",
        "u64" => "uhyper",
        "Application2" => "application2",
        "ArrayMember" => "mdstat",
        "BtrfsBalance" => "btrfsbalance",
        "BtrfsQuotaGroup" => "btrfsqgroup",
        "BtrfsScrub" => "btrfsscrub",
        "BtrfsSubvolume" => "btrfssubvolume",
        "LogicalVolume" => "lvm_lv",
        "PhysicalVolume" => "lvm_pv",
        "VolumeGroup" => "lvm_vg",
        "Dirent" => "dirent",
        "MountableRecord" => "internal_mountable",
        "Partition" => "partition",
        "StatNs" => "statns",
        "StatVfs" => "statvfs",
        "Utsname" => "utsname",
        "Xattr" => "xattr",
        // Records of our own procedures have no name but ours.
        record => record,
    };
    kind.to_owned()
}

/// Gives the lines of the table without its comments.
fn table() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[test]
fn the_traits_say_what_the_table_says() {
    let said = procedures::all().map(line).collect::<Vec<_>>();
    let missing = table().filter(|expected| !said.iter().any(|line| line == expected));
    let unexpected = said.iter().filter(|line| !table().any(|expected| expected == *line));
    let difference =
        missing.map(|line| format!("- {line}\n")).chain(unexpected.map(|line| format!("+ {line}\n")));
    let difference = difference.collect::<String>();
    assert!(difference.is_empty(), "see the head of wire_table.rs for how to read this:\n{difference}");
    assert_eq!(said.len(), table().count(), "a line of the table is there twice");
}

#[test]
fn no_number_and_no_name_is_given_twice_over_all_topics() {
    let mut numbers = BTreeMap::new();
    let mut names = BTreeMap::new();
    for procedure in procedures::all() {
        if let Some(twin) = numbers.insert(procedure.number, procedure.name) {
            panic!("{} has the number {} of {twin}", procedure.name, procedure.number);
        }
        if let Some(twin) = names.insert(procedure.name, procedure.number) {
            panic!("{} has the name of {twin}, {}", procedure.number, procedure.name);
        }
    }
}

#[test]
fn our_own_procedures_are_numbered_apart_from_the_protocols() {
    for Procedure { number, name, .. } in procedures::all() {
        assert!(*number <= PROTOCOL_NUMBER_LAST || *number >= OWN_PROCEDURES_FIRST, "{number} {name}");
    }
}

#[test]
fn each_procedure_is_found_by_its_number() {
    for procedure in procedures::all() {
        assert_eq!(procedures::by_number(procedure.number), Some(procedure));
    }
    assert_eq!(procedures::by_number(0), None);
    assert_eq!(procedures::by_number(OWN_PROCEDURES_FIRST), None);
}

#[test]
fn a_procedure_has_one_file_at_most() {
    for procedure in procedures::all() {
        assert!(!(procedure.takes_file() && procedure.gives_file()), "{}", procedure.name);
    }
}
