//! Progress messages: tells the library how far the running call has come.

/// How far the running call has come. Where nobody listens, reports go nowhere.
#[derive(Default)]
pub struct Progress {}

impl Progress {
    /// Begins with no call running.
    pub fn new() -> Progress {
        Progress {}
    }

    /// Announces how much there is to do, in bytes or steps: a download says so before its first byte.
    pub fn set_total(&self, _total: u64) {}

    /// Reports that `count` more is done. File content that goes through a call's `FileIn` or `FileOut` is counted
    /// without this.
    pub fn advance(&self, _count: u64) {}
}
