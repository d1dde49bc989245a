//! What the cores, the reload and the thread that fetches keys see of the server's keys.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::Thread,
};

use super::{KeyNumbers, cache::Fingerprint, claims::Expected, key::Key, key_set::KeySet};

/// The keys of a server, and the calls for new ones.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) expected: Expected,
    /// Grows with each change of the keys; 0 before the first ones.
    generation: AtomicU64,
    keys: Mutex<Current>,
    /// A token has named a key that is not there.
    is_asked: AtomicBool,
    is_stopped: AtomicBool,
    /// The thread that fetches keys.
    fetcher: OnceLock<Thread>,
    fetches: AtomicU64,
    failures: AtomicU64,
}

/// Where keys come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// `token-key`.
    File,
    /// `token-jwks`.
    Fetched,
}

#[derive(Debug)]
struct Current {
    all: Arc<[Arc<Key>]>,
    /// By source, its keys and the SHA-256 of the text that they were read from.
    parts: [(Vec<Arc<Key>>, Option<Fingerprint>); 2],
}

impl Shared {
    pub(super) fn new(expected: Expected) -> Self {
        Self {
            expected,
            generation: AtomicU64::new(0),
            keys: Mutex::new(Current { all: Arc::new([]), parts: Default::default() }),
            is_asked: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            fetcher: OnceLock::new(),
            fetches: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// The number of the newest keys.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The newest keys.
    pub(super) fn keys(&self) -> Arc<[Arc<Key>]> {
        Arc::clone(&lock(&self.keys).all)
    }

    /// Takes the keys of a source, which were read from `text`, in place of its last ones. True if the text has changed.
    ///
    /// # Errors
    /// That of `read`: then the last keys stay.
    pub(super) fn take(
        &self,
        source: Source,
        text: &[u8],
        read: impl FnOnce() -> Result<KeySet, String>,
    ) -> Result<bool, String> {
        let fingerprint = Some(Fingerprint::of(text));
        let mut current = lock(&self.keys);
        if current.parts[source as usize].1 == fingerprint {
            return Ok(false);
        }
        let keys = read()?.keys.into_iter().map(Arc::new).collect();
        current.parts[source as usize] = (keys, fingerprint);
        current.all = current.parts.iter().flat_map(|(keys, _)| keys).cloned().collect();
        // Behind the lock: a core that sees the new number waits for the keys.
        self.generation.fetch_add(1, Ordering::Release);
        Ok(true)
    }

    /// A token has named a key that is not there: the issuer may have a new one. Costs one load if that is known already.
    pub(super) fn ask(&self) {
        if let Some(fetcher) = self.fetcher.get()
            && !self.is_asked.load(Ordering::Relaxed)
            && !self.is_asked.swap(true, Ordering::Relaxed)
        {
            fetcher.unpark();
        }
    }

    /// Whether somebody has called [`Shared::ask`] since [`Shared::answer`].
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// A fetch begins, which answers all who have asked.
    pub(super) fn answer(&self) {
        self.is_asked.store(false, Ordering::Relaxed);
    }

    /// Names the thread that fetches keys.
    pub(super) fn set_fetcher(&self, thread: &Thread) {
        let _ = self.fetcher.set(thread.clone());
    }

    /// Ends the thread that fetches keys.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        if let Some(fetcher) = self.fetcher.get() {
            fetcher.unpark();
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Counts a fetch.
    pub(super) fn count(&self, is_failure: bool) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(is_failure), Ordering::Relaxed);
    }

    pub(super) fn numbers(&self) -> KeyNumbers {
        KeyNumbers {
            keys: lock(&self.keys).all.len() as u64,
            fetches: self.fetches.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

/// Locks the keys. No code panics halfway through a change of them, so a poisoned lock is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
