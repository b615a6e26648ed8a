//! Loads kernel modules by the index that came with them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use guestfs_api::{Errno, Failure};
use thiserror::Error;

use super::cmdline::CommandLine;
use super::module_index::{Module, ModuleIndex};
use super::tools_image::ToolsImage;

/// Where the builder puts the index.
const INDEX: &str = "/modules/index";

/// The kernel modules of the appliance.
#[derive(Default)]
pub struct Modules {
    index: ModuleIndex,
    command_line: CommandLine,
    /// Holds the modules that are not needed to boot.
    tools: Option<Arc<ToolsImage>>,
}

/// Why a module was not loaded.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// No module has this name.
    #[error("the appliance has no kernel module {0}")]
    Unknown(String),
    /// The image with the module cannot be mounted.
    #[error("load module {name}: {failure}")]
    Tools {
        /// The module.
        name: String,
        /// What is wrong with the image.
        failure: Failure,
    },
    /// The file cannot be read, or the kernel refuses it.
    #[error("load module {}: {error}", .path.display())]
    Load {
        /// The module's file.
        path: PathBuf,
        /// The kernel's error.
        error: io::Error,
    },
}

impl From<ModuleError> for Failure {
    fn from(error: ModuleError) -> Failure {
        let errno = match &error {
            ModuleError::Unknown(_) => Some(Errno::ENOENT),
            ModuleError::Tools { failure, .. } => failure.errno,
            ModuleError::Load { error, .. } => Some(Errno::from_io(error)),
        };
        Failure { errno, message: error.to_string() }
    }
}

impl Modules {
    /// Reads the appliance's index.
    pub fn appliance(command_line: CommandLine, tools: Arc<ToolsImage>) -> Result<Modules, Failure> {
        let text = std::fs::read_to_string(INDEX).map_err(|error| Failure::io(&error, INDEX))?;
        Ok(Modules { index: ModuleIndex::parse(text), command_line, tools: Some(tools) })
    }

    /// Has no modules, for tests over a directory.
    pub fn none() -> Modules {
        Modules::default()
    }

    /// Loads a module with what it needs, by its name or by one that the kernel has for it, such as `fs-xfs`. Of several
    /// modules with that name all are loaded that can be: some only work on processors of their own. One that is loaded
    /// already is left alone.
    pub fn load(&self, name: &str) -> Result<(), ModuleError> {
        let modules = self.index.find(name);
        if modules.is_empty() && !is_loaded(name) {
            return Err(ModuleError::Unknown(name.to_owned()));
        }
        let mut result = Ok(());
        let mut has_loaded = false;
        for module in modules {
            match self.load_with_depends(module) {
                Ok(()) => has_loaded = true,
                Err(error) => result = Err(error),
            }
        }
        if has_loaded { Ok(()) } else { result }
    }

    fn load_with_depends(&self, module: Module<'_>) -> Result<(), ModuleError> {
        for needed in self.index.load_order(module) {
            if is_loaded(needed.name) {
                continue;
            }
            match self.load_one(needed) {
                // What is missing may not be needed on this machine; if it is, the module itself fails.
                Err(error) if needed != module => log::debug!("{error}"),
                result => result?,
            }
        }
        Ok(())
    }

    fn load_one(&self, module: Module<'_>) -> Result<(), ModuleError> {
        if let Some(tools) = self.tools.as_ref().filter(|tools| tools.holds(module.path)) {
            tools
                .ensure_mounted()
                .map_err(|failure| ModuleError::Tools { name: module.name.to_owned(), failure })?;
        }
        let options = self.command_line.module_options(module.name);
        let insert = || -> io::Result<()> {
            let options = std::ffi::CString::new(options)?;
            match rustix::system::finit_module(File::open(module.path)?, &options, 0) {
                // Somebody else loaded it at the same time: the kernel does for itself.
                Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(error) => Err(error.into()),
            }
        };
        let started = Instant::now();
        let inserted = insert().map_err(|error| ModuleError::Load { path: module.path.to_owned(), error });
        log::debug!("module {}: {:?}", module.name, started.elapsed());
        inserted
    }
}

/// Says whether the kernel has a module, loaded or built in.
fn is_loaded(name: &str) -> bool {
    let is_name = !matches!(name, "" | "." | "..") && !name.contains('/');
    is_name && Path::new("/sys/module").join(name.replace('-', "_")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_can_be_that_of_a_loaded_module() {
        // Linked into every kernel, with parameters.
        assert!(is_loaded("kernel"));
        for name in ["", ".", "..", "/etc", "../module", "no-such-module"] {
            let failure = Failure::from(Modules::none().load(name).unwrap_err());
            assert_eq!(failure.errno, Some(Errno::ENOENT), "{name}");
        }
    }
}
