//! Packages of Debian and its relatives: dpkg's status file.

use guestfs_api::records::Application2;
use guestfs_api::values::ByteString;

use super::{DESCRIPTION_BYTES_MAX, paragraphs, split_version, text};

/// Reads the packages of a status file that are installed: neither removed nor half of them there.
pub fn installed(status: &[u8]) -> impl Iterator<Item = Application2> {
    paragraphs(status).filter_map(|lines| package(&lines))
}

fn package(lines: &[&[u8]]) -> Option<Application2> {
    let field = |name: &[u8]| {
        let place = lines.iter().position(|line| {
            line.split_at_checked(name.len())
                .is_some_and(|(head, rest)| head.eq_ignore_ascii_case(name) && rest.starts_with(b":"))
        })?;
        Some((place, lines[place][name.len() + 1..].trim_ascii()))
    };
    let value = |name: &[u8]| field(name).map_or(&b""[..], |(_, value)| value);
    // Three words: what is wanted, whether something is wrong, and what is.
    let is_installed = value(b"Status").split(u8::is_ascii_whitespace).nth(2) == Some(b"installed");
    let name = Some(value(b"Package")).filter(|name| is_installed && !name.is_empty())?;
    let (epoch, version, release) =
        split_version(Some(value(b"Version")).filter(|version| !version.is_empty())?);
    let source = value(b"Source").split(|byte| *byte == b' ').next().unwrap_or_default();
    let (summary, description) = match field(b"Description") {
        Some((place, summary)) => (summary, continued(&lines[place + 1..])),
        None => Default::default(),
    };
    Some(Application2 {
        app2_name: text(name),
        app2_epoch: epoch,
        app2_version: text(version),
        app2_release: text(release),
        app2_arch: text(value(b"Architecture")),
        app2_url: text(value(b"Homepage")),
        app2_source_package: text(source),
        app2_summary: text(summary),
        app2_description: description,
        ..Application2::default()
    })
}

/// Joins the lines that go on with a field: each begins with a blank, and a dot alone stands for an empty one.
fn continued(lines: &[&[u8]]) -> ByteString {
    let mut joined = Vec::new();
    for line in lines.iter().map_while(|line| line.strip_prefix(b" ")) {
        if joined.len() + line.len() >= DESCRIPTION_BYTES_MAX {
            break;
        }
        joined.extend_from_slice(if line == b"." { b"" } else { line });
        joined.push(b'\n');
    }
    joined.pop();
    ByteString::new(&joined).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: adduser\nStatus: install ok installed\nPriority: important\nArchitecture: all\n\
        Version: 3.134\nDescription: add and remove users\n Two programs.\n .\n And more.\nHomepage: https://example.org\n\n\
        Package: bsdutils\nstatus: hold ok installed\nSource: util-linux (2.38.1-5)\nArchitecture: amd64\n\
        Version: 1:2.38.1-5+b1\n\n\
        Package: removed\nStatus: deinstall ok config-files\nVersion: 1\n\n\
        Package: never\nStatus: purge ok not-installed\nVersion: 1\n\n\
        Package: half\nStatus: install ok half-installed\nVersion: 1\n";

    #[test]
    fn what_is_installed_is_listed_and_nothing_else() {
        let found: Vec<_> = installed(STATUS.as_bytes()).collect();
        let texts: Vec<String> = found
            .iter()
            .map(|one| {
                format!("{} {}:{}-{}", one.app2_name, one.app2_epoch, one.app2_version, one.app2_release)
            })
            .collect();
        assert_eq!(texts, ["adduser 0:3.134-", "bsdutils 1:2.38.1-5+b1"]);
        assert_eq!(found[0].app2_summary.as_bytes(), b"add and remove users");
        assert_eq!(found[0].app2_description.as_bytes(), b"Two programs.\n\nAnd more.");
        assert_eq!(found[0].app2_url.as_bytes(), b"https://example.org");
        assert_eq!(found[1].app2_source_package.as_bytes(), b"util-linux");
        assert_eq!(found[1].app2_arch.as_bytes(), b"amd64");
    }
}
