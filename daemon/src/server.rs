//! The one struct that all calls act on, and the two ways to make it: inside the appliance, or over a directory.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use guestfs_api::values::GuestPath;
use guestfs_api::{Failure, Procedures};
use rustix::fs::Mode;

use crate::devices::Devices;
use crate::init::children::Children;
use crate::init::modules::Modules;
use crate::init::tools_image::ToolsImage;
use crate::inspect::Inspected;
use crate::mounts::MountTable;
use crate::nodes::NodeServer;
use crate::progress::Progress;
use crate::serve::turns::Turns;
use crate::storage::Storage;
use crate::sysroot::Sysroot;
use crate::tools::Tools;
use crate::window::Window;

/// Where the guest's file systems are mounted inside the appliance.
pub const SYSROOT: &str = "/sysroot";

/// The mask that calls by path begin with, as in the protocol's own daemon.
const UMASK_FIRST: u32 = 0o022;

/// What the calls act on. All calls take `&self`: those of the nodes port run in parallel.
pub struct Server {
    /// The guest's file tree.
    pub sysroot: Sysroot,
    /// What is mounted where.
    pub mounts: MountTable,
    /// The disks and their names.
    pub devices: Devices,
    /// What is made of the disks.
    pub storage: Storage,
    /// Programs of the tools image.
    pub tools: Tools,
    /// Kernel modules.
    pub modules: Modules,
    /// Files by node.
    pub nodes: NodeServer,
    /// The memory shared with the host, once there is one.
    pub window: OnceLock<Window>,
    /// Whose turn it is to read the nodes port.
    pub turns: Turns,
    /// What the last inspection found.
    pub inspected: Inspected,
    /// How far the running call of the libguestfs port has come.
    pub progress: Progress,
    is_appliance: bool,
    umask: AtomicU32,
    exit_requested: AtomicBool,
}

impl Procedures for Server {
    type Error = Failure;
}

impl Server {
    /// Makes the server of an appliance, whose guest is mounted on [`SYSROOT`].
    pub fn appliance(modules: Modules, image: Arc<ToolsImage>) -> Result<Server, Failure> {
        let devices = Devices::appliance();
        let tools = Tools::appliance(image, Arc::new(Children::new()));
        let server = Server::new(Path::new(SYSROOT), false, devices, tools, modules)?;
        Ok(Server { is_appliance: true, ..server })
    }

    /// Makes a server whose guest is a directory of this machine, for tests: `/` counts as mounted, there are no
    /// devices, and programs are this machine's.
    pub fn over_directory(directory: &Path) -> Result<Server, Failure> {
        let mut server = Server::new(directory, true, Devices::none(), Tools::host(), Modules::none())?;
        let root = server.sysroot.open_directory(&GuestPath::root())?;
        server.mounts = MountTable::over(server.nodes.add_filesystem(root)?);
        Ok(server)
    }

    fn new(
        root: &Path,
        always_mounted: bool,
        devices: Devices,
        tools: Tools,
        modules: Modules,
    ) -> Result<Server, Failure> {
        // What is made by path takes `self.umask` off its mode itself; what is made by node takes the mode as given.
        rustix::process::umask(Mode::empty());
        Ok(Server {
            sysroot: Sysroot::new(root, always_mounted)?,
            mounts: MountTable::new(),
            devices,
            storage: Storage::default(),
            tools,
            modules,
            nodes: NodeServer::new(),
            window: OnceLock::new(),
            turns: Turns::default(),
            inspected: Inspected::default(),
            progress: Progress::new(),
            is_appliance: false,
            umask: AtomicU32::new(UMASK_FIRST),
            exit_requested: AtomicBool::new(false),
        })
    }

    /// Says whether the machine is an appliance, and so the daemon's own.
    pub fn is_appliance(&self) -> bool {
        self.is_appliance
    }

    /// Gives the permissions that are taken off what is made by path. The process's own mask stays 0, so calls apply
    /// this one: `mode & !server.umask()`.
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// Sets [`Server::umask`] and gives the one before.
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask, Ordering::Relaxed)
    }

    /// Ends the server after the running call.
    pub fn request_exit(&self) {
        self.exit_requested.store(true, Ordering::Relaxed);
    }

    /// Says whether [`Server::request_exit`] was called.
    pub fn is_exit_requested(&self) -> bool {
        self.exit_requested.load(Ordering::Relaxed)
    }
}
