//! PID 1 of the appliance.

pub mod children;
pub mod modules;
pub mod tools_image;
