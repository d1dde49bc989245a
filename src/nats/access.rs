//! How to reach NATS: the servers, TLS, and the login. Its locks are there for the thread that reloads the configuration.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_nats::{Auth, AuthError};

use crate::config::{Config, Login};

use super::secrets::{Secrets, TlsFiles, lock};

/// The configuration of the connection to NATS.
#[derive(Debug)]
pub(crate) struct Access {
    pub(super) addresses: Vec<String>,
    pub(super) is_tls: bool,
    pub(super) tls: TlsFiles,
    login: Option<Login>,
    /// The last secrets that could be read.
    secrets: Mutex<Secrets>,
    /// Secrets or certificates have changed since the client has connected.
    is_rotated: AtomicBool,
}

impl Access {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// One sentence that names the option and the file, and no secret.
    pub(super) fn read(config: &Config) -> Result<Self, String> {
        let servers = config.nats_servers()?;
        let login = config.nats_login()?;
        let secrets = Secrets::read(login.as_ref())?;
        let is_tls = servers.iter().any(|server| server.is_tls);
        // TLS for all servers, including advertised ones.
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

    /// Reads the files again. If one has changed, the bridge connects again with its new content. Gives the options whose
    /// files have changed.
    ///
    /// # Errors
    /// As [`Access::read`]; the last contents stay in use.
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

    /// True if the files have changed since the connection was made.
    pub(super) fn is_rotated(&self) -> bool {
        self.is_rotated.load(Ordering::Relaxed)
    }

    /// The login for a server that has sent this nonce. Each connection reads the files again.
    ///
    /// # Errors
    /// A seed that cannot sign.
    pub(super) fn auth(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        self.is_rotated.store(false, Ordering::Relaxed);
        let mut kept = lock(&self.secrets);
        match Secrets::read(self.login.as_ref()) {
            Ok(secrets) => *kept = secrets,
            Err(reason) => log::warn!("NATS: {reason}; the last usable files stay in use"),
        }
        kept.auth(nonce).map_err(AuthError::new)
    }
}
