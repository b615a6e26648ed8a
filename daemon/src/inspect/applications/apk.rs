//! The packages of apk, Alpine's package manager: one file with paragraphs of lines `LETTER:value`.

use guestfs_api::records::Application2;

use super::{paragraphs, split_version, text};

/// Lists the packages of a database.
pub fn installed(database: &[u8]) -> impl Iterator<Item = Application2> {
    paragraphs(database).filter_map(|lines| {
        let value = |letter: &[u8]| {
            let values = lines.iter().filter_map(|line| line.strip_prefix(letter)?.strip_prefix(b":"));
            values.into_iter().next()
        };
        let (epoch, version, release) = split_version(value(b"V").filter(|version| !version.is_empty())?);
        Some(Application2 {
            app2_name: text(value(b"P").filter(|name| !name.is_empty())?),
            app2_epoch: epoch,
            app2_version: text(version),
            app2_release: text(release.strip_prefix(b"r").unwrap_or(release)),
            app2_arch: text(value(b"A").unwrap_or_default()),
            app2_url: text(value(b"U").unwrap_or_default()),
            app2_summary: text(value(b"T").unwrap_or_default()),
            ..Application2::default()
        })
    })
}

#[cfg(test)]
mod tests {
    use guestfs_api::values::ByteString;

    use super::*;

    #[test]
    fn alpines_packages_are_read() {
        let database = b"C:Q1\nP:musl\nV:1.2.4-r2\nA:x86_64\nT:the libc\nU:https://musl.libc.org/\n\n\
            P:half\n\nP:busybox\nV:1.36.1-r15\n";
        let found: Vec<_> = installed(database).collect();
        assert_eq!(found.len(), 2);
        let fields = |field: fn(&Application2) -> &ByteString| {
            found.iter().map(|one| field(one).to_string()).collect::<Vec<_>>()
        };
        assert_eq!(fields(|one| &one.app2_name), ["musl", "busybox"]);
        assert_eq!(fields(|one| &one.app2_version), ["1.2.4", "1.36.1"]);
        assert_eq!(fields(|one| &one.app2_release), ["2", "15"]);
        assert_eq!(fields(|one| &one.app2_summary), ["the libc", ""]);
    }
}
