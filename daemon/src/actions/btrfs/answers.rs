//! Reads what the program `btrfs` prints about subvolumes and quota groups.

use guestfs_api::records::{BtrfsQuotaGroup, BtrfsSubvolume};
use guestfs_api::values::ByteString;

/// Reads lines of the form `ID 256 gen 30 top level 5 path NAME`. A name may hold line ends, so a line of another form
/// goes on with the name before.
pub fn parse_list(output: &[u8]) -> Option<Vec<BtrfsSubvolume>> {
    let mut subvolumes: Vec<(u64, u64, Vec<u8>)> = Vec::new();
    let output = output.strip_suffix(b"\n").unwrap_or(output);
    if output.is_empty() {
        return Some(Vec::new());
    }
    for line in output.split(|byte| *byte == b'\n') {
        match (parse_subvolume(line), subvolumes.last_mut()) {
            (Some(subvolume), _) => subvolumes.push(subvolume),
            (None, Some((_, _, path))) => {
                path.push(b'\n');
                path.extend_from_slice(line);
            }
            (None, None) => return None,
        }
    }
    let record = |(id, top_level, path): (u64, u64, Vec<u8>)| {
        Some(BtrfsSubvolume {
            btrfssubvolume_id: id,
            btrfssubvolume_top_level_id: top_level,
            btrfssubvolume_path: ByteString::new(&path).ok()?,
        })
    };
    subvolumes.into_iter().map(record).collect()
}

/// Reads one line; gives id, top level and path.
fn parse_subvolume(line: &[u8]) -> Option<(u64, u64, Vec<u8>)> {
    let (id, rest) = number_after(line, b"ID ")?;
    let (_, rest) = number_after(rest, b" gen ")?;
    let (top_level, rest) = number_after(rest, b" top level ")?;
    Some((id, top_level, rest.strip_prefix(b" path ")?.to_vec()))
}

/// Reads `ID 5 (FS_TREE)` or `ID 256 gen 7 top level 5 path NAME`.
pub fn parse_default(output: &[u8]) -> Option<i64> {
    let (id, _) = number_after(output, b"ID ")?;
    i64::try_from(id).ok()
}

/// Reads the decimal number after `label`; gives what follows it too.
fn number_after<'a>(text: &'a [u8], label: &[u8]) -> Option<(u64, &'a [u8])> {
    let text = text.strip_prefix(label)?;
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((number, &text[end..]))
}

/// Reads what is said about a subvolume: lines with a tab, `KEY:` and a value. Lines with more tabs go on with the value
/// of the key before them: the paths of snapshots.
pub fn parse_description(output: &[u8]) -> Vec<(ByteString, ByteString)> {
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for line in output.split(|byte| *byte == b'\n') {
        let Some(rest) = line.strip_prefix(b"\t") else { continue };
        if let (Some(more), Some((_, value))) = (rest.strip_prefix(b"\t"), fields.last_mut()) {
            if !value.is_empty() {
                value.push(b',');
            }
            value.extend_from_slice(more.trim_ascii());
        } else if let Some(colon) = rest.iter().position(|byte| *byte == b':') {
            fields.push((rest[..colon].to_vec(), rest[colon + 1..].trim_ascii().to_vec()));
        }
    }
    let bytes = |bytes: &[u8]| ByteString::new(bytes).ok();
    fields.into_iter().filter_map(|(key, value)| Some((bytes(&key)?, bytes(&value)?))).collect()
}

/// Reads the table of quota groups: lines `LEVEL/NUMBER REFERENCED EXCLUSIVE`, among others.
pub fn parse_quota_groups(output: &[u8]) -> Vec<BtrfsQuotaGroup> {
    let text = String::from_utf8_lossy(output);
    let group = |line: &str| {
        let mut words = line.split_whitespace();
        let id = words.next()?;
        let (level, number) = id.split_once('/')?;
        (level.parse::<u16>().is_ok() && number.parse::<u64>().is_ok()).then_some(())?;
        let (referenced, exclusive) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(BtrfsQuotaGroup {
            btrfsqgroup_id: id.to_owned(),
            btrfsqgroup_rfer: referenced,
            btrfsqgroup_excl: exclusive,
        })
    };
    text.lines().filter_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subvolume(id: u64, top_level: u64, path: &[u8]) -> BtrfsSubvolume {
        BtrfsSubvolume {
            btrfssubvolume_id: id,
            btrfssubvolume_top_level_id: top_level,
            btrfssubvolume_path: ByteString::new(path).unwrap(),
        }
    }

    #[test]
    fn subvolumes_are_read_whatever_their_names() {
        let output = b"ID 256 gen 9 top level 5 path root\nID 257 gen 7 top level 256 path root/a b \xff\n\
            ID 260 gen 8 top level 5 path two\nlines\n";
        let expected = [
            subvolume(256, 5, b"root"),
            subvolume(257, 256, b"root/a b \xff"),
            subvolume(260, 5, b"two\nlines"),
        ];
        assert_eq!(parse_list(output).unwrap(), expected);
        assert_eq!(parse_list(b"").unwrap(), []);
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        for output in [&b"none\n"[..], b"ID x gen 9 top level 5 path root\n", b"ID 256 gen 9 top level 5\n"] {
            assert_eq!(parse_list(output), None, "{}", output.escape_ascii());
        }
    }

    #[test]
    fn the_default_is_the_top_level_or_a_subvolume() {
        assert_eq!(parse_default(b"ID 5 (FS_TREE)\n"), Some(5));
        assert_eq!(parse_default(b"ID 256 gen 7 top level 5 path root\n"), Some(256));
        assert_eq!(parse_default(b"ERROR: no\n"), None);
        assert_eq!(parse_default(b"ID 99999999999999999999\n"), None);
    }

    #[test]
    fn a_description_has_its_snapshots_in_one_value() {
        let output = b"home\n\tName: \t\t\thome\n\tSend time: \t\t2024-01-02 03:04:05 +0000\n\tSnapshot(s):\n\t\t\t\tone\n\
            \t\t\t\ttwo\n\tQuota group:\t\t0/256\n\t  Limit referenced:\t-\n";
        let pair = |key: &str, value: &str| {
            (ByteString::try_from(key).unwrap(), ByteString::try_from(value).unwrap())
        };
        let expected = [
            pair("Name", "home"),
            pair("Send time", "2024-01-02 03:04:05 +0000"),
            pair("Snapshot(s)", "one,two"),
            pair("Quota group", "0/256"),
            pair("  Limit referenced", "-"),
        ];
        assert_eq!(parse_description(output), expected);
    }

    #[test]
    fn only_lines_of_groups_are_taken_from_their_table() {
        let output = b"Qgroupid    Referenced    Exclusive   Path \n--------    ----------    ---------   ---- \n\
            0/5              16384        16384   <toplevel>\n1/1   0   0   <0 member qgroups>\nx/1 0 0\n0/9 many 0\n";
        let groups = parse_quota_groups(output);
        let told: Vec<_> =
            groups.iter().map(|group| (group.btrfsqgroup_id.as_str(), group.btrfsqgroup_rfer)).collect();
        assert_eq!(told, [("0/5", 16384), ("1/1", 0)]);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_the_parsers_panic(output in proptest::collection::vec(0u8.., 0..200)) {
            parse_description(&output);
            parse_quota_groups(&output);
            let _ = parse_list(&output);
            let _ = parse_default(&output);
        }

        #[test]
        fn no_line_makes_the_parsers_panic(output in "(ID [0-9]{0,22} gen [0-9]{0,3} top level [0-9]{0,22} path ?.{0,9}\n?){0,3}") {
            let _ = parse_list(output.as_bytes());
            let _ = parse_default(output.as_bytes());
        }
    }
}
