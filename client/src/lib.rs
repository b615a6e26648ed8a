//! Library to read and change virtual machine disk images: a handle, its drives, and the guest behind it.
//!
//! A [`Handle`] is configured, launched and shut down. Once launched, [`Handle::guest`] gives the daemon in the
//! appliance: every topic trait of [`guestfs_api::procedures`] is implemented on it. [`Handle::nodes`] gives the same
//! daemon over a connection for many threads, for mounts.

mod any_case;
mod cache;
mod connection;
mod contents;
mod deadline;
pub mod direct;
mod error;
mod events;
mod handle;
mod launch;
pub mod libvirt;
mod nodes_connection;
mod nodes_replies;
mod recovery;
mod room;
mod settings;
mod transfer;
mod window;
mod window_nodes;

pub use any_case::AnyCaseNodes;
pub use cache::{CACHE_BYTES_MAX, CacheSettings, CachedNodes};
pub use connection::{Connection, SILENCE_MAX, WORK_TIME_MAX};
pub use contents::Contents;
pub use direct::DirectNodes;
pub use error::{ConnectionError, Error};
pub use events::{Event, EventHandler};
pub use guestfs_api as api;
pub use guestfs_appliance as appliance;
pub use handle::{Handle, State};
pub use nodes_connection::{CALL_TIME_MAX, CALLS_WAITING_MAX, NodesConnection};
pub use recovery::{RecoveringNodes, Restart, Restarted, Started};
pub use room::{ROOM_BYTES_MIN, RoomNodes};
pub use settings::{Settings, VCPUS_MAX};
pub use window::{SLOT_BYTES, SLOTS_MAX, Slot, Window};
pub use window_nodes::{WINDOW_BYTES_MIN, WindowNodes};
