//! TLS of the server, without sockets: rustls makes the handshake, and a record layer of ours takes over, which keeps 168
//! bytes a connection instead of 7.5 KB.
//!
//! | file | what |
//! |---|---|
//! | `handshake` | one connection that is being set up: the only file that names rustls' connections |
//! | `record` | the records of an established one, in both directions |
//! | `keys` | what it keeps: raw keys, secrets, record numbers |
//! | `aead` | how each suite seals and opens a record, by ring |
//! | `failure` | why a connection ends |

#![allow(dead_code, reason = "no core speaks TLS yet")]

mod aead;
mod failure;
mod handshake;
mod keys;
mod record;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;

/// Gives each TLS handshake its configuration. One per server: its clones, one for each core, share it.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor(Arc<Mutex<Arc<ServerConfig>>>);

impl Acceptor {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(Mutex::new(config)))
    }

    /// The newest configuration. A connection takes it once, when its handshake begins.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it, for handshakes that begin from now on.
    pub(crate) fn replace(&self, config: Arc<ServerConfig>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }
}
