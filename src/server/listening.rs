//! All that a server listens on.

use std::net::SocketAddr;

use crate::{
    config::{Config, Listen},
    engine::{
        arrival::Role,
        listener::{Buffers, Inherited, Listener, SocketFile, listen, take_over},
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
    /// The places of `admin`, likewise.
    pub(super) admin: Vec<Listen>,
    /// Removed at the end.
    pub(super) socket_files: Vec<SocketFile>,
}

impl Listening {
    /// Listens for clients where the configuration says, and for browsers on `pages_on`. If a socket for one of these
    /// places was handed over, the server accepts from that one. The default address gives way to what was handed over.
    ///
    /// # Errors
    /// [`StartError::Listen`]; [`StartError::Config`] if a socket was handed over for another place.
    pub(super) fn start(
        config: &Config,
        pages_on: &[SocketAddr],
        mut handed: Vec<Inherited>,
        cores: usize,
    ) -> Result<Self, StartError> {
        let buffers = Buffers::from(config);
        let pages_on: Vec<Listen> = pages_on.iter().copied().map(Listen::Tcp).collect();
        let others: Vec<Listen> = pages_on.iter().chain(&config.admin).cloned().collect();
        let places = places(config, &others, &handed);
        let is_nowhere = |inherited: &&Inherited| !places.iter().chain(&others).any(|place| inherited.is_at(place));
        if let Some(Inherited { at, .. }) = handed.iter().find(is_nowhere) {
            return Err(refused(at, "a socket was handed over, but this server does not listen there"));
        }
        let listeners = (0..cores).map(|_| Vec::new()).collect();
        let mut all =
            Self { listeners, places: Vec::new(), pages: Vec::new(), admin: Vec::new(), socket_files: Vec::new() };
        let mut start = |places: &[Listen], index: usize, role, cores| match take(&mut handed, &places[index]) {
            Some(inherited) => {
                log::debug!("accepts from the socket for {} that was handed over", inherited.at);
                take_over(inherited, role, cores, buffers)
            }
            None => listen(places, index, role, cores, buffers),
        };
        for index in 0..places.len() {
            let listening = start(&places, index, Role::Public, cores)?;
            all.places.push(listening.at);
            all.socket_files.extend(listening.file);
            for (of_core, listener) in all.listeners.iter_mut().zip(listening.listeners) {
                of_core.push(listener);
            }
        }
        for index in 0..pages_on.len() {
            // The first core serves all pages: a few browsers are little work, and one place counts them.
            let listening = start(&pages_on, index, Role::Pages, 1)?;
            all.pages.extend(listening.at.tcp());
            all.listeners[0].extend(listening.listeners);
        }
        for index in 0..config.admin.len() {
            let listening = start(&config.admin, index, Role::Admin, 1)?;
            all.admin.push(listening.at);
            all.socket_files.extend(listening.file);
            all.listeners[0].extend(listening.listeners);
        }
        match handed.first() {
            Some(Inherited { at, .. }) => Err(refused(at, "more than one socket was handed over")),
            None => Ok(all),
        }
    }
}

/// Where the server listens for clients.
fn places(config: &Config, others: &[Listen], handed: &[Inherited]) -> Vec<Listen> {
    let is_default = config.listen == Config::default().listen;
    let is_for_clients = |inherited: &&Inherited| !others.iter().any(|place| inherited.is_at(place));
    let of_clients: Vec<Listen> = handed.iter().filter(is_for_clients).map(|inherited| inherited.at.clone()).collect();
    if is_default && !of_clients.is_empty() { of_clients } else { config.listen.clone() }
}

fn refused(at: &Listen, why: &str) -> StartError {
    StartError::Config(format!("listen: {at}: {why}"))
}

/// The socket for a place, if one was handed over. Only the place says whether it is for TLS.
fn take(handed: &mut Vec<Inherited>, place: &Listen) -> Option<Inherited> {
    let index = handed.iter().position(|inherited| inherited.is_at(place))?;
    Some(Inherited { at: place.clone(), ..handed.remove(index) })
}
