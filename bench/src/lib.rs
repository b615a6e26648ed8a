//! The benchmark: the same work on this project's guestmount, the stock one and a native mount, in one run.
//!
//! It times whole programs as a user runs them, checks that they did all their work, and says nothing about why.

pub mod calls;
pub mod cli;
pub mod comparison;
pub mod contestant;
pub mod growth;
pub mod machine;
pub mod memory;
pub mod page_cache;
pub mod process;
pub mod random_read;
pub mod recipe;
pub mod report;
pub mod results;
pub mod rows;
pub mod sample;
pub mod work;
