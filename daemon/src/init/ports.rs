//! Finds the virtio-serial ports by their names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use guestfs_api::Failure;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};

/// The port that carries the libguestfs protocol.
pub const LIBGUESTFS_PORT: &str = "org.libguestfs.channel.0";
/// The port that carries the calls by node; an appliance that the stock library started has none.
pub const NODES_PORT: &str = "org.guestmount.nodes.0";

/// Where the kernel lists the ports.
const PORTS: &str = "/sys/class/virtio-ports";

/// How long the host's announcement of its ports may take, and how long to wait between two looks.
const TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);

/// Waits for the port of this name and opens it.
pub fn open(name: &str) -> Result<OwnedFd, Failure> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(path) = find(Path::new(PORTS), name) {
            return rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| Failure::io(&error.into(), format_args!("open {}", path.display())));
        }
        if Instant::now() > deadline {
            let error = io::Error::from(io::ErrorKind::TimedOut);
            return Err(Failure::io(&error, format_args!("wait for the port {name}")));
        }
        std::thread::sleep(PAUSE);
    }
}

fn find(ports: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(ports).ok()?;
    entries.flatten().find_map(|entry| {
        let known_as = fs::read_to_string(entry.path().join("name")).ok()?;
        (known_as.trim_end() == name).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_its_name_and_not_by_its_number() {
        let ports = tempfile::tempdir().unwrap();
        for (port, name) in
            [("vport1p1", "org.libguestfs.channel.0.other\n"), ("vport2p1", "org.libguestfs.channel.0\n")]
        {
            fs::create_dir(ports.path().join(port)).unwrap();
            fs::write(ports.path().join(port).join("name"), name).unwrap();
        }
        // A port without a name has an empty directory.
        fs::create_dir(ports.path().join("vport3p1")).unwrap();
        assert_eq!(find(ports.path(), LIBGUESTFS_PORT), Some("/dev/vport2p1".into()));
        assert_eq!(find(ports.path(), NODES_PORT), None);
        assert_eq!(find(&ports.path().join("missing"), NODES_PORT), None);
    }
}
