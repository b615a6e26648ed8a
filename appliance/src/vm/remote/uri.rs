//! Reads the URI of a remote image: `PROTOCOL://[USER[:PASSWORD]@]HOST[:PORT]/PATH[?QUERY]`, and `nbd+unix` with
//! `?socket=PATH` in place of a host. Queries are a web server's own; of the other protocols, only those read here are known.

use std::str::FromStr;

use fluent_uri::Uri;
use fluent_uri::component::Authority;
use fluent_uri::pct_enc::{EStr, Encoder};

use super::host_key::HostKeyCheck;
use super::{Password, Protocol, Remote, RemoteError, Server};

impl FromStr for Remote {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Remote, RemoteError> {
        let shown = without_password(text);
        let malformed = |reason: &str| RemoteError::Uri { uri: shown.clone(), reason: reason.to_owned() };
        let uri = Uri::parse(text).map_err(|error| malformed(&error.to_string()))?;
        let scheme = uri.scheme().as_str().to_ascii_lowercase();
        let (protocol, is_unix) = match scheme.strip_suffix("+unix") {
            Some("nbd") => (Protocol::Nbd, true),
            // `nbd+tcp` and `ssh+tcp` say what is so anyway.
            _ => (scheme.strip_suffix("+tcp").unwrap_or(&scheme).parse()?, false),
        };
        let decoded = |part: &EStr<_>| decode(part).ok_or_else(|| malformed("it is not UTF-8"));
        let (socket, host_key_check) = match uri.query().filter(|_| !protocol.is_file_transfer()) {
            Some(query) => known_queries(protocol, query.as_str(), &shown)?,
            None => (None, None),
        };
        let authority = uri.authority();
        let host = authority.map(|authority| authority.host()).filter(|host| !host.is_empty());
        let server = match (host, socket) {
            (Some(_), Some(_)) => return Err(malformed("it names both a host and a socket")),
            (None, None) if is_unix => {
                return Err(RemoteError::Part {
                    uri: shown,
                    problem: "it names no socket",
                    example: "nbd+unix:///export?socket=/run/nbd.sock",
                });
            }
            (None, socket) => socket.map(|path| Server::Unix(path.into())),
            (Some(host), None) => {
                let port = authority.map(|authority| authority.port_to_u16()).transpose();
                let port = port.map_err(|_| malformed("its port is no number up to 65535"))?.flatten();
                Some(Server::Tcp { host: host_name(host), port })
            }
        };
        let path = match (protocol.is_file_transfer(), uri.query()) {
            (true, Some(query)) => format!("{}?{}", uri.path().as_str(), query.as_str()),
            (true, None) => uri.path().as_str().to_owned(),
            (false, _) => decoded(uri.path())?,
        };
        let (user, password) = match authority {
            Some(authority) => user_of(authority).ok_or_else(|| malformed("its user is not UTF-8"))?,
            None => (None, None),
        };
        let remote = Remote::new(protocol, server, &path).map_err(|error| match error {
            RemoteError::Part { problem, example, .. } => RemoteError::Part { uri: shown, problem, example },
            other => other,
        })?;
        Ok(remote.with_user(user, password).with_host_key_check(host_key_check.unwrap_or_default()))
    }
}

/// Gives the socket and the check of the server's key that a query names.
fn known_queries(
    protocol: Protocol,
    query: &str,
    shown: &str,
) -> Result<(Option<String>, Option<HostKeyCheck>), RemoteError> {
    let wrong = |problem, example| RemoteError::Part { uri: shown.to_owned(), problem, example };
    let (mut socket, mut host_key_check) = (None, None);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = EStr::<fluent_uri::pct_enc::encoder::Query>::new(value).and_then(decode);
        let value = value.ok_or_else(|| wrong("its query is not UTF-8", "?name=value"))?;
        match (protocol, name) {
            (Protocol::Nbd, "socket") => socket = Some(value).filter(|path| !path.is_empty()),
            (Protocol::Ssh, "host_key_check") => {
                let check = HostKeyCheck::parse(&value);
                let problem = "its host_key_check is none";
                host_key_check = Some(check.ok_or_else(|| wrong(problem, HostKeyCheck::EXAMPLE))?);
            }
            (Protocol::Nbd, _) => {
                return Err(wrong("the only query is socket", "nbd+unix:///export?socket=/run/nbd.sock"));
            }
            (Protocol::Ssh, _) => {
                return Err(wrong("the only query is host_key_check", HostKeyCheck::EXAMPLE));
            }
            _ => return Err(wrong("there are no queries for this protocol", "rbd:///pool/image")),
        }
    }
    Ok((socket, host_key_check))
}

/// Gives user and password; `None` when they are not text.
fn user_of(authority: Authority<'_>) -> Option<(Option<String>, Option<Password>)> {
    let Some(information) = authority.userinfo() else { return Some((None, None)) };
    let (user, password) = match information.split_once(':') {
        Some((user, password)) => (user, Some(Password::new(decode(password)?))),
        None => (information, None),
    };
    let user = decode(user)?;
    Some(((!user.is_empty()).then_some(user), password))
}

/// The host without the brackets of an IPv6 address.
fn host_name(host: &str) -> String {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned()
}

fn decode<E: Encoder>(part: &EStr<E>) -> Option<String> {
    part.decode().to_string().ok().map(|text| text.into_owned())
}

/// What was typed, for messages: without what stands between a user and the host.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{scheme}://{user}@{host}{path}")
        }
        None => text.to_owned(),
    }
}
