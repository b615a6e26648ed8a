//! Reads the kernel's messages, where it says more than an errno can.

use std::io;

use rustix::fs::{Mode, OFlags, SeekFrom};
use std::os::fd::OwnedFd;

/// The longest record the kernel gives (PRINTK_MESSAGE_MAX and its prefix and properties).
const RECORD_BYTES_MAX: usize = 8192;

/// Messages less important than this do not tell of errors (KERN_ERR).
const ERROR: u32 = 3;

/// Messages less important than this are progress reports (KERN_NOTICE).
const IMPORTANT: u32 = 5;

/// One message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The importance, from 0, an emergency, to 7, for debugging.
    pub level: u32,
    /// Microseconds since the kernel started.
    pub time_us: u64,
    /// The text.
    pub text: String,
}

/// The kernel's messages from one moment on.
pub struct KernelLog {
    device: OwnedFd,
}

impl KernelLog {
    /// Begins with the oldest message that is still kept.
    pub fn from_start() -> io::Result<KernelLog> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(KernelLog { device: rustix::fs::open("/dev/kmsg", flags, Mode::empty())? })
    }

    /// Begins with the next message.
    pub fn from_now() -> io::Result<KernelLog> {
        let log = KernelLog::from_start()?;
        rustix::fs::seek(&log.device, SeekFrom::End(0))?;
        Ok(log)
    }

    /// Gives the messages that there are by now and were not given before.
    pub fn read(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut buffer = vec![0; RECORD_BYTES_MAX];
        loop {
            match rustix::io::read(&self.device, &mut *buffer) {
                Ok(0) => return records,
                Ok(count) => records.extend(parse(&buffer[..count])),
                // Messages were lost before they could be read: it goes on with the oldest that is left.
                Err(rustix::io::Errno::PIPE | rustix::io::Errno::INTR) => {}
                Err(_) => return records,
            }
        }
    }
}

/// Reads a record: `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,...];TEXT\n`, then lines with properties. Of a text of several
/// lines, whose ends the kernel writes as `\x0a`, the first counts.
fn parse(record: &[u8]) -> Option<Record> {
    /// The priority's lower bits; the upper ones name who speaks.
    const LEVEL_MASK: u32 = 7;
    let record = String::from_utf8_lossy(record);
    let (head, text) = record.split_once(';')?;
    let mut fields = head.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let time_us = fields.nth(1)?.parse().ok()?;
    let text = text.lines().next().and_then(|line| line.split(r"\x0a").next()).unwrap_or_default().to_owned();
    Some(Record { level: priority & LEVEL_MASK, time_us, text })
}

/// Gives the message that says most about a failure: the first error about `subject`, which later ones follow from, else
/// the last important message about it, else the last important one.
pub fn cause<'a>(records: &'a [Record], subject: &str) -> Option<&'a str> {
    let important = || records.iter().rev().filter(|record| record.level <= IMPORTANT);
    let is_about = |record: &&Record| record.text.contains(subject);
    let first_error = records.iter().filter(is_about).find(|record| record.level <= ERROR);
    let found = first_error.or_else(|| important().find(is_about)).or_else(|| important().next());
    found.map(|record| record.text.trim())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(level: u32, text: &str) -> Record {
        Record { level, time_us: 0, text: text.to_owned() }
    }

    #[test]
    fn a_record_has_level_time_and_text() {
        let bytes = b"11,339,5140900,-;EXT4-fs (sda1): bad geometry\n SUBSYSTEM=block\n DEVICE=b8:1\n";
        let expected =
            Record { level: 3, time_us: 5_140_900, text: "EXT4-fs (sda1): bad geometry".to_owned() };
        assert_eq!(parse(bytes), Some(expected));
        assert_eq!(parse(b"6,1,2;short head; with more\n").unwrap().text, "short head; with more");
        assert_eq!(parse(b"4,1,2;ufs: no type\\x0a\\x0amount -t ufs\n").unwrap().text, "ufs: no type");
        assert_eq!(parse(b"nonsense"), None);
    }

    #[test]
    fn the_first_error_about_the_subject_is_the_cause() {
        let records = [
            record(3, "sd 0:0:1:0: [sdb] asking"),
            record(5, "BTRFS (device sda1): opening"),
            record(3, "BTRFS error (device sda1): superblock checksum mismatch "),
            record(3, "BTRFS error (device sda1): open_ctree failed: -22"),
        ];
        assert_eq!(cause(&records, "sda1"), Some("BTRFS error (device sda1): superblock checksum mismatch"));
    }

    #[test]
    fn without_an_error_the_last_important_message_is_taken() {
        let records = [
            record(4, "EXT4-fs (sda1): first"),
            record(4, "EXT4-fs (sda1): second"),
            record(6, "EXT4-fs (sda1): chatter"),
            record(4, "ISOFS: no CD-ROM"),
        ];
        assert_eq!(cause(&records, "sda1"), Some("EXT4-fs (sda1): second"));
        assert_eq!(cause(&records, "sdb1"), Some("ISOFS: no CD-ROM"));
        assert_eq!(cause(&records[2..3], "sda1"), None);
    }

    proptest! {
        #[test]
        fn any_record_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            parse(&bytes);
        }
    }
}
