//! The steps from a bare kernel to a machine that can serve, as a list.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use guestfs_api::Failure;
use rustix::mount::MountFlags;
use rustix::process::{Resource, Rlimit};

use super::cmdline::CommandLine;
use super::console;
use super::modules::Modules;
use super::scsi;
use super::tools_image::ToolsImage;
use crate::sysroot::failed;

/// The modules that the machine needs before its programs can be reached, in order.
const BOOT_MODULES: &str = "/modules/boot";

/// The driver of SCSI disks. When it is loaded the kernel waits until all disks that are there by then can be used,
/// their partitions included; so they are looked for just before.
const DISK_DRIVER: &str = "sd_mod";

/// How many files the daemon may have open: the kernel's own limit for a process (fs.nr_open).
const FILES_MAX: u64 = 1 << 20;

/// What the steps prepare.
pub struct Boot {
    /// The kernel's command line.
    pub command_line: CommandLine,
    /// The modules.
    pub modules: Modules,
    /// The programs.
    pub tools: Arc<ToolsImage>,
}

/// One step. A step that is not vital is logged when it fails, and the machine goes on without it.
struct Step {
    name: &'static str,
    is_vital: bool,
    action: fn(&mut Boot) -> Result<(), Failure>,
}

const fn vital(name: &'static str, action: fn(&mut Boot) -> Result<(), Failure>) -> Step {
    Step { name, is_vital: true, action }
}

const fn optional(name: &'static str, action: fn(&mut Boot) -> Result<(), Failure>) -> Step {
    Step { name, is_vital: false, action }
}

static STEPS: &[Step] = &[
    vital("mount the kernel's file systems", |_| mount_kernel_filesystems()),
    optional("open the console", |_| console::open().map_err(|error| Failure::io(&error, "/dev/console"))),
    vital("read the command line", Boot::read_command_line),
    optional("link /dev/fd", |_| link_standard_streams()),
    optional("raise the limit of open files", |_| raise_file_limit()),
    vital("read the module index", Boot::read_modules),
    optional("keep the kernel from asking for modules", |_| set_module_helper("")),
    vital("load the modules for disks and ports", Boot::load_modules),
    optional("let the kernel ask for modules", |_| set_module_helper(MODULE_HELPER)),
    optional("prefer disk blocks to inodes in memory", |_| prefer_blocks()),
];

/// The program that the kernel runs to have a module loaded. While the machine boots there is none: some modules ask for
/// checksums in hardware, do without, and each time the program would take a tenth of a second.
const MODULE_HELPER: &str = "/sbin/modprobe";

impl Boot {
    /// Carries out all steps; fails with the first vital one that fails.
    pub fn run() -> Result<Boot, Failure> {
        let mut boot = Boot {
            command_line: CommandLine::default(),
            modules: Modules::none(),
            tools: Arc::new(ToolsImage::appliance()),
        };
        for step in STEPS {
            let started = Instant::now();
            match (step.action)(&mut boot) {
                Ok(()) => log::debug!("boot: {}: {:?}", step.name, started.elapsed()),
                Err(failure) if step.is_vital => {
                    return Err(Failure {
                        message: format!("{}: {}", step.name, failure.message),
                        ..failure
                    });
                }
                Err(failure) => log::warn!("boot: {}: {failure}", step.name),
            }
        }
        Ok(boot)
    }

    fn read_command_line(&mut self) -> Result<(), Failure> {
        self.command_line = read_command_line()?;
        console::start_log(self.command_line.is_set("guestfs_verbose"));
        Ok(())
    }

    fn read_modules(&mut self) -> Result<(), Failure> {
        self.modules = Modules::appliance(self.command_line.clone(), self.tools.clone())?;
        Ok(())
    }

    /// Loads the modules of the list. One that fails may be for hardware that is not there, so the rest is loaded too.
    fn load_modules(&mut self) -> Result<(), Failure> {
        let list = fs::read_to_string(BOOT_MODULES).map_err(|error| Failure::io(&error, BOOT_MODULES))?;
        for name in list.split_whitespace() {
            if name == DISK_DRIVER {
                self.find_disks();
            }
            if let Err(error) = self.modules.load(name) {
                log::warn!("boot: {error}");
            }
        }
        Ok(())
    }

    fn find_disks(&self) {
        let started = Instant::now();
        let disks = self.command_line.value("guestfs_disks").and_then(|count| count.parse().ok());
        match scsi::find_disks(disks) {
            Ok(()) => log::debug!("boot: find the disks: {:?}", started.elapsed()),
            Err(failure) => log::warn!("boot: find the disks: {failure}"),
        }
    }
}

/// Reads the kernel's command line, with what the daemon adds to it.
pub fn read_command_line() -> Result<CommandLine, Failure> {
    const COMMAND_LINE: &str = "/proc/cmdline";
    let text = fs::read_to_string(COMMAND_LINE).map_err(|error| Failure::io(&error, COMMAND_LINE))?;
    let (name, value) = scsi::SCAN_OPTION;
    Ok(CommandLine::parse(&text).with_default(name, value))
}

fn mount_kernel_filesystems() -> Result<(), Failure> {
    let common = MountFlags::NOSUID;
    for (kind, target, flags, data) in [
        ("proc", "/proc", common, c""),
        ("sysfs", "/sys", common, c""),
        ("devtmpfs", "/dev", common, c"mode=0755"),
        ("tmpfs", "/run", common, c"mode=0755"),
        ("tmpfs", "/tmp", common, c"mode=1777"),
    ] {
        match rustix::mount::mount(kind, target, kind, flags, data) {
            // The kernel may have mounted /dev itself.
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) => return Err(failed(error, format_args!("mount {target}"))),
        }
    }
    Ok(())
}

/// Makes the links in /dev that programs expect and udev would make.
fn link_standard_streams() -> Result<(), Failure> {
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        match std::os::unix::fs::symlink(target, link) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::io(&error, link)),
        }
    }
    Ok(())
}

fn set_module_helper(path: &str) -> Result<(), Failure> {
    const SETTING: &str = "/proc/sys/kernel/modprobe";
    // An empty write would change nothing.
    fs::write(SETTING, format!("{path}\n")).map_err(|error| Failure::io(&error, SETTING))
}

/// Has the kernel give up names and inodes before disk blocks when memory is short. The host keeps what it was told of
/// files; of a directory with a million entries, read in the order of their hashes, each block of the inode table is
/// needed many times, and each inode once.
fn prefer_blocks() -> Result<(), Failure> {
    const SETTING: &str = "/proc/sys/vm/vfs_cache_pressure";
    /// In percent of the usual (Documentation/admin-guide/sysctl/vm.rst calls 1000 ten times as eager).
    const PRESSURE: &str = "1000\n";
    fs::write(SETTING, PRESSURE).map_err(|error| Failure::io(&error, SETTING))
}

fn raise_file_limit() -> Result<(), Failure> {
    let limit = Rlimit { current: Some(FILES_MAX), maximum: Some(FILES_MAX) };
    rustix::process::setrlimit(Resource::Nofile, limit).map_err(|error| failed(error, "setrlimit"))
}
