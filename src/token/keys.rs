//! The server's keys: read at the start, read again by a reload, fetched from the issuer.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    KeyNumbers, Verifier,
    claims::Expected,
    fetch::Fetch,
    key_file,
    shared::{Shared, Source},
};
use crate::{
    config::{Config, read_file},
    error::StartError,
};

/// The bit of a file's mode that lets everybody read it.
const READABLE_BY_OTHERS: u32 = 0o004;

/// The keys of a server. Dropping them ends the thread that fetches keys.
#[derive(Debug)]
pub(crate) struct Keys {
    file: Option<PathBuf>,
    fetch: Option<Fetch>,
    shared: Arc<Shared>,
}

impl Keys {
    /// Reads the keys that the options ask for; gives none if they ask for none. It fetches nothing.
    ///
    /// # Errors
    /// [`StartError::Config`]: the file of `token-key` cannot be read or has no key that can be used, or `token-jwks` has
    /// `https` and the system has no certificate authorities.
    pub(crate) fn read(config: &Config) -> Result<Option<Self>, StartError> {
        if !config.has_tokens() {
            return Ok(None);
        }
        let expected = Expected { issuer: config.token_issuer.clone(), audience: config.token_audience.clone() };
        let fetch = config.token_jwks.as_deref().map(Fetch::new).transpose().map_err(StartError::Config)?;
        let keys = Self { file: config.token_key.clone(), fetch, shared: Arc::new(Shared::new(expected)) };
        keys.reread().map_err(StartError::Config)?;
        Ok(Some(keys))
    }

    /// Starts the thread that fetches the keys of `token-jwks`, and waits 3 s at most for the first ones. Without them the
    /// server starts nevertheless: it refuses the tokens of the issuer until it has the keys.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.fetch.as_ref().map_or(Ok(()), |fetch| fetch.start(&self.shared))
    }

    /// A core's end.
    pub(crate) fn verifier(&self) -> Verifier {
        Verifier::new(Arc::clone(&self.shared))
    }

    /// Reads the file again. Gives the option if the file has changed.
    ///
    /// # Errors
    /// One sentence that names the option and the file, and no secret; the last keys stay in use.
    pub(crate) fn reread(&self) -> Result<Vec<&'static str>, String> {
        let Some(path) = &self.file else { return Ok(Vec::new()) };
        let shown = path.display();
        let bad = |flaw: String| format!("token-key: {shown}: {flaw}");
        let content = read_file(path).map_err(|error| bad(format!("it cannot be read: {error}")))?;
        let read = || {
            let set = key_file::read(&content)?;
            for flaw in &set.skipped {
                log::warn!("token-key: {shown}: {flaw}");
            }
            let has_secret = set.keys.iter().any(|key| key.algorithm.is_secret());
            if has_secret && is_readable_by_others(path) {
                log::warn!("token-key: everybody on this machine can read the secret in {shown}: chmod o= {shown}");
            }
            Ok(set)
        };
        let has_changed = self.shared.take(Source::File, &content, read).map_err(bad)?;
        Ok(if has_changed { vec!["token-key"] } else { Vec::new() })
    }

    /// The number of keys and of fetches.
    pub(crate) fn numbers(&self) -> KeyNumbers {
        self.shared.numbers()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

fn is_readable_by_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & READABLE_BY_OTHERS != 0)
}

#[cfg(test)]
mod tests;
