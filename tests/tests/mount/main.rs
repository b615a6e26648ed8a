//! guestmount and guestunmount as a user meets them: bad input, options, everyday operations, the end of a mount.

mod bad_input;
mod formats;
mod lifecycle;
mod logout;
mod operations;
mod transfers;
mod umount;
