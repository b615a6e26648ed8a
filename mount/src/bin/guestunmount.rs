//! The `guestunmount` command.
fn main() {}
