//! QEMU's command line, as data: for a machine that boots and for one that is given a saved state. Whatever comes from
//! the user is either a JSON value or an argument of its own, so that no file name or label can become an option.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::fd::RawFd;

use super::VmConfig;
use super::accelerator::Accelerator;
use super::drive::{self, Disk, Disks, SCSI_CONTROLLER};

/// The port of the libguestfs protocol.
pub const CHANNEL_PORT: &str = "org.libguestfs.channel.0";

/// The port of the nodes protocol.
pub const NODES_PORT: &str = "org.guestmount.nodes.0";

/// The numbers of the sockets QEMU inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sockets {
    /// The far end of [`CHANNEL_PORT`].
    pub channel: RawFd,
    /// The far end of [`NODES_PORT`].
    pub nodes: RawFd,
    /// The monitor.
    pub qmp: RawFd,
}

/// Numbers of the open files QEMU inherits, with the set each is in.
pub type FileSets = [(u32, RawFd)];

/// Where the VM's memory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// In QEMU alone.
    Anonymous,
    /// In a file that takes what the VM writes: the memory of a snapshot that is being made.
    Shared(RawFd),
    /// In a file that never changes: pages the VM writes to become its own.
    Private(RawFd),
}

/// The files of an appliance, open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootFiles {
    /// The kernel.
    pub kernel: RawFd,
    /// The initramfs.
    pub initramfs: RawFd,
}

/// Memory that the VM shares with this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowFile {
    /// The file.
    pub file: RawFd,
    /// Its size.
    pub bytes: u64,
}

/// What QEMU inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited<'a> {
    /// The channels.
    pub sockets: Sockets,
    /// Files of the disks.
    pub files: &'a FileSets,
    /// The VM's memory.
    pub memory: Memory,
}

/// Makes the arguments for a VM that boots.
pub fn cold_boot(
    config: &VmConfig,
    accelerator: Accelerator,
    disks: &Disks,
    inherited: Inherited<'_>,
    boot: BootFiles,
    window: Option<WindowFile>,
) -> Vec<OsString> {
    let mut arguments = machine(config, accelerator, inherited);
    arguments.option("-kernel", descriptor_path(boot.kernel));
    arguments.option("-initrd", descriptor_path(boot.initramfs));
    arguments.option("-append", kernel_command_line(config, accelerator, config.drives.len()));
    arguments.disks(disks.tools.iter().chain(&disks.drives));
    if let Some(window) = window {
        arguments.option("-object", drive::window_memory(window).to_string());
        arguments.option("-device", drive::window_device().to_string());
    }
    arguments.0
}

/// Makes the arguments for a VM that waits to be given a saved state. What was not there when it was saved, drives and
/// window, is plugged in afterwards.
pub fn restore(
    config: &VmConfig,
    accelerator: Accelerator,
    disks: &Disks,
    inherited: Inherited<'_>,
) -> Vec<OsString> {
    let mut arguments = machine(config, accelerator, inherited);
    arguments.disks(&disks.tools);
    arguments.flag("-S").option("-incoming", "defer");
    arguments.0
}

/// Describes the machine, so that a saved state goes only into one like that it was saved from.
pub fn machine_description(config: &VmConfig, accelerator: Accelerator) -> String {
    const NONE: RawFd = -1;
    let sockets = Sockets { channel: NONE, nodes: NONE, qmp: NONE };
    let inherited = Inherited { sockets, files: &[], memory: Memory::Private(NONE) };
    let arguments = machine(config, accelerator, inherited).0;
    let words = arguments.iter().map(|argument| argument.to_string_lossy());
    let line = kernel_command_line(config, accelerator, 0).into();
    words.chain([line]).collect::<Vec<_>>().join(" ")
}

/// The machine with all that is in a saved state. The order of devices decides their places on the bus.
fn machine(config: &VmConfig, accelerator: Accelerator, inherited: Inherited<'_>) -> Arguments {
    let mut arguments = Arguments::default();
    arguments.flag("-no-user-config").flag("-nodefaults").flag("-no-reboot");
    arguments.option("-display", "none");
    arguments.memory(config.memory_mib, inherited.memory);
    arguments.option("-accel", accelerator_name(accelerator)).option("-cpu", cpu(accelerator));
    arguments.option("-smp", config.vcpus.to_string()).option("-m", format!("{}M", config.memory_mib));
    arguments.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");

    let sockets = inherited.sockets;
    arguments.option("-chardev", format!("socket,id=qmp,fd={}", sockets.qmp));
    arguments.option("-mon", "chardev=qmp,mode=control");
    // Standard input is /dev/null; the console goes where QEMU's own messages go.
    arguments.option("-chardev", "stdio,id=console,signal=off").option("-serial", "chardev:console");
    arguments.option("-object", "rng-random,id=rng0,filename=/dev/urandom");
    arguments.option("-device", "virtio-rng-pci,rng=rng0");
    // One queue per CPU would only lengthen the boot by its interrupts.
    arguments.option("-device", format!("virtio-scsi-pci,id={SCSI_CONTROLLER},num_queues=1"));
    arguments
        .option("-device", format!("virtio-serial-pci,id=ports0,max_ports=4{}", notification(accelerator)));
    for (id, socket, port) in
        [("channel", sockets.channel, CHANNEL_PORT), ("nodes", sockets.nodes, NODES_PORT)]
    {
        arguments.option("-chardev", format!("socket,id={id},fd={socket}"));
        arguments.option("-device", format!("virtserialport,chardev={id},name={port}"));
    }
    for (set, file) in inherited.files {
        arguments.option("-add-fd", format!("fd={file},set={set}"));
    }
    arguments
}

/// A path by which QEMU opens a file it has inherited, where it takes no descriptor.
pub fn descriptor_path(file: RawFd) -> String {
    format!("/proc/self/fd/{file}")
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, name: &str) -> &mut Arguments {
        self.0.push(name.into());
        self
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) -> &mut Arguments {
        self.0.extend([name.into(), value.into()]);
        self
    }

    /// Adds the machine with its memory. PCI hot-plug of this machine goes through ACPI, at once and without a guest
    /// driver.
    fn memory(&mut self, mebibytes: u32, memory: Memory) {
        let (file, share) = match memory {
            Memory::Anonymous => {
                self.option("-machine", "pc");
                return;
            }
            Memory::Shared(file) => (file, "on"),
            Memory::Private(file) => (file, "off"),
        };
        let path = descriptor_path(file);
        self.option("-machine", "pc,memory-backend=ram0");
        let object = format!("memory-backend-file,id=ram0,size={mebibytes}M,mem-path={path},share={share}");
        self.option("-object", object);
    }

    fn disks<'a>(&mut self, disks: impl IntoIterator<Item = &'a Disk>) {
        for disk in disks {
            for object in &disk.objects {
                self.option("-object", object.to_string());
            }
            for node in &disk.nodes {
                self.option("-blockdev", node.0.to_string());
            }
            self.option("-device", disk.device.0.to_string());
        }
    }
}

/// How the machine tells QEMU of a message. An emulated CPU runs in QEMU: it sends the message on itself, instead of
/// waking another thread for that.
fn notification(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "",
        Accelerator::Emulation(_) => ",ioeventfd=off",
    }
}

fn accelerator_name(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Emulation(_) => "tcg,thread=multi",
    }
}

/// Emulated, string instructions are slower than plain loops, which a kernel prefers when the CPU does not claim
/// fast ones: copies become 2.7 times faster. The CRC32 instruction is emulated bit by bit: without SSE4.2 file systems
/// sum their blocks up with tables, and making or removing a file takes a seventh less. Five-level page tables would
/// lengthen every page walk.
fn cpu(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Emulation(_) => "max,erms=off,fsrm=off,sse4.2=off,la57=off",
    }
}

/// Parameters that hold for every VM. Without reboot a panic ends QEMU, and so the wait for the daemon; timers and
/// clock of a virtual machine need no calibration; nothing here needs mitigations against itself, security
/// modules or self-tests, all of which cost time at boot and in every system call; nor does memory have to be cleared
/// before it is filled, or the scheduler account for pressure, which takes an emulated walk through a tree 10 % longer.
const KERNEL_PARAMETERS: &str = "console=ttyS0 panic=-1 nokaslr no_timer_check tsc=reliable random.trust_cpu=on \
    cryptomgr.notests mitigations=off lsm= selinux=0 audit=0 ipv6.disable=1 8250.nr_uarts=1 printk.time=1 \
    cgroup_disable=memory edd=off init_on_alloc=0 psi=0 scsi_mod.scan=manual";

/// Parameters of an emulated machine. Routing interrupts by ACPI takes its interpreter 0.1 s for every PCI device;
/// the firmware's MP table says the same, and hot-plug, which is ACPI's too, works as before.
const EMULATION_PARAMETERS: &str = " acpi=noirq";

/// Makes the kernel's command line for a machine with so many drives. The user's own text comes last and so wins.
pub fn kernel_command_line(config: &VmConfig, accelerator: Accelerator, drives: usize) -> String {
    let mut line = String::from(KERNEL_PARAMETERS);
    if let Accelerator::Emulation(_) = accelerator {
        line.push_str(EMULATION_PARAMETERS);
    }
    line.push_str(if config.is_verbose { " guestfs_verbose=1" } else { " quiet" });
    // With scsi_mod.scan=manual the daemon asks for exactly these targets: a full scan takes seconds.
    write!(line, " guestfs_disks={drives}").expect("writing to a String cannot fail");
    if let Some(append) = &config.append {
        line.push(' ');
        line.push_str(append);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Appliance;
    use crate::vm::accelerator::WhyNotKvm;
    use crate::vm::drive::{BlockNode, Device};
    use serde_json::json;

    const SOCKETS: Sockets = Sockets { channel: 5, nodes: 6, qmp: 7 };

    fn config() -> VmConfig {
        VmConfig::new(Appliance {
            directory: "/a".into(),
            kernel: "/a/ker,nel".into(),
            initramfs: "/a/initramfs".into(),
            tools: None,
            snapshots: None,
        })
    }

    fn arguments(accelerator: Accelerator, disks: &Disks) -> Vec<String> {
        let inherited = Inherited { sockets: SOCKETS, files: &[(1, 8)], memory: Memory::Anonymous };
        let boot = BootFiles { kernel: 11, initramfs: 12 };
        let window = WindowFile { file: 13, bytes: 1 << 20 };
        texts(cold_boot(&config(), accelerator, disks, inherited, boot, Some(window)))
    }

    fn texts(arguments: Vec<OsString>) -> Vec<String> {
        arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    fn value_of<'a>(arguments: &'a [String], option: &str) -> Vec<&'a str> {
        let pairs = arguments.windows(2).filter(|pair| pair[0] == option);
        pairs.map(|pair| pair[1].as_str()).collect()
    }

    #[test]
    fn accelerators_have_their_cpus() {
        let kvm = arguments(Accelerator::Kvm, &Disks::default());
        assert_eq!((value_of(&kvm, "-accel"), value_of(&kvm, "-cpu")), (vec!["kvm"], vec!["host"]));
        let emulated = arguments(Accelerator::Emulation(WhyNotKvm::NoDevice), &Disks::default());
        assert_eq!(value_of(&emulated, "-accel"), ["tcg,thread=multi"]);
        assert_eq!(value_of(&emulated, "-cpu"), ["max,erms=off,fsrm=off,sse4.2=off,la57=off"]);
    }

    #[test]
    fn ports_have_the_names_the_daemon_looks_for() {
        let arguments = arguments(Accelerator::Kvm, &Disks::default());
        let devices = value_of(&arguments, "-device");
        assert!(devices.contains(&"virtserialport,chardev=channel,name=org.libguestfs.channel.0"));
        assert!(devices.contains(&"virtserialport,chardev=nodes,name=org.guestmount.nodes.0"));
        let sockets = value_of(&arguments, "-chardev");
        assert!(sockets.contains(&"socket,id=channel,fd=5") && sockets.contains(&"socket,id=nodes,fd=6"));
    }

    fn disk(name: &str) -> Disk {
        let nodes =
            ["file", "format"].map(|node| BlockNode(json!({ "node-name": format!("{name}-{node}") })));
        let device = Device(json!({ "driver": "scsi-hd", "serial": name }));
        Disk { objects: vec![], nodes: nodes.into(), device, image: "/image".into() }
    }

    #[test]
    fn booting_machine_has_its_files_disks_and_window_from_the_start() {
        let disks = Disks { tools: Some(disk("tools")), drives: vec![disk("a,b=c")], ..Disks::default() };
        let arguments = arguments(Accelerator::Kvm, &disks);
        assert_eq!(value_of(&arguments, "-machine"), ["pc"]);
        assert_eq!(value_of(&arguments, "-add-fd"), ["fd=8,set=1"]);
        assert_eq!(value_of(&arguments, "-kernel"), ["/proc/self/fd/11"]);
        assert_eq!(value_of(&arguments, "-initrd"), ["/proc/self/fd/12"]);
        assert_eq!(
            value_of(&arguments, "-blockdev"),
            [
                "{\"node-name\":\"tools-file\"}",
                "{\"node-name\":\"tools-format\"}",
                "{\"node-name\":\"a,b=c-file\"}",
                "{\"node-name\":\"a,b=c-format\"}"
            ]
        );
        let devices = value_of(&arguments, "-device");
        assert_eq!(devices[devices.len() - 2], "{\"driver\":\"scsi-hd\",\"serial\":\"a,b=c\"}");
        assert!(devices[devices.len() - 1].contains("ivshmem-plain"));
        assert!(arguments.iter().any(|argument| argument.contains("\"mem-path\":\"/proc/self/fd/13\"")));
    }

    #[test]
    fn restored_machine_is_the_saved_one_without_kernel_drives_and_window() {
        let disks = Disks { tools: Some(disk("tools")), drives: vec![disk("sample")], ..Disks::default() };
        let inherited = Inherited { sockets: SOCKETS, files: &[(1, 8)], memory: Memory::Private(9) };
        let arguments = texts(restore(&config(), Accelerator::Kvm, &disks, inherited));
        assert_eq!(value_of(&arguments, "-machine"), ["pc,memory-backend=ram0"]);
        assert!(
            value_of(&arguments, "-object")
                .contains(&"memory-backend-file,id=ram0,size=512M,mem-path=/proc/self/fd/9,share=off")
        );
        assert_eq!(value_of(&arguments, "-incoming"), ["defer"]);
        assert!(arguments.iter().any(|argument| argument == "-S"));
        assert!(value_of(&arguments, "-kernel").is_empty() && value_of(&arguments, "-append").is_empty());
        let text = arguments.join(" ");
        assert!(
            text.contains("tools-format") && !text.contains("sample") && !text.contains("ivshmem"),
            "{text}"
        );
    }

    #[test]
    fn memory_of_a_snapshot_to_be_takes_what_is_written() {
        let inherited = Inherited { sockets: SOCKETS, files: &[], memory: Memory::Shared(9) };
        let boot = BootFiles { kernel: 11, initramfs: 12 };
        let arguments =
            texts(cold_boot(&config(), Accelerator::Kvm, &Disks::default(), inherited, boot, None));
        assert!(arguments.iter().any(|argument| argument.ends_with("share=on")));
        assert!(!arguments.iter().any(|argument| argument.contains("ivshmem")));
    }

    #[test]
    fn description_of_the_machine_does_not_depend_on_drives() {
        let mut config = config();
        let before = machine_description(&config, Accelerator::Kvm);
        config.drives.push(crate::vm::Drive::new("/disk", crate::vm::Access::ReadOnly));
        assert_eq!(machine_description(&config, Accelerator::Kvm), before);
        config.is_verbose = true;
        assert_ne!(machine_description(&config, Accelerator::Kvm), before);
    }

    #[test]
    fn kernel_is_quiet_unless_verbose_and_the_users_text_is_last() {
        let mut config = config();
        assert!(kernel_command_line(&config, Accelerator::Kvm, 0).ends_with(" quiet guestfs_disks=0"));
        config.is_verbose = true;
        config.append = Some("loglevel=7 scsi_mod.scan=sync".to_owned());
        let line = kernel_command_line(&config, Accelerator::Emulation(WhyNotKvm::NoDevice), 0);
        assert!(line.contains(" acpi=noirq "));
        assert!(line.ends_with(" guestfs_verbose=1 guestfs_disks=0 loglevel=7 scsi_mod.scan=sync"), "{line}");
        assert!(!line.contains("quiet") && !line.contains('\n') && !line.contains("  "), "{line}");
    }
}
