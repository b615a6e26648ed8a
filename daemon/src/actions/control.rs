//! The daemon itself: whether it answers, what it can do, how it ends.

use std::time::Duration;

use guestfs_api::procedures::control::Control;
use guestfs_api::records::{MountableRecord, Utsname};
use guestfs_api::values::{ByteString, Mountable};
use guestfs_api::{Failure, Procedures};

use super::groups;
use crate::kernel_log::KernelLog;
use crate::server::Server;

/// The kernel's switch to drop its caches.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// Answers of `internal_feature_available` (protocol, section 5).
mod availability {
    pub const AVAILABLE: i32 = 0;
    pub const NOT_AVAILABLE: i32 = 1;
    pub const UNKNOWN: i32 = 2;
}

type Result<T> = std::result::Result<T, <Server as Procedures>::Error>;

impl Control for Server {
    fn ping_daemon(&self) -> Result<()> {
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        rustix::fs::sync();
        Ok(())
    }

    fn drop_caches(&self, whattodrop: i32) -> Result<()> {
        if !(1..=3).contains(&whattodrop) {
            return Err(Failure::plain(format!("drop_caches: {whattodrop} is none of 1, 2 and 3")));
        }
        std::fs::write(DROP_CACHES, whattodrop.to_string()).map_err(|error| Failure::io(&error, DROP_CACHES))
    }

    fn dmesg(&self) -> Result<String> {
        let log = KernelLog::from_start().map_err(|error| Failure::io(&error, "open /dev/kmsg"))?;
        let lines = log.read().into_iter().map(|record| {
            let (seconds, microseconds) = (record.time_us / 1_000_000, record.time_us % 1_000_000);
            format!("[{seconds:5}.{microseconds:06}] {}\n", record.text)
        });
        Ok(lines.collect())
    }

    fn sleep(&self, secs: i32) -> Result<()> {
        let seconds = u64::try_from(secs)
            .map_err(|_| Failure::plain(format!("sleep: {secs} is no number of seconds")))?;
        std::thread::sleep(Duration::from_secs(seconds));
        Ok(())
    }

    fn umask(&self, mask: i32) -> Result<i32> {
        let mask = u32::try_from(mask).ok().filter(|mask| *mask <= 0o777);
        let mask = mask.ok_or_else(|| Failure::plain("umask: the mask must be between 0 and 0777"))?;
        Ok(mask_number(self.set_umask(mask)))
    }

    fn get_umask(&self) -> Result<i32> {
        Ok(mask_number(Server::umask(self)))
    }

    fn modprobe(&self, modulename: &str) -> Result<()> {
        Ok(self.modules.load(modulename)?)
    }

    fn echo_daemon(&self, words: &[String]) -> Result<String> {
        Ok(words.join(" "))
    }

    fn utsname(&self) -> Result<Utsname> {
        let name = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        Ok(Utsname {
            uts_sysname: text(name.sysname()),
            uts_release: text(name.release()),
            uts_version: text(name.version()),
            uts_machine: text(name.machine()),
        })
    }

    fn internal_autosync(&self) -> Result<()> {
        let unmounted = self.unmount_all();
        rustix::fs::sync();
        let settled = self.settle_arrays();
        self.flush_disks()?;
        unmounted.and(settled)
    }

    fn available_all_groups(&self) -> Result<Vec<String>> {
        Ok(groups::GROUPS.iter().map(|(name, _)| (*name).to_owned()).collect())
    }

    fn filesystem_available(&self, filesystem: &str) -> Result<bool> {
        if !filesystem.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
            return Err(Failure::plain("filesystem_available: a type has letters, digits, - and _ only"));
        }
        self.can_mount(filesystem)
    }

    fn nr_devices(&self) -> Result<i32> {
        let count = self.devices.disks()?.len();
        i32::try_from(count).map_err(|_| Failure::plain("nr_devices: too many disks"))
    }

    fn internal_parse_mountable(&self, mountable: &Mountable) -> Result<MountableRecord> {
        let device = ByteString::new(mountable.device().as_bytes());
        let (im_type, volume) = match mountable {
            Mountable::Device(_) => (0, &b""[..]),
            Mountable::Subvolume { subvolume, .. } => (1, &subvolume[..]),
        };
        let parts = device.and_then(|device| Ok((device, ByteString::new(volume)?)));
        let (im_device, im_volume) = parts.map_err(|error| Failure::plain(error.reason()))?;
        Ok(MountableRecord { im_type, im_device, im_volume })
    }

    fn internal_feature_available(&self, group: &str) -> Result<i32> {
        Ok(match groups::is_available(self, group) {
            Some(true) => availability::AVAILABLE,
            Some(false) => availability::NOT_AVAILABLE,
            None => availability::UNKNOWN,
        })
    }

    fn internal_exit(&self) -> Result<()> {
        self.request_exit();
        Ok(())
    }
}

fn mask_number(mask: u32) -> i32 {
    i32::try_from(mask & 0o777).expect("nine bits fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> (tempfile::TempDir, Server) {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::over_directory(directory.path()).unwrap();
        (directory, server)
    }

    #[test]
    fn the_mask_begins_with_022_and_is_kept() {
        let (_directory, server) = server();
        assert_eq!(Control::umask(&server, 0o077), Ok(0o022));
        assert_eq!(server.get_umask(), Ok(0o077));
        assert!(Control::umask(&server, 0o1000).is_err());
        assert!(Control::umask(&server, -1).is_err());
    }

    #[test]
    fn groups_are_available_not_available_or_unknown() {
        let (_directory, server) = server();
        assert_eq!(server.internal_feature_available("linuxxattrs"), Ok(0));
        assert_eq!(server.internal_feature_available("hivex"), Ok(1));
        assert_eq!(server.internal_feature_available("nonsense"), Ok(2));
        assert!(server.available_all_groups().unwrap().contains(&"hivex".to_owned()));
    }

    #[test]
    fn file_systems_of_the_kernel_are_available_and_others_not() {
        let (_directory, server) = server();
        assert_eq!(server.filesystem_available("proc"), Ok(true));
        assert_eq!(server.filesystem_available("nonsensefs"), Ok(false));
        assert!(server.filesystem_available("../ext4").is_err());
    }

    #[test]
    fn a_mountable_is_taken_apart() {
        let (_directory, server) = server();
        let parse = |text: &str| {
            let record = server.internal_parse_mountable(&Mountable::new(text.as_bytes()).unwrap()).unwrap();
            (record.im_type, record.im_device.to_string(), record.im_volume.to_string())
        };
        assert_eq!(parse("/dev/sda1"), (0, "/dev/sda1".to_owned(), String::new()));
        assert_eq!(parse("btrfsvol:/dev/sda1/a/b"), (1, "/dev/sda1".to_owned(), "a/b".to_owned()));
    }

    #[test]
    fn odd_numbers_are_refused() {
        let (_directory, server) = server();
        assert!(server.drop_caches(0).is_err());
        assert!(server.drop_caches(4).is_err());
        assert!(server.sleep(-1).is_err());
    }
}
