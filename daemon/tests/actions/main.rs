//! The topics that work on the guest's tree, over a directory of this machine.

mod directories;
mod files;
mod guest;
mod links;
mod storage;
mod transfers;
mod xattrs;
