//! One trait per topic; a procedure is a method with its number.

pub mod appliance;
pub mod block_devices;
pub mod btrfs;
pub mod btrfs_upkeep;
pub mod control;
pub mod directories;
pub mod files;
pub mod filesystems;
pub mod inspection;
pub mod ldm;
pub mod luks;
pub mod lvm;
pub mod md;
pub mod mounts;
pub mod nodes;
pub mod partitions;
pub mod swap;
pub mod transfers;
pub mod xattrs;

use crate::Procedure;

/// The procedures of each topic.
static TOPICS: &[&[&Procedure]] = &[
    appliance::PROCEDURES,
    block_devices::PROCEDURES,
    btrfs::PROCEDURES,
    btrfs_upkeep::PROCEDURES,
    control::PROCEDURES,
    directories::PROCEDURES,
    files::PROCEDURES,
    filesystems::PROCEDURES,
    inspection::PROCEDURES,
    ldm::PROCEDURES,
    luks::PROCEDURES,
    lvm::PROCEDURES,
    md::PROCEDURES,
    mounts::PROCEDURES,
    nodes::PROCEDURES,
    partitions::PROCEDURES,
    swap::PROCEDURES,
    transfers::PROCEDURES,
    xattrs::PROCEDURES,
];

/// Gives every procedure of every topic.
pub fn all() -> impl Iterator<Item = &'static Procedure> {
    TOPICS.iter().flat_map(|topic| topic.iter().copied())
}

/// Finds the procedure with this number.
pub fn by_number(number: u32) -> Option<&'static Procedure> {
    all().find(|procedure| procedure.number == number)
}
