//! The upstream proxy (PROTOCOL.md §5): worker threads send HTTP requests for messages, and answers go back to the cores.
//!
//! ```text
//!   cores: gate ──► queue ──► schedule ──► worker ──► ureq ◄──► an HTTP server
//!     ▲                                      │
//!     └─ a core's inbox ◄─── post ◄──────────┘ the answer, or what failed
//! ```
//!
//! One idle worker at a time waits for the queue and moves new requests to the schedule. The schedule picks the next request:
//! the requests of one connection to one server stay in order, connections and servers take turns, and a server that hangs
//! never holds the last worker that another server needs.

mod fetch;
mod gate;
mod http_client;
mod patience;
mod pool;
mod post;
mod queue;
mod reply;
mod resolver;
mod schedule;
mod workers;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crossbeam_channel::Receiver;

use crate::{
    application::Upstream,
    config::{Allow, Config, Plan},
    engine::stats::{SharedStats, Stats},
    error::StartError,
    service::{PreparedService, Service, Wiring},
};

use self::{
    fetch::Fetch,
    gate::Gate,
    http_client::HttpClient,
    pool::Pool,
    queue::{Capacity, Queue},
};

/// The parts of a [`Pool`] before it starts, and the cores' end of its queue.
struct Prepared {
    client: HttpClient,
    allow: Arc<Allow>,
    queue: Queue,
    intake: Receiver<Box<Fetch>>,
    capacity: Arc<Capacity>,
    workers: usize,
}

/// Prepares the proxy; gives none if no prefix is allowed. Loads the system's certificate authorities if a prefix is `https`.
///
/// # Errors
/// [`StartError::Config`].
pub(crate) fn prepare(config: &Config, _: &Plan) -> Result<Option<Box<dyn PreparedService>>, StartError> {
    if config.upstream_allow.is_empty() {
        return Ok(None);
    }
    let allow = Arc::new(config.upstream_allowed().map_err(StartError::Config)?);
    let client = HttpClient::new(config, Arc::clone(&allow))?;
    let (queue, intake, capacity) = Queue::new(config.upstream_queue_max, Config::UPSTREAM_QUEUE_BYTES_MAX);
    Ok(Some(Box::new(Prepared { client, allow, queue, intake, capacity, workers: config.upstream_workers })))
}

impl PreparedService for Prepared {
    fn upstream(&self, core: u32) -> Option<Box<dyn Upstream>> {
        Some(Box::new(Gate::new(core, Arc::clone(&self.allow), self.queue.clone())))
    }

    fn start(self: Box<Self>, wiring: Wiring) -> io::Result<Box<dyn Service>> {
        Ok(Box::new(Pool::start(*self, wiring.mailboxes, wiring.stats)?))
    }
}

/// The workers' numbers, and a copy for other threads to read.
#[derive(Debug, Default)]
struct Tally {
    counts: Mutex<Stats>,
    stats: Arc<SharedStats>,
}

impl Tally {
    /// Changes the numbers and publishes them to other threads.
    fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut counts = lock(&self.counts);
        change(&mut counts);
        self.stats.store(&counts);
    }
}

/// Locks a mutex. No code panics halfway through a change under one of these locks, so a poisoned lock is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
