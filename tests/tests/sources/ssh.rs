//! Images read and written over SSH, from a server of this machine that knows one key.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use guestfs_tests::command::succeed;
use guestfs_tests::mounted::{Mounted, guestmount};

use super::servers::Server;
use super::{Sample, assert_fails_by, sample};

/// By its whole path, with which alone it starts.
const PROGRAM: &str = "/usr/sbin/sshd";

/// A server, and an agent that holds the key for it.
struct Login {
    server: Server,
    _agent: Server,
    agent_socket: PathBuf,
    /// The digest of the server's key.
    digest: String,
}

impl Login {
    fn to(sample: &Sample) -> Login {
        let key = |name: &str| {
            let path = sample.disk.beside(name);
            succeed(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path));
            path
        };
        let (host_key, user_key) = (key("host_key"), key("user_key"));
        // It keeps who is not logged in yet in there.
        fs::create_dir_all("/run/sshd").unwrap();
        let authorized_keys = format!("AuthorizedKeysFile={}", user_key.with_extension("pub").display());
        let server = Server::on_port(PROGRAM, |port| {
            let options = [
                "ListenAddress=127.0.0.1",
                &authorized_keys,
                "StrictModes=no",
                "UsePAM=no",
                "PidFile=none",
                "PermitRootLogin=prohibit-password",
                "Subsystem=sftp internal-sftp",
            ];
            let words = ["-D", "-q", "-f", "/dev/null", "-p", port, "-h", host_key.to_str().unwrap()];
            words
                .into_iter()
                .chain(options.iter().flat_map(|option| ["-o", option]))
                .map(str::to_owned)
                .collect()
        });
        let agent_socket = sample.disk.beside("agent");
        let arguments = ["-D", "-a", agent_socket.to_str().unwrap()].map(str::to_owned);
        let agent = Server::on_socket("ssh-agent", &arguments, &agent_socket);
        succeed(Command::new("ssh-add").arg("-q").arg(user_key).env("SSH_AUTH_SOCK", &agent_socket));
        Login { server, _agent: agent, agent_socket, digest: digest(&host_key.with_extension("pub")) }
    }

    /// A guestmount of somebody with the key.
    fn guestmount(&self) -> Command {
        let mut command = guestmount([] as [&OsStr; 0]);
        command.env("SSH_AUTH_SOCK", &self.agent_socket);
        command
    }

    fn uri(&self, image: &Path, query: &str) -> String {
        format!("ssh://root@127.0.0.1:{}{}{query}", self.server.port, image.display())
    }
}

/// Gives the MD5 digest of a public key, in the form that stands in a URI.
fn digest(public_key: &Path) -> String {
    let printed = succeed(Command::new("ssh-keygen").args(["-l", "-E", "md5", "-f"]).arg(public_key));
    let digest = printed.split_whitespace().nth(1).and_then(|word| word.strip_prefix("MD5:"));
    format!("md5:{}", digest.unwrap_or_else(|| panic!("no digest: {printed}")))
}

#[test]
fn an_image_is_read_and_written_over_ssh_on_a_server_whose_key_is_known() {
    let Some(sample) = sample(PROGRAM) else { return };
    let login = Login::to(&sample);
    let image = sample.disk.path().to_owned();
    let known = login.uri(&image, &format!("?host_key_check={}", login.digest));
    sample.assert_mounted_by(login.guestmount(), &known);
    let mut command = login.guestmount();
    command.args(["-a", &known, "-m", "/dev/sda1", "--rw"]);
    let mounted = Mounted::by(command);
    fs::write(mounted.path().join("written"), "through the server").unwrap();
    mounted.unmount();

    let fails = |uri: &str, parts: &[&str]| {
        let mut command = login.guestmount();
        command.args(["-a", uri]);
        assert_fails_by(command, parts);
    };
    let unchecked = login.uri(&image, "");
    let next_step = format!("ssh -p {} root@127.0.0.1", login.server.port);
    fails(&unchecked, &["no host key was found", &next_step]);
    let other = login.uri(&image, &format!("?host_key_check=md5:{}", "00".repeat(16)));
    fails(&other, &["does not match", "host_key_check"]);
    let missing = login.uri(&image.with_extension("none"), "?host_key_check=no");
    fails(&missing, &["disk.none", "No such file"]);
    let mut command = guestmount(["-a", &known]);
    command.env_remove("SSH_AUTH_SOCK");
    assert_fails_by(command, &["ssh-add"]);

    drop(login);
    let mounted = Mounted::read_only(&image, sample.disk.device());
    assert_eq!(fs::read_to_string(mounted.path().join("written")).unwrap(), "through the server");
    mounted.unmount();
}
