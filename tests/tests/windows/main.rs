//! Windows guests on real NTFS: what `guestinspect` tells, what `guestmount` mounts, and what is refused.

mod any_case;
mod bad_input;
mod compressed;
mod drive_letters;
mod hibernated;
mod junctions;
mod system;
