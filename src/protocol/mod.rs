//! The protocol as values: bytes in, values out. No sockets, threads, clocks or logging here.

#[allow(dead_code)]
pub(crate) mod channel;
