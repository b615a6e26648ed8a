//! What the calls do: one file for each topic.

pub mod appliance;
mod arguments;
pub mod block_devices;
pub mod btrfs;
pub mod btrfs_upkeep;
pub mod control;
pub mod directories;
pub mod files;
pub mod filesystems;
pub mod groups;
pub mod inspection;
pub mod ldm;
pub mod luks;
pub mod lvm;
pub mod md;
pub mod mounts;
pub mod partitions;
pub mod swap;
pub mod transfers;
pub mod xattrs;

use guestfs_api::procedures as topics;
use guestfs_api::{Failure, Served};

use crate::server::Server;

/// A topic's generated `dispatch`.
type Dispatch = fn(&Server, &mut Served<'_>) -> Option<Result<Vec<u8>, Failure>>;

/// The topics that are served.
static TOPICS: &[Dispatch] = &[
    topics::appliance::dispatch,
    topics::block_devices::dispatch,
    topics::btrfs::dispatch,
    topics::btrfs_upkeep::dispatch,
    topics::control::dispatch,
    topics::directories::dispatch,
    topics::files::dispatch,
    topics::filesystems::dispatch,
    topics::inspection::dispatch,
    topics::ldm::dispatch,
    topics::luks::dispatch,
    topics::lvm::dispatch,
    topics::md::dispatch,
    topics::mounts::dispatch,
    topics::nodes::dispatch,
    topics::partitions::dispatch,
    topics::swap::dispatch,
    topics::transfers::dispatch,
    topics::xattrs::dispatch,
];

/// Serves a call of any topic: gives the body of its reply.
pub fn dispatch(server: &Server, served: &mut Served<'_>) -> Option<Result<Vec<u8>, Failure>> {
    TOPICS.iter().find_map(|topic| topic(server, served))
}
