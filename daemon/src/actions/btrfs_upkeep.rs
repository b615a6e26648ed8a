//! Whole btrfs: making, resizing, devices, balance, scrub and repairs, through the programs of btrfs-progs.

use std::path::{Path, PathBuf};

use guestfs_api::Failure;
use guestfs_api::procedures::btrfs_upkeep::{
    BtrfsFilesystemDefragmentOptions, BtrfsFilesystemResizeOptions, BtrfsImageOptions, BtrfsScrubFullOptions,
    BtrfsUpkeep, MkfsBtrfsOptions,
};
use guestfs_api::records::{BtrfsBalance, BtrfsScrub};
use guestfs_api::values::{DeviceName, GuestPath};
use rustix::fs::{Mode, OFlags};

use super::arguments::non_negative;
use super::btrfs::btrfs;
use crate::mounts::attach;
use crate::server::Server;
use crate::sysroot::shared_path;
use crate::tools::{Command, WORK_DEADLINE, name_device};

mod make;
mod status;

/// Where `btrfs scrub` keeps how far it is.
const SCRUB_FOLDER: &str = "/var/lib/btrfs";

/// The exit status of `btrfs rescue super-recover` when superblocks were bad and are good.
const SUPERBLOCKS_RECOVERED: i32 = 2;

impl BtrfsUpkeep for Server {
    fn mkfs_btrfs(&self, devices: &[DeviceName], options: &MkfsBtrfsOptions) -> Result<(), Failure> {
        let nodes = self.nodes_of(devices)?;
        let command = make::command(&nodes, options)?;
        for (device, node) in devices.iter().zip(&nodes) {
            self.refuse_mounted("mkfs_btrfs", device, node)?;
        }
        self.succeed_on_all(&command, &nodes, devices)
    }

    fn btrfs_filesystem_resize(
        &self,
        mountpoint: &GuestPath,
        options: &BtrfsFilesystemResizeOptions,
    ) -> Result<(), Failure> {
        let size = match options.size {
            Some(size) => non_negative("btrfs_filesystem_resize", "size", size)?.to_string(),
            None => "max".to_owned(),
        };
        self.btrfs_at(&["filesystem", "resize", &size], mountpoint).map(drop)
    }

    fn btrfs_filesystem_sync(&self, fs: &GuestPath) -> Result<(), Failure> {
        self.btrfs_at(&["filesystem", "sync"], fs).map(drop)
    }

    fn btrfs_filesystem_defragment(
        &self,
        path: &GuestPath,
        options: &BtrfsFilesystemDefragmentOptions,
    ) -> Result<(), Failure> {
        let mut command = btrfs(&["filesystem", "defragment", "-r"]);
        if options.flush == Some(true) {
            command = command.arg("-f");
        }
        if let Some(method) = &options.compress {
            command = command.arg(format!("-c{method}"));
        }
        // A file or a directory.
        let found = self.sysroot.open(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
        self.tools.succeed(&command.arg("--").arg(shared_path(&found))).map(drop)
    }

    fn btrfs_filesystem_show(&self, device: &DeviceName) -> Result<Vec<DeviceName>, Failure> {
        let node = self.device_node(device)?;
        attach::tell_btrfs_of_its_devices(self, &node);
        let output = self.tools.succeed_on(&btrfs(&["filesystem", "show"]).arg(&node), &node, device)?;
        let paths = status::parse_devices(&output)
            .ok_or_else(|| Failure::plain(format!("{device}: not all devices of its btrfs are there")))?;
        let names = paths.iter().filter_map(|path| self.devices.public_name(path.file_name()?.to_str()?));
        Ok(names.collect())
    }

    fn btrfs_device_add(&self, devices: &[DeviceName], fs: &GuestPath) -> Result<(), Failure> {
        let nodes = self.nodes_of(devices)?;
        for (device, node) in devices.iter().zip(&nodes) {
            self.refuse_mounted("btrfs_device_add", device, node)?;
        }
        self.with_devices(&["device", "add", "-f"], &nodes, devices, fs)
    }

    fn btrfs_device_delete(&self, devices: &[DeviceName], fs: &GuestPath) -> Result<(), Failure> {
        self.with_devices(&["device", "delete"], &self.nodes_of(devices)?, devices, fs)
    }

    fn btrfs_replace(
        &self,
        srcdev: &DeviceName,
        targetdev: &DeviceName,
        mntpoint: &GuestPath,
    ) -> Result<(), Failure> {
        let devices = [srcdev.clone(), targetdev.clone()];
        let nodes = self.nodes_of(&devices)?;
        self.refuse_mounted("btrfs_replace", targetdev, &nodes[1])?;
        self.with_devices(&["replace", "start", "-B", "-f"], &nodes, &devices, mntpoint)
    }

    fn btrfs_filesystem_balance(&self, fs: &GuestPath) -> Result<(), Failure> {
        self.btrfs_at(&["balance", "start", "--full-balance"], fs).map(drop)
    }

    fn btrfs_balance_pause(&self, path: &GuestPath) -> Result<(), Failure> {
        self.btrfs_at(&["balance", "pause"], path).map(drop)
    }

    fn btrfs_balance_cancel(&self, path: &GuestPath) -> Result<(), Failure> {
        self.btrfs_at(&["balance", "cancel"], path).map(drop)
    }

    fn btrfs_balance_resume(&self, path: &GuestPath) -> Result<(), Failure> {
        self.btrfs_at(&["balance", "resume"], path).map(drop)
    }

    fn btrfs_balance_status(&self, path: &GuestPath) -> Result<BtrfsBalance, Failure> {
        /// btrfs-balance(8): balancing runs or pauses.
        const GOES_ON: i32 = 1;
        let directory = self.sysroot.open_directory(path)?;
        let output = self.tools.run(&btrfs(&["balance", "status"]).arg(shared_path(&directory)))?;
        match output.status {
            0 | GOES_ON => status::parse_balance(&output.stdout)
                .ok_or_else(|| Failure::plain("btrfs balance status: the answer is not what it should be")),
            _ => Err(output.failure("btrfs")),
        }
    }

    fn btrfs_scrub_start(&self, path: &GuestPath) -> Result<(), Failure> {
        self.scrub(&["start"], path)
    }

    fn btrfs_scrub_cancel(&self, path: &GuestPath) -> Result<(), Failure> {
        self.scrub(&["cancel"], path)
    }

    fn btrfs_scrub_resume(&self, path: &GuestPath) -> Result<(), Failure> {
        self.scrub(&["resume"], path)
    }

    fn btrfs_scrub_status(&self, path: &GuestPath) -> Result<BtrfsScrub, Failure> {
        let output = self.btrfs_at(&["scrub", "status", "-R"], path)?;
        Ok(status::parse_scrub(&output))
    }

    fn btrfs_scrub_full(&self, path: &GuestPath, options: &BtrfsScrubFullOptions) -> Result<(), Failure> {
        match options.readonly {
            Some(true) => self.scrub(&["start", "-B", "-r"], path),
            _ => self.scrub(&["start", "-B"], path),
        }
    }

    fn btrfs_set_seeding(&self, device: &DeviceName, seeding: bool) -> Result<(), Failure> {
        self.btrfstune(&["-f", "-S", if seeding { "1" } else { "0" }], device)
    }

    fn btrfstune_seeding(&self, device: &DeviceName, seeding: bool) -> Result<(), Failure> {
        self.btrfs_set_seeding(device, seeding)
    }

    fn btrfstune_enable_extended_inode_refs(&self, device: &DeviceName) -> Result<(), Failure> {
        self.btrfstune(&["-r"], device)
    }

    fn btrfstune_enable_skinny_metadata_extent_refs(&self, device: &DeviceName) -> Result<(), Failure> {
        self.btrfstune(&["-x"], device)
    }

    fn btrfs_rescue_chunk_recover(&self, device: &DeviceName) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        self.refuse_mounted("btrfs_rescue_chunk_recover", device, &node)?;
        let command = btrfs(&["rescue", "chunk-recover", "-y"]).arg(&node);
        self.tools.succeed_on(&command, &node, device).map(drop)
    }

    fn btrfs_rescue_super_recover(&self, device: &DeviceName) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        self.refuse_mounted("btrfs_rescue_super_recover", device, &node)?;
        let output = self.tools.run(&btrfs(&["rescue", "super-recover", "-y"]).arg(&node))?;
        match output.status {
            0 | SUPERBLOCKS_RECOVERED => Ok(()),
            _ => Err(name_device(output.failure("btrfs"), &node, device)),
        }
    }

    fn btrfs_image(
        &self,
        source: &[DeviceName],
        image: &GuestPath,
        options: &BtrfsImageOptions,
    ) -> Result<(), Failure> {
        let nodes = self.nodes_of(source)?;
        let mut command = Command::new("btrfs-image").deadline(WORK_DEADLINE);
        if let Some(level) = options.compresslevel {
            let level = non_negative("btrfs_image", "compresslevel", level.into())?;
            command = command.arg("-c").arg(level.to_string());
        }
        let mode = Mode::from_raw_mode(0o666 & !self.umask());
        let file = self.sysroot.open_or_create_file(image, OFlags::RDWR | OFlags::TRUNC, mode)?;
        self.succeed_on_all(&command.args(&nodes).arg(shared_path(&file)), &nodes, source)
    }
}

impl Server {
    fn nodes_of(&self, devices: &[DeviceName]) -> Result<Vec<PathBuf>, Failure> {
        devices.iter().map(|device| self.device_node(device)).collect()
    }

    /// Runs a command on devices and a directory of the guest.
    fn with_devices(
        &self,
        arguments: &[&str],
        nodes: &[PathBuf],
        devices: &[DeviceName],
        fs: &GuestPath,
    ) -> Result<(), Failure> {
        let directory = self.sysroot.open_directory(fs)?;
        self.succeed_on_all(&btrfs(arguments).args(nodes).arg(shared_path(&directory)), nodes, devices)
    }

    /// Runs a program that has to succeed; its words name the devices as the user does.
    fn succeed_on_all(
        &self,
        command: &Command,
        nodes: &[PathBuf],
        devices: &[DeviceName],
    ) -> Result<(), Failure> {
        let named = |failure| {
            nodes
                .iter()
                .zip(devices)
                .fold(failure, |failure, (node, device)| name_device(failure, node, device))
        };
        self.tools.succeed(command).map(drop).map_err(named)
    }

    fn scrub(&self, arguments: &[&str], path: &GuestPath) -> Result<(), Failure> {
        if self.is_appliance() {
            std::fs::create_dir_all(Path::new(SCRUB_FOLDER))
                .map_err(|error| Failure::io(&error, format_args!("make {SCRUB_FOLDER}")))?;
        }
        self.btrfs_at(&[&["scrub"], arguments].concat(), path).map(drop)
    }

    fn btrfstune(&self, arguments: &[&str], device: &DeviceName) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        self.refuse_mounted("btrfstune", device, &node)?;
        let command = Command::new("btrfstune").deadline(WORK_DEADLINE).args(arguments).arg(&node);
        self.tools.succeed_on(&command, &node, device).map(drop)
    }
}
