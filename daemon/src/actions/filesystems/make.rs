//! The command lines that make file systems: a table of types, and which options each takes in which form.

use std::path::Path;

use guestfs_api::Failure;
use guestfs_api::procedures::filesystems::MkfsOptions;

use crate::tools::{Command, WORK_DEADLINE};

/// How an option is written; `{}` stands for its value.
type Form = &'static [&'static str];

/// How one type of file system is made.
struct Maker {
    kinds: &'static [&'static str],
    program: &'static str,
    /// What makes it neither ask nor talk, and overwrite what is there.
    always: &'static [&'static str],
    blocksize: Option<Form>,
    features: Option<Form>,
    inode: Option<Form>,
    sectorsize: Option<Form>,
    label: Option<Form>,
}

/// A type that takes no options.
const PLAIN: Maker = Maker {
    kinds: &[],
    program: "",
    always: &[],
    blocksize: None,
    features: None,
    inode: None,
    sectorsize: None,
    label: None,
};

/// The types of FAT, whose blocks are counted in sectors.
const FAT_KINDS: &[&str] = &["vfat", "fat", "msdos"];

/// The types that can be made. The options are from the manual page of each program.
static MAKERS: &[Maker] = &[
    Maker {
        kinds: &["ext2", "ext3", "ext4"],
        program: "mke2fs",
        always: &["-F", "-q", "-t", "{kind}"],
        blocksize: Some(&["-b", "{}"]),
        features: Some(&["-O", "{}"]),
        inode: Some(&["-I", "{}"]),
        label: Some(&["-L", "{}"]),
        ..PLAIN
    },
    Maker {
        kinds: &["xfs"],
        program: "mkfs.xfs",
        always: &["-f", "-q"],
        blocksize: Some(&["-b", "size={}"]),
        inode: Some(&["-i", "size={}"]),
        sectorsize: Some(&["-s", "size={}"]),
        label: Some(&["-L", "{}"]),
        ..PLAIN
    },
    Maker {
        kinds: &["btrfs"],
        program: "mkfs.btrfs",
        always: &["-f", "-q"],
        features: Some(&["-O", "{}"]),
        sectorsize: Some(&["-s", "{}"]),
        label: Some(&["-L", "{}"]),
        ..PLAIN
    },
    Maker {
        kinds: FAT_KINDS,
        program: "mkfs.fat",
        // Also on a whole disk, which it would refuse.
        always: &["-I"],
        blocksize: Some(&["-s", "{}"]),
        sectorsize: Some(&["-S", "{}"]),
        label: Some(&["-n", "{}"]),
        ..PLAIN
    },
    Maker {
        kinds: &["exfat"],
        program: "mkfs.exfat",
        always: &[],
        blocksize: Some(&["-c", "{}"]),
        label: Some(&["-L", "{}"]),
        ..PLAIN
    },
    Maker {
        kinds: &["ntfs"],
        program: "mkntfs",
        // Quickly, without filling the device with zeros; also on a whole disk.
        always: &["-Q", "-F", "-q"],
        blocksize: Some(&["-c", "{}"]),
        sectorsize: Some(&["-s", "{}"]),
        label: Some(&["-L", "{}"]),
        ..PLAIN
    },
    Maker {
        kinds: &["f2fs"],
        program: "mkfs.f2fs",
        always: &["-f", "-q"],
        features: Some(&["-O", "{}"]),
        sectorsize: Some(&["-w", "{}"]),
        label: Some(&["-l", "{}"]),
        ..PLAIN
    },
    Maker {
        kinds: &["hfsplus"],
        program: "mkfs.hfsplus",
        blocksize: Some(&["-b", "{}"]),
        label: Some(&["-v", "{}"]),
        ..PLAIN
    },
    Maker { kinds: &["hfs"], program: "hformat", always: &["-f"], label: Some(&["-l", "{}"]), ..PLAIN },
    Maker { kinds: &["minix"], program: "mkfs.minix", ..PLAIN },
    Maker { kinds: &["jfs"], program: "mkfs.jfs", always: &["-q"], label: Some(&["-L", "{}"]), ..PLAIN },
    Maker {
        kinds: &["nilfs2"],
        program: "mkfs.nilfs2",
        always: &["-f", "-q"],
        blocksize: Some(&["-b", "{}"]),
        features: Some(&["-O", "{}"]),
        label: Some(&["-L", "{}"]),
        ..PLAIN
    },
    Maker {
        kinds: &["reiserfs"],
        program: "mkreiserfs",
        // Once to do it without a question, and once more to do it on a whole disk.
        always: &["-f", "-f", "-q"],
        blocksize: Some(&["-b", "{}"]),
        label: Some(&["-l", "{}"]),
        ..PLAIN
    },
    Maker {
        kinds: &["udf"],
        program: "mkudffs",
        blocksize: Some(&["-b", "{}"]),
        label: Some(&["-l", "{}"]),
        ..PLAIN
    },
    Maker { kinds: &["swap"], program: "mkswap", always: &["-f"], label: Some(&["-L", "{}"]), ..PLAIN },
];

/// Gives the command that makes a file system of this type on the device with this node.
///
/// Fails for a type that cannot be made, and for an option that the type does not have.
pub fn command(kind: &str, node: &Path, options: &MkfsOptions) -> Result<Command, Failure> {
    let maker = MAKERS.iter().find(|maker| maker.kinds.contains(&kind)).ok_or_else(|| {
        let known = MAKERS.iter().flat_map(|maker| maker.kinds).copied().collect::<Vec<_>>();
        Failure::unsupported(format!(
            "mkfs: {kind} is none of the types that can be made: {}",
            known.join(", ")
        ))
    })?;
    let blocksize = match positive("blocksize", options.blocksize)? {
        Some(bytes) if FAT_KINDS.contains(&kind) => Some(sectors(bytes, options.sectorsize)?.to_string()),
        bytes => bytes.map(|bytes| bytes.to_string()),
    };
    let inode = positive("inode", options.inode)?.map(|bytes| bytes.to_string());
    let sectorsize = positive("sectorsize", options.sectorsize)?.map(|bytes| bytes.to_string());
    let given = [
        ("blocksize", &blocksize, maker.blocksize),
        ("features", &options.features, maker.features),
        ("inode", &inode, maker.inode),
        ("sectorsize", &sectorsize, maker.sectorsize),
        ("label", &options.label, maker.label),
    ];
    let mut command = Command::new(maker.program).deadline(WORK_DEADLINE);
    command = command.args(maker.always.iter().map(|word| word.replace("{kind}", kind)));
    for (name, value, form) in given {
        match (value, form) {
            (None, _) => {}
            (Some(value), Some(form)) => {
                command = command.args(form.iter().map(|word| word.replace("{}", value)));
            }
            (Some(_), None) => {
                return Err(Failure::plain(format!(
                    "mkfs: {kind} does not take the option {name}: leave it out"
                )));
            }
        }
    }
    Ok(command.arg(node))
}

fn positive(name: &str, value: Option<i32>) -> Result<Option<i32>, Failure> {
    match value {
        Some(number) if number <= 0 => {
            Err(Failure::plain(format!("mkfs: {name} is {number}: it must be above 0")))
        }
        value => Ok(value),
    }
}

/// Counts a FAT's block in sectors.
fn sectors(block_bytes: i32, sector_bytes: Option<i32>) -> Result<i32, Failure> {
    /// mkfs.fat(8): what a sector has when nothing else is said.
    const SECTOR_BYTES: i32 = 512;
    let sector_bytes = sector_bytes.filter(|bytes| *bytes > 0).unwrap_or(SECTOR_BYTES);
    if block_bytes % sector_bytes != 0 {
        return Err(Failure::plain(format!(
            "mkfs: blocksize {block_bytes} is not a multiple of the sectors' {sector_bytes} bytes"
        )));
    }
    Ok(block_bytes / sector_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kind: &str, options: &MkfsOptions) -> Result<String, Failure> {
        command(kind, Path::new("/dev/sdz"), options).map(|command| command.to_string())
    }

    #[test]
    fn each_type_has_its_program_and_asks_nothing() {
        let plain = MkfsOptions::default();
        for (kind, expected) in [
            ("ext2", "mke2fs -F -q -t ext2 /dev/sdz"),
            ("ext4", "mke2fs -F -q -t ext4 /dev/sdz"),
            ("xfs", "mkfs.xfs -f -q /dev/sdz"),
            ("btrfs", "mkfs.btrfs -f -q /dev/sdz"),
            ("vfat", "mkfs.fat -I /dev/sdz"),
            ("exfat", "mkfs.exfat /dev/sdz"),
            ("ntfs", "mkntfs -Q -F -q /dev/sdz"),
            ("f2fs", "mkfs.f2fs -f -q /dev/sdz"),
            ("hfsplus", "mkfs.hfsplus /dev/sdz"),
            ("hfs", "hformat -f /dev/sdz"),
            ("minix", "mkfs.minix /dev/sdz"),
            ("jfs", "mkfs.jfs -q /dev/sdz"),
            ("nilfs2", "mkfs.nilfs2 -f -q /dev/sdz"),
            ("reiserfs", "mkreiserfs -f -f -q /dev/sdz"),
            ("udf", "mkudffs /dev/sdz"),
            ("swap", "mkswap -f /dev/sdz"),
        ] {
            assert_eq!(made(kind, &plain).unwrap(), expected);
        }
    }

    #[test]
    fn options_are_written_as_each_program_takes_them() {
        let options = MkfsOptions {
            blocksize: Some(4096),
            features: None,
            inode: Some(512),
            sectorsize: None,
            label: Some("root".to_owned()),
        };
        assert_eq!(made("ext3", &options).unwrap(), "mke2fs -F -q -t ext3 -b 4096 -I 512 -L root /dev/sdz");
        assert_eq!(
            made("xfs", &options).unwrap(),
            "mkfs.xfs -f -q -b size=4096 -i size=512 -L root /dev/sdz"
        );
        let options = MkfsOptions { features: Some("^has_journal".to_owned()), ..MkfsOptions::default() };
        assert_eq!(made("ext4", &options).unwrap(), "mke2fs -F -q -t ext4 -O ^has_journal /dev/sdz");
    }

    #[test]
    fn blocks_of_fat_are_counted_in_sectors() {
        let options = MkfsOptions { blocksize: Some(4096), ..MkfsOptions::default() };
        assert_eq!(made("vfat", &options).unwrap(), "mkfs.fat -I -s 8 /dev/sdz");
        let options = MkfsOptions { sectorsize: Some(1024), ..options };
        assert_eq!(made("msdos", &options).unwrap(), "mkfs.fat -I -s 4 -S 1024 /dev/sdz");
        let options = MkfsOptions { blocksize: Some(1000), ..MkfsOptions::default() };
        assert!(made("fat", &options).unwrap_err().message.contains("not a multiple"));
    }

    #[test]
    fn an_option_that_a_type_does_not_have_is_a_failure() {
        let options = MkfsOptions { inode: Some(256), ..MkfsOptions::default() };
        let failure = made("ntfs", &options).unwrap_err();
        assert_eq!(failure, Failure::plain("mkfs: ntfs does not take the option inode: leave it out"));
        let options = MkfsOptions { blocksize: Some(0), ..MkfsOptions::default() };
        let failure = made("ext4", &options).unwrap_err();
        assert_eq!(failure, Failure::plain("mkfs: blocksize is 0: it must be above 0"));
    }

    #[test]
    fn a_type_that_cannot_be_made_is_unsupported() {
        for kind in ["squashfs", "", "-F", "ext4 "] {
            let failure = made(kind, &MkfsOptions::default()).unwrap_err();
            assert_eq!(failure.errno, Some(guestfs_api::Errno::ENOTSUP), "{kind}");
            assert!(failure.message.contains("ext4, xfs"), "{}", failure.message);
        }
    }
}
