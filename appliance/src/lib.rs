//! The appliance: the small virtual machine that opens guest disks on behalf of the library.
//!
//! [`build`] makes its files from distribution packages, [`locate`] finds them or has them made, [`snapshot`] keeps it
//! booted, and [`vm`] starts, watches and stops the machine and hands out its channels. What is said over a channel is the
//! business of the client and the daemon; this package knows neither.

pub mod build;
pub mod daemon_binary;
pub mod environment;
pub mod locate;
pub mod place;
pub mod programs;
pub mod progress;
pub mod snapshot;
pub mod vm;

/// The target of the log lines that say when a launch has taken one of its steps; `RUST_LOG=launch-steps=debug` shows them.
pub const LAUNCH_STEPS: &str = "launch-steps";

pub use build::{BuildError, BuildOptions};
pub use daemon_binary::{DaemonBinary, DaemonError};
pub use environment::Environment;
pub use locate::{Appliance, ApplianceFiles, LocateError, ensure, find};
pub use place::{Place, PlaceError};
pub use programs::ProgramError;
pub use progress::{NoProgress, Progress, Step};
pub use snapshot::{Snapshot, SnapshotKey, SnapshotStore};
pub use vm::{LaunchError, Vm, VmConfig};
