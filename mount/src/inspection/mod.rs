//! Shows what inspection found: in the forms that `guestinspect` prints.

pub mod json;
