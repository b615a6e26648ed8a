//! Serves a directory of this machine without a VM: for tests of what calls the daemon.

use std::ffi::OsString;
use std::os::fd::{AsFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use guestfs_api::Failure;

use crate::port::{self, PortReader, PortWriter};
use crate::serve;
use crate::server::Server;
use crate::sys;
use crate::window::Window;

/// How it is called.
const USAGE: &str = "usage: guestfsd --directory DIRECTORY --channel fd:N [--nodes fd:N] [--window fd:N]\n\
                     Without arguments it is the init of the appliance and has to be process 1.";

/// What to serve and where.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    directory: PathBuf,
    channel: RawFd,
    nodes: Option<RawFd>,
    window: Option<RawFd>,
}

/// Serves as the arguments say until the other side of the channel is closed.
pub fn run(arguments: Vec<OsString>) -> Result<(), Failure> {
    let arguments = parse(arguments).ok_or_else(|| Failure::plain(USAGE))?;
    let server = Arc::new(Server::over_directory(&arguments.directory)?);
    if let Some(descriptor) = arguments.window {
        let window = map_window(descriptor);
        let window =
            window.map_err(|error| Failure::io(&error.into(), format_args!("window fd:{descriptor}")))?;
        server.window.set(window).expect("the server is new and has no window");
    }
    let (mut reader, writer) = open(arguments.channel)?;
    if let Some(nodes) = arguments.nodes {
        let (reader, writer) = open(nodes)?;
        let server = server.clone();
        std::thread::spawn(move || {
            serve::nodes::serve_nodes(&server, reader, &writer);
        });
    }
    let lost = |error| Failure::plain(format!("channel: {error}"));
    writer.send_launch().map_err(lost)?;
    serve::serve_calls(&server, &mut reader, &writer).map(drop).map_err(lost)
}

fn parse(arguments: Vec<OsString>) -> Option<Arguments> {
    let (mut directory, mut channel, mut nodes, mut window) = (None, None, None, None);
    let mut arguments = arguments.into_iter();
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.to_str()? {
            "--directory" => directory = Some(PathBuf::from(value)),
            "--channel" => channel = Some(descriptor(&value)?),
            "--nodes" => nodes = Some(descriptor(&value)?),
            "--window" => window = Some(descriptor(&value)?),
            _ => return None,
        }
    }
    Some(Arguments { directory: directory?, channel: channel?, nodes, window })
}

fn descriptor(value: &OsString) -> Option<RawFd> {
    value.to_str()?.strip_prefix("fd:")?.parse().ok()
}

/// Maps the whole of a file that was handed down.
fn map_window(descriptor: RawFd) -> rustix::io::Result<Window> {
    let file = sys::duplicate(descriptor)?;
    let bytes = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
    Window::map(file.as_fd(), bytes)
}

/// Makes a port of a descriptor that was handed down.
fn open(descriptor: RawFd) -> Result<(PortReader, Arc<PortWriter>), Failure> {
    let opened = sys::duplicate(descriptor).map_err(Into::into).and_then(port::split);
    opened.map_err(|error| Failure::io(&error, format_args!("fd:{descriptor}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Option<Arguments> {
        parse(arguments.iter().map(OsString::from).collect())
    }

    #[test]
    fn directory_and_channel_are_needed_and_nodes_are_not() {
        let expected = Arguments { directory: "/d".into(), channel: 3, nodes: None, window: None };
        assert_eq!(parsed(&["--directory", "/d", "--channel", "fd:3"]), Some(expected));
        let both = parsed(&["--channel", "fd:3", "--nodes", "fd:4", "--directory", "/d"]).unwrap();
        assert_eq!((both.nodes, both.window), (Some(4), None));
        let windowed = parsed(&["--channel", "fd:3", "--window", "fd:5", "--directory", "/d"]).unwrap();
        assert_eq!(windowed.window, Some(5));
        for wrong in [
            &["--directory", "/d"][..],
            &["--channel", "fd:3"],
            &["--directory", "/d", "--channel", "3"],
            &["--directory", "/d", "--channel", "fd:3", "--verbose"],
            &["--directory", "/d", "--channel", "fd:3", "--listen", "x"],
        ] {
            assert_eq!(parsed(wrong), None, "{wrong:?}");
        }
    }
}
