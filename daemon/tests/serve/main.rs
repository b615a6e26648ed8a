//! The protocol as the library sees it, byte by byte: a daemon over a directory at the other end of a socket.

mod calls;
mod channel;
mod nodes_port;
mod transfers;
