//! Fetches the issuer's keys (`token-jwks`) on a thread of its own: at the start, from time to time, and when a token names
//! a key that is not there.

use std::{
    fmt, io,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use ureq::{Agent, http::StatusCode};

#[cfg(feature = "tls")]
use crate::https;

use super::{
    key_set::KeySet,
    shared::{Shared, Source},
};

/// How long the start of the server waits for the first keys.
const FIRST_WITHIN: Duration = Duration::from_secs(3);
/// The most time of one fetch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer, in bytes.
const BODY_BYTES_MAX: u64 = 256 << 10;
/// The largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Fetches keys from one URL.
#[derive(Clone)]
pub(super) struct Fetch {
    url: String,
    agent: Agent,
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Fetch {
    /// # Errors
    /// One sentence: the URL has `https`, and the system has no certificate authorities.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let config = Agent::config_builder()
            .proxy(None) // it would take one from the environment
            .http_status_as_error(false)
            .max_redirects(0) // `https` could lead to `http`
            .max_redirects_will_error(false)
            .max_response_header_size(HEAD_BYTES_MAX)
            .max_idle_connections(0)
            .timeout_global(Some(TIMEOUT))
            .user_agent(concat!("lhttp/", env!("CARGO_PKG_VERSION")));
        #[cfg(feature = "tls")]
        let config = if url.starts_with("https:") { config.tls_config(https::config("token-jwks")?) } else { config };
        Ok(Self { url: url.to_owned(), agent: config.build().new_agent() })
    }

    /// Starts the thread, and waits a little for the first keys.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(&self, shared: &Arc<Shared>) -> io::Result<()> {
        let (is_done, done) = sync_channel(1);
        let (fetch, theirs) = (self.clone(), Arc::clone(shared));
        let run = move || fetch.run(&theirs, &is_done);
        let thread = thread::Builder::new().name("lhttp-token-keys".to_owned()).spawn(run)?;
        shared.set_fetcher(thread.thread());
        // Nobody waits for the end of the thread: a fetch may take until its timeout.
        let _ = done.recv_timeout(FIRST_WITHIN);
        Ok(())
    }

    /// Fetches keys until the server stops.
    fn run(&self, shared: &Shared, is_done: &SyncSender<()>) {
        let mut pace = Pace::default();
        while !shared.is_stopped() {
            let outcome = self.once(shared);
            pace.has_fetched(outcome.is_err());
            match outcome {
                Ok(false) => {}
                Ok(true) => {
                    log::info!("token-jwks: {} keys are in use, with those of {}", shared.numbers().keys, self.url)
                }
                Err(flaw) => log::warn!(
                    "token-jwks: {}: {flaw}; the last keys stay in use, and the next try is in {} s",
                    self.url,
                    pace.wait(false).as_secs()
                ),
            }
            let _ = is_done.try_send(());
            wait_for_next(shared, &pace);
        }
    }

    /// Fetches the keys once, and counts that. True if they have changed.
    ///
    /// # Errors
    /// Why they could not be used; then the last ones stay.
    pub(super) fn once(&self, shared: &Shared) -> Result<bool, String> {
        shared.answer();
        let outcome = self.fetch(shared);
        shared.count(outcome.is_err());
        outcome
    }

    fn fetch(&self, shared: &Shared) -> Result<bool, String> {
        let answer = self.agent.get(&self.url).header("accept", "application/json").call();
        let mut answer = answer.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer has status {}", answer.status().as_u16()));
        }
        let body = answer.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| error.to_string())?;
        shared.take(Source::Fetched, &body, || {
            let text = str::from_utf8(&body).map_err(|_| "the answer is not UTF-8".to_owned())?;
            let set = KeySet::read(text, false)?;
            for flaw in &set.skipped {
                log::info!("token-jwks: {}: {flaw}", self.url);
            }
            Ok(set)
        })
    }
}

/// Waits for the time of the next fetch, or for the end of the server.
fn wait_for_next(shared: &Shared, pace: &Pace) {
    let begun = Instant::now();
    while !shared.is_stopped() {
        let wait = pace.wait(shared.is_asked()).saturating_sub(begun.elapsed());
        if wait.is_zero() {
            return;
        }
        thread::park_timeout(wait);
    }
}

/// When to fetch again. A stranger can name keys that are not there as often as it likes, so that alone must not make a
/// fetch of each token.
#[derive(Debug, Default)]
struct Pace {
    /// Failures in a row.
    failures: u32,
}

impl Pace {
    /// The time between two fetches if nobody asks.
    const USUAL: Duration = Duration::from_secs(300);
    /// The time after a fetch in which nobody can ask for another one.
    const ASKED: Duration = Duration::from_secs(30);
    /// The time after a failure, which doubles with each further one, and its end.
    const FAILED: Duration = Duration::from_secs(1);
    const FAILED_MAX: Duration = Duration::from_secs(60);

    fn has_fetched(&mut self, is_failure: bool) {
        self.failures = if is_failure { self.failures.saturating_add(1) } else { 0 };
    }

    /// The time from the last fetch to the next one.
    fn wait(&self, is_asked: bool) -> Duration {
        match self.failures {
            0 if is_asked => Self::ASKED,
            0 => Self::USUAL,
            failures => Self::FAILED.saturating_mul(1 << (failures - 1).min(6)).min(Self::FAILED_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_tried_again_later_and_later_and_strangers_cannot_hurry_it() {
        let mut pace = Pace::default();
        assert_eq!((pace.wait(false).as_secs(), pace.wait(true).as_secs()), (300, 30));
        let waits: Vec<u64> = (0..40)
            .map(|_| {
                pace.has_fetched(true);
                assert_eq!(pace.wait(true), pace.wait(false));
                pace.wait(true).as_secs()
            })
            .collect();
        assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(waits[39], 60);
        pace.has_fetched(false);
        assert_eq!(pace.wait(true), Pace::ASKED);
    }
}
