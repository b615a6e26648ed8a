//! Partition tables: more partitions than four or fifteen, and all that a table says of them.

use std::fs;

use guestfs::api::procedures::block_devices::BlockDevices;
use guestfs::api::procedures::filesystems::{Filesystems, MkfsOptions};
use guestfs::api::procedures::ldm::Ldm;
use guestfs::api::procedures::partitions::Partitions;
use guestfs_tests::appliance::{device, with_guest};
use guestfs_tests::disk::Disk;
use guestfs_tests::mounted::Mounted;

const GUID: &str = "01234567-89AB-CDEF-0123-456789ABCDEF";

#[test]
fn the_twentieth_partition_of_a_gpt_is_made_described_and_mounted() {
    let disk = Disk::blank(64);
    let sda = device("/dev/sda");
    with_guest(disk.path(), |guest| {
        guest.part_init(&sda, "gpt").expect("part_init");
        for number in 0..20 {
            let start = 2048 + number * 6144;
            guest.part_add(&sda, "primary", start, start + 4095).expect("part_add");
        }
        assert_eq!(guest.list_partitions().unwrap().len(), 20);
        guest.part_set_name(&sda, 20, "the \"last\", é").expect("part_set_name");
        assert_eq!(guest.part_get_name(&sda, 20).unwrap(), "the \"last\", é");
        guest.part_set_gpt_guid(&sda, 20, GUID).expect("part_set_gpt_guid");
        assert_eq!(guest.part_get_gpt_guid(&sda, 20).unwrap(), GUID);
        guest.part_set_disk_guid(&sda, GUID).expect("part_set_disk_guid");
        assert_eq!(guest.part_get_disk_guid(&sda).unwrap(), GUID);
        guest.part_set_disk_guid_random(&sda).expect("part_set_disk_guid_random");
        assert_ne!(guest.part_get_disk_guid(&sda).unwrap(), GUID);
        assert!(!guest.part_get_bootable(&sda, 3).unwrap());
        guest.part_set_bootable(&sda, 3, true).expect("part_set_bootable");
        assert!(guest.part_get_bootable(&sda, 3).unwrap());
        assert_eq!(guest.part_get_gpt_type(&sda, 3).unwrap(), "C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
        guest.part_set_gpt_attributes(&sda, 3, 4 | 1 << 60).expect("part_set_gpt_attributes");
        assert_eq!(guest.part_get_gpt_attributes(&sda, 3).unwrap(), 4 | 1 << 60);
        guest.part_resize(&sda, 20, 2048 + 19 * 6144 + 6143).expect("part_resize");
        assert_eq!(guest.blockdev_getsize64(&device("/dev/sda20")).unwrap(), 6144 * 512);
        guest.part_expand_gpt(&sda).expect("part_expand_gpt");
        assert_eq!(guest.part_get_mbr_part_type(&sda, 20).unwrap(), "primary");
        let failure = guest.part_get_mbr_id(&sda, 1).unwrap_err().to_string();
        assert!(failure.contains("not of the type dos but gpt"), "{failure}");
        // Windows's dynamic disks are looked for, and there are none.
        assert_eq!(guest.ldmtool_scan().unwrap(), Vec::<String>::new());
        guest.ldmtool_create_all().expect("ldmtool_create_all");
        assert_eq!(guest.list_ldm_volumes().unwrap(), []);
        guest.mkfs("ext2", &device("/dev/sda20"), &MkfsOptions::default()).expect("mkfs");
    });
    let mounted = Mounted::read_write(disk.path(), "/dev/sda20");
    fs::write(mounted.path().join("file"), "on the twentieth").unwrap();
    mounted.unmount();
    let mounted = Mounted::read_only(disk.path(), "/dev/sda20");
    assert_eq!(fs::read_to_string(mounted.path().join("file")).unwrap(), "on the twentieth");
    mounted.unmount();
}

#[test]
fn logical_partitions_beyond_fifteen_are_listed_with_their_types() {
    let disk = Disk::blank(64);
    let sda = device("/dev/sda");
    with_guest(disk.path(), |guest| {
        guest.part_init(&sda, "mbr").expect("part_init");
        guest.part_add(&sda, "primary", 2048, 4095).expect("part_add");
        guest.part_add(&sda, "extended", 4096, -1).expect("part_add");
        for number in 0..14 {
            let start = 6144 + number * 8192;
            guest.part_add(&sda, "logical", start, start + 4095).expect("part_add");
        }
        let kinds = [1, 2, 18].map(|number| guest.part_get_mbr_part_type(&sda, number).unwrap());
        assert_eq!(kinds, ["primary", "extended", "logical"]);
        guest.part_set_mbr_id(&sda, 18, 0x8e).expect("part_set_mbr_id");
        assert_eq!(guest.part_get_mbr_id(&sda, 18).unwrap(), 0x8e);
        guest.part_set_bootable(&sda, 1, true).expect("part_set_bootable");
        assert!(guest.part_get_bootable(&sda, 1).unwrap() && !guest.part_get_bootable(&sda, 18).unwrap());
        guest.part_set_bootable(&sda, 1, false).expect("part_set_bootable");
        assert!(!guest.part_get_bootable(&sda, 1).unwrap());
        guest.mkfs("ext2", &device("/dev/sda18"), &MkfsOptions::default()).expect("mkfs");
        let listed = guest.list_filesystems().unwrap().0;
        let last = listed.iter().find(|(mountable, _)| *mountable.device() == device("/dev/sda18"));
        assert_eq!(last.map(|(_, kind)| kind.to_string()).as_deref(), Some("ext2"), "{listed:?}");
    });
}
