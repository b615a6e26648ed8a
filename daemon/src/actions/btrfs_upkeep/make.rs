//! The command line of mkfs.btrfs.

use std::path::PathBuf;

use guestfs_api::procedures::btrfs_upkeep::MkfsBtrfsOptions;
use guestfs_api::{Errno, Failure};

use crate::actions::arguments::non_negative;
use crate::tools::{Command, WORK_DEADLINE};

/// Writes the command that makes a btrfs over devices.
pub fn command(nodes: &[PathBuf], options: &MkfsBtrfsOptions) -> Result<Command, Failure> {
    let refuse = |what: &str| Failure { errno: Some(Errno::EINVAL), message: format!("mkfs_btrfs: {what}") };
    if nodes.is_empty() {
        return Err(refuse("no device is named"));
    }
    if options.allocstart.is_some_and(|start| start != 0) {
        return Err(refuse("btrfs's program takes no allocstart but 0"));
    }
    if let (Some(leaf), Some(node)) = (options.leafsize, options.nodesize) {
        if leaf != node {
            return Err(refuse("leafsize and nodesize have to be the same"));
        }
    }
    let count = |name: &str, value: Option<i64>| {
        value.map(|value| non_negative("mkfs_btrfs", name, value).map(|value| value.to_string())).transpose()
    };
    let nodesize = options.nodesize.or(options.leafsize);
    let given = [
        ("-b", count("bytecount", options.bytecount)?),
        ("-d", options.datatype.clone()),
        ("-L", options.label.clone()),
        ("-m", options.metadata.clone()),
        ("-n", count("nodesize", nodesize.map(i64::from))?),
        ("-s", count("sectorsize", options.sectorsize.map(i64::from))?),
    ];
    let mut command = Command::new("mkfs.btrfs").deadline(WORK_DEADLINE).args(["-f", "-q"]);
    for (option, value) in given {
        if let Some(value) = value {
            command = command.args([option, &value]);
        }
    }
    Ok(command.arg("--").args(nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_reach_the_program_and_contradictions_do_not() {
        let nodes = ["/dev/sdy", "/dev/sdz"].map(PathBuf::from);
        let options = MkfsBtrfsOptions {
            allocstart: Some(0),
            bytecount: Some(1 << 30),
            datatype: Some("raid0".to_owned()),
            leafsize: Some(16384),
            label: Some("two disks".to_owned()),
            metadata: Some("raid1".to_owned()),
            nodesize: None,
            sectorsize: Some(4096),
        };
        assert_eq!(
            command(&nodes, &options).unwrap().to_string(),
            "mkfs.btrfs -f -q -b 1073741824 -d raid0 -L two disks -m raid1 -n 16384 -s 4096 -- /dev/sdy /dev/sdz"
        );
        for wrong in [
            MkfsBtrfsOptions { nodesize: Some(4096), ..options.clone() },
            MkfsBtrfsOptions { allocstart: Some(4096), ..options.clone() },
            MkfsBtrfsOptions { bytecount: Some(-1), ..options },
        ] {
            assert!(command(&nodes, &wrong).is_err(), "{wrong:?}");
        }
        assert!(command(&[], &MkfsBtrfsOptions::default()).is_err());
    }
}
