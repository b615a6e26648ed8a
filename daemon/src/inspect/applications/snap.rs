//! Snaps, from snapd's state. It has their revisions and not their versions, which are in images of their own.

use std::collections::BTreeMap;

use guestfs_api::records::Application2;
use serde::Deserialize;
use serde_json::Value;

use super::{APPLICATIONS_MAX, text};
use crate::inspect::guest::{Guest, known};

const STATE: &str = "/var/lib/snapd/state.json";

/// The largest state that is read, in bytes. Changes of the last days are in it, too: some MB.
const STATE_BYTES_MAX: u64 = 32 << 20;

#[derive(Deserialize)]
struct State {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    snaps: BTreeMap<String, Snap>,
}

#[derive(Deserialize)]
struct Snap {
    /// The revision in use: a number, a text of one, or `x1` for one that was built here. Without it, none is installed.
    current: Option<Value>,
}

/// Lists the snaps that are installed, each with its revision as its version.
pub fn installed(guest: &Guest) -> Vec<Application2> {
    let Some(state) = guest.text_at(&known(STATE), STATE_BYTES_MAX) else { return Vec::new() };
    snaps(&state).unwrap_or_else(|error| {
        guest.note(format!("{STATE}: {error}"));
        Vec::new()
    })
}

fn snaps(state: &[u8]) -> Result<Vec<Application2>, serde_json::Error> {
    let state: State = serde_json::from_slice(state)?;
    let snaps = state.data.snaps.into_iter().take(APPLICATIONS_MAX);
    let installed = snaps.filter_map(|(name, snap)| {
        let revision = match snap.current? {
            Value::String(revision) => revision,
            Value::Number(revision) => revision.to_string(),
            _ => return None,
        };
        Some(Application2 {
            app2_name: text(name.as_bytes()),
            app2_version: text(revision.as_bytes()),
            ..Application2::default()
        })
    });
    Ok(installed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snaps_are_listed_with_their_revisions() {
        let state = br#"{"data": {"auth": {}, "snaps": {
            "core22": {"type": "base", "sequence": [{"name": "core22", "revision": "1122"}], "current": "1122"},
            "own": {"current": "x1", "active": true}, "old": {"current": 7}, "gone": {"sequence": []}}},
            "changes": {"1": {}}}"#;
        let texts: Vec<String> = snaps(state)
            .unwrap()
            .iter()
            .map(|one| format!("{} {}", one.app2_name, one.app2_version))
            .collect();
        assert_eq!(texts, ["core22 1122", "old 7", "own x1"]);
        assert!(snaps(b"{\"data\": {\"snaps\": {\"half").is_err());
        assert!(snaps(b"[]").is_err());
    }
}
