//! Storage stacks: devices that are made of others. Each is made through the library, closed, opened again and mounted.

mod arrays;
mod bitlocker;
mod bsd;
mod btrfs;
mod btrfs_upkeep;
mod clones;
mod debian;
mod dynamic;
mod encrypted;
mod many;
mod partitions;
mod swap;
mod volumes;
