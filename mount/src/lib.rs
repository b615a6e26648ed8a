//! Mounts the disk image of a virtual machine at a directory of the host, and unmounts it.
//!
//! `cli` and `config` say what is asked for (`request`), `run` does it.

pub mod cli;
pub mod config;
pub mod mount_options;
pub mod request;
