//! Logical volumes, through LVM's own program.

use std::path::Path;

use guestfs_api::procedures::lvm::Lvm;
use guestfs_api::records::{LogicalVolume, PhysicalVolume, VolumeGroup};
use guestfs_api::values::{DeviceName, Mountable};
use guestfs_api::{Errno, Failure};

use crate::server::Server;
use crate::tools::{Command, WORK_DEADLINE, name_device};

mod report;

use report::Row;

/// Where metadata is written to for [`Lvm::vgmeta`]; it is private to the appliance.
const METADATA_FILE: &str = "/tmp/volume-group-metadata";

/// Logical volumes as their owners know them, but for those that are marked to be left alone (lvm(8), selection).
const VOLUMES_SHOWN: &str = "lv_role=public && lv_skip_activation!=yes";

impl Lvm for Server {
    fn pvs(&self) -> Result<Vec<DeviceName>, Failure> {
        let mut names = self.lvm_column("pvs", "pv_name", &[])?;
        names.retain(|name| name.starts_with('/'));
        let mut devices = names.iter().map(|name| self.public_device(name)).collect::<Result<Vec<_>, _>>()?;
        devices.sort();
        Ok(devices)
    }

    fn vgs(&self) -> Result<Vec<String>, Failure> {
        let mut names = self.lvm_column("vgs", "vg_name", &[])?;
        names.sort();
        Ok(names)
    }

    fn lvs(&self) -> Result<Vec<DeviceName>, Failure> {
        let rows = self.lvm_report("lvs", &["vg_name", "lv_name"], &["--select", VOLUMES_SHOWN])?;
        let device =
            |row: Row| volume_device(&format!("/dev/{}/{}", row.text("vg_name")?, row.text("lv_name")?));
        let mut devices = rows.into_iter().map(device).collect::<Result<Vec<_>, _>>()?;
        devices.sort();
        Ok(devices)
    }

    fn pvs_full(&self) -> Result<Vec<PhysicalVolume>, Failure> {
        let rows = self.lvm_report("pvs", report::PHYSICAL_VOLUME, &[])?;
        rows.iter().map(|row| row.physical_volume(self.public_device(&row.text("pv_name")?)?)).collect()
    }

    fn vgs_full(&self) -> Result<Vec<VolumeGroup>, Failure> {
        self.lvm_report("vgs", report::VOLUME_GROUP, &[])?.iter().map(Row::volume_group).collect()
    }

    fn lvs_full(&self) -> Result<Vec<LogicalVolume>, Failure> {
        self.lvm_report("lvs", report::LOGICAL_VOLUME, &[])?.iter().map(Row::logical_volume).collect()
    }

    fn pvcreate(&self, device: &DeviceName) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        self.refuse_mounted("pvcreate", device, &node)?;
        self.lvm_change_device("pvcreate", &["--yes", "--force"], device)?;
        self.remember_members()
    }

    fn vgcreate(&self, volgroup: &str, physvols: &[DeviceName]) -> Result<(), Failure> {
        let mut command = self.lvm_after_assembling("vgcreate")?.args(["--yes", "--", volgroup]);
        for device in physvols {
            let node = self.device_node(device)?;
            self.refuse_mounted("vgcreate", device, &node)?;
            command = command.arg(node);
        }
        self.tools.succeed(&command)?;
        self.remember_members()
    }

    fn lvcreate(&self, logvol: &str, volgroup: &str, mbytes: i32) -> Result<(), Failure> {
        let size = mebibytes("lvcreate", mbytes)?;
        let options = ["--yes", "--name", logvol, "--size", &size, "--", volgroup];
        self.lvm_change("lvcreate", &options)
    }

    fn lvcreate_free(&self, logvol: &str, volgroup: &str, percent: i32) -> Result<(), Failure> {
        let extents = format!("{}%FREE", percentage("lvcreate_free", percent)?);
        let options = ["--yes", "--name", logvol, "--extents", &extents, "--", volgroup];
        self.lvm_change("lvcreate", &options)
    }

    fn lvm_remove_all(&self) -> Result<(), Failure> {
        for group in self.vgs()? {
            self.vgremove(&group)?;
        }
        self.pvs()?.iter().try_for_each(|device| self.pvremove(device))
    }

    fn lvremove(&self, device: &DeviceName) -> Result<(), Failure> {
        self.lvm_change("lvremove", &["--force", "--", &device.to_string()])
    }

    fn vgremove(&self, vgname: &str) -> Result<(), Failure> {
        self.lvm_change("vgremove", &["--force", "--", vgname])
    }

    fn pvremove(&self, device: &DeviceName) -> Result<(), Failure> {
        // Twice, it removes one whose group is not complete too.
        self.lvm_change_device("pvremove", &["--yes", "--force", "--force"], device)
    }

    fn pvresize(&self, device: &DeviceName) -> Result<(), Failure> {
        self.lvm_change_device("pvresize", &[], device)
    }

    fn pvresize_size(&self, device: &DeviceName, size: i64) -> Result<(), Failure> {
        let size = format!("{}b", super::arguments::non_negative("pvresize_size", "size", size)?);
        self.lvm_change_device("pvresize", &["--yes", "--setphysicalvolumesize", &size], device)
    }

    fn vg_activate_all(&self, activate: bool) -> Result<(), Failure> {
        self.vg_activate(activate, &[])
    }

    fn vg_activate(&self, activate: bool, volgroups: &[String]) -> Result<(), Failure> {
        let state = if activate { "y" } else { "n" };
        let command =
            self.lvm_after_assembling("vgchange")?.args(["--activate", state, "--"]).args(volgroups);
        self.tools.succeed(&command).map(drop)
    }

    fn lvresize(&self, device: &DeviceName, mbytes: i32) -> Result<(), Failure> {
        let size = mebibytes("lvresize", mbytes)?;
        self.lvm_change("lvresize", &["--force", "--size", &size, "--", &device.to_string()])
    }

    fn lvresize_free(&self, lv: &DeviceName, percent: i32) -> Result<(), Failure> {
        let extents = format!("+{}%FREE", percentage("lvresize_free", percent)?);
        self.lvm_change("lvresize", &["--extents", &extents, "--", &lv.to_string()])
    }

    fn lvrename(&self, logvol: &str, newlogvol: &str) -> Result<(), Failure> {
        self.lvm_change("lvrename", &["--", logvol, newlogvol])
    }

    fn vgrename(&self, volgroup: &str, newvolgroup: &str) -> Result<(), Failure> {
        self.lvm_change("vgrename", &["--", volgroup, newvolgroup])
    }

    fn pvuuid(&self, device: &DeviceName) -> Result<String, Failure> {
        let node = self.device_node(device)?;
        let uuid = self.lvm_value("pvs", "pv_uuid", &node.to_string_lossy());
        uuid.map_err(|failure| name_device(failure, &node, device))
    }

    fn vguuid(&self, vgname: &str) -> Result<String, Failure> {
        self.lvm_value("vgs", "vg_uuid", vgname)
    }

    fn lvuuid(&self, device: &DeviceName) -> Result<String, Failure> {
        self.lvm_value("lvs", "lv_uuid", &device.to_string())
    }

    fn vgpvuuids(&self, vgname: &str) -> Result<Vec<String>, Failure> {
        self.lvm_column("vgs", "pv_uuid", &["--", vgname])
    }

    fn vglvuuids(&self, vgname: &str) -> Result<Vec<String>, Failure> {
        self.lvm_column("vgs", "lv_uuid", &["--", vgname])
    }

    fn vgscan(&self) -> Result<(), Failure> {
        self.assemble_all()
    }

    fn lvm_scan(&self, activate: bool) -> Result<(), Failure> {
        if activate { self.vg_activate_all(true) } else { self.assemble_all() }
    }

    fn lvm_set_filter(&self, devices: &[DeviceName]) -> Result<(), Failure> {
        devices.iter().try_for_each(|device| self.device_node(device).map(drop))?;
        self.refilter_lvm(devices.to_vec())
    }

    fn lvm_clear_filter(&self) -> Result<(), Failure> {
        self.refilter_lvm(Vec::new())
    }

    fn is_lv(&self, mountable: &Mountable) -> Result<bool, Failure> {
        match mountable {
            Mountable::Device(device) => Ok(self.logical_volume(device)?.is_some()),
            Mountable::Subvolume { .. } => Ok(false),
        }
    }

    fn lvm_canonical_lv_name(&self, lvname: &str) -> Result<DeviceName, Failure> {
        let named = |error| Failure::plain(format!("lvm_canonical_lv_name {lvname}: {error}"));
        let device = DeviceName::try_from(lvname).map_err(named)?;
        self.logical_volume(&device)?.ok_or_else(|| {
            Failure::errno(Errno::EINVAL, format_args!("{lvname}: it is not a logical volume"))
        })
    }

    fn list_dm_devices(&self) -> Result<Vec<DeviceName>, Failure> {
        let mapped = self.devices.mapped()?.into_iter().filter(|mapped| !mapped.is_lvm());
        let mut names: Vec<_> = mapped.filter_map(|mapped| mapped.public_name()).collect();
        names.sort();
        Ok(names)
    }

    fn vgmeta(&self, vgname: &str) -> Result<Vec<u8>, Failure> {
        // Calls of this port come one at a time, so nobody else uses the file.
        let written = self.lvm_change("vgcfgbackup", &["--file", METADATA_FILE, "--", vgname]);
        let metadata = std::fs::read(METADATA_FILE)
            .map_err(|error| Failure::io(&error, format_args!("vgmeta {vgname}")));
        // What is left is written over the next time.
        let _ = std::fs::remove_file(METADATA_FILE);
        written.and(metadata)
    }

    fn pvchange_uuid(&self, device: &DeviceName) -> Result<(), Failure> {
        self.lvm_change_device("pvchange", &["--uuid"], device)
    }

    fn pvchange_uuid_all(&self) -> Result<(), Failure> {
        self.lvm_change("pvchange", &["--uuid", "--all"])
    }

    fn vgchange_uuid(&self, vg: &str) -> Result<(), Failure> {
        self.lvm_change("vgchange", &["--uuid", "--", vg])
    }

    fn vgchange_uuid_all(&self) -> Result<(), Failure> {
        self.lvm_change("vgchange", &["--uuid"])
    }

    fn lvm_create_thin_pool(&self, pool: &str, volgroup: &str, mbytes: i32) -> Result<(), Failure> {
        let size = mebibytes("lvm_create_thin_pool", mbytes)?;
        let options = ["--yes", "--type", "thin-pool", "--size", &size, "--name", pool, "--", volgroup];
        self.lvm_change("lvcreate", &options)
    }

    fn lvm_create_thin(&self, logvol: &str, volgroup: &str, pool: &str, mbytes: i32) -> Result<(), Failure> {
        let size = mebibytes("lvm_create_thin", mbytes)?;
        let options = ["--yes", "--type", "thin", "--virtualsize", &size, "--name", logvol];
        self.lvm_change("lvcreate", &[&options[..], &["--thinpool", pool, "--", volgroup]].concat())
    }
}

impl Server {
    /// Begins a command of LVM's once all that was not seen before is assembled.
    fn lvm_after_assembling(&self, name: &str) -> Result<Command, Failure> {
        self.assemble_all()?;
        Ok(self.lvm_command(name).deadline(WORK_DEADLINE))
    }

    fn lvm_change(&self, name: &str, arguments: &[&str]) -> Result<(), Failure> {
        let command = self.lvm_after_assembling(name)?.args(arguments);
        self.tools.succeed(&command).map(drop)
    }

    fn lvm_change_device(&self, name: &str, options: &[&str], device: &DeviceName) -> Result<(), Failure> {
        let node = self.device_node(device)?;
        let command = self.lvm_after_assembling(name)?.args(options).arg("--").arg(&node);
        self.tools.succeed_on(&command, &node, device).map(drop)
    }

    /// Asks LVM for columns about all there is, or what `arguments` select.
    fn lvm_report(
        &self,
        name: &str,
        columns: &'static [&str],
        arguments: &[&str],
    ) -> Result<Vec<Row>, Failure> {
        let command = self.lvm_after_assembling(name)?.args(report::options(columns)).args(arguments);
        report::parse(&self.tools.succeed(&command)?, columns)
    }

    /// Asks for one column; leaves empty values out.
    fn lvm_column(&self, name: &str, column: &str, arguments: &[&str]) -> Result<Vec<String>, Failure> {
        let command = self.lvm_after_assembling(name)?.args(report::options(&[column])).args(arguments);
        let output = String::from_utf8_lossy(&self.tools.succeed(&command)?).into_owned();
        Ok(output.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }

    /// Asks for one value about one thing.
    fn lvm_value(&self, name: &str, column: &str, thing: &str) -> Result<String, Failure> {
        let values = self.lvm_column(name, column, &["--", thing])?;
        values.into_iter().next().ok_or_else(|| Failure::plain(format!("{name} says nothing about {thing}")))
    }

    /// Gives the user's name for a device that LVM names.
    fn public_device(&self, name: &str) -> Result<DeviceName, Failure> {
        let unknown = || Failure::plain(format!("{name}: LVM names a device that is not there"));
        let device = DeviceName::try_from(name).map_err(|_| unknown())?;
        // Kernel names look like the user's, but are counted otherwise.
        match Path::new(name).strip_prefix("/dev").ok().and_then(Path::to_str) {
            Some(kernel_name) if !kernel_name.contains('/') => {
                self.devices.public_name(kernel_name).ok_or_else(unknown)
            }
            _ => Ok(device),
        }
    }

    /// Gives the canonical name of a device that is a logical volume; `None` for others.
    fn logical_volume(&self, device: &DeviceName) -> Result<Option<DeviceName>, Failure> {
        let node = self.device_node(device)?;
        let kernel_name = node.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mapped = self.devices.mapped_device(kernel_name);
        Ok(mapped.filter(|mapped| mapped.logical_volume().is_some()).and_then(|mapped| mapped.public_name()))
    }

    /// Changes which devices LVM looks at. Volumes of groups that it still sees whole become active again.
    fn refilter_lvm(&self, devices: Vec<DeviceName>) -> Result<(), Failure> {
        self.vg_activate_all(false)?;
        self.set_lvm_filter(devices);
        if let Err(failure) = self.vg_activate_all(true) {
            log::warn!("activate what the filter leaves: {failure}");
        }
        Ok(())
    }
}

fn volume_device(name: &str) -> Result<DeviceName, Failure> {
    DeviceName::try_from(name).map_err(|error| Failure::plain(format!("LVM names a volume {name}: {error}")))
}

/// Writes a size for LVM.
fn mebibytes(procedure: &str, number: i32) -> Result<String, Failure> {
    if number < 1 {
        return Err(Failure::plain(format!("{procedure}: {number} MiB is no size of a volume")));
    }
    Ok(format!("{number}m"))
}

fn percentage(procedure: &str, number: i32) -> Result<i32, Failure> {
    match number {
        1..=100 => Ok(number),
        _ => Err(Failure::plain(format!("{procedure}: {number} is no percentage: it goes from 1 to 100"))),
    }
}
