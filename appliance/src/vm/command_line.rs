//! QEMU's command line for a cold boot, as data. Whatever comes from the user is either a JSON value or an
//! argument of its own, so that no file name or label can become an option.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::fd::RawFd;

use super::VmConfig;
use super::accelerator::Accelerator;
use super::drive::{Disks, SCSI_CONTROLLER};

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

/// Makes the arguments.
pub fn cold_boot(
    config: &VmConfig,
    accelerator: Accelerator,
    disks: &Disks,
    files: &FileSets,
    sockets: Sockets,
) -> Vec<OsString> {
    let mut arguments = Arguments::default();
    arguments.flag("-no-user-config").flag("-nodefaults").flag("-no-reboot");
    arguments.option("-display", "none");
    // PCI hot-plug of this machine goes through ACPI, at once and without a guest driver.
    arguments.option("-machine", "pc");
    arguments.option("-accel", accelerator_name(accelerator)).option("-cpu", cpu(accelerator));
    arguments.option("-smp", config.vcpus.to_string()).option("-m", format!("{}M", config.memory_mib));
    arguments.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    arguments.option("-kernel", &config.appliance.kernel).option("-initrd", &config.appliance.initramfs);
    arguments.option("-append", kernel_command_line(config, accelerator));

    arguments.option("-chardev", format!("socket,id=qmp,fd={}", sockets.qmp));
    arguments.option("-mon", "chardev=qmp,mode=control");
    // Standard input is /dev/null; the console goes where QEMU's own messages go.
    arguments.option("-chardev", "stdio,id=console,signal=off").option("-serial", "chardev:console");
    arguments.option("-object", "rng-random,id=rng0,filename=/dev/urandom");
    arguments.option("-device", "virtio-rng-pci,rng=rng0");
    // One queue per CPU would only lengthen the boot by its interrupts.
    arguments.option("-device", format!("virtio-scsi-pci,id={SCSI_CONTROLLER},num_queues=1"));
    arguments.option("-device", "virtio-serial-pci,id=ports0,max_ports=4");
    for (id, socket, port) in
        [("channel", sockets.channel, CHANNEL_PORT), ("nodes", sockets.nodes, NODES_PORT)]
    {
        arguments.option("-chardev", format!("socket,id={id},fd={socket}"));
        arguments.option("-device", format!("virtserialport,chardev={id},name={port}"));
    }
    for (set, file) in files {
        arguments.option("-add-fd", format!("fd={file},set={set}"));
    }
    for node in &disks.nodes {
        arguments.option("-blockdev", node.0.to_string());
    }
    for device in &disks.devices {
        arguments.option("-device", device.0.to_string());
    }
    arguments.0
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
}

fn accelerator_name(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Emulation(_) => "tcg,thread=multi",
    }
}

/// Emulated, string instructions are slower than plain loops, which a kernel prefers when the CPU does not claim
/// fast ones: copies become 2.7 times faster. Five-level page tables would lengthen every page walk.
fn cpu(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Emulation(_) => "max,erms=off,fsrm=off,la57=off",
    }
}

/// Parameters that hold for every VM. Without reboot a panic ends QEMU, and so the wait for the daemon; timers and
/// clock of a virtual machine need no calibration; nothing here needs mitigations against itself, security
/// modules or self-tests, all of which cost time at boot and in every system call.
const KERNEL_PARAMETERS: &str = "console=ttyS0 panic=-1 nokaslr no_timer_check tsc=reliable random.trust_cpu=on \
    cryptomgr.notests mitigations=off lsm= selinux=0 audit=0 ipv6.disable=1 8250.nr_uarts=1 printk.time=1 \
    cgroup_disable=memory edd=off scsi_mod.scan=manual";

/// Parameters of an emulated machine. Routing interrupts by ACPI takes its interpreter 0.1 s for every PCI device;
/// the firmware's MP table says the same, and hot-plug, which is ACPI's too, works as before.
const EMULATION_PARAMETERS: &str = " acpi=noirq";

/// Makes the kernel's command line. The user's own text comes last and so wins.
pub fn kernel_command_line(config: &VmConfig, accelerator: Accelerator) -> String {
    let mut line = String::from(KERNEL_PARAMETERS);
    if let Accelerator::Emulation(_) = accelerator {
        line.push_str(EMULATION_PARAMETERS);
    }
    line.push_str(if config.is_verbose { " guestfs_verbose=1" } else { " quiet" });
    // With scsi_mod.scan=manual the daemon asks for exactly these targets: a full scan takes seconds.
    write!(line, " guestfs_disks={}", config.drives.len()).expect("writing to a String cannot fail");
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
        })
    }

    fn arguments(accelerator: Accelerator, disks: &Disks) -> Vec<String> {
        let arguments = cold_boot(&config(), accelerator, disks, &[(1, 8)], SOCKETS);
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
        assert_eq!(value_of(&emulated, "-cpu"), ["max,erms=off,fsrm=off,la57=off"]);
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

    #[test]
    fn nodes_devices_and_files_are_passed_in_order() {
        let disks = Disks {
            nodes: vec![BlockNode(json!({ "node-name": "b" })), BlockNode(json!({ "node-name": "a" }))],
            devices: vec![Device(json!({ "driver": "scsi-hd", "serial": "a,b=c" }))],
            ..Disks::default()
        };
        let arguments = arguments(Accelerator::Kvm, &disks);
        assert_eq!(value_of(&arguments, "-add-fd"), ["fd=8,set=1"]);
        assert_eq!(value_of(&arguments, "-blockdev"), ["{\"node-name\":\"b\"}", "{\"node-name\":\"a\"}"]);
        assert_eq!(
            value_of(&arguments, "-device").last(),
            Some(&"{\"driver\":\"scsi-hd\",\"serial\":\"a,b=c\"}")
        );
        assert_eq!(value_of(&arguments, "-kernel"), ["/a/ker,nel"]);
    }

    #[test]
    fn kernel_is_quiet_unless_verbose_and_the_users_text_is_last() {
        let mut config = config();
        assert!(kernel_command_line(&config, Accelerator::Kvm).ends_with(" quiet guestfs_disks=0"));
        config.is_verbose = true;
        config.append = Some("loglevel=7 scsi_mod.scan=sync".to_owned());
        let line = kernel_command_line(&config, Accelerator::Emulation(WhyNotKvm::NoDevice));
        assert!(line.contains(" acpi=noirq "));
        assert!(line.ends_with(" guestfs_verbose=1 guestfs_disks=0 loglevel=7 scsi_mod.scan=sync"), "{line}");
        assert!(!line.contains("quiet") && !line.contains('\n') && !line.contains("  "), "{line}");
    }
}
