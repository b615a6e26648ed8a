//! Nodes whose contents pass through the window: reads and writes too large to be quick in a message.
//!
//! Without a window, or when the daemon has none, or while all of it is in use for long, contents go in messages.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use errno_map::Errno;
use guestfs_api::procedures::nodes::{Nodes, NodesLayer};
use guestfs_api::{AsErrno, Failure, Procedures};

use crate::window::{SLOT_BYTES, Slot, Window};

/// From how many bytes on contents go through the window. What fits into one page with its header takes the VM no
/// longer in the message.
pub const WINDOW_BYTES_MIN: u32 = 3 << 10;

/// How long to wait for a slot before the contents go in a message: about as long as that takes.
const SLOT_TIME_MAX: Duration = Duration::from_millis(10);

/// Nodes with a window beside the connection.
#[derive(Debug)]
pub struct WindowNodes<N> {
    nodes: N,
    window: Option<Window>,
    /// Whether the daemon said that it has no window.
    is_refused: AtomicBool,
}

impl<N> WindowNodes<N> {
    /// Puts `window`, which the daemon behind `nodes` shares, beside them.
    pub fn new(nodes: N, window: Option<Window>) -> WindowNodes<N> {
        WindowNodes { nodes, window, is_refused: AtomicBool::new(false) }
    }

    /// Gives a slot for `count` bytes, if they are to go through the window.
    fn slot(&self, count: u32) -> Option<Slot<'_>> {
        if !(WINDOW_BYTES_MIN..=SLOT_BYTES).contains(&count) || self.is_refused.load(Ordering::Relaxed) {
            return None;
        }
        self.window.as_ref()?.slot(SLOT_TIME_MAX)
    }

    /// Takes what the daemon said to a call through the window: `None` when it has no window after all.
    fn outcome<E: AsErrno + From<Failure>>(
        &self,
        result: Result<u32, E>,
        count: u32,
    ) -> Result<Option<u32>, E> {
        match result {
            Ok(moved) if moved <= count => Ok(Some(moved)),
            Ok(moved) => {
                let text = format!("the appliance says it moved {moved} bytes where {count} were asked for");
                Err(Failure::errno(Errno::EIO, text).into())
            }
            Err(error) if error.as_errno() == Errno::ENODEV => {
                if !self.is_refused.swap(true, Ordering::Relaxed) {
                    log::warn!("the appliance has no window: contents go in messages, which is slower");
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl<N: Procedures> Procedures for WindowNodes<N> {
    type Error = N::Error;
}

impl<N> NodesLayer for WindowNodes<N>
where
    N: Nodes,
    N::Error: From<Failure> + AsErrno,
{
    type Below = N;

    fn below(&self) -> impl Deref<Target = N> {
        &self.nodes
    }

    fn node_read(&self, handle: u64, offset: u64, count: u32) -> Result<Vec<u8>, N::Error> {
        if let Some(slot) = self.slot(count) {
            let read = self.nodes.node_read_window(handle, offset, count, slot.offset());
            if let Some(read) = self.outcome(read, count)? {
                return Ok(slot.take(read as usize));
            }
        }
        self.nodes.node_read(handle, offset, count)
    }

    fn node_write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<u32, N::Error> {
        let count = u32::try_from(data.len()).unwrap_or(u32::MAX);
        if let Some(mut slot) = self.slot(count) {
            slot.put(data);
            let written = self.nodes.node_write_window(handle, offset, count, slot.offset());
            if let Some(written) = self.outcome(written, count)? {
                return Ok(written);
            }
        }
        self.nodes.node_write(handle, offset, data)
    }
}
