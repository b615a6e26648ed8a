//! Swap space, through the programs mkswap, swapon and swapoff.

use std::path::Path;

use guestfs_api::procedures::filesystems::Filesystems;
use guestfs_api::procedures::swap::{MkswapOptions, Swap};
use guestfs_api::values::{DeviceName, GuestPath};
use guestfs_api::{Errno, Failure};
use rustix::fs::OFlags;

use crate::server::Server;
use crate::sysroot::shared_path;
use crate::tools::{Command, WORK_DEADLINE};

/// The longest label, in bytes (`sws_volume` in Linux's swap.h).
const LABEL_BYTES_MAX: usize = 16;

impl Swap for Server {
    fn mkswap(&self, device: &DeviceName, options: &MkswapOptions) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        let command = mkswap(&node, options)?;
        self.refuse_mounted("mkswap", device, &node)?;
        self.tools.succeed_on(&command, &node, device).map(drop)
    }

    fn mkswap_L(&self, label: &str, device: &DeviceName) -> Result<(), Failure> {
        self.mkswap(device, &MkswapOptions { label: Some(label.to_owned()), uuid: None })
    }

    fn mkswap_U(&self, uuid: &str, device: &DeviceName) -> Result<(), Failure> {
        self.mkswap(device, &MkswapOptions { label: None, uuid: Some(uuid.to_owned()) })
    }

    fn mkswap_file(&self, path: &GuestPath) -> Result<(), Failure> {
        let file = self.sysroot.open_file(path, OFlags::RDWR)?;
        self.tools.succeed(&mkswap(&shared_path(&file), &MkswapOptions::default())?).map(drop)
    }

    fn swapon_device(&self, device: &DeviceName) -> Result<(), Failure> {
        self.switch("swapon", device)
    }

    fn swapoff_device(&self, device: &DeviceName) -> Result<(), Failure> {
        self.switch("swapoff", device)
    }

    fn swapon_file(&self, file: &GuestPath) -> Result<(), Failure> {
        self.switch_file("swapon", file)
    }

    fn swapoff_file(&self, file: &GuestPath) -> Result<(), Failure> {
        self.switch_file("swapoff", file)
    }

    fn swapon_label(&self, label: &str) -> Result<(), Failure> {
        self.switch("swapon", &self.findfs_label(label)?)
    }

    fn swapoff_label(&self, label: &str) -> Result<(), Failure> {
        self.switch("swapoff", &self.findfs_label(label)?)
    }

    fn swapon_uuid(&self, uuid: &str) -> Result<(), Failure> {
        self.switch("swapon", &self.findfs_uuid(uuid)?)
    }

    fn swapoff_uuid(&self, uuid: &str) -> Result<(), Failure> {
        self.switch("swapoff", &self.findfs_uuid(uuid)?)
    }
}

impl Server {
    fn switch(&self, program: &str, device: &DeviceName) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        self.tools.succeed_on(&switch(program, &node), &node, device).map(drop)
    }

    fn switch_file(&self, program: &str, path: &GuestPath) -> Result<(), Failure> {
        let file = self.sysroot.open_file(path, OFlags::RDWR)?;
        self.tools.succeed(&switch(program, &shared_path(&file))).map(drop)
    }
}

/// Writes what is in memory back when it switches off, which takes its time.
fn switch(program: &str, node: &Path) -> Command {
    Command::new(program).deadline(WORK_DEADLINE).arg(node)
}

fn mkswap(node: &Path, options: &MkswapOptions) -> Result<Command, Failure> {
    let mut command = Command::new("mkswap").arg("-f");
    if let Some(label) = &options.label {
        if label.len() > LABEL_BYTES_MAX {
            return Err(Failure::errno(
                Errno::EINVAL,
                format_args!("mkswap: the label {label:?} is longer than {LABEL_BYTES_MAX} bytes"),
            ));
        }
        command = command.args(["-L", label]);
    }
    if let Some(uuid) = &options.uuid {
        command = command.args(["-U", uuid]);
    }
    Ok(command.arg(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_would_be_cut_off_is_refused() {
        let options = |label: &str| MkswapOptions { label: Some(label.to_owned()), uuid: None };
        let made = mkswap(Path::new("/dev/sdz"), &options("sixteen-letters!")).unwrap();
        assert_eq!(made.to_string(), "mkswap -f -L sixteen-letters! /dev/sdz");
        let failure = mkswap(Path::new("/dev/sdz"), &options("seventeen-letters")).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::EINVAL));
    }
}
