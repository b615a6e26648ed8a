//! Inspection: what is found on disks, and how it is shown.

mod registry;
mod trees;
