//! Files by node, over a directory of this machine.

mod attributes;
mod directories;
mod guest;
mod listing;
mod looking;
mod making;
mod mounted;
mod open_files;
mod removing;
mod window;
mod xattrs;
