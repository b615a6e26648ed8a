//! Reads what the program `btrfs` prints about devices, balance and scrub.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use guestfs_api::records::{BtrfsBalance, BtrfsScrub};

/// Reads lines `devid NUMBER size SIZE used SIZE path PATH`; `None` when others tell of devices that are missing.
pub fn parse_devices(output: &[u8]) -> Option<Vec<PathBuf>> {
    const PATH: &[u8] = b" path ";
    let mut paths = Vec::new();
    for line in output.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        let is_missing = |text: &[u8]| line.windows(text.len()).any(|window| window == text);
        if line.starts_with(b"devid ") {
            if line.ends_with(b"MISSING") {
                return None;
            }
            let place = line.windows(PATH.len()).position(|window| window == PATH)?;
            paths.push(PathBuf::from(OsString::from_vec(line[place + PATH.len()..].to_vec())));
        } else if is_missing(b"devices missing") {
            return None;
        }
    }
    Some(paths)
}

/// Reads how far balancing is: a line that says whether it runs, and where it does one with the numbers, as
/// `0 out of about 3 chunks balanced (1 considered), 100% left`.
pub fn parse_balance(output: &[u8]) -> Option<BtrfsBalance> {
    let text = String::from_utf8_lossy(output);
    let mut lines = text.lines();
    let first = lines.next()?;
    let mut balance = BtrfsBalance {
        btrfsbalance_status: "none".to_owned(),
        btrfsbalance_total: 0,
        btrfsbalance_balanced: 0,
        btrfsbalance_considered: 0,
        btrfsbalance_left: 0,
    };
    if first.starts_with("No balance found") {
        return Some(balance);
    }
    // The path in front may hold anything.
    let (_, status) = first.strip_prefix("Balance on '")?.rsplit_once("' is ")?;
    balance.btrfsbalance_status = status.trim_end().to_owned();
    let numbers: Vec<u64> = lines
        .next()?
        .split(|letter: char| !letter.is_ascii_digit())
        .filter(|word| !word.is_empty())
        .map_while(|word| word.parse().ok())
        .collect();
    let [balanced, total, considered, left] = numbers[..] else { return None };
    balance.btrfsbalance_balanced = balanced;
    balance.btrfsbalance_total = total;
    balance.btrfsbalance_considered = considered;
    balance.btrfsbalance_left = left;
    Some(balance)
}

/// Reads lines `NAME: NUMBER`; where there was no scrub there are none.
pub fn parse_scrub(output: &[u8]) -> BtrfsScrub {
    let text = String::from_utf8_lossy(output);
    let mut scrub = BtrfsScrub::default();
    for line in text.lines() {
        let Some((name, number)) = line.split_once(':') else { continue };
        let Ok(number) = number.trim().parse() else { continue };
        let field = match name.trim() {
            "data_extents_scrubbed" => &mut scrub.btrfsscrub_data_extents_scrubbed,
            "tree_extents_scrubbed" => &mut scrub.btrfsscrub_tree_extents_scrubbed,
            "data_bytes_scrubbed" => &mut scrub.btrfsscrub_data_bytes_scrubbed,
            "tree_bytes_scrubbed" => &mut scrub.btrfsscrub_tree_bytes_scrubbed,
            "read_errors" => &mut scrub.btrfsscrub_read_errors,
            "csum_errors" => &mut scrub.btrfsscrub_csum_errors,
            "verify_errors" => &mut scrub.btrfsscrub_verify_errors,
            "no_csum" => &mut scrub.btrfsscrub_no_csum,
            "csum_discards" => &mut scrub.btrfsscrub_csum_discards,
            "super_errors" => &mut scrub.btrfsscrub_super_errors,
            "malloc_errors" => &mut scrub.btrfsscrub_malloc_errors,
            "uncorrectable_errors" => &mut scrub.btrfsscrub_uncorrectable_errors,
            "unverified_errors" => &mut scrub.btrfsscrub_unverified_errors,
            "corrected_errors" => &mut scrub.btrfsscrub_corrected_errors,
            "last_physical" => &mut scrub.btrfsscrub_last_physical,
            _ => continue,
        };
        *field = number;
    }
    scrub
}

#[cfg(test)]
mod tests {
    use super::*;

    // The outputs are in the form of btrfs-progs 6.2.

    #[test]
    fn devices_are_listed_unless_one_is_missing() {
        let output = b"Label: none  uuid: 0b3d\n\tTotal devices 2 FS bytes used 144.00KiB\n\
            \tdevid    1 size 160.00MiB used 44.00MiB path /dev/sda\n\tdevid    2 size 160.00MiB used 44.00MiB path /dev/sdb\n\n";
        assert_eq!(parse_devices(output).unwrap(), ["/dev/sda", "/dev/sdb"].map(PathBuf::from));
        let one = b"\tdevid    2 size 0 used 0 path /dev/sdb MISSING\n";
        assert_eq!(parse_devices(one), None);
        assert_eq!(parse_devices(b"\t*** Some devices missing\n"), None);
        assert_eq!(parse_devices(b"\tdevid 2 size 0\n"), None);
    }

    #[test]
    fn balancing_runs_pauses_or_is_not() {
        let balance = |output: &str| parse_balance(output.as_bytes());
        assert_eq!(balance("No balance found on '/x'\n").unwrap().btrfsbalance_status, "none");
        let paused = balance(
            "Balance on '/a is b' is paused\n1 out of about 3 chunks balanced (2 considered),  67% left\n",
        );
        let paused = paused.unwrap();
        assert_eq!(paused.btrfsbalance_status, "paused");
        let numbers = [
            paused.btrfsbalance_balanced,
            paused.btrfsbalance_total,
            paused.btrfsbalance_considered,
            paused.btrfsbalance_left,
        ];
        assert_eq!(numbers, [1, 3, 2, 67]);
        for other in ["", "Balance on '/' is running\n", "Balance on '/' is running\n1 of 2\n", "ERROR\n"] {
            assert_eq!(balance(other), None, "{other}");
        }
    }

    #[test]
    fn what_a_scrub_found_is_read_by_name() {
        let output = b"UUID: 0b3d\nScrub started: Mon Jan 1 00:00:00 2024\nStatus: finished\n\tdata_extents_scrubbed: 3\n\
            \tcorrected_errors: 2\n\tlast_physical: 99\n\tread_errors: many\n";
        let expected = BtrfsScrub {
            btrfsscrub_data_extents_scrubbed: 3,
            btrfsscrub_corrected_errors: 2,
            btrfsscrub_last_physical: 99,
            ..BtrfsScrub::default()
        };
        assert_eq!(parse_scrub(output), expected);
        assert_eq!(parse_scrub(b"\tno stats available\n"), BtrfsScrub::default());
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_the_parsers_panic(output in proptest::collection::vec(0u8.., 0..200)) {
            parse_devices(&output);
            parse_balance(&output);
            parse_scrub(&output);
        }

        #[test]
        fn no_line_makes_the_parsers_panic(output in "((Balance on '|' is |devid | path |[0-9]{1,22}|\n|.){0,5}){0,5}") {
            parse_devices(output.as_bytes());
            parse_balance(output.as_bytes());
            parse_scrub(output.as_bytes());
        }
    }
}
