//! The server's keys: read at the start, read again by a reload, shared by the cores.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Verifier, claims::Expected, key::Key, key_file};
use crate::{config::Config, error::StartError};

/// The largest file with keys, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The keys of a server.
#[derive(Debug)]
pub(crate) struct Keys {
    file: Option<PathBuf>,
    shared: Arc<Shared>,
}

/// What the cores see of the keys.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) expected: Expected,
    /// Grows with each change of `keys`, and is never 0 once they are there.
    pub(super) generation: AtomicU64,
    pub(super) keys: Mutex<Arc<[Arc<Key>]>>,
}

impl Keys {
    /// Reads the keys that the options ask for; gives none if they ask for none.
    ///
    /// # Errors
    /// [`StartError::Config`]: the file of `token-key` cannot be read, or has no key that can be used.
    pub(crate) fn read(config: &Config) -> Result<Option<Self>, StartError> {
        if config.token_key.is_none() {
            return Ok(None);
        }
        let expected = Expected { issuer: config.token_issuer.clone(), audience: config.token_audience.clone() };
        let shared = Shared { expected, generation: AtomicU64::new(0), keys: Mutex::new(Arc::new([])) };
        let keys = Self { file: config.token_key.clone(), shared: Arc::new(shared) };
        keys.reread().map_err(StartError::Config)?;
        Ok(Some(keys))
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
        let bad = |flaw: String| format!("token-key: {}: {flaw}", path.display());
        let content = read_file(path).map_err(bad)?;
        let set = key_file::read(&content).map_err(bad)?;
        for flaw in &set.skipped {
            log::warn!("token-key: {}: {flaw}", path.display());
        }
        *lock(&self.shared.keys) = set.keys.into_iter().map(Arc::new).collect();
        self.shared.generation.fetch_add(1, Ordering::Release);
        Ok(vec!["token-key"])
    }
}

/// # Errors
/// The file cannot be read, or is too large.
fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content));
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    Ok(content)
}

/// Locks the keys. No code panics halfway through a change of them, so a poisoned lock is sound.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
