//! TLS of the server: certificates, and the configuration that each handshake takes.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;

/// Gives each TLS handshake its configuration. One per server: its clones, one for each core, share it.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor(Arc<Mutex<Arc<ServerConfig>>>);

#[allow(dead_code, reason = "no core speaks TLS yet")]
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
