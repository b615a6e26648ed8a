//! Servers of this machine, ended with their values.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to listen.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// A running server.
pub struct Server {
    child: Child,
    /// The port it listens on; 0 for one with a socket in the file system.
    pub port: u16,
}

impl Server {
    /// Starts `program` with the arguments that `arguments` makes of a free port, and waits until it listens there.
    pub fn on_port(program: &str, arguments: impl Fn(&str) -> Vec<String>) -> Server {
        let port = free_port();
        let child = spawn(program, &arguments(&port.to_string()));
        wait_for(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop), program);
        Server { child, port }
    }

    /// Starts `program`, and waits until it listens on the socket.
    pub fn on_socket(program: &str, arguments: &[String], socket: &Path) -> Server {
        let child = spawn(program, arguments);
        wait_for(|| std::fs::metadata(socket).map(drop), program);
        Server { child, port: 0 }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives a port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

fn spawn(program: &str, arguments: &[String]) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn wait_for(mut is_there: impl FnMut() -> io::Result<()>, program: &str) {
    let end = Instant::now() + START_TIME_MAX;
    while let Err(error) = is_there() {
        assert!(Instant::now() < end, "{program} does not listen: {error}");
        thread::sleep(Duration::from_millis(20));
    }
}
