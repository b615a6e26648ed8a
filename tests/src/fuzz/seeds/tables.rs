//! Tables of guests, with every way to name a device.

use super::Seed;

/// Each system's fstab, with the number that the target knows it by.
const FSTABS: [(&str, u8, &str); 5] = [
    (
        "linux",
        0,
        "# /etc/fstab\n\
         UUID=3e6be9de-8139-11d1-9106-a43f08d823a6 / btrfs subvol=@,compress 0 0\n\
         LABEL=\"home\" /home btrfs subvol=/@home 0 0\n\
         PARTUUID=01ab-2 /boot ext4 defaults 0 2\n\
         PARTLABEL=data\\040disk /srv/with\\040blank xfs\n\
         /dev/mapper/group-with--dash /var ext4\n\
         /dev/group/volume /opt ext4\n\
         /dev/disk/by-id/dm-uuid-LVM-abcdefABCDEF0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789ab /x ext4\n\
         /dev/disk/by-id/ata-DISK_1-part2 /y ext4\n\
         /dev/disk/by-label/with\\x20blank /z ext4\n\
         /dev/vda1 /v ext4\n\
         /dev/nvme0n1p3 /n ext4\n\
         /dev/mmcblk0p1 /m vfat\n\
         /dev/cciss/c0d1p2 /c ext4\n\
         /dev/md/0 /raid ext4\n\
         /dev/mapper/opened /secret ext4\n\
         /dev/odd /odd btrfs subvol=top\n\
         /dev/sr0 /media/cdrom iso9660\n\
         /dev/vda2 none swap sw\n\
         tmpfs /tmp tmpfs\n\
         server:/share /net nfs\n",
    ),
    (
        "freebsd",
        1,
        "/dev/da0p2 / ufs rw 1 1\n\
         /dev/ada1s1d /usr ufs rw 2 2\n\
         /dev/gpt/home /home ufs\n\
         /dev/ufs/var /var ufs\n\
         /dev/da0p1 none swap sw 0 0\n",
    ),
    ("netbsd", 2, "/dev/wd0a / ffs rw 1 1\n/dev/sd0e /usr ffs\nNAME=home /home ffs\n/dev/dk0 /x ffs\n"),
    (
        "openbsd",
        3,
        "/dev/sd0a / ffs rw 1 1\nba1db4d7e4c1a9f2.d /usr ffs rw\nba1db4d7e4c1a9f2.b none swap sw\n",
    ),
    ("hurd", 4, "/dev/hd0s1 / ext2 defaults 0 1\n/dev/hd1 /x ext2\n/dev/wd0s2 none swap\n"),
];

const CRYPTTAB: &str = "opened UUID=3e6be9de-8139-11d1-9106-a43f08d823a6 none luks\nother /dev/sda3\n";

const MDADM: &str =
    "DEVICE partitions\nARRAY /dev/md/0 metadata=1.2\n   UUID=3e6be9de:813911d1:9106a43f:08d823a6 name=x\n";

pub fn all() -> Vec<Seed> {
    let length = |text: &str| u16::try_from(text.len()).expect("a seed is small").to_be_bytes();
    let seed = |(name, system, fstab): &(&str, u8, &str)| {
        let lengths = [length(fstab), length(CRYPTTAB)].concat();
        let texts = [fstab.as_bytes(), CRYPTTAB.as_bytes(), MDADM.as_bytes()].concat();
        Seed::new("fstab", *name, [vec![*system, 1], lengths, texts].concat())
    };
    FSTABS.iter().map(seed).collect()
}
