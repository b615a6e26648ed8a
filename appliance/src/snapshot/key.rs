//! The key of a snapshot: all it depends on. A snapshot goes only into the machine it was saved from, run by the same
//! QEMU on the same kind of CPU, with the appliance's files it has in memory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::stamp::FileStamp;
use crate::build::contents::hexadecimal;
use crate::locate::ApplianceFiles;
use crate::vm::command_line::machine_description;
use crate::vm::{Accelerator, LaunchError, VmConfig};

/// Raised when a snapshot is made in another way from the same files.
const FORMAT: u32 = 1;

/// How much of /proc/cpuinfo is read: the first processor's part. The rest repeats it, and is long on large machines.
const CPU_BYTES: u64 = 8 << 10;

/// The lines of /proc/cpuinfo that say which CPU it is.
const CPU_LINES: &[&str] =
    &["vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags", "address sizes"];

/// What a snapshot was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotKey {
    format: u32,
    /// QEMU's arguments and the kernel's.
    machine: String,
    /// The host's CPU, and under KVM its kernel.
    host: String,
    hypervisor: PathBuf,
    hypervisor_stamp: FileStamp,
    kernel: FileStamp,
    initramfs: FileStamp,
    tools: Option<FileStamp>,
    /// The number of the user who runs QEMU, unless the snapshots' owner does.
    user: Option<u32>,
}

impl SnapshotKey {
    /// Collects what a snapshot for this configuration depends on; drives are no part of it.
    ///
    /// # Errors
    /// Fails when QEMU is not there, or a file cannot be examined.
    pub fn of(
        config: &VmConfig,
        accelerator: Accelerator,
        files: &ApplianceFiles,
    ) -> Result<SnapshotKey, LaunchError> {
        let appliance = |path: &Path, file: &File| {
            let stamp = file.metadata().map(|metadata| FileStamp::of(&metadata));
            stamp.map_err(|source| LaunchError::Appliance { path: path.to_owned(), source })
        };
        let tools = config.appliance.tools.as_deref().zip(files.tools.as_ref());
        let (hypervisor, metadata) =
            find_program(&config.hypervisor).ok_or_else(|| LaunchError::no_hypervisor(&config.hypervisor))?;
        let user = config.user.identity(accelerator)?;
        Ok(SnapshotKey {
            format: FORMAT,
            machine: machine_description(config, accelerator),
            host: host(accelerator),
            hypervisor,
            hypervisor_stamp: FileStamp::of(&metadata),
            kernel: appliance(&config.appliance.kernel, &files.kernel)?,
            initramfs: appliance(&config.appliance.initramfs, &files.initramfs)?,
            tools: tools.map(|(path, file)| appliance(path, file)).transpose()?,
            user: user.map(|user| user.user().as_raw()),
        })
    }

    /// The user who runs QEMU and so owns the file with its memory; `None` when the owner of all the rest does.
    pub fn user(&self) -> Option<u32> {
        self.user
    }

    /// Gives the name of the snapshot's folder: a hash of the key.
    pub fn folder_name(&self) -> String {
        /// Hexadecimal digits of the name: 64 bits.
        const DIGITS: usize = 16;
        let text = serde_json::to_vec(self).expect("a key has only text keys");
        let mut name = hexadecimal(&Sha256::digest(&text));
        name.truncate(DIGITS);
        name
    }
}

/// Finds a program as the system does: a name without a slash in the folders of PATH.
fn find_program(program: &Path) -> Option<(PathBuf, fs::Metadata)> {
    let look = |path: PathBuf| {
        let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some((path, metadata))
    };
    if program.components().count() > 1 {
        return look(std::path::absolute(program).ok()?);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find_map(|folder| look(folder.join(program)))
}

/// Names the host: a CPU's features and the rate of its clock are in the memory of a kernel that has booted on it.
fn host(accelerator: Accelerator) -> String {
    let mut text = String::new();
    let read = File::open("/proc/cpuinfo").and_then(|file| read_text(file.take(CPU_BYTES)));
    let cpuinfo = read.unwrap_or_default();
    let first = cpuinfo.split("\n\n").next().unwrap_or_default();
    for line in first.lines() {
        let name = line.split(':').next().unwrap_or_default().trim_end();
        if CPU_LINES.contains(&name) {
            text.push_str(line);
            text.push('\n');
        }
    }
    if accelerator == Accelerator::Kvm {
        text.push_str(&fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default());
    }
    text
}

fn read_text(mut reader: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Appliance;
    use crate::build::manifest::{INITRAMFS, KERNEL, TOOLS};
    use crate::vm::{AcceleratorChoice, WhyNotKvm};

    const EMULATION: Accelerator = Accelerator::Emulation(WhyNotKvm::NotWanted);

    fn appliance() -> (tempfile::TempDir, VmConfig) {
        let directory = tempfile::tempdir().unwrap();
        for name in [KERNEL, INITRAMFS, TOOLS, "qemu", "other-qemu"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let appliance = Appliance::at(directory.path()).unwrap();
        let config = VmConfig { hypervisor: directory.path().join("qemu"), ..VmConfig::new(appliance) };
        (directory, config)
    }

    fn key(config: &VmConfig) -> SnapshotKey {
        SnapshotKey::of(config, EMULATION, &config.appliance.open().unwrap()).unwrap()
    }

    #[test]
    fn same_files_and_settings_have_the_same_key_whatever_the_drives_are() {
        let (_directory, config) = appliance();
        let first = key(&config);
        assert_eq!(first.folder_name().len(), 16);
        let drives = vec![crate::vm::Drive::new("/disk", crate::vm::Access::ReadOnly)];
        let config =
            VmConfig { drives, accelerator: AcceleratorChoice::Emulation, window_bytes: 0, ..config };
        assert_eq!(key(&config), first);
    }

    #[test]
    fn every_change_of_what_the_snapshot_depends_on_changes_the_key() {
        let (directory, mut config) = appliance();
        let mut seen = vec![key(&config).folder_name()];
        let mut expect_new = |what: &str, name: String| {
            assert!(!seen.contains(&name), "{what} does not matter");
            seen.push(name);
        };
        for name in [KERNEL, INITRAMFS, TOOLS, "qemu"] {
            fs::write(directory.path().join(name), "another content").unwrap();
            expect_new(name, key(&config).folder_name());
        }
        let files = config.appliance.open().unwrap();
        let kvm = SnapshotKey::of(&config, Accelerator::Kvm, &files).unwrap();
        expect_new("accelerator", kvm.folder_name());
        config.memory_mib += 1;
        expect_new("memory", key(&config).folder_name());
        config.vcpus += 1;
        expect_new("processors", key(&config).folder_name());
        config.append = Some("option".to_owned());
        expect_new("kernel command line", key(&config).folder_name());
        config.hypervisor = directory.path().join("other-qemu");
        expect_new("QEMU", key(&config).folder_name());
    }

    #[test]
    fn missing_qemu_is_said_to_be_missing() {
        let (_directory, config) = appliance();
        let config = VmConfig { hypervisor: "qemu-nonexistent".into(), ..config };
        let files = config.appliance.open().unwrap();
        let error = SnapshotKey::of(&config, EMULATION, &files).unwrap_err();
        assert!(matches!(error, LaunchError::NoHypervisor(_)), "{error}");
    }
}
