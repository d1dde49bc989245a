//! A publish/subscribe server for LHTTP, an HTTP-like protocol over WebSocket, that gets the most out of one small
//! machine: one event loop per core, nothing shared between them, every message encoded once.
//!
//! ```no_run
//! use lhttp::{Context, Processor, Server};
//!
//! struct Echo;
//!
//! impl Processor for Echo {
//!     fn on_message(&self, context: &mut Context<'_>) {
//!         context.send(context.body());
//!     }
//! }
//!
//! fn main() -> Result<(), lhttp::StartError> {
//!     Server::builder().processor("echo", Echo).start()?.join();
//!     Ok(())
//! }
//! ```
//!
//! This server listens on `ws://127.0.0.1:8081`. A client sends, in one WebSocket message each,
//!
//! ```text
//! LHTTP/1.0 chat\r\nsubscribe:room\r\n\r\n
//! LHTTP/1.0 chat\r\npublish:room\r\ncontent-type:json\r\n\r\n{"hello": "room"}
//! LHTTP/1.0 echo\r\n\r\nhello server
//! ```
//!
//! and everyone who is subscribed to `room` gets the second message as it was sent. Subscribing and publishing need no
//! processor: the *control headers* `subscribe`, `publish`, `unsubscribe`, `upstream`, `multipart`, `ack`, `no-echo` and
//! `token` work in a message with any command. What a program adds is in [`Processor`] (what a command means), [`Filter`]
//! (what every message goes through) and [`Publisher`] (publishing from outside). [`client`] is the other end. The daemon
//! `lhttpd` is this library with a command line, and [`Config`] is every option of it. Programs in C and what can call C
//! find all of it in `include/lhttp.h`.
//!
//! # Cargo features
//!
//! All are on by default. A program that embeds the library sets `default-features = false`, and names those it wants:
//!
//! - `admin`: [`Metrics`], the numbers of a server as OpenMetrics text.
//! - `daemon`: the program `lhttpd`, with its command line, log and configuration file. The library does not use it.
//! - `nats`: nodes that share a NATS server are one system.
//! - `tls`: addresses `tls://` of the server, `wss://` in [`client`], and `https://` for `upstream`.
//! - `token`: tokens say who a client is.
//! - `upstream`: the header `upstream` sends messages to HTTP servers.
//!
//! # The picture
//!
//! ```text
//!                  the kernel spreads new connections (SO_REUSEPORT)
//!                     │                                   │
//!       ┌─────────────▼─────────────┐       ┌─────────────▼─────────────┐
//!       │ core 0: one thread        │ relay │ core 1: one thread        │
//!       │ reactor (mio) → hub       │◄─────►│ reactor (mio) → hub       │
//!       └──▲────────────────────────┘       └──▲────────────────────────┘
//!          │ letters, batches, one wake a turn │
//!     Publisher, Replier: any thread of the program; the NATS bridge to other nodes: a thread of its own;
//!     upstream workers: threads that send HTTP requests
//! ```
//!
//! A connection lives and dies on one core. A core runs in *turns* that never block: it polls, reads what has come,
//! decodes and routes it, hands batches to its peers, and writes once to each connection that is owed something.
//!
//! # The life of a publish
//!
//! 1. The **reactor** reads into the core's one buffer. An idle connection owns none.
//! 2. A whole frame is found and unmasked where it lies; of an unfinished one the bytes are put aside.
//! 3. Command and headers are parsed in place. Filters, the multipart check and the command's processor see the message;
//!    then all that it asks for is checked, before any of it is done.
//! 4. The channel is looked up once, for exact subscriptions and patterns, and for the *interest* of other cores.
//! 5. The frame is appended once to the core's **arena**. Each subscriber's **outbox** gets a range of it; a range that
//!    starts where the last one ends extends it, and messages in a row for one channel are one range.
//! 6. Cores that have told their interest in the channel get the frame in their batch of this turn.
//! 7. At the end of the turn every connection with a range gets one write, straight from the arena. What a socket refuses
//!    is kept, shared by all who wait for it; past `outbox-max` the connection is closed with 1013.
//!
//! # Layers
//!
//! `error, https, listen, one_line ← protocol ← config ← tls, token ← client ← engine ← extension ← application ← service ← metrics, nats, upstream ← server ← ffi, lhttpd`:
//! each uses only modules to its left. The protocol layer takes bytes and gives values. The engine's hub is a whole core
//! without sockets or a clock, so one test can run several hubs and their links from a seed.

mod application;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
pub mod client;
pub mod config;
pub(crate) mod engine;
pub mod error;
mod extension;
mod ffi;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "sqlite")]
mod history_file;
#[cfg(all(feature = "tls", any(feature = "token", feature = "upstream")))]
mod https;
mod listen;
#[cfg(feature = "admin")]
mod metrics;
#[cfg(feature = "nats")]
mod nats;
mod one_line;
pub(crate) mod protocol;
#[cfg(test)]
mod seeds;
pub mod server;
mod service;
#[cfg(any(test, feature = "fuzz"))]
mod simulation;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/absent.rs"]
mod tls;
mod token;
#[cfg(feature = "upstream")]
mod upstream;

#[cfg(feature = "admin")]
pub use self::metrics::Metrics;
pub use self::{
    config::Config,
    engine::stats::Stats,
    error::{PublishError, Refusal, ReloadError, StartError},
    extension::{ConnectionId, Context, Filter, Processor, Publisher, Replier},
    one_line::OneLine,
    protocol::{http::Page, message::Message, multipart::Part},
    server::{Builder, Handle, Reloaded, Reloader, Server, Stopper},
};
