//! URIs, and what QEMU is told of them.

use serde_json::{Value, json};

use super::*;

fn remote(uri: &str) -> Remote {
    uri.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn described(uri: &str) -> Value {
    remote(uri).description(None)
}

#[test]
fn network_block_devices() {
    let inet = |host: &str, port: &str| json!({ "type": "inet", "host": host, "port": port });
    assert_eq!(described("nbd://host"), json!({ "driver": "nbd", "server": inet("host", "10809") }));
    let named = json!({ "driver": "nbd", "server": inet("::1", "7"), "export": "a b" });
    assert_eq!(described("nbd://[::1]:7/a%20b"), named);
    let socket = json!({ "type": "unix", "path": "/run/a b" });
    assert_eq!(described("nbd+unix://?socket=/run/a%20b"), json!({ "driver": "nbd", "server": socket }));
    assert_eq!(described("nbd:///?socket=/run/a%20b"), json!({ "driver": "nbd", "server": socket }));
    let named = json!({ "driver": "nbd", "server": socket, "export": "x" });
    assert_eq!(described("nbd+unix:///x?socket=/run/a%20b"), named);
}

#[test]
fn urls_keep_their_query_and_encoding() {
    let url = described("https://u@host:8443/a%20b/disk.img?token=x%2Fy&z=1");
    assert_eq!(url["url"], "https://host:8443/a%20b/disk.img?token=x%2Fy&z=1");
    assert_eq!(url["username"], "u");
    assert_eq!(described("ftp://host/disk.img")["url"], "ftp://host/disk.img");
}

#[test]
fn files_over_ssh() {
    let expected = json!({
        "driver": "ssh", "user": "me", "path": "/images/disk 1.img", "server": { "host": "host", "port": "2222" },
        "host-key-check": { "mode": "known_hosts" },
    });
    assert_eq!(described("ssh://me@host:2222/images/disk%201.img"), expected);
    let check =
        |value: &str| described(&format!("ssh://h/d?host_key_check={value}"))["host-key-check"].clone();
    assert_eq!(check("yes"), json!({ "mode": "known_hosts" }));
    assert_eq!(check("no"), json!({ "mode": "none" }));
    let digits = "00:".repeat(15) + "ff";
    let expected = json!({ "mode": "hash", "type": "md5", "hash": digits });
    assert_eq!(check(&format!("md5:{digits}")), expected);
}

#[test]
fn what_qemu_says_of_a_server_comes_with_the_next_step() {
    for (message, uri, advice) in [
        ("Unknown driver 'ssh'", "ssh://h/d", "qemu-block-extra"),
        ("Connection refused", "nbd://h/", "that its server runs"),
        ("The requested URL returned error: 404", "http://h/d", "check the path"),
        ("no host key was found in known_hosts", "ssh://me@h:7/d", "keep it: ssh -p 7 me@h"),
        ("host key does not match the one in known_hosts", "ssh://h/d", "new key: ssh h"),
        ("failed to authenticate using publickey authentication", "ssh://h/d", "ssh-add"),
    ] {
        let given = remote(uri).advice(message);
        assert!(given.contains(advice), "{given}");
    }
    assert_eq!(remote("nbd://h/").advice("Input/output error"), "");
}

#[test]
fn storage_clusters() {
    let unit = described("iscsi://host/iqn.2024-01.org.example:disks/3");
    let expected = json!({
        "driver": "iscsi", "transport": "tcp", "portal": "host:3260",
        "target": "iqn.2024-01.org.example:disks", "lun": 3,
    });
    assert_eq!(unit, expected);
    let image = described("rbd://admin@monitor:6790/pool/image");
    let expected = json!({
        "driver": "rbd", "pool": "pool", "image": "image", "user": "admin",
        "server": [{ "host": "monitor", "port": "6790" }],
    });
    assert_eq!(image, expected);
    let image = described("rbd:///pool/space/image");
    assert_eq!(image, json!({ "driver": "rbd", "pool": "pool", "namespace": "space", "image": "image" }));
}

#[test]
fn a_password_is_an_object_of_its_own_and_never_shown() {
    let with_password = remote("http://me:se%3Acret@host/disk");
    assert_eq!(with_password.password_text(), Some("se:cret"));
    assert_eq!(with_password.to_string(), "http://me@host/disk");
    assert!(!format!("{with_password:?}").contains("cret"));
    let object = with_password.secret("id", "/file").unwrap();
    assert_eq!(object, json!({ "qom-type": "secret", "id": "id", "file": "/file" }));
    assert_eq!(with_password.node("node", true, Some("id"))["password-secret"], "id");
    assert_eq!(remote("rbd://me:key@host/p/i").secret("id", "/file").unwrap()["format"], "base64");
    assert_eq!(remote("nbd://me:key@host/p").secret("id", "/file"), None);
    let refused = "gluster://me:se%3Acret@host/disk".parse::<Remote>().unwrap_err();
    assert!(!refused.to_string().contains("cret"), "{refused}");
    let refused = "http://me:se cret@host/disk".parse::<Remote>().unwrap_err();
    assert!(!refused.to_string().contains("cret@"), "{refused}");
}

#[test]
fn what_is_missing_is_said_with_an_example() {
    for (uri, problem) in [
        ("http://host/", "it names no image, as in: https://"),
        ("http:///disk", "it names no server"),
        ("ssh://host", "it names no image, as in: ssh://"),
        ("iscsi://host/target", "it names no target and logical unit, as in: iscsi://"),
        ("iscsi://host/target/x", "it names no target and logical unit"),
        ("rbd://host/pool", "it names no pool and image, as in: rbd://"),
        ("rbd://host/a//b", "it names no pool and image"),
        ("nbd+unix:///export", "it names no socket, as in: nbd+unix://"),
        ("nbd://host/x?socket=/s", "it names both a host and a socket"),
        ("nbd://host:99999/x", "its port is no number"),
        ("gluster://host/x", "gluster: no such protocol; use one of ftp, ftps, http"),
        ("nbd://ho st/x", "not a URI"),
        ("nbd://host/x?tls=yes", "the only query is socket, as in: nbd+unix://"),
        ("ssh://host/x?port=7", "the only query is host_key_check, as in: ssh://"),
        ("ssh://host/x?host_key_check=sha256:12", "its host_key_check is none, as in: ssh://"),
        ("ssh://host/x?host_key_check", "its host_key_check is none"),
        ("iscsi://host/target/1?x=y", "there are no queries for this protocol"),
    ] {
        let error = uri.parse::<Remote>().unwrap_err().to_string();
        assert!(error.contains(problem), "{uri}: {error}");
    }
}

#[test]
fn only_some_are_written_to() {
    assert_eq!(remote("nbd://host/").check(Access::ReadWrite), Ok(()));
    let error = remote("https://host/disk").check(Access::ReadWrite).unwrap_err();
    assert!(error.to_string().contains("only read through https"), "{error}");
    assert_eq!(remote("https://host/disk").check(Access::ReadOnly), Ok(()));
}
