//! Saves a VM's state and loads it, through QEMU's migration. The memory stays in its file: with `x-ignore-shared` QEMU
//! saves only what is outside it, a few hundred KiB of registers and devices.

use std::fs::File;
use std::os::fd::{AsFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::qmp::{Qmp, QmpError};
use super::{LaunchError, Vm};

/// How long QEMU may take to save or load its state. It takes milliseconds; the disk may be busy.
const STATE_DEADLINE: Duration = Duration::from_secs(60);

/// How long to wait between two questions whether it is done. QEMU answers the first one when a state from a file is
/// loaded, as nothing interrupts that.
const PAUSE: Duration = Duration::from_millis(1);

/// The name under which QEMU is given the file it saves to.
const STATE_FILE: &str = "state";

impl Vm {
    /// Stops the VM for good and writes its state to `state`. Together with the memory it was started in, that is a
    /// snapshot.
    ///
    /// # Errors
    /// Fails when QEMU ends, refuses, or cannot write the file.
    pub fn save(&self, state: &File) -> Result<(), LaunchError> {
        let mut qmp = self.qmp();
        let save = |qmp: &mut Qmp| -> Result<(), QmpError> {
            qmp.execute("stop", json!({}), STATE_DEADLINE)?;
            leave_memory_in_its_file(qmp)?;
            qmp.give_file(STATE_FILE, state.as_fd(), STATE_DEADLINE)?;
            qmp.execute("migrate", json!({ "uri": format!("fd:{STATE_FILE}") }), STATE_DEADLINE)?;
            wait(qmp, "query-migrate", |answer| match answer["status"].as_str() {
                Some("completed") => Some(Ok(())),
                Some("failed" | "cancelled") => {
                    let reason = answer["error-desc"].as_str().unwrap_or("no reason given").to_owned();
                    Some(Err(QmpError::Refused { command: "migrate".to_owned(), reason }))
                }
                _ => None,
            })
        };
        save(&mut qmp).map_err(LaunchError::Monitor)
    }
}

/// Loads the state from a file QEMU has inherited as `state`. The VM stands still afterwards.
pub(super) fn load(qmp: &mut Qmp, state: RawFd) -> Result<(), QmpError> {
    leave_memory_in_its_file(qmp)?;
    qmp.execute("migrate-incoming", json!({ "uri": format!("fd:{state}") }), STATE_DEADLINE)?;
    wait(qmp, "query-status", |answer| (answer["status"] != "inmigrate").then_some(Ok(())))
}

fn leave_memory_in_its_file(qmp: &mut Qmp) -> Result<(), QmpError> {
    let capabilities = json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] });
    qmp.execute("migrate-set-capabilities", capabilities, STATE_DEADLINE).map(drop)
}

/// Asks until `judge` has an answer.
fn wait(
    qmp: &mut Qmp,
    question: &str,
    judge: impl Fn(&Value) -> Option<Result<(), QmpError>>,
) -> Result<(), QmpError> {
    let end = Instant::now() + STATE_DEADLINE;
    loop {
        let answer = qmp.execute(question, json!({}), STATE_DEADLINE)?;
        if let Some(result) = judge(&answer) {
            return result;
        }
        if Instant::now() > end {
            let (command, deadline_ms) = (question.to_owned(), STATE_DEADLINE.as_millis());
            return Err(QmpError::TimedOut { command, deadline_ms });
        }
        thread::sleep(PAUSE);
    }
}
