//! What is done with what inspection found: `plan` decides what `-i` mounts; `run` is the program `guestinspect`, and
//! the others are the forms in which it prints.

pub mod json;
pub mod plan;
pub mod run;
pub mod table;
pub mod xml;
