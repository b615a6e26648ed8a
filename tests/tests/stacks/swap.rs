//! Swap space, and partitions that are found by what their table says of them.

use guestfs::api::procedures::files::Files;
use guestfs::api::procedures::filesystems::Filesystems;
use guestfs::api::procedures::mounts::Mounts;
use guestfs::api::procedures::partitions::Partitions;
use guestfs::api::procedures::swap::{MkswapOptions, Swap};
use guestfs::api::values::{GuestPath, Mountable};
use guestfs_tests::appliance::{device, with_guest};
use guestfs_tests::disk::Disk;

const UUID: &str = "a3a61220-882b-4f61-89f4-cf24dcc7297d";

#[test]
fn swap_space_is_made_switched_on_and_off_by_each_of_its_names() {
    let disk = Disk::blank(64);
    let (sda, sda1, sda2) = (device("/dev/sda"), device("/dev/sda1"), device("/dev/sda2"));
    with_guest(disk.path(), |guest| {
        guest.part_init(&sda, "gpt").expect("part_init");
        guest.part_add(&sda, "primary", 2048, 65_535).expect("part_add");
        guest.part_add(&sda, "primary", 65_536, -2048).expect("part_add");
        guest.part_set_name(&sda, 2, "spare room").expect("part_set_name");
        guest.part_set_gpt_guid(&sda, 2, &UUID.to_uppercase()).expect("part_set_gpt_guid");
        assert_eq!(guest.findfs_partlabel("spare room").unwrap(), sda2);
        assert_eq!(guest.findfs_partuuid(UUID).unwrap(), sda2);
        assert_eq!(guest.findfs_partuuid(&UUID.to_uppercase()).unwrap(), sda2);
        let failure = guest.findfs_partlabel("spare").unwrap_err().to_string();
        assert!(failure.contains("no partition has the name spare"), "{failure}");
        assert!(guest.findfs_partuuid("").is_err());

        let named = MkswapOptions { label: Some("swap 1".to_owned()), uuid: Some(UUID.to_owned()) };
        guest.mkswap(&sda1, &named).expect("mkswap");
        let swap = Mountable::Device(sda1.clone());
        assert_eq!(guest.vfs_type(&swap).unwrap().to_string(), "swap");
        assert_eq!(guest.vfs_uuid(&swap).unwrap().to_string(), UUID);
        guest.swapon_device(&sda1).expect("swapon_device");
        assert!(guest.swapon_uuid(UUID).is_err(), "it is in use already");
        guest.swapoff_device(&sda1).expect("swapoff_device");
        guest.swapon_uuid(UUID).expect("swapon_uuid");
        guest.swapoff_uuid(UUID).expect("swapoff_uuid");
        guest.swapon_label("swap 1").expect("swapon_label");
        guest.swapoff_label("swap 1").expect("swapoff_label");
        assert!(guest.swapoff_label("swap 1").is_err(), "it is not in use");
        guest.mkswap_L("other", &sda1).expect("mkswap_L");
        assert_eq!(guest.findfs_label("other").unwrap(), sda1);
        guest.mkswap_U(UUID, &sda1).expect("mkswap_U");
        assert_eq!(guest.findfs_uuid(UUID).unwrap(), sda1);

        guest.mkfs("ext4", &sda2, &Default::default()).expect("mkfs");
        guest.mount(&Mountable::Device(sda2.clone()), &GuestPath::root()).expect("mount");
        let file = GuestPath::try_from("/swapfile").unwrap();
        for offset in (0..4).map(|number| number << 20) {
            guest
                .internal_write_append(&file, &vec![0; 1 << 20])
                .unwrap_or_else(|error| panic!("{offset}: {error}"));
        }
        guest.mkswap_file(&file).expect("mkswap_file");
        guest.swapon_file(&file).expect("swapon_file");
        guest.swapoff_file(&file).expect("swapoff_file");
        let failure = guest.mkswap(&sda2, &MkswapOptions::default()).unwrap_err().to_string();
        assert!(failure.contains("/dev/sda2 is mounted on /"), "{failure}");
    });
}
