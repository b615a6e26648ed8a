//! Inspection: what is found on disks, and how it is shown.

mod applications;
mod bad_input;
mod images;
mod packages;
mod registry;
mod rpm;
mod stock;
mod trees;
