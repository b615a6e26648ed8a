//! Libvirt's domains, by its own test driver.

use std::fs;
use std::process::Command;

use guestfs_tests::command::{run, succeed};
use guestfs_tests::compare::{Fidelity, assert_same_tree};
use guestfs_tests::mounted::Mounted;
use guestfs_tests::programs::program;

use super::{assert_fails, sample};

#[test]
fn the_disks_of_a_domain_are_mounted_while_it_runs_and_not_written_to() {
    let Some(sample) = sample("virsh") else { return };
    let node = sample.disk.beside("node.xml");
    let disk = sample.disk.path().to_str().unwrap();
    let xml = format!(
        "<node><domain type='test'><name>guest</name><uuid>01234567-89ab-cdef-0123-456789abcdef</uuid>\
         <memory>65536</memory><os><type>hvm</type></os><devices>\
         <disk type='file' device='cdrom'><source file='/nonexistent.iso'/><target dev='hda'/></disk>\
         <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda'/>\
         </disk></devices></domain></node>"
    );
    fs::write(&node, xml).unwrap();
    let connect = format!("test://{}", node.display());
    for domain in ["guest", "01234567-89ab-cdef-0123-456789abcdef"] {
        let mounted = Mounted::new(["-c", &connect, "-d", domain, "-m", "/dev/sda1", "--ro"]);
        assert_same_tree(sample.tree.path(), &mounted.path(), Fidelity::Everything);
        mounted.unmount();
    }
    let inspect = |domain: &str| {
        let mut command = Command::new(program("guestinspect"));
        command.args(["-c", &connect, "-d", domain]);
        command
    };
    let printed = succeed(&mut inspect("guest"));
    assert!(printed.contains("\nguest  -"), "{printed}");
    let outcome = run(&mut inspect("other"));
    assert!(outcome.code() == 1 && outcome.stderr.contains("-d other: libvirt"), "{outcome:?}");
    assert_fails(&["-c", &connect, "-d", "guest", "--rw"], &["guest", "is running", "--ro"]);
    assert_fails(&["-c", &connect, "-d", "other"], &["-d other", "list --all"]);
}
