//! Waits for disks that were plugged into the running machine, until they can be used with their partitions.
//!
//! The kernel announces a disk when it has read its partition table. Nothing else tells: the entries in /sys and /dev
//! are there before.

use std::time::{Duration, Instant};

use guestfs_api::{Errno, Failure};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::scsi;
use crate::sysroot::failed;

/// How long the kernel may take to read one partition table; its own patience with a disk is 30 s a command.
const DISK_TIMEOUT: Duration = Duration::from_secs(90);

/// The multicast group of the kernel's own events, as opposed to udev's.
const KERNEL_EVENTS: u32 = 1;

/// More than the kernel puts into an event (UEVENT_BUFFER_SIZE of Linux's kobject.h, and the path before it).
const EVENT_BYTES_MAX: usize = 8 << 10;

/// Makes the first `count` disks known to the kernel where they are not, and waits until they can be used.
pub fn wait_for_first(count: u32) -> Result<(), Failure> {
    // Before the kernel is asked to look, so that no event is missed.
    let events = DiskEvents::listen()?;
    for target in 0..count {
        if let Some(address) = scsi::find_new_disk(target)? {
            events.wait_for(&address, Instant::now() + DISK_TIMEOUT)?;
        }
    }
    Ok(())
}

/// The kernel's announcements of devices.
struct DiskEvents {
    socket: OwnedFd,
}

impl DiskEvents {
    fn listen() -> Result<DiskEvents, Failure> {
        let listen = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let (family, kind) = (AddressFamily::NETLINK, SocketType::DGRAM);
            let socket = rustix::net::socket_with(family, kind, flags, Some(KOBJECT_UEVENT))?;
            rustix::net::bind(&socket, &SocketAddrNetlink::new(0, KERNEL_EVENTS))?;
            Ok(DiskEvents { socket })
        };
        listen().map_err(|error| failed(error, "listen to the kernel's events"))
    }

    /// Waits for the announcement of the disk with this SCSI address, `HOST:CHANNEL:TARGET:UNIT`.
    fn wait_for(&self, address: &str, deadline: Instant) -> Result<(), Failure> {
        let what = format_args!("wait for the disk at {address}").to_string();
        let mut event = [0; EVENT_BYTES_MAX];
        loop {
            match rustix::net::recv(&self.socket, &mut event, RecvFlags::empty()) {
                Ok((length, _)) if is_disk_at(&event[..length.min(EVENT_BYTES_MAX)], address) => {
                    return Ok(());
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => self.wait_for_event(deadline, &what)?,
                Err(error) => return Err(failed(error, what)),
            }
        }
    }

    fn wait_for_event(&self, deadline: Instant, what: &str) -> Result<(), Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::errno(Errno::ETIMEDOUT, what));
        }
        let timeout = Timespec::try_from(left).map_err(|_| Failure::errno(Errno::EINVAL, what))?;
        let mut watched = [PollFd::new(&self.socket, PollFlags::IN)];
        match rustix::event::poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(failed(error, what)),
        }
    }
}

/// Says whether an event announces the whole disk with this address. It reads `add@PATH`, then variables, each ended by
/// a NUL; a disk's path is `…/ADDRESS/block/NAME`.
fn is_disk_at(event: &[u8], address: &str) -> bool {
    let mut parts = event.split(|byte| *byte == 0);
    let Some(path) = parts.next().and_then(|head| head.strip_prefix(b"add@")) else { return false };
    let mut components = path.rsplit(|byte| *byte == b'/');
    let (_name, folder, device) = (components.next(), components.next(), components.next());
    folder == Some(b"block") && device == Some(address.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/devices/pci0000:00/0000:00:03.0/virtio1/host0/target0:0:1/0:0:1:0";

    fn event(head: &str) -> Vec<u8> {
        format!("{head}\0ACTION=add\0SUBSYSTEM=block\0").into_bytes()
    }

    #[test]
    fn a_disk_is_announced_by_its_block_device_and_nothing_else() {
        assert!(is_disk_at(&event(&format!("add@{PATH}/block/sdb")), "0:0:1:0"));
        for other in [
            format!("add@{PATH}/block/sdb/sdb1"),
            format!("add@{PATH}/scsi_disk/0:0:1:0"),
            format!("add@{PATH}"),
            format!("change@{PATH}/block/sdb"),
            "add@block/sdb".to_owned(),
            String::new(),
        ] {
            assert!(!is_disk_at(&event(&other), "0:0:1:0"), "{other}");
        }
        assert!(!is_disk_at(&event(&format!("add@{PATH}/block/sdb")), "0:0:2:0"));
        assert!(!is_disk_at(b"", "0:0:1:0"));
    }

    #[test]
    fn waiting_for_a_disk_that_never_comes_ends_at_its_deadline() {
        let Ok(events) = DiskEvents::listen() else {
            eprintln!("skipped: the kernel's events cannot be listened to here");
            return;
        };
        let failure = events.wait_for("9:9:9:9", Instant::now() + Duration::from_millis(50)).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::ETIMEDOUT));
    }
}
