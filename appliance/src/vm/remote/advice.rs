//! What to do when a remote image cannot be read, by what QEMU says of it.

use super::{Remote, Server};

impl Remote {
    /// Gives the next step, with `; ` before it; nothing where the message says enough.
    pub(super) fn advice(&self, message: &str) -> String {
        let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
        if says(&["Unknown driver", "Unknown protocol"]) {
            return "; install QEMU's network drivers (Debian: qemu-block-extra)".to_owned();
        }
        if says(&["no host key was found", "known_hosts file"]) {
            return format!("; connect to it once, to look at its key and keep it: {}", self.ssh_command());
        }
        if says(&["host key does not match", "host key is different"]) {
            return format!("; if it is still the right server, learn its new key: {}", self.ssh_command());
        }
        if says(&["failed to authenticate", "authentication methods"]) {
            return "; give your key to an SSH agent: ssh-add".to_owned();
        }
        if says(&["Connection refused", "Couldn't connect", "Could not connect", "Could not resolve"]) {
            return "; check the address, and that its server runs".to_owned();
        }
        if says(&["error: 404"]) {
            return "; check the path behind the server's name".to_owned();
        }
        String::new()
    }

    /// The command that logs in at the server.
    fn ssh_command(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        match &self.server {
            Some(Server::Tcp { host, port: Some(port) }) => format!("ssh -p {port} {user}{host}"),
            Some(Server::Tcp { host, port: None }) => format!("ssh {user}{host}"),
            Some(Server::Unix(_)) | None => "ssh".to_owned(),
        }
    }
}
