//! Mounts the disk image of a virtual machine at a directory of the host, and unmounts it.
//!
//! `cli` and `config` say what is asked for (`request`), `run` does it.

pub mod attributes;
pub mod cli;
pub mod config;
pub mod directories;
pub mod files;
pub mod fuse;
pub mod helper;
pub mod inodes;
pub mod mount_options;
pub mod mountinfo;
pub mod mountpoint;
pub mod open_files;
pub mod request;
