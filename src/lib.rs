//! lhttp: a publish/subscribe server for LHTTP over WebSocket.

pub mod config;
pub mod error;
pub(crate) mod protocol;
