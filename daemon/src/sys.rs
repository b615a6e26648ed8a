//! The system calls that rustix does not have, each behind a safe function.
