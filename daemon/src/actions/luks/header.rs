//! How much memory a LUKS2 device takes to be opened: the function that turns a passphrase into a key is made to need
//! it, and without it the kernel would end whatever program it picks.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use guestfs_api::values::DeviceName;
use guestfs_api::{Errno, Failure};

/// The binary part of the header, behind which the text begins, in bytes (LUKS2 On-Disk Format Specification, 2.1).
const BINARY_BYTES: usize = 4096;

/// The largest header with its text, in bytes (the same, table 1).
const HEADER_BYTES_MAX: u64 = 4 << 20;

/// What a header begins with: the mark, and the version.
const MARK: &[u8] = b"LUKS\xba\xbe\0\x02";

/// Names the memory of a slot's function in the text, in KiB.
const MEMORY_KEY: &[u8] = b"\"memory\":";

/// Fails when no key slot of a LUKS2 device can be opened with the memory that is free.
pub fn check_memory(device: &DeviceName, node: &Path) -> Result<(), Failure> {
    let text = File::open(node).and_then(|file| read_text(&file));
    let text = text.map_err(|error| Failure::io(&error, format_args!("read the header of {device}")))?;
    let (Some(needed), Some(free)) = (text.as_deref().and_then(least_memory), free_memory()) else {
        return Ok(());
    };
    if needed <= free {
        return Ok(());
    }
    let mebibytes = |kibibytes: u64| kibibytes.div_ceil(1024);
    Err(Failure {
        errno: Some(Errno::ENOMEM),
        message: format!(
            "open {device}: its keys take {} MiB of memory to be tried, and the appliance has {} MiB free: give it \
             more, for example LIBGUESTFS_MEMSIZE={}",
            mebibytes(needed),
            mebibytes(free),
            mebibytes(needed).saturating_add(512)
        ),
    })
}

/// Reads the text of a LUKS2 header; `None` for anything else.
fn read_text(device: &File) -> std::io::Result<Option<Vec<u8>>> {
    let mut binary = [0; BINARY_BYTES];
    match device.read_exact_at(&mut binary, 0) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let length = u64::from_be_bytes(binary[8..16].try_into().expect("eight bytes"));
    let begin = u64::try_from(BINARY_BYTES).expect("4 KiB fit");
    if !binary.starts_with(MARK) || !(begin + 1..=HEADER_BYTES_MAX).contains(&length) {
        return Ok(None);
    }
    let mut text = vec![0; usize::try_from(length - begin).expect("4 MiB fit")];
    match device.read_exact_at(&mut text, begin) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        result => result.map(|()| Some(text)),
    }
}

/// Finds the least memory that one of the slots takes, in KiB; `None` when one takes none or there are no slots. The
/// text is JSON, in which this name stands for nothing else.
fn least_memory(text: &[u8]) -> Option<u64> {
    /// Names the function of a slot that takes no memory to speak of.
    const WITHOUT_MEMORY: &[u8] = b"\"pbkdf2\"";
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let text: Vec<u8> = text[..end].iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    // Digests are made with it too, and say so behind the slots.
    let slots = text.windows(b"\"segments\"".len()).position(|window| window == b"\"segments\"");
    let slots = &text[..slots.unwrap_or(text.len())];
    if slots.windows(WITHOUT_MEMORY.len()).any(|window| window == WITHOUT_MEMORY) {
        return None;
    }
    let places = slots.windows(MEMORY_KEY.len()).enumerate().filter(|(_, window)| *window == MEMORY_KEY);
    let numbers = places.filter_map(|(place, _)| {
        let digits = slots.get(place + MEMORY_KEY.len()..)?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    });
    numbers.min()
}

/// Gives the memory that programs can have, in KiB; `None` where the kernel does not say.
fn free_memory() -> Option<u64> {
    let list = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = list.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A device with a LUKS2 header whose text is `text`.
    fn header(text: &[u8], length: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(MARK, 0).unwrap();
        file.write_all_at(&length.to_be_bytes(), 8).unwrap();
        file.write_all_at(text, 4096).unwrap();
        file
    }

    #[test]
    fn the_slot_that_takes_least_counts() {
        let text = br#"{"keyslots":{"0":{"kdf":{"type":"argon2id","time":4,"memory":1048576,"cpus":4}},
            "1":{"kdf":{"type":"argon2i","memory": 65536}}},"segments":{},"digests":{"0":{"type":"pbkdf2"}}}"#;
        let read = read_text(&header(text, 16 << 10)).unwrap().unwrap();
        assert_eq!(read.len(), (16 << 10) - 4096);
        assert_eq!(least_memory(&read), Some(65_536));
        let with_old = br#"{"keyslots":{"0":{"kdf":{"type":"argon2id","memory":1048576}},"1":{"kdf":{"type":"pbkdf2"}}}}"#;
        assert_eq!(least_memory(with_old), None);
        assert_eq!(least_memory(b"{}"), None);
        assert_eq!(least_memory(br#"{"memory":99999999999999999999999}"#), None);
    }

    #[test]
    fn headers_with_absurd_lengths_are_left_to_cryptsetup() {
        for length in [0, 4096, (4 << 20) + 1, u64::MAX, 2 << 20] {
            assert_eq!(read_text(&header(b"{}", length)).unwrap(), None, "{length}");
        }
        let empty = tempfile::tempfile().unwrap();
        assert_eq!(read_text(&empty).unwrap(), None);
    }

    #[test]
    fn a_device_that_takes_more_than_there_is_names_the_setting() {
        let text = format!(r#"{{"keyslots":{{"0":{{"memory":{}}}}}}}"#, u32::MAX);
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut from = header(text.as_bytes(), 16 << 10);
        std::io::copy(&mut from, &mut file.reopen().unwrap()).unwrap();
        let device = DeviceName::try_from("/dev/sda1").unwrap();
        let failure = check_memory(&device, file.path()).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::ENOMEM));
        assert!(
            failure.message.starts_with("open /dev/sda1: its keys take 4194304 MiB of memory"),
            "{failure}"
        );
        assert!(failure.message.contains("LIBGUESTFS_MEMSIZE="), "{failure}");
    }

    proptest! {
        #[test]
        fn any_text_is_looked_at(text in proptest::collection::vec(any::<u8>(), 0..300), words in "(\"memory\":[0-9]{0,22},?){0,4}") {
            least_memory(&text);
            least_memory(words.as_bytes());
        }
    }
}
