//! The daemon inside the appliance: PID 1 and the server of the calls.
//!
//! [`server::Server`] is what the calls act on; [`actions`] has one file for each topic; [`serve`] is the only place
//! that replies.

pub mod actions;
pub mod devices;
pub mod init;
pub mod inspect;
pub mod kernel_log;
pub mod mounts;
pub mod nodes;
pub mod port;
pub mod progress;
pub mod serve;
pub mod server;
pub mod spelling;
pub mod stand_alone;
pub mod storage;
pub mod superblock;
pub mod sys;
pub mod sysroot;
pub mod tools;
pub mod window;
