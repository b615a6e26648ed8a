//! Devices that are made of others: arrays, volume groups, Windows's dynamic disks. They are assembled when a call
//! needs them, not at the start.
//!
//! Every member is dealt with once, when it is first seen: what a call takes apart afterwards stays apart, until a
//! call names it. Names are the business of `devices`, the procedures of these topics that of `actions`.

mod arrays;
mod dynamic_disks;
mod layout;
pub mod lvm;
mod survey;

use std::collections::HashSet;
use std::path::PathBuf;

use guestfs_api::values::DeviceName;
use guestfs_api::{Errno, Failure};
use parking_lot::Mutex;

use crate::devices::Devices;
use crate::server::Server;
use survey::Member;

pub use dynamic_disks::is_dynamic;
pub use layout::Piece;

/// How many layers can lie on each other, such as a volume group on an array.
const LAYERS_MAX: usize = 8;

/// What was assembled.
#[derive(Default)]
pub struct Storage {
    /// The members that were dealt with, by the kernel's names. Held while devices are assembled, so that two calls do
    /// not assemble the same; programs are run meanwhile.
    known: Mutex<HashSet<(String, Member)>>,
    /// The only devices that LVM is to look at; all when there are none.
    filter: Mutex<Vec<DeviceName>>,
}

/// How much is to be assembled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All there is.
    All,
    /// Arrays only.
    Arrays,
}

impl Server {
    /// Gives the node of a device; assembles what the device is part of, when it is not there yet.
    pub fn device_node(&self, name: &DeviceName) -> Result<PathBuf, Failure> {
        let missing = match self.devices.resolve(name) {
            Err(failure) if failure.errno == Some(Errno::ENOENT) && !Devices::is_disk_name(name) => failure,
            result => return result,
        };
        if !self.is_appliance() {
            return Err(missing);
        }
        let assembled = self.assemble_for(name);
        self.devices.resolve(name).map_err(|missing| match assembled {
            Err(failure) => {
                Failure { message: format!("{}: {}", missing.message, failure.message), ..missing }
            }
            Ok(()) => missing,
        })
    }

    /// Assembles everything whose members were not seen before. What cannot be assembled is logged: the rest is of use.
    pub fn assemble_all(&self) -> Result<(), Failure> {
        self.assemble(Extent::All)
    }

    /// Takes all members that are there for dealt with: a call has just made them, with what is made of them.
    pub fn remember_members(&self) -> Result<(), Failure> {
        let members = self.members()?;
        self.storage.known.lock().extend(members);
        Ok(())
    }

    /// Assembles what a device with this name can be part of.
    fn assemble_for(&self, name: &DeviceName) -> Result<(), Failure> {
        self.assemble(Extent::Arrays)?;
        if self.devices.resolve(name).is_ok() {
            return Ok(());
        }
        match lvm::volume_named(name) {
            Some(volume) if self.members()?.iter().any(|(_, member)| *member == Member::PhysicalVolume) => {
                self.activate_volume(&volume)
            }
            _ => self.assemble_all(),
        }
    }

    fn assemble(&self, extent: Extent) -> Result<(), Failure> {
        let mut known = self.storage.known.lock();
        for _ in 0..LAYERS_MAX {
            let mut fresh = self.members()?;
            // A device that has gone may come again as another one.
            known.retain(|member| fresh.contains(member));
            fresh.retain(|member| !known.contains(member));
            // Arrays first: a member of a mirror begins like what is in the mirror.
            let Some(kind) = fresh.iter().map(|(_, member)| *member).min() else { return Ok(()) };
            if extent == Extent::Arrays && kind != Member::OfArray {
                return Ok(());
            }
            let assembled = match kind {
                Member::OfArray => self.assemble_arrays(),
                Member::DynamicDisk => self.create_dynamic_volumes(),
                Member::PhysicalVolume => self.activate_all_volumes(),
            };
            if let Err(failure) = assembled {
                log::warn!("assemble: {failure}");
            }
            known.extend(fresh.into_iter().filter(|(_, member)| *member == kind));
        }
        Ok(())
    }
}
