//! What a file system of the ext family does when its kernel finds it damaged, by its own superblock.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::plan::{Driver, Plan};

/// What is mounted instead of a file system that would end the kernel: it cannot be written any more once it is found
/// damaged, and the rest of it can be read.
pub const INSTEAD_OF_PANIC: &str = "errors=remount-ro";

/// Says whether the kernel is to panic as soon as it finds the file system damaged. That is for machines that another
/// takes the place of; here it would take what is whole away from who wants to save it.
pub fn is_panic_wanted(plan: &Plan) -> bool {
    matches!(&plan.driver, Driver::Kernel(kind) if kind == "ext4") && read(&plan.device).unwrap_or(false)
}

fn read(device: &Path) -> std::io::Result<bool> {
    /// Where the superblock has it, from the beginning of the device: s_errors of struct ext4_super_block.
    const PLACE: u64 = 1024 + 0x3c;
    /// EXT4_ERRORS_PANIC.
    const PANIC: u16 = 3;
    let mut behaviour = [0; 2];
    File::open(device)?.read_exact_at(&mut behaviour, PLACE)?;
    Ok(u16::from_le_bytes(behaviour) == PANIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use guestfs_api::values::Mountable;

    fn is_wanted(behaviour: u16, kind: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("device");
        let mut start = vec![0; 2048];
        start[1024 + 60..1024 + 62].copy_from_slice(&behaviour.to_le_bytes());
        std::fs::write(&device, start).unwrap();
        let mountable = Mountable::new(b"/dev/sda1").unwrap();
        is_panic_wanted(&Plan::new(&mountable, device, kind, "", 0o022).unwrap())
    }

    #[test]
    fn superblock_says_what_is_wanted() {
        assert!(is_wanted(3, "ext4") && is_wanted(3, "ext2"));
        assert!(!is_wanted(1, "ext4") && !is_wanted(2, "ext4") && !is_wanted(3, "xfs"));
    }

    #[test]
    fn device_that_cannot_be_read_wants_nothing() {
        let mountable = Mountable::new(b"/dev/sda1").unwrap();
        assert!(!is_panic_wanted(&Plan::new(&mountable, "/none".into(), "ext4", "", 0o022).unwrap()));
    }
}
