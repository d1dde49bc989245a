//! From the configuration to the client's options. What is secret in them is read here and given to the client alone.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::config::{Config, Login};
use async_nats::{Auth, AuthError, Client, ClientError, ConnectError, ConnectOptions, Event};

use super::{
    link::Link,
    lock,
    secrets::{Secrets, TlsFiles},
};

/// Commands on their way to the client's own task.
const CLIENT_CAPACITY: usize = 256;
/// How long one attempt to connect may take: all servers are tried in it, each with limits of its own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection of which nothing was heard for two to three times as long is dead.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// What the bridge needs of the configuration.
#[derive(Debug)]
pub(crate) struct Options {
    pub(super) addresses: Vec<String>,
    pub(super) is_tls: bool,
    pub(super) tls: TlsFiles,
    login: Option<Login>,
    /// Read last, and sound.
    secrets: Mutex<Secrets>,
    /// They have changed since the client has connected.
    is_rotated: AtomicBool,
}

impl Options {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// One sentence that names the option and the file, and no secret.
    pub(super) fn read(config: &Config) -> Result<Self, String> {
        let servers = config.nats_servers()?;
        let login = config.nats_login()?;
        let secrets = Secrets::read(login.as_ref())?;
        let is_tls = servers.iter().any(|server| server.is_tls);
        // Of all servers, also of those that a server tells of.
        let tls = TlsFiles::read(config, is_tls)?;
        let addresses = servers.into_iter().map(|server| server.address).collect();
        let is_rotated = AtomicBool::new(false);
        Ok(Self { addresses, is_tls, tls, login, secrets: Mutex::new(secrets), is_rotated })
    }

    /// The servers, for the log.
    pub(super) fn shown(&self) -> String {
        let scheme = if self.is_tls { "tls" } else { "nats" };
        self.addresses.iter().map(|address| format!("{scheme}://{address}")).collect::<Vec<_>>().join(", ")
    }

    /// Reads the files again. If what is in them has changed, the bridge connects again with it. Gives the options whose
    /// files have changed.
    ///
    /// # Errors
    /// As [`Options::read`]; what was read last stays.
    pub(crate) fn reread(&self) -> Result<Vec<&'static str>, String> {
        let secrets = Secrets::read(self.login.as_ref())?;
        let mut changed = self.tls.reread()?;
        let mut kept = lock(&self.secrets);
        if *kept != secrets {
            *kept = secrets;
            changed.extend(Secrets::option(self.login.as_ref()));
        }
        drop(kept);
        if !changed.is_empty() {
            self.is_rotated.store(true, Ordering::Relaxed);
        }
        Ok(changed)
    }

    /// Whether the connection was made with what the files do not hold any more.
    pub(super) fn is_rotated(&self) -> bool {
        self.is_rotated.load(Ordering::Relaxed)
    }

    /// What the client is to log in with now: files are read at each connection.
    fn auth(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        self.is_rotated.store(false, Ordering::Relaxed);
        let mut kept = lock(&self.secrets);
        match Secrets::read(self.login.as_ref()) {
            Ok(secrets) => *kept = secrets,
            Err(reason) => log::warn!("NATS: {reason}; what was read before is used"),
        }
        kept.auth(nonce).map_err(AuthError::new)
    }

    /// Makes the client, which goes on to connect by itself.
    ///
    /// # Errors
    /// A URL that the client cannot parse.
    pub(super) async fn connect(
        self: &Arc<Self>,
        link: &Arc<Link>,
        url: String,
        name: &str,
    ) -> Result<Client, ConnectError> {
        let (options, of_attempts, of_events) = (Arc::clone(self), Arc::clone(link), Arc::clone(link));
        let alive = link.alive();
        ConnectOptions::with_auth_callback(move |nonce| std::future::ready(options.auth(&nonce)))
            .name(name)
            .no_echo()
            .retry_on_initial_connect()
            .ignore_discovered_servers()
            .max_reconnects(None)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .client_capacity(CLIENT_CAPACITY)
            .retain_servers_order()
            .reconnect_delay_callback(move |attempt| {
                let _ = &alive; // which this closure ends with
                of_attempts.attempt(attempt)
            })
            .event_callback(move |event| {
                if let Event::ClientError(ClientError::Other(reason)) = event {
                    of_events.failed_somehow(reason);
                }
                of_events.changed.notify_one();
                std::future::ready(())
            })
            .connect(url)
            .await
    }
}
