//! Asks `qemu-img` what is at the other end: whether the image can be read, how large it is, and of what format.

use std::io::{self, Read, Seek, Write};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{Remote, RemoteError};
use crate::programs::{ProgramError, program, run};
use crate::vm::drive::Access;
use crate::vm::image::ImageError;
use crate::vm::image_format::{END_LENGTH, Format, START_LENGTH, is_encrypted, probe};
use crate::vm::user::Identity;

/// For each question: the server may be far, and must not keep the caller for ever.
const DEADLINE: Duration = Duration::from_secs(30);

/// The unit in which `qemu-img dd` reads.
const SECTOR: u64 = 512;

/// The id of the password's object.
const SECRET: &str = "password";

/// A remote image that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteImage {
    /// Its format.
    pub format: Format,
    /// The disk's size in bytes.
    pub virtual_size: u64,
}

#[derive(Debug, Deserialize)]
struct Information {
    #[serde(rename = "virtual-size")]
    virtual_size: u64,
}

/// Examines an image, which the user says is of `given` format, if anything.
///
/// # Errors
/// Fails when it cannot be reached, is empty or of another format, or names further files: those would be this
/// machine's.
pub fn examine(remote: &Remote, given: Option<Format>, access: Access) -> Result<RemoteImage, ImageError> {
    remote.check(access)?;
    let server = Asked::new(remote)?;
    let length = server.size(Format::Raw)?;
    if length == 0 {
        return Err(ImageError::Empty(remote.to_string().into()));
    }
    if given == Some(Format::Raw) {
        return Ok(RemoteImage { format: Format::Raw, virtual_size: length });
    }
    let start = server.read(0, u64::try_from(START_LENGTH).expect("it is small").min(length))?;
    let end_length = u64::try_from(END_LENGTH).expect("it is small");
    let end = server.read(length.saturating_sub(end_length) / SECTOR, end_length.min(length))?;
    let probe = probe(&start, &end, length);
    let path = || remote.to_string().into();
    if let Some(given) = given.filter(|given| *given != probe.format) {
        return Err(ImageError::WrongFormat { path: path(), given, found: probe.format });
    }
    if is_encrypted(&start) {
        return Err(ImageError::Encrypted { path: path(), format: probe.format });
    }
    if let Some(what) = probe.refers_to {
        return Err(RemoteError::RefersToOtherFiles { uri: remote.to_string(), what }.into());
    }
    let virtual_size = match (probe.format, probe.virtual_size) {
        (Format::Raw, _) => length,
        (_, Some(size)) => size,
        (format, None) => server.size(format)?,
    };
    Ok(RemoteImage { format: probe.format, virtual_size })
}

/// Gives a file to a user who may reach it; says whether it is so.
fn takes(user: &Identity, file: &NamedTempFile) -> bool {
    user.own(file.as_file()).is_ok() && user.may_read(file.path())
}

/// A server that questions go to.
struct Asked<'a> {
    remote: &'a Remote,
    /// Who asks in place of a root: what answers may be hostile.
    user: Option<Identity>,
    /// The password, in a file that only who asks can read.
    password: Option<NamedTempFile>,
    /// Where what was read is written.
    target: NamedTempFile,
}

impl Asked<'_> {
    fn new(remote: &Remote) -> Result<Asked<'_>, ImageError> {
        Asked::make(remote).map_err(|source| ImageError::Read { path: remote.to_string().into(), source })
    }

    fn make(remote: &Remote) -> io::Result<Asked<'_>> {
        let target = NamedTempFile::new()?;
        let user = Identity::unprivileged().filter(|user| !remote.needs_the_caller() && takes(user, &target));
        let write = |text: &str| -> io::Result<NamedTempFile> {
            let mut file = NamedTempFile::new()?;
            file.write_all(text.as_bytes())?;
            user.as_ref().map_or(Ok(()), |user| user.own(file.as_file()))?;
            Ok(file)
        };
        let password = remote.password_text().map(write).transpose()?;
        if user.is_none() {
            log::debug!("{remote}: qemu-img looks at it as the caller");
        }
        Ok(Asked { remote, user, password, target })
    }

    /// Asks for the size of the disk in the image of this format.
    fn size(&self, format: Format) -> Result<u64, ImageError> {
        let mut command = self.command("info");
        let output = self.run(command.args(["--output=json", "--"]).arg(self.name(format)))?;
        let information: Information =
            serde_json::from_slice(&output).map_err(|error| self.failed(&error.to_string()))?;
        Ok(information.virtual_size)
    }

    /// Reads `length` bytes of the image from a sector on.
    fn read(&self, sector: u64, length: u64) -> Result<Vec<u8>, ImageError> {
        let read_error = |source| ImageError::Read { path: self.remote.to_string().into(), source };
        let mut command = self.command("dd");
        command.args(["-O", "raw", &format!("bs={SECTOR}"), &format!("skip={sector}")]);
        command.arg(format!("count={}", sector + length.div_ceil(SECTOR)));
        command.arg(format!("if={}", self.name(Format::Raw)));
        let mut target_name = std::ffi::OsString::from("of=");
        target_name.push(self.target.path());
        self.run(command.arg(target_name))?;
        // The file itself, whatever has its name meanwhile.
        let mut file = self.target.as_file();
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(read_error)?;
        Ok(bytes)
    }

    fn command(&self, question: &str) -> Command {
        let mut command = program("qemu-img");
        command.arg(question);
        if let Some(user) = &self.user {
            user.run(&mut command);
        }
        let file = self.password.as_ref().map(|file| file.path().to_string_lossy().into_owned());
        if let Some(object) = file.and_then(|file| self.remote.secret(SECRET, &file)) {
            command.arg("--object").arg(object.to_string());
        }
        command
    }

    /// The image by its description.
    fn name(&self, format: Format) -> String {
        let secret = self.password.as_ref().map(|_| SECRET);
        let image: Value = json!({ "driver": format.name(), "file": self.remote.description(secret) });
        format!("json:{image}")
    }

    fn run(&self, command: &mut Command) -> Result<Vec<u8>, ImageError> {
        let uri = || self.remote.to_string();
        run(command, DEADLINE).map(|output| output.stdout).map_err(|error| match error {
            ProgramError::Failed { message, .. } => self.failed(&message),
            ProgramError::TooSlow { .. } => {
                RemoteError::Silent { uri: uri(), seconds: DEADLINE.as_secs() }.into()
            }
            other => self.failed(&other.to_string()),
        })
    }

    fn failed(&self, message: &str) -> ImageError {
        // Before the reason stands the whole description of the image.
        let reason = message.rsplit_once("': ").map_or(message, |(_, reason)| reason).trim();
        let advice = self.remote.advice(message);
        RemoteError::Unreadable { uri: self.remote.to_string(), reason: reason.to_owned(), advice }.into()
    }
}
