//! What a LUKS device takes to be opened: the function that turns a passphrase into a key is made to need memory and time.
//! Without the memory the kernel would end whatever program it picks, and a damaged or hostile header can ask for years.

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

/// The most rounds of the function that a header may ask for. cryptsetup chooses as many as take its maker's processor two
/// seconds, which is some ten million; so many would take the fastest one minutes.
const ROUNDS_MAX: u64 = 1_000_000_000;

/// Names the rounds of a slot's function in the text: of PBKDF2, and of Argon2.
const ROUNDS_KEYS: [&[u8]; 2] = [b"\"iterations\":", b"\"time\":"];

/// Fails when no key slot of a device can be opened with the memory that is free, or within the time that one waits.
pub fn check(device: &DeviceName, node: &Path) -> Result<(), Failure> {
    let file = File::open(node);
    let read = file.and_then(|file| Ok((read_binary(&file)?, read_text(&file)?)));
    let (binary, text) =
        read.map_err(|error| Failure::io(&error, format_args!("read the header of {device}")))?;
    let rounds = match &text {
        Some(text) => least_rounds(text),
        None => binary.and_then(|binary| least_rounds_of_luks1(&binary)),
    };
    if let Some(rounds) = rounds.filter(|rounds| *rounds > ROUNDS_MAX) {
        return Err(Failure {
            errno: Some(Errno::EINVAL),
            message: format!(
                "open {device}: its header asks for {rounds} rounds for each key that is tried, which no program writes: \
                 it is damaged"
            ),
        });
    }
    text.as_deref().map_or(Ok(()), |text| check_memory(device, text))
}

fn check_memory(device: &DeviceName, text: &[u8]) -> Result<(), Failure> {
    let (Some(needed), Some(free)) = (least_memory(text), free_memory()) else { return Ok(()) };
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

/// Reads the beginning of a device; `None` where it is shorter than any header.
fn read_binary(device: &File) -> std::io::Result<Option<[u8; BINARY_BYTES]>> {
    let mut binary = [0; BINARY_BYTES];
    match device.read_exact_at(&mut binary, 0) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        result => result.map(|()| Some(binary)),
    }
}

/// Reads the text of a LUKS2 header; `None` for anything else.
fn read_text(device: &File) -> std::io::Result<Option<Vec<u8>>> {
    let Some(binary) = read_binary(device)? else { return Ok(None) };
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

/// Finds the least memory that one of the slots takes, in KiB; `None` when one takes none or there are no slots.
fn least_memory(text: &[u8]) -> Option<u64> {
    /// Names the function of a slot that takes no memory to speak of.
    const WITHOUT_MEMORY: &[u8] = b"\"pbkdf2\"";
    let slots = slots_of(text);
    if slots.windows(WITHOUT_MEMORY.len()).any(|window| window == WITHOUT_MEMORY) {
        return None;
    }
    numbers_behind(&slots, MEMORY_KEY).min()
}

/// Finds the fewest rounds that one of the slots takes; `None` when there are no slots.
fn least_rounds(text: &[u8]) -> Option<u64> {
    let slots = slots_of(text);
    ROUNDS_KEYS.into_iter().flat_map(|key| numbers_behind(&slots, key)).min()
}

/// Finds the fewest rounds that one of the slots of a LUKS1 device takes (LUKS On-Disk Format Specification 1.2, figures 1
/// and 2).
fn least_rounds_of_luks1(binary: &[u8; BINARY_BYTES]) -> Option<u64> {
    const MARK: &[u8] = b"LUKS\xba\xbe\0\x01";
    const SLOTS: std::ops::Range<usize> = 208..592;
    const SLOT_BYTES: usize = 48;
    const ENABLED: [u8; 4] = [0x00, 0xac, 0x71, 0xf3];
    if !binary.starts_with(MARK) {
        return None;
    }
    let enabled = binary[SLOTS].chunks_exact(SLOT_BYTES).filter(|slot| slot.starts_with(&ENABLED));
    let rounds = |slot: &[u8]| u32::from_be_bytes(slot[4..8].try_into().expect("four bytes")).into();
    enabled.map(rounds).min()
}

/// Gives the part of the text about the slots, without blanks: digests are made with the same functions, and say so behind
/// it. The text is JSON, in which the names that are looked for stand for nothing else.
fn slots_of(text: &[u8]) -> Vec<u8> {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let mut text: Vec<u8> = text[..end].iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let slots = text.windows(b"\"segments\"".len()).position(|window| window == b"\"segments\"");
    text.truncate(slots.unwrap_or(text.len()));
    text
}

/// Gives the numbers behind each place of a name.
fn numbers_behind(text: &[u8], name: &[u8]) -> impl Iterator<Item = u64> {
    let places = text.windows(name.len()).enumerate().filter(move |(_, window)| *window == name);
    places.filter_map(|(place, _)| {
        let digits = text.get(place + name.len()..)?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    })
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
        let failure = check(&device, file.path()).unwrap_err();
        assert_eq!(failure.errno, Some(Errno::ENOMEM));
        assert!(
            failure.message.starts_with("open /dev/sda1: its keys take 4194304 MiB of memory"),
            "{failure}"
        );
        assert!(failure.message.contains("LIBGUESTFS_MEMSIZE="), "{failure}");
    }

    #[test]
    fn a_header_that_asks_for_years_is_refused() {
        let device = DeviceName::try_from("/dev/sda1").unwrap();
        let checked = |header: &[u8]| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), header).unwrap();
            check(&device, file.path())
        };
        let old = |slots: [(bool, u32); 2]| {
            let mut header = vec![0; 4096];
            header[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
            for (slot, (is_enabled, rounds)) in header[208..].chunks_exact_mut(48).zip(slots) {
                let state: u32 = if is_enabled { 0x00ac_71f3 } else { 0xdead };
                slot[..4].copy_from_slice(&state.to_be_bytes());
                slot[4..8].copy_from_slice(&rounds.to_be_bytes());
            }
            header
        };
        assert_eq!(checked(&old([(true, u32::MAX), (true, 5000)])), Ok(()));
        for slots in [[(true, u32::MAX), (false, 5000)], [(true, u32::MAX), (true, 2_000_000_000)]] {
            let failure = checked(&old(slots)).unwrap_err();
            assert_eq!(failure.errno, Some(Errno::EINVAL));
            assert!(failure.message.starts_with("open /dev/sda1: its header asks for "), "{failure}");
        }
        for kdf in ["\"type\":\"pbkdf2\",\"iterations\":4294967295", "\"time\":4294967295,\"memory\":32"] {
            let text = format!("{{\"keyslots\":{{\"0\":{{\"kdf\":{{{kdf}}}}}}}}}");
            let mut new = vec![0; 16 << 10];
            header(text.as_bytes(), 16 << 10).read_exact_at(&mut new, 0).unwrap();
            assert!(checked(&new).unwrap_err().message.contains("4294967295 rounds"), "{kdf}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_looked_at(text in proptest::collection::vec(any::<u8>(), 0..300), words in "(\"memory\":[0-9]{0,22},?){0,4}") {
            least_memory(&text);
            least_memory(words.as_bytes());
            least_rounds(&text);
        }
    }
}
