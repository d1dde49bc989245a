//! The protocol as values: bytes in, values out. It has no sockets, threads, clocks or logging.

pub(crate) mod authority;
pub(crate) mod channel;
pub(crate) mod encoding;
pub(crate) mod forwarded;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod http;
pub(crate) mod mask;
pub(crate) mod message;
pub(crate) mod multipart;
pub(crate) mod proxy;
pub(crate) mod scan;
pub(crate) mod seen;
pub(crate) mod utf8;
