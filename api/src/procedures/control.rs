//! The daemon itself: whether it answers, what it can do, how it ends.

use guestfs_api_macros::procedures;

use crate::records::{MountableRecord, Utsname};
use crate::values::Mountable;

/// The daemon itself.
#[procedures]
pub trait Control {
    /// Answers, to show that the daemon is alive.
    #[procedure(92)]
    fn ping_daemon(&self) -> Result<(), Self::Error>;

    /// Writes everything that was changed to the disks.
    #[procedure(2)]
    fn sync(&self) -> Result<(), Self::Error>;

    /// Drops clean caches, with the number of /proc/sys/vm/drop_caches: 1 pages, 2 names and inodes, 3 both.
    #[procedure(90)]
    fn drop_caches(&self, whattodrop: i32) -> Result<(), Self::Error>;

    /// Gives the kernel's messages.
    #[procedure(91)]
    fn dmesg(&self) -> Result<String, Self::Error>;

    /// Waits for a number of seconds.
    #[procedure(109)]
    fn sleep(&self, secs: i32) -> Result<(), Self::Error>;

    /// Sets the mask that takes permissions from what is made by path; gives the mask before.
    #[procedure(137)]
    fn umask(&self, mask: i32) -> Result<i32, Self::Error>;

    /// Gives the mask of [`Control::umask`].
    #[procedure(240)]
    fn get_umask(&self) -> Result<i32, Self::Error>;

    /// Loads a kernel module and what it needs.
    #[procedure(194, group = "linuxmodules")]
    fn modprobe(&self, modulename: &str) -> Result<(), Self::Error>;

    /// Gives the words back with spaces between, to test the connection.
    #[procedure(195)]
    fn echo_daemon(&self, words: &[String]) -> Result<String, Self::Error>;

    /// Names the appliance's kernel.
    #[procedure(342)]
    fn utsname(&self) -> Result<Utsname, Self::Error>;

    /// Unmounts everything and writes it to the disks, before the appliance is ended.
    #[procedure(282)]
    fn internal_autosync(&self) -> Result<(), Self::Error>;

    /// Lists the optional groups that the daemon knows, available or not.
    #[procedure(251)]
    fn available_all_groups(&self) -> Result<Vec<String>, Self::Error>;

    /// Says whether the appliance's kernel can mount a type of file system.
    #[procedure(333)]
    fn filesystem_available(&self, filesystem: &str) -> Result<bool, Self::Error>;

    /// Counts the disks.
    #[procedure(336)]
    fn nr_devices(&self) -> Result<i32, Self::Error>;

    /// Takes the text of a mountable apart.
    #[procedure(396)]
    fn internal_parse_mountable(&self, mountable: &Mountable) -> Result<MountableRecord, Self::Error>;

    /// Says whether an optional group is available: 0 yes, 1 no, 2 unknown.
    #[procedure(458)]
    fn internal_feature_available(&self, group: &str) -> Result<i32, Self::Error>;

    /// Ends the daemon, and so the appliance, without syncing: for tests.
    #[procedure(414)]
    fn internal_exit(&self) -> Result<(), Self::Error>;
}
