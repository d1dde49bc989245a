//! The protocol as values: bytes in, values out. No sockets, threads, clocks or logging here.

#[allow(dead_code)]
pub(crate) mod handshake;
#[allow(dead_code, unused_imports)]
pub(crate) mod http;
