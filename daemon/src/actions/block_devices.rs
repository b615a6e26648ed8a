//! The appliance's block devices as a whole: sizes, sector sizes, flags, wiping.

use std::fs::File;
use std::os::unix::fs::FileExt;

use guestfs_api::procedures::block_devices::BlockDevices;
use guestfs_api::values::DeviceName;
use guestfs_api::xdr::Table;
use guestfs_api::{Failure, Procedures};

use crate::server::Server;
use crate::sys::{self, BlockDeviceNumber};
use crate::sysroot::failed;
use crate::tools::Command;

/// How much [`BlockDevices::zero`] fills, in bytes.
const ZERO_BYTES: u64 = 1 << 20;

/// How much of a device is filled with zeros between two reports of progress, in bytes.
const ZERO_STEP_BYTES: u64 = 64 << 20;

/// The unit of [`BlockDevices::blockdev_getsz`], in bytes.
const SIZE_UNIT_BYTES: u64 = 512;

/// The most bytes [`BlockDevices::pread_device`] gives: what fits a message beside its header.
const READ_BYTES_MAX: usize = (4 << 20) - 1024;

type Result<T> = std::result::Result<T, <Server as Procedures>::Error>;

impl BlockDevices for Server {
    fn list_devices(&self) -> Result<Vec<DeviceName>> {
        self.devices.disks()
    }

    fn list_disk_labels(&self) -> Result<Table<String, DeviceName>> {
        self.devices.labels().map(Table)
    }

    fn is_whole_device(&self, device: &DeviceName) -> Result<bool> {
        self.devices.is_whole(device)
    }

    fn blockdev_setro(&self, device: &DeviceName) -> Result<()> {
        let file = self.look_at_device("blockdev_setro", device)?;
        sys::set_block_device_read_only(file, true)
            .map_err(|error| failed(error, named("blockdev_setro", device)))
    }

    fn blockdev_setrw(&self, device: &DeviceName) -> Result<()> {
        let file = self.look_at_device("blockdev_setrw", device)?;
        sys::set_block_device_read_only(file, false)
            .map_err(|error| failed(error, named("blockdev_setrw", device)))
    }

    fn blockdev_getro(&self, device: &DeviceName) -> Result<bool> {
        Ok(self.device_number("blockdev_getro", device, BlockDeviceNumber::IsReadOnly)? != 0)
    }

    fn blockdev_getss(&self, device: &DeviceName) -> Result<i32> {
        let operation = "blockdev_getss";
        fit(operation, self.device_number(operation, device, BlockDeviceNumber::SectorBytes)?)
    }

    fn blockdev_getbsz(&self, device: &DeviceName) -> Result<i32> {
        let operation = "blockdev_getbsz";
        fit(operation, self.device_number(operation, device, BlockDeviceNumber::BlockBytes)?)
    }

    fn blockdev_getsz(&self, device: &DeviceName) -> Result<i64> {
        let operation = "blockdev_getsz";
        fit(operation, self.device_number(operation, device, BlockDeviceNumber::Bytes)? / SIZE_UNIT_BYTES)
    }

    fn blockdev_getsize64(&self, device: &DeviceName) -> Result<i64> {
        let operation = "blockdev_getsize64";
        fit(operation, self.device_number(operation, device, BlockDeviceNumber::Bytes)?)
    }

    fn blockdev_flushbufs(&self, device: &DeviceName) -> Result<()> {
        let file = self.look_at_device("blockdev_flushbufs", device)?;
        sys::flush_block_device(file).map_err(|error| failed(error, named("blockdev_flushbufs", device)))
    }

    fn blockdev_rereadpt(&self, device: &DeviceName) -> Result<()> {
        let file = self.look_at_device("blockdev_rereadpt", device)?;
        sys::reread_partitions(file).map_err(|error| failed(error, named("blockdev_rereadpt", device)))
    }

    fn zero(&self, device: &DeviceName) -> Result<()> {
        self.fill_with_zeros("zero", device, ZERO_BYTES)
    }

    fn zero_device(&self, device: &DeviceName) -> Result<()> {
        self.fill_with_zeros("zero_device", device, u64::MAX)
    }

    fn wipefs(&self, device: &DeviceName) -> Result<()> {
        let path = self.device_node(device)?;
        // Signatures of a partition table on a disk whose partitions are known to the kernel need the force.
        let wipe = Command::new("wipefs").args(["-a", "--force"]).arg(&path);
        self.tools.succeed_on(&wipe, &path, device).map(drop)
    }

    fn pread_device(&self, device: &DeviceName, count: i32, offset: i64) -> Result<Vec<u8>> {
        let operation = named("pread_device", device);
        let refused = |what: &str| Failure::plain(format!("{operation}: {what}"));
        let count = usize::try_from(count).map_err(|_| refused("the count is negative"))?;
        let offset = u64::try_from(offset).map_err(|_| refused("the offset is negative"))?;
        if count > READ_BYTES_MAX {
            return Err(refused("the count is over what a message holds (4 MiB); read in parts"));
        }
        let file = self.look_at_device("pread_device", device)?;
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            let position = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match file.read_at(&mut bytes[filled..], position) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => return Err(Failure::io(&error, operation)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn pwrite_device(&self, device: &DeviceName, content: &[u8], offset: i64) -> Result<i32> {
        let operation = named("pwrite_device", device);
        let offset = u64::try_from(offset)
            .map_err(|_| Failure::plain(format!("{operation}: the offset is negative")))?;
        let path = self.device_node(device)?;
        File::options()
            .write(true)
            .open(path)
            // What was written is on the disk when others, such as partition readers, look at it.
            .and_then(|file| file.write_all_at(content, offset).and_then(|()| file.sync_data()))
            .map_err(|error| Failure::io(&error, operation))?;
        fit("pwrite_device", u64::try_from(content.len()).unwrap_or(u64::MAX))
    }
}

impl Server {
    fn look_at_device(&self, operation: &str, device: &DeviceName) -> Result<File> {
        let path = self.device_node(device)?;
        File::open(path).map_err(|error| Failure::io(&error, named(operation, device)))
    }

    fn device_number(
        &self,
        operation: &str,
        device: &DeviceName,
        question: BlockDeviceNumber,
    ) -> Result<u64> {
        let file = self.look_at_device(operation, device)?;
        sys::block_device_number(file, question).map_err(|error| failed(error, named(operation, device)))
    }

    /// Fills a device with zeros from its beginning, `length` bytes or all of it, and tells how far that is.
    fn fill_with_zeros(&self, operation: &str, device: &DeviceName, length: u64) -> Result<()> {
        let fail = |error| failed(error, named(operation, device));
        let path = self.device_node(device)?;
        let file = File::options().read(true).write(true).open(path);
        let file = file.map_err(|error| Failure::io(&error, named(operation, device)))?;
        let size = sys::block_device_number(&file, BlockDeviceNumber::Bytes).map_err(fail)?;
        let length = length.min(size);
        self.progress.set_total(length);
        let mut done = 0;
        while done < length {
            let step = ZERO_STEP_BYTES.min(length - done);
            sys::zero_block_device(&file, done, step).map_err(fail)?;
            done += step;
            self.progress.advance(step);
        }
        // What others may have read before is not to be found in the cache.
        sys::flush_block_device(&file).map_err(fail)
    }
}

fn named(operation: &str, device: &DeviceName) -> String {
    format!("{operation} {device}")
}

/// Puts a number into the protocol's type.
fn fit<T: TryFrom<u64>>(operation: &str, number: u64) -> Result<T> {
    T::try_from(number).map_err(|_| Failure::plain(format!("{operation}: {number} does not fit the reply")))
}
