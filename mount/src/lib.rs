//! Mounts the disk image of a virtual machine at a directory of the host, and unmounts it.
//!
//! `cli` and `config` say what is asked for (`request`), `run` does it: `daemonise` goes to the background, the
//! library `guestfs` starts the appliance, `mountpoint` makes the host's mount, `fuse` serves `files` through it.
//! `unmount` is the other command; it waits for the first one's end by `presence`.

pub mod attributes;
pub mod cli;
pub mod config;
pub mod daemonise;
pub mod descriptor;
pub mod directories;
pub mod events;
pub mod files;
pub mod fuse;
pub mod guest;
pub mod helper;
pub mod holders;
pub mod inodes;
pub mod inspection;
pub mod interrupts;
pub mod keys;
pub mod links;
pub mod mount_options;
pub mod mountinfo;
pub mod mountpoint;
pub mod open_files;
pub mod presence;
pub mod progress_bar;
mod readers;
pub mod report;
pub mod request;
pub mod run;
pub mod serve;
pub mod system_log;
pub mod umount_helper;
pub mod unlock;
pub mod unmount;
