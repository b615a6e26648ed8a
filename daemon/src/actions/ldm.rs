//! Windows's dynamic disks, through ldmtool, which answers in JSON.

use guestfs_api::Failure;
use guestfs_api::procedures::ldm::Ldm;
use guestfs_api::values::DeviceName;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::server::Server;
use crate::tools::{Command, name_device};

/// What the names of devices that ldmtool makes begin with.
const VOLUME_PREFIX: &str = "ldm_vol_";
const PARTITION_PREFIX: &str = "ldm_part_";

/// Says whether ldmtool gives names such as this one below /dev/mapper to the volumes of dynamic disks and their parts. It
/// has a dash in it, as those of logical volumes do.
pub fn is_dynamic_volume(name: &str) -> bool {
    name.starts_with(VOLUME_PREFIX) || name.starts_with(PARTITION_PREFIX)
}

impl Ldm for Server {
    fn list_ldm_volumes(&self) -> Result<Vec<DeviceName>, Failure> {
        self.mapped_with_prefix(VOLUME_PREFIX)
    }

    fn list_ldm_partitions(&self) -> Result<Vec<DeviceName>, Failure> {
        self.mapped_with_prefix(PARTITION_PREFIX)
    }

    fn ldmtool_create_all(&self) -> Result<(), Failure> {
        self.create_dynamic_volumes()
    }

    fn ldmtool_remove_all(&self) -> Result<(), Failure> {
        self.assemble_all()?;
        self.tools.succeed(&Command::new("ldmtool").args(["remove", "all"])).map(drop)
    }

    fn ldmtool_scan(&self) -> Result<Vec<String>, Failure> {
        parse(&self.tools.succeed(&Command::new("ldmtool").arg("scan"))?)
    }

    fn ldmtool_scan_devices(&self, devices: &[DeviceName]) -> Result<Vec<String>, Failure> {
        let nodes = devices.iter().map(|device| self.device_node(device)).collect::<Result<Vec<_>, _>>()?;
        let scanned = self.tools.succeed(&Command::new("ldmtool").arg("scan").args(&nodes));
        let named = |failure| {
            nodes
                .iter()
                .zip(devices)
                .fold(failure, |failure, (node, device)| name_device(failure, node, device))
        };
        parse(&scanned.map_err(named)?)
    }

    fn ldmtool_diskgroup_name(&self, diskgroup: &str) -> Result<String, Failure> {
        Ok(self.disk_group(diskgroup)?.name)
    }

    fn ldmtool_diskgroup_volumes(&self, diskgroup: &str) -> Result<Vec<String>, Failure> {
        Ok(self.disk_group(diskgroup)?.volumes)
    }

    fn ldmtool_diskgroup_disks(&self, diskgroup: &str) -> Result<Vec<String>, Failure> {
        Ok(self.disk_group(diskgroup)?.disks)
    }

    fn ldmtool_volume_type(&self, diskgroup: &str, volume: &str) -> Result<String, Failure> {
        Ok(self.dynamic_volume(diskgroup, volume)?.kind)
    }

    fn ldmtool_volume_hint(&self, diskgroup: &str, volume: &str) -> Result<String, Failure> {
        Ok(self.dynamic_volume(diskgroup, volume)?.hint.unwrap_or_default())
    }

    fn ldmtool_volume_partitions(&self, diskgroup: &str, volume: &str) -> Result<Vec<String>, Failure> {
        Ok(self.dynamic_volume(diskgroup, volume)?.partitions)
    }
}

/// What `ldmtool show diskgroup` says.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct DiskGroup {
    name: String,
    volumes: Vec<String>,
    disks: Vec<String>,
}

/// What `ldmtool show volume` says.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct DynamicVolume {
    #[serde(rename = "type")]
    kind: String,
    hint: Option<String>,
    partitions: Vec<String>,
}

impl Server {
    fn mapped_with_prefix(&self, prefix: &str) -> Result<Vec<DeviceName>, Failure> {
        self.assemble_all()?;
        let mapped = self.devices.mapped()?.into_iter().filter(|mapped| mapped.name.starts_with(prefix));
        let mut names: Vec<_> = mapped.filter_map(|mapped| mapped.public_name()).collect();
        names.sort();
        Ok(names)
    }

    fn disk_group(&self, group: &str) -> Result<DiskGroup, Failure> {
        parse(&self.tools.succeed(&show("diskgroup", &[group])?)?)
    }

    fn dynamic_volume(&self, group: &str, volume: &str) -> Result<DynamicVolume, Failure> {
        parse(&self.tools.succeed(&show("volume", &[group, volume])?)?)
    }
}

/// Asks about something; names that would be options are refused.
fn show(what: &str, names: &[&str]) -> Result<Command, Failure> {
    match names.iter().find(|name| name.is_empty() || name.starts_with('-')) {
        Some(name) => Err(Failure::plain(format!("there is no {what} {name:?}"))),
        None => Ok(Command::new("ldmtool").args(["show", what]).args(names)),
    }
}

fn parse<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer)
        .map_err(|error| Failure::plain(format!("ldmtool's answer is not what it should be: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        // In the form of ldmtool(1)'s examples.
        let group = br#"{"name": "WIN-ABCDEFGHIJK-Dg0", "guid": "06495a84-fbfd-11e1-8cf5-52540061f5db",
            "volumes": ["Volume1", "Stripe1"], "disks": ["06495a87-fbfd-11e1-8cf5-52540061f5db"]}"#;
        let group: DiskGroup = parse(group).unwrap();
        assert_eq!((&*group.name, group.volumes.len(), group.disks.len()), ("WIN-ABCDEFGHIJK-Dg0", 2, 1));
        let volume = br#"{"name": "Volume1", "type": "spanned", "size": 129024, "chunk-size": 0,
            "hint": "E:", "partitions": ["Disk1-01", "Disk1-02"]}"#;
        let volume: DynamicVolume = parse(volume).unwrap();
        assert_eq!(
            (&*volume.kind, volume.hint.as_deref(), volume.partitions.len()),
            ("spanned", Some("E:"), 2)
        );
        assert_eq!(parse::<Vec<String>>(b"[\n]\n").unwrap(), Vec::<String>::new());
        assert!(parse::<Vec<String>>(b"{}").is_err() && parse::<DiskGroup>(b"").is_err());
    }

    #[test]
    fn a_name_is_no_option() {
        assert!(show("diskgroup", &["--help"]).is_err());
        assert_eq!(show("volume", &["g", "v"]).unwrap().to_string(), "ldmtool show volume g v");
    }
}
