//! lhttp: a publish/subscribe server for LHTTP over WebSocket.

pub mod config;
#[allow(dead_code)]
pub(crate) mod engine;
pub mod error;
pub(crate) mod protocol;

pub use error::{PublishError, Refusal, StartError};
pub use protocol::{message::Message, multipart::Part};
