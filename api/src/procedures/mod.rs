//! One trait per topic; a procedure is a method with its number.

pub mod nodes;
