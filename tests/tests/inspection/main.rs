//! Inspection: what is found on disks, and how it is shown.

mod images;
mod registry;
mod stock;
mod trees;
