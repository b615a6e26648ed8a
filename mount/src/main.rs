//! The `guestmount` command.
fn main() {}
