//! What the device mapper and the arrays' driver have made, and the names that the user knows it by.

use std::fs;
use std::io;
use std::path::Path;

use guestfs_api::Failure;
use guestfs_api::values::DeviceName;

use super::Devices;

/// What LVM's device mapper UUIDs begin with. The UUIDs of group and volume follow, 32 letters each; what is behind
/// them marks a device that is a part of a volume.
const LVM_PREFIX: &str = "LVM-";
const LVM_UUID_BYTES: usize = LVM_PREFIX.len() + 64;

/// Parts of names that LVM keeps for volumes inside of others (lvm(8), reserved names).
const LVM_PARTS: [&str; 16] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare",
    "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin",
];

/// A device of the device mapper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// What the kernel calls it: `dm-0`.
    pub kernel_name: String,
    /// Its name below /dev/mapper.
    pub name: String,
    uuid: String,
}

impl Mapped {
    /// Gives the volume group and the name, if this is a logical volume as its owner knows it.
    pub fn logical_volume(&self) -> Option<(String, String)> {
        if !self.is_lvm() || self.uuid.len() != LVM_UUID_BYTES {
            return None;
        }
        let (group, volume) = split_lvm_name(&self.name)?;
        let is_part = LVM_PARTS.iter().any(|part| volume.contains(part));
        (!is_part).then_some((group, volume))
    }

    /// Says whether LVM made it, as a volume or a part of one.
    pub fn is_lvm(&self) -> bool {
        self.uuid.starts_with(LVM_PREFIX)
    }

    /// Gives the user's name: `/dev/VOLUMEGROUP/VOLUME` of logical volumes, `/dev/mapper/NAME` of others.
    pub fn public_name(&self) -> Option<DeviceName> {
        let path = match self.logical_volume() {
            Some((group, volume)) => format!("/dev/{group}/{volume}"),
            None => format!("/dev/mapper/{}", self.name),
        };
        DeviceName::try_from(path.as_str()).ok()
    }
}

impl Devices {
    /// Lists what the device mapper has made, in the order of the kernel's numbers.
    pub fn mapped(&self) -> Result<Vec<Mapped>, Failure> {
        let names = self.numbered("dm-")?;
        Ok(names.into_iter().filter_map(|kernel_name| self.mapped_device(&kernel_name)).collect())
    }

    /// Looks at what the kernel calls `kernel_name`; `None` when the device mapper did not make it.
    pub fn mapped_device(&self, kernel_name: &str) -> Option<Mapped> {
        let directory = self.list.as_ref()?.join(kernel_name).join("dm");
        let read = |file| Some(fs::read_to_string(directory.join(file)).ok()?.trim_end().to_owned());
        Some(Mapped { kernel_name: kernel_name.to_owned(), name: read("name")?, uuid: read("uuid")? })
    }

    /// Says whether other devices lie on a device.
    pub fn is_held(&self, kernel_name: &str) -> bool {
        let holders = self.list.as_ref().map(|list| list.join(kernel_name).join("holders"));
        holders
            .and_then(|holders| fs::read_dir(holders).ok())
            .is_some_and(|mut holders| holders.next().is_some())
    }

    /// Lists the kernel's names of the arrays that run, in the order of their numbers.
    pub fn arrays(&self) -> Result<Vec<String>, Failure> {
        let names = self.numbered("md")?;
        Ok(names.into_iter().filter(|name| self.is_running_array(name)).collect())
    }

    /// Lists the kernel's names of arrays whose members were put together but which do not run.
    pub fn stopped_arrays(&self) -> Result<Vec<String>, Failure> {
        let names = self.numbered("md")?;
        Ok(names.into_iter().filter(|name| self.array_state(name).as_deref() == Some("inactive")).collect())
    }

    /// Marks an array as clean, until it is written to again (Documentation/admin-guide/md.rst, array_state). EBUSY
    /// while it is in use.
    pub fn settle_array(&self, kernel_name: &str) -> io::Result<()> {
        match (self.array_state(kernel_name).as_deref(), &self.list) {
            (Some("clean" | "active" | "active-idle" | "write-pending"), Some(list)) => {
                fs::write(list.join(kernel_name).join("md/array_state"), "read-auto")
            }
            _ => Ok(()),
        }
    }

    /// Says whether a node is that of an array that runs read-only since members are missing, or of a partition of one, or
    /// lies on one.
    pub fn is_on_incomplete_array(&self, node: &Path) -> bool {
        /// How many devices can lie on each other.
        const LAYERS_MAX: usize = 8;
        let name = node.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| self.lies_on_incomplete_array(name, LAYERS_MAX))
    }

    fn lies_on_incomplete_array(&self, kernel_name: &str, layers: usize) -> bool {
        // A partition is called like its array, with its number behind a `p`.
        let array = kernel_name.split('p').next().unwrap_or(kernel_name);
        if self.lacks_members(array) {
            return true;
        }
        let (Some(list), Some(layers)) = (&self.list, layers.checked_sub(1)) else { return false };
        let below = fs::read_dir(list.join(kernel_name).join("slaves"));
        let names =
            below.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.into_iter().any(|name| self.lies_on_incomplete_array(&name, layers))
    }

    fn lacks_members(&self, array: &str) -> bool {
        let lacking = || {
            let file = self.list.as_ref()?.join(array).join("md/degraded");
            fs::read_to_string(file).ok()?.trim_end().parse::<u32>().ok()
        };
        self.array_state(array).as_deref() == Some("readonly") && lacking().is_some_and(|count| count > 0)
    }

    fn is_running_array(&self, kernel_name: &str) -> bool {
        self.array_state(kernel_name).is_some_and(|state| !matches!(&*state, "clear" | "inactive"))
    }

    fn array_state(&self, kernel_name: &str) -> Option<String> {
        let file = self.list.as_ref()?.join(kernel_name).join("md/array_state");
        Some(fs::read_to_string(file).ok()?.trim_end().to_owned())
    }

    /// Lists the kernel's names of devices that are called `prefix` and a number, in the order of the numbers.
    fn numbered(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let Some(list) = &self.list else { return Ok(Vec::new()) };
        let entries = fs::read_dir(list).map_err(|error| Failure::io(&error, "list the devices"))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let number = |name: &str| name.strip_prefix(prefix)?.parse::<u32>().ok();
        let mut numbered: Vec<_> = names.filter_map(|name| Some((number(&name)?, name))).collect();
        numbered.sort();
        Ok(numbered.into_iter().map(|(_, name)| name).collect())
    }
}

/// Takes a device mapper name of LVM's apart: group and volume with a dash between them, their own dashes doubled.
pub fn split_lvm_name(name: &str) -> Option<(String, String)> {
    let bytes = name.as_bytes();
    let mut place = 0;
    while place < bytes.len() {
        match (bytes[place], bytes.get(place + 1)) {
            (b'-', Some(b'-')) => place += 2,
            (b'-', _) => {
                let part = |text: &str| text.replace("--", "-");
                let (group, volume) = (part(name.get(..place)?), part(name.get(place + 1..)?));
                return (!group.is_empty() && !volume.is_empty()).then_some((group, volume));
            }
            _ => place += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(name: &str, suffix: &str) -> Mapped {
        let uuid = format!("{LVM_PREFIX}{}{suffix}", "x".repeat(64));
        Mapped { kernel_name: "dm-0".to_owned(), name: name.to_owned(), uuid }
    }

    #[test]
    fn names_of_lvm_are_taken_apart_at_the_single_dash() {
        let split = |name| split_lvm_name(name);
        let pair = |group: &str, volume: &str| Some((group.to_owned(), volume.to_owned()));
        assert_eq!(split("vg-root"), pair("vg", "root"));
        assert_eq!(split("my--group-my--root"), pair("my-group", "my-root"));
        assert_eq!(split("a----b-c"), pair("a--b", "c"));
        for name in ["", "vg", "my--group", "-root", "vg-"] {
            assert_eq!(split(name), None, "{name}");
        }
    }

    #[test]
    fn parts_of_volumes_are_not_volumes() {
        assert_eq!(mapped("vg-root", "").public_name().unwrap().to_string(), "/dev/vg/root");
        for (name, suffix) in [("vg-root", "-real"), ("vg-pool", "-tpool"), ("vg-root_rimage_0", "")] {
            let part = mapped(name, suffix);
            assert_eq!(part.logical_volume(), None, "{name}");
            assert_eq!(part.public_name().unwrap().to_string(), format!("/dev/mapper/{name}"));
        }
        let crypt = Mapped { uuid: "CRYPT-LUKS2-0123-vg-root".to_owned(), ..mapped("luks-root", "") };
        assert_eq!(crypt.public_name().unwrap().to_string(), "/dev/mapper/luks-root");
    }

    #[test]
    fn what_lies_on_an_array_without_a_member_is_found_through_all_layers() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("block");
        let devices = Devices { list: Some(list.clone()), nodes: directory.path().to_owned() };
        let write = |path: &str, text: &str| {
            let path = list.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("md127/md/array_state", "readonly\n");
        write("md127/md/degraded", "1\n");
        write("dm-0/slaves/md127p1", "");
        write("dm-1/slaves/dm-0", "");
        write("dm-2/slaves/sda1", "");
        // Nothing that a kernel shows.
        write("dm-3/slaves/dm-3", "");
        let is_on_it = |name: &str| devices.is_on_incomplete_array(&Path::new("/dev").join(name));
        for name in ["md127", "md127p1", "dm-0", "dm-1"] {
            assert!(is_on_it(name), "{name}");
        }
        assert!(!is_on_it("dm-2") && !is_on_it("dm-3") && !is_on_it("sda1"));
        write("md127/md/degraded", "0\n");
        assert!(!is_on_it("dm-1"));
    }

    proptest::proptest! {
        #[test]
        fn joined_names_come_apart(group in "[a-z][a-z-]{0,5}[a-z]", volume in "[a-z][a-z-]{0,5}[a-z]") {
            let joined = format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--"));
            proptest::prop_assert_eq!(split_lvm_name(&joined), Some((group, volume)));
        }

        #[test]
        fn any_name_is_looked_at(name in "[a-zé-]{0,12}") {
            split_lvm_name(&name);
        }
    }
}
