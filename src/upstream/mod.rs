//! The upstream proxy (PROTOCOL.md §5): worker threads that send HTTP requests for messages, and the way back.
//!
//! ```text
//!   cores: gate ──► queue ──► schedule ──► worker ──► ureq ◄──► an HTTP server
//!     ▲                          ▲ flows     │
//!     └─ a core's inbox ◄─ post ◄┴───────────┘ what came of it
//! ```
//!
//! One idle worker at a time looks into the queue. What it finds goes to the schedule, which knows whose turn it is: so a
//! connection's requests to a server arrive in order, connections and servers take turns, and a server that hangs holds
//! no worker that another one needs.

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
    engine::counters::{self, Stats},
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

/// A client and a queue for [`Pool::start`], and the cores' way to it.
struct Prepared {
    client: HttpClient,
    allow: Arc<Allow>,
    queue: Queue,
    intake: Receiver<Box<Fetch>>,
    capacity: Arc<Capacity>,
    workers: usize,
}

/// The workers that the options ask for; none without a prefix. Loads the certificate authorities if a prefix is `https`.
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

/// What is counted, for other threads to read.
#[derive(Debug, Default)]
struct Tally {
    counts: Mutex<Stats>,
    stats: Arc<counters::Shared>,
}

impl Tally {
    /// Counts something, and shows the numbers to other threads.
    fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut counts = lock(&self.counts);
        change(&mut counts);
        self.stats.store(&counts);
    }
}

/// Nothing that holds one of these locks can panic half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
