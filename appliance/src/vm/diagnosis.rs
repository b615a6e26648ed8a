//! Turns what QEMU says when it ends at once into an error about the image it is about.

use std::path::PathBuf;

use super::drive::Disk;
use super::error::{FailureReport, LaunchError};

/// Names the cause of a QEMU that ended before its monitor answered.
pub fn why_qemu_ended(report: FailureReport, drives: &[Disk]) -> LaunchError {
    match blamed_image(&report.console, drives) {
        Some((path, reason)) => refused(path, reason),
        None => LaunchError::Exited(report),
    }
}

/// Makes the error for an image of which QEMU says `reason`.
pub fn refused(path: PathBuf, reason: String) -> LaunchError {
    match reason.contains("Failed to get") && reason.contains("lock") {
        true => LaunchError::InUse { path },
        false => LaunchError::Refused { path, reason },
    }
}

/// Finds the line `PROGRAM: -blockdev {"node-name":"drive3-file",…}: REASON` and returns the image of that drive
/// and the reason, which may go on in the lines below.
fn blamed_image(console: &[String], drives: &[Disk]) -> Option<(PathBuf, String)> {
    const OPTION: &str = ": -blockdev {";
    let at = console.iter().position(|line| line.contains(OPTION))?;
    let (_, from_node) = console[at].split_once(": -blockdev ")?;
    // The reason begins behind the node: JSON text is the longest prefix that can be read as such.
    let mut nodes = serde_json::Deserializer::from_str(from_node).into_iter::<serde_json::Value>();
    let node = nodes.next()?.ok()?;
    let reason = from_node.get(nodes.byte_offset()..)?.trim_start_matches([':', ' ']);
    let name = node.get("node-name")?.as_str()?;
    let digits = name.strip_prefix("drive")?.split('-').next()?;
    let drive = drives.get(digits.parse::<usize>().ok()?)?;
    let below = console[at + 1..].iter().map(String::as_str);
    let reason = std::iter::once(reason).chain(below).collect::<Vec<_>>().join("; ");
    Some((drive.image.clone(), reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::drive::Device;

    fn why(console: &[&str]) -> LaunchError {
        let console = console.iter().map(|line| (*line).to_owned()).collect();
        let device = || Device(serde_json::Value::Null);
        let drive = |path: &str| Disk {
            objects: Vec::new(),
            nodes: Vec::new(),
            device: device(),
            image: path.into(),
        };
        let drives = [drive("/one.img"), drive("/two.vmdk")];
        why_qemu_ended(FailureReport { status: None, console }, &drives)
    }

    #[test]
    fn refused_image_is_named_with_the_reason() {
        let error = why(&[
            r#"qemu-system-x86_64: -blockdev {"driver":"vmdk","file":"drive1-image-file","node-name":"drive1-image"}: Could not open '/base: }.vmdk'"#,
            "No such file",
        ]);
        assert_eq!(
            error.to_string(),
            "/two.vmdk: QEMU cannot use it: Could not open '/base: }.vmdk'; No such file"
        );
    }

    #[test]
    fn locked_image_is_in_use() {
        let error = why(&[
            r#"qemu-system-x86_64: -blockdev {"driver":"raw","node-name":"drive0"}: Failed to get "write" lock"#,
            "Is another process using the image [/one.img]?",
        ]);
        assert!(
            matches!(&error, LaunchError::InUse { path } if path.to_str() == Some("/one.img")),
            "{error}"
        );
    }

    #[test]
    fn other_last_words_are_repeated() {
        for line in
            ["qemu: could not load kernel", r#"q: -blockdev {"node-name":"tools"}: x"#, "q: -blockdev {", ""]
        {
            assert!(matches!(why(&[line]), LaunchError::Exited(_)), "{line}");
        }
    }
}
