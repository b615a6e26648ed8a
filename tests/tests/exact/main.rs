//! The mount against what others hold a file system to: a POSIX test suite, and the host's own kernel.

mod archives;
mod exerciser;
mod files;
mod identity;
mod kernel;
mod large;
mod native;
mod permissions;
mod posix;
mod presentation;
mod programs;
mod promises;
mod read_only;
