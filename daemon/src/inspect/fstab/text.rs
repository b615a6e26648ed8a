//! Reads the text of fstab(5), crypttab(5) and mdadm.conf(5), all bytes of the guest's.

/// The largest file of these kinds that is read, in bytes: real ones have a few KiB.
pub const TABLE_BYTES_MAX: u64 = 100_000;

/// A line of fstab(5), its escapes undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The device, or how to find it: `/dev/sda1`, `UUID=...`.
    pub spec: Vec<u8>,
    /// Where it is mounted, as written: an absolute path, `none` or `swap`.
    pub mountpoint: Vec<u8>,
    /// The type of the file system; empty when the line ends before.
    pub kind: Vec<u8>,
    /// The options, separated by commas; empty when the line ends before.
    pub options: Vec<u8>,
}

impl Entry {
    /// Gives the value of the last option of this name: the kernel counts the last one.
    pub fn option(&self, name: &str) -> Option<&[u8]> {
        let options = self.options.split(|byte| *byte == b',');
        let mut values =
            options.filter_map(|option| option.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        values.next_back()
    }
}

/// Reads an fstab. Lines with fewer than two fields say nothing and are left out.
pub fn fstab(text: &[u8]) -> Vec<Entry> {
    let entry = |line: &[u8]| {
        let mut fields = fields(line);
        let mut next = || fields.next().map(unescape);
        Some(Entry {
            spec: next()?,
            mountpoint: next()?,
            kind: next().unwrap_or_default(),
            options: next().unwrap_or_default(),
        })
    };
    lines(text).filter_map(entry).collect()
}

/// A line of crypttab(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CryptEntry {
    /// The name that the opened device gets below /dev/mapper.
    pub target: Vec<u8>,
    /// The encrypted device, or how to find it.
    pub device: Vec<u8>,
}

/// Reads a crypttab.
pub fn crypttab(text: &[u8]) -> Vec<CryptEntry> {
    let entry = |line: &[u8]| {
        let mut fields = fields(line);
        Some(CryptEntry { target: unescape(fields.next()?), device: unescape(fields.next()?) })
    };
    lines(text).filter_map(entry).collect()
}

/// The UUID of a RAID, without the separators that mdadm writes in various ways.
pub type RaidUuid = [u8; 16];

/// Reads the arrays of an mdadm.conf: their devices and UUIDs. Keywords may be in any case, and a line that begins with
/// a blank goes on with the one before.
pub fn mdadm(text: &[u8]) -> Vec<(Vec<u8>, RaidUuid)> {
    let mut joined: Vec<Vec<u8>> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        match joined.last_mut() {
            Some(last) if line.first().is_some_and(u8::is_ascii_whitespace) => last.extend_from_slice(line),
            _ => joined.push(line.to_vec()),
        }
    }
    let array = |line: &Vec<u8>| {
        let mut fields = fields(line);
        fields.next().filter(|keyword| keyword.eq_ignore_ascii_case(b"ARRAY"))?;
        let device = fields.next()?.to_vec();
        let uuid = fields.find_map(|field| {
            let (keyword, value) = field.split_at_checked(b"UUID=".len())?;
            keyword.eq_ignore_ascii_case(b"UUID=").then(|| raid_uuid(value))
        });
        Some((device, uuid??))
    };
    joined.iter().filter_map(array).collect()
}

/// Reads a RAID's UUID: 32 hexadecimal digits, whatever stands between them of `:`, `.`, `-` and blanks.
pub fn raid_uuid(text: &[u8]) -> Option<RaidUuid> {
    let mut uuid = RaidUuid::default();
    let mut digits = 0;
    for byte in text.iter().filter(|byte| !b":.- ".contains(byte)) {
        let digit = u8::try_from(char::from(*byte).to_digit(16)?).expect("a hexadecimal digit is below 16");
        let place = uuid.get_mut(digits / 2)?;
        *place = *place << 4 | digit;
        digits += 1;
    }
    (digits == 32).then_some(uuid)
}

/// Gives the lines that are neither empty nor comments.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| line.first().is_some_and(|byte| *byte != b'#'))
}

/// Gives a line's fields, up to a comment.
fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    fields.take_while(|field| !field.starts_with(b"#"))
}

/// Undoes octal escapes such as `\040`, by which fstab(5) writes blanks. Other backslashes stay.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        match (byte, after) {
            (b'\\', [first @ b'0'..=b'3', second @ b'0'..=b'7', third @ b'0'..=b'7', after @ ..]) => {
                plain.push((first - b'0') << 6 | (second - b'0') << 3 | (third - b'0'));
                rest = after;
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: [&str; 4]) -> Entry {
        let [spec, mountpoint, kind, options] = fields.map(|field| field.as_bytes().to_vec());
        Entry { spec, mountpoint, kind, options }
    }

    #[test]
    fn comments_and_half_lines_are_left_out() {
        let text = b"# /etc/fstab\n\n  \t\nUUID=1 / ext4 errors=remount-ro 0 1\n /dev/sr0\t/cd\n/dev/sdb1\n\
            /dev/sda2 none swap sw # the swap\r\n/dev/sda3 /x # no type";
        let expected = [
            entry(["UUID=1", "/", "ext4", "errors=remount-ro"]),
            entry(["/dev/sr0", "/cd", "", ""]),
            entry(["/dev/sda2", "none", "swap", "sw"]),
            entry(["/dev/sda3", "/x", "", ""]),
        ];
        assert_eq!(fstab(text), expected);
    }

    #[test]
    fn octal_escapes_are_undone_and_other_backslashes_stay() {
        let entries = fstab(b"LABEL=a\\040b /my\\040disk\\134x ext4 rw\\\n/dev/x /\\400\\9\\04 a b");
        assert_eq!(entries[0], entry(["LABEL=a b", "/my disk\\x", "ext4", "rw\\"]));
        assert_eq!(entries[1].mountpoint, b"/\\400\\9\\04");
    }

    #[test]
    fn the_last_option_of_a_name_counts() {
        let entry = entry(["/dev/sda1", "/", "btrfs", "subvol=a,subvolid=7,compress,subvol=@/b"]);
        assert_eq!(entry.option("subvol"), Some(&b"@/b"[..]));
        assert_eq!(entry.option("compress"), None);
        assert_eq!(entry.option("x"), None);
    }

    #[test]
    fn encrypted_devices_are_read() {
        let entries =
            crypttab(b"# comment\nluks-root UUID=5f1c none luks\nswap /dev/sda3 /dev/urandom swap\nhalf\n");
        let texts: Vec<_> = entries.iter().map(|entry| (&entry.target[..], &entry.device[..])).collect();
        assert_eq!(texts, [(&b"luks-root"[..], &b"UUID=5f1c"[..]), (b"swap", b"/dev/sda3")]);
    }

    #[test]
    fn arrays_are_read_in_all_forms() {
        let uuid = raid_uuid(b"26d0bc1e:0d7cd5ac:31a2b47c:ea2b8f6e").unwrap();
        assert_eq!(raid_uuid(b"26D0BC1E-0D7CD5AC-31A2B47C-EA2B8F6E"), Some(uuid));
        let text =
            b"DEVICE partitions\narray /dev/md0 metadata=1.2\n  uuid=26d0bc1e:0d7cd5ac:31a2b47c:ea2b8f6e\n\
            ARRAY /dev/md1 name=none\nARRAY /dev/md2 UUID=26d0\n";
        assert_eq!(mdadm(text), [(b"/dev/md0".to_vec(), uuid)]);
        assert_eq!(raid_uuid(b"26d0bc1e:0d7cd5ac:31a2b47c:ea2b8f6e0"), None);
        assert_eq!(raid_uuid(b"26d0bc1e:0d7cd5ac:31a2b47c:ea2b8f6g"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in proptest::collection::vec(0u8.., 0..400)) {
            fstab(&text);
            crypttab(&text);
            mdadm(&text);
        }

        #[test]
        fn an_escaped_field_is_read_back(field in proptest::collection::vec(0u8.., 1..40)) {
            let escaped: String = field.iter().map(|byte| format!("\\{byte:03o}")).collect();
            let entries = fstab(format!("{escaped} /\n").as_bytes());
            proptest::prop_assert_eq!(&entries[0].spec, &field);
        }
    }
}
