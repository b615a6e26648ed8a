//! Starts from a snapshot, and makes it where it is missing or of no use. A launch never fails for want of one: the
//! user is told in one line, and the machine boots.

use std::fs::File;
use std::thread;
use std::time::Duration;

use guestfs_api::Remote;
use guestfs_api::procedures::appliance::Appliance as _;
use guestfs_appliance::snapshot::{DraftError, SnapshotKey, SnapshotProblem, SnapshotStore};
use guestfs_appliance::vm::{Accelerator, LaunchError, Vm};
use guestfs_appliance::{Appliance, LAUNCH_STEPS, Snapshot, Step};
use thiserror::Error;

use super::{Launch, Launched, launch_error};
use crate::error::Error;
use crate::events::Event;

/// How long the machine is left alone before it is saved: what its kernel does after the last call is then done once,
/// and not after every restore.
const SETTLING_TIME: Duration = Duration::from_millis(500);

/// The steps of making a snapshot, for the progress: boot, save, try.
const STEPS: u64 = 3;

/// How long QEMU may take to end after it was saved or tried.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(10);

/// Why no snapshot was made.
#[derive(Debug, Error)]
enum MakingError {
    #[error(transparent)]
    Draft(#[from] DraftError),
    #[error(transparent)]
    Launch(#[from] Error),
    #[error("it was saved and cannot be restored: {0}")]
    Rehearsal(Error),
    #[error(transparent)]
    Vm(#[from] LaunchError),
}

/// The place of the snapshot for a launch.
struct Slot<'a> {
    store: &'a SnapshotStore,
    key: SnapshotKey,
    tools: Option<File>,
}

impl Slot<'_> {
    fn tools(&self) -> Option<File> {
        // Without the file the machine finds its programs missing, and boots.
        self.tools.as_ref().and_then(|tools| tools.try_clone().ok())
    }

    fn find(&self) -> Result<Option<Snapshot>, SnapshotProblem> {
        self.store.find(&self.key, self.tools())
    }
}

impl Launch<'_> {
    /// Starts from a snapshot; `None` when the machine has to boot.
    ///
    /// Fails when the drives or QEMU are at fault, which a boot would not change.
    pub(super) fn restore(self, appliance: &Appliance) -> Result<Option<Launched>, Error> {
        let Some(slot) = self.slot(appliance)? else { return Ok(None) };
        let Some(snapshot) = self.find_or_make(&slot, appliance) else { return Ok(None) };
        let problem = match self.restore_from(snapshot, appliance) {
            Ok(launched) => return Ok(Some(launched)),
            Err(error) if !is_of_the_machine(&error) => return Err(error),
            Err(error) => error,
        };
        slot.store.discard(&slot.key);
        let text = format!("the saved appliance does not work and was removed, booting: {problem}");
        self.events.emit(&Event::Warning(&text));
        Ok(None)
    }

    /// Makes the snapshot when it is missing or of no use.
    pub(super) fn prepare(self, appliance: &Appliance) -> Result<(), Error> {
        if let Some(slot) = self.slot(appliance)? {
            self.find_or_make(&slot, appliance);
        }
        Ok(())
    }

    /// Names the snapshot this launch can use; `None` when the settings ask for a machine of their own.
    fn slot<'a>(self, appliance: &'a Appliance) -> Result<Option<Slot<'a>>, Error> {
        let settings = self.settings;
        let is_usual = settings.is_snapshot_used
            && !settings.is_verbose
            && settings.append.is_none()
            && settings.memory_mib.is_none()
            && settings.vcpus.is_none();
        let Some(store) = appliance.snapshots.as_ref().filter(|_| is_usual) else { return Ok(None) };
        let files = appliance.open()?;
        let accelerator = Accelerator::choose(settings.accelerator)?;
        let key = SnapshotKey::of(&self.config(appliance), accelerator, &files)?;
        Ok(Some(Slot { store, key, tools: files.tools }))
    }

    fn find_or_make(self, slot: &Slot<'_>, appliance: &Appliance) -> Option<Snapshot> {
        match slot.find() {
            Ok(Some(snapshot)) => return Some(snapshot),
            Ok(None) => {}
            Err(problem) => {
                let text = format!("the saved appliance is not used and made anew: {problem}");
                self.events.emit(&Event::Warning(&text));
            }
        }
        match self.make(slot, appliance) {
            Ok(true) => slot.find().inspect_err(|problem| log::warn!("{problem}")).ok().flatten(),
            // Another process is making it; waiting for that would take longer than to boot.
            Ok(false) => None,
            Err(error) => {
                self.events
                    .emit(&Event::Warning(&format!("starts stay slow, no appliance was saved: {error}")));
                None
            }
        }
    }

    /// Boots the appliance and saves it; `false` when another process is doing so.
    fn make(self, slot: &Slot<'_>, appliance: &Appliance) -> Result<bool, MakingError> {
        let config = || self.config(appliance);
        let Some(draft) = slot.store.begin(&slot.key, config().memory_mib)? else { return Ok(false) };
        let step = Step::Snapshot.to_string();
        let report = |done| self.events.emit(&Event::Launch { step: &step, done, total: STEPS });
        let without_drives = Launch { drives: &[], ..self };
        report(0);
        let deadline = self.deadline();
        let booted = self.wait_for_boot(Vm::start_in(config(), draft.memory())?, deadline)?;
        Remote(&booted.connection).appliance_prepare()?;
        report(1);
        thread::sleep(SETTLING_TIME);
        booted.vm.save(draft.state())?;
        booted.end();
        report(2);
        let saved = draft.saved(slot.tools())?;
        without_drives.restore_from(saved, appliance).map_err(MakingError::Rehearsal)?.end();
        draft.commit(slot.key.clone())?;
        report(STEPS);
        Ok(true)
    }

    fn restore_from(self, snapshot: Snapshot, appliance: &Appliance) -> Result<Launched, Error> {
        log::debug!(target: LAUNCH_STEPS, "the saved appliance is checked");
        let deadline = self.deadline();
        let mut vm = Vm::restore(self.config(appliance), snapshot)?;
        let stream = vm.take_channel().expect("the channel of a fresh VM was not taken yet");
        let mut launched = self.connect(vm, stream)?;
        match self.resume(&mut launched, deadline) {
            Ok(()) => Ok(launched),
            Err(error) => Err(launch_error(&launched.vm, &error.to_string())),
        }
    }
}

impl Launched {
    /// Ends a machine that has no drives.
    fn end(self) {
        drop(self.connection);
        self.vm.shutdown(SHUTDOWN_TIME_MAX);
    }
}

/// Says whether a restored machine failed for a reason that a booted one may not have.
fn is_of_the_machine(error: &Error) -> bool {
    matches!(
        error,
        Error::Launch { .. }
            | Error::Start(
                LaunchError::Restore { .. }
                    | LaunchError::Monitor(_)
                    | LaunchError::Exited(_)
                    | LaunchError::Unresponsive { .. }
            )
    )
}
