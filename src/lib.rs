//! lhttp: a publish/subscribe server for LHTTP over WebSocket.

pub mod config;
pub(crate) mod engine;
pub mod error;
mod extension;
pub(crate) mod protocol;
pub mod server;

pub use self::{
    config::Config,
    engine::counters::Stats,
    error::{PublishError, Refusal, StartError},
    extension::{ConnectionId, Context, Filter, Processor, Publisher, Replier},
    protocol::{message::Message, multipart::Part},
    server::{Builder, Handle, Server},
};
