//! The stamp of a file: what the kernel keeps of it that changes whenever its content may have changed. Comparing it
//! spares reading the file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// Which file it is and when it was last touched. The time of the last change of status cannot be set by anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// The file system.
    device: u64,
    /// The file in it.
    inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of content, in nanoseconds since 1970.
    modified_ns: i64,
    /// Time of the last change of content or status, in nanoseconds since 1970.
    changed_ns: i64,
}

impl FileStamp {
    /// Takes the stamp from what the system says of a file.
    pub fn of(metadata: &Metadata) -> FileStamp {
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::SystemTime;

    #[test]
    fn stamp_changes_with_the_content_even_when_size_and_time_are_put_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "one").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let before = FileStamp::of(&fs::metadata(&path).unwrap());
        assert_eq!(before, FileStamp::of(&file.metadata().unwrap()));
        // Long enough for the kernel's clock, which ticks every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(30));
        fs::write(&path, "two").unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_ne!(before, FileStamp::of(&fs::metadata(&path).unwrap()));
    }

    #[test]
    fn copy_of_a_file_has_another_stamp() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        fs::write(&one, "content").unwrap();
        fs::copy(&one, &two).unwrap();
        let stamp = |path| FileStamp::of(&fs::metadata(path).unwrap());
        assert_ne!(stamp(&one), stamp(&two));
    }
}
