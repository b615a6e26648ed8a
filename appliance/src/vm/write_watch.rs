//! Asks QEMU which drives the VM has written to. What is written to a read-only drive goes to its throw-away layer, so
//! from then on the image no longer is what the VM sees.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use super::qmp::{Qmp, QmpError};

/// QEMU answers from counters it has.
const DEADLINE: Duration = Duration::from_secs(10);

/// A view of the drives' counters that can be used while the VM is.
#[derive(Debug, Clone)]
pub struct WriteWatch {
    /// The VM's monitor: one command at a time. Nothing else is locked while it is held.
    pub(super) qmp: Arc<Mutex<Qmp>>,
}

/// What `query-blockstats` says of a device; the rest of it is not looked at.
#[derive(Debug, Deserialize)]
struct Device {
    /// The device's id.
    qdev: Option<String>,
    stats: Counters,
}

#[derive(Debug, Deserialize)]
struct Counters {
    wr_operations: u64,
    wr_bytes: u64,
    unmap_operations: u64,
    failed_wr_operations: u64,
}

impl WriteWatch {
    /// Gives which of `count` drives, in the order they were added, were written to or discarded from. One that QEMU
    /// does not tell of counts as written to.
    ///
    /// # Errors
    /// Fails when QEMU does not answer, or not as expected.
    pub fn written(&self, count: usize) -> Result<BTreeSet<usize>, QmpError> {
        let command = "query-blockstats";
        let answer = self.qmp.lock().execute(command, json!({}), DEADLINE)?;
        let devices: Vec<Device> = serde_json::from_value(answer).map_err(|error| QmpError::Malformed {
            command: command.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(written(&devices, count))
    }
}

fn written(devices: &[Device], count: usize) -> BTreeSet<usize> {
    let is_unchanged = |drive: &usize| {
        let id = format!("disk{drive}");
        let device = devices.iter().find(|device| device.qdev.as_ref() == Some(&id));
        device.is_some_and(|device| {
            let Counters { wr_operations, wr_bytes, unmap_operations, failed_wr_operations } = device.stats;
            [wr_operations, wr_bytes, unmap_operations, failed_wr_operations] == [0; 4]
        })
    };
    (0..count).filter(|drive| !is_unchanged(drive)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_drives_with_all_counters_at_zero_are_unchanged() {
        let stats = |writes, bytes, unmaps, failed| {
            json!({ "wr_operations": writes, "wr_bytes": bytes, "unmap_operations": unmaps,
                    "failed_wr_operations": failed, "rd_operations": 77 })
        };
        let answer = json!([
            { "device": "", "node-name": "drive0", "qdev": "disk0", "stats": stats(0, 0, 0, 0) },
            { "device": "", "stats": stats(9, 9, 9, 9) },
            { "qdev": "disk1", "stats": stats(1, 512, 0, 0) },
            { "qdev": "disk2", "stats": stats(0, 0, 1, 0) },
            { "qdev": "disk3", "stats": stats(0, 0, 0, 1) },
            { "qdev": "disk5", "stats": stats(0, 0, 0, 0) },
        ]);
        let devices: Vec<Device> = serde_json::from_value(answer).unwrap();
        assert_eq!(written(&devices, 6), BTreeSet::from([1, 2, 3, 4]));
    }
}
