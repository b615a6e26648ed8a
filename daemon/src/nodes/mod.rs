//! Files by node.

/// Serves files by node.
#[derive(Default)]
pub struct NodeServer {}

impl NodeServer {
    /// Begins without file systems.
    pub fn new() -> NodeServer {
        NodeServer {}
    }
}
