//! Runs QEMU, confined, with a pipe for its console. Where it is to run as somebody else by default and cannot, it runs
//! as the caller, and the log says why.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use log::debug;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::confinement::{Confinement, InheritedFile};
use super::console::{Console, ConsoleSink};
use super::error::{LaunchError, system};
use super::process::Process;
use super::surroundings;
use super::user::{Identity, QemuUser};

/// What is run.
pub struct Program<'a> {
    /// QEMU: a path, or a name that is looked for in PATH.
    pub hypervisor: &'a Path,
    /// Its arguments.
    pub arguments: &'a [OsString],
    /// What it inherits.
    pub inherited: Vec<InheritedFile>,
    /// Which of the caller's variables it gets beside those that it always gets.
    pub environment: &'a [&'static str],
    /// Who was wished for.
    pub wish: &'a QemuUser,
    /// Who that is; `None` for the caller.
    pub user: Option<Identity>,
    /// How many bytes of memory it may have for itself alone.
    pub data_bytes_max: u64,
}

impl Program<'_> {
    /// Starts it; `sink` hears its console.
    ///
    /// # Errors
    /// Fails when it cannot be run, or not as the user who was named.
    pub fn spawn(self, sink: Option<ConsoleSink>) -> Result<(Process, Console), LaunchError> {
        let pipe_error = system("make a pipe for the VM's console");
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| pipe_error(errno.into()))?;
        let command = || -> io::Result<Command> {
            let mut command = surroundings::command(self.hypervisor, self.environment)?;
            command.args(self.arguments).stdin(Stdio::null());
            command.stdout(writer.try_clone()?).stderr(writer.try_clone()?);
            Ok(command)
        };
        let inherited = Arc::new(self.inherited);
        let spawn = |user: Option<Identity>| {
            let confinement = Confinement { user, data_bytes_max: Some(self.data_bytes_max) };
            Process::spawn(command()?, confinement, Arc::clone(&inherited))
        };
        let process = match (spawn(self.user.clone()), self.user) {
            (Err(source), Some(user)) if source.kind() != io::ErrorKind::NotFound => {
                if *self.wish != QemuUser::Unprivileged {
                    return Err(LaunchError::User { name: user.to_string(), source });
                }
                debug!("QEMU runs as the caller: {user} cannot run it or use all of its files: {source}");
                spawn(None)
            }
            (result, _) => result,
        };
        let process = process.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => LaunchError::no_hypervisor(self.hypervisor),
            _ => LaunchError::Hypervisor { path: self.hypervisor.to_owned(), source },
        })?;
        let console = Console::drain(File::from(reader), sink);
        Ok((process, console.map_err(system("start the thread for the VM's console"))?))
    }
}
