//! All that a server listens on.

use std::net::SocketAddr;

use crate::{
    config::{Config, Listen},
    engine::{
        arrival::Role,
        listener::{Buffers, Listener, SocketFile, listen},
    },
    error::StartError,
};

/// The listeners of all cores, and where they are.
pub(super) struct Listening {
    /// Those of each core.
    pub(super) listeners: Vec<Vec<Listener>>,
    /// The places for clients, with the ports that were taken for 0.
    pub(super) places: Vec<Listen>,
    /// The addresses of pages, likewise.
    pub(super) pages: Vec<SocketAddr>,
    /// Removed at the end.
    pub(super) socket_files: Vec<SocketFile>,
}

impl Listening {
    /// Listens for clients where the configuration says, and for browsers on `pages_on`.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub(super) fn start(config: &Config, pages_on: &[SocketAddr], cores: usize) -> Result<Self, StartError> {
        let buffers = Buffers::from(config);
        let listeners = (0..cores).map(|_| Vec::new()).collect();
        let mut all = Self { listeners, places: Vec::new(), pages: Vec::new(), socket_files: Vec::new() };
        for index in 0..config.listen.len() {
            let listening = listen(&config.listen, index, Role::Public, cores, buffers)?;
            all.places.push(listening.at);
            all.socket_files.extend(listening.file);
            for (of_core, listener) in all.listeners.iter_mut().zip(listening.listeners) {
                of_core.push(listener);
            }
        }
        let pages_on: Vec<Listen> = pages_on.iter().copied().map(Listen::Tcp).collect();
        for index in 0..pages_on.len() {
            // The first core serves all pages: a few browsers are little work, and one place counts them.
            let listening = listen(&pages_on, index, Role::Pages, 1, buffers)?;
            all.pages.extend(listening.at.tcp());
            all.listeners[0].extend(listening.listeners);
        }
        Ok(all)
    }
}
