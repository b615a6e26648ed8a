//! Windows guests on real NTFS: what `guestinspect` tells, what `guestmount` mounts, and what is refused.

mod system;
