//! The protocol as values: bytes in, values out. No sockets, threads, clocks or logging here.

pub(crate) mod frame;
pub(crate) mod message;
pub(crate) mod multipart;
pub(crate) mod utf8;
