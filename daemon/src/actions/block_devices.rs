//! To be written: until then no call of this topic is served.

use guestfs_api::{Failure, Served};

use crate::server::Server;

/// Serves nothing yet; becomes `pub use guestfs_api::procedures::TOPIC::dispatch`.
pub fn dispatch(_: &Server, _: &mut Served<'_>) -> Option<Result<Vec<u8>, Failure>> {
    None
}
