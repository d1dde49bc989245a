//! lhttp: a publish/subscribe server for LHTTP over WebSocket.

pub mod error;
pub(crate) mod protocol;

pub use error::{PublishError, Refusal, StartError};
pub use protocol::{message::Message, multipart::Part};
