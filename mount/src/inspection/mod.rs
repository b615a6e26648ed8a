//! What is done with what inspection found: `plan` decides what `-i` mounts; `run` is the program `guestinspect`,
//! `contents` asks for what is installed, and the others are the forms in which it prints.

mod contents;
mod found;
pub mod json;
pub mod plan;
pub mod run;
pub mod table;
pub mod xml;

pub use self::found::{Contents, Found};
