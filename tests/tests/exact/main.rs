//! The mount against what others hold a file system to: a POSIX test suite, an exerciser, verified writes.

mod posix;
mod read_only;
