//! Remote images as QEMU is to have them: arguments of `blockdev-add`, and the secrets they name.

use serde_json::{Value, json};

use super::{Place, Protocol, Remote, Server};

/// How far QEMU reads ahead through protocols that transfer files, in bytes: a request takes a round trip, and what
/// comes with it is kept.
const READ_AHEAD_BYTES: u32 = 512 << 10;

impl Remote {
    /// Makes the node `name` of the image's bytes; `secret` is the id of [`Remote::secret`] where there is one.
    pub fn node(&self, name: &str, is_read_only: bool, secret: Option<&str>) -> Value {
        let mut node = self.description(secret);
        node["node-name"] = name.into();
        node["read-only"] = is_read_only.into();
        node
    }

    /// Describes the image's bytes, for a node or for `json:` names.
    pub fn description(&self, secret: Option<&str>) -> Value {
        let mut node = json!({ "driver": self.protocol.name() });
        match &self.place {
            Place::Url(path) => {
                let server = self.server.iter().map(ToString::to_string).collect::<String>();
                node["url"] = format!("{}://{server}{path}", self.protocol).into();
                node["readahead"] = READ_AHEAD_BYTES.into();
            }
            Place::File(path) => {
                node["path"] = path.as_str().into();
                node["server"] = self.address(None);
                node["host-key-check"] = self.host_key_check.description();
            }
            Place::Export(name) => {
                node["server"] = self.address(Some("type"));
                if !name.is_empty() {
                    node["export"] = name.as_str().into();
                }
            }
            Place::Unit { target, number } => {
                let portal = self.server.as_ref().map(|server| match (server, self.protocol.port()) {
                    (Server::Tcp { port: None, .. }, Some(port)) => format!("{server}:{port}"),
                    _ => server.to_string(),
                });
                node["transport"] = "tcp".into();
                node["portal"] = portal.unwrap_or_default().into();
                node["target"] = target.as_str().into();
                node["lun"] = (*number).into();
            }
            Place::Image { pool, namespace, image } => {
                node["pool"] = pool.as_str().into();
                node["image"] = image.as_str().into();
                if let Some(namespace) = namespace {
                    node["namespace"] = namespace.as_str().into();
                }
                if self.server.is_some() {
                    node["server"] = json!([self.address(None)]);
                }
            }
        }
        if let Some(user) = &self.user {
            node[if self.protocol.is_file_transfer() { "username" } else { "user" }] = user.as_str().into();
        }
        if let Some(secret) = secret {
            let name = if self.protocol == Protocol::Rbd { "key-secret" } else { "password-secret" };
            node[name] = secret.into();
        }
        node
    }

    /// Makes the object `id` that holds the password, which QEMU reads from `file`; `None` when there is no password, or
    /// none that QEMU takes.
    pub fn secret(&self, id: &str, file: &str) -> Option<Value> {
        self.password_text()?;
        let mut object = json!({ "qom-type": "secret", "id": id, "file": file });
        if self.protocol == Protocol::Rbd {
            // A key of Ceph is written in base64.
            object["format"] = "base64".into();
        }
        Some(object)
    }

    /// The password, where QEMU takes one: a network block device has none, and SSH's own agent has the key.
    pub fn password_text(&self) -> Option<&str> {
        let takes_one = !matches!(self.protocol, Protocol::Nbd | Protocol::Ssh);
        self.password.as_ref().filter(|_| takes_one).map(|password| password.expose())
    }

    /// The server's address; with `kind`, what it is, too.
    fn address(&self, kind: Option<&str>) -> Value {
        let (mut address, name) = match &self.server {
            Some(Server::Tcp { host, port }) => {
                let port = port.or(self.protocol.port()).map(|port| port.to_string());
                // Ceph's monitors listen there.
                let port = port.unwrap_or_else(|| "6789".to_owned());
                (json!({ "host": host, "port": port }), "inet")
            }
            Some(Server::Unix(path)) => (json!({ "path": path.to_string_lossy() }), "unix"),
            None => (json!({}), "inet"),
        };
        if let Some(kind) = kind {
            address[kind] = name.into();
        }
        address
    }
}
