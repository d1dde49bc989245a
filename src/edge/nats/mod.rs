//! The bridge to other nodes (PROTOCOL.md §7): one helper thread with a tokio runtime of its own, and on it async-nats.
//!
//! ```text
//!           uplink: publishes ──► outbound ──► ┌──────────┐
//!   cores           interest  ──► interest ──► │async-nats│ ◄──► a NATS server
//!     ▲                             │ spawns   │          │
//!     │  downlink      courier ◄── inbound ◄── └──────────┘
//!     └────────────────────────◄── watch: is the connection up, and what has the server confirmed
//! ```
//!
//! - **outbound** publishes batch after batch. When NATS is away or slow it waits, and what waits behind it is bounded by
//!   `nats-buffer`: the cores drop what is oldest.
//! - **interest** keeps what the cores want, and one NATS subscription for each name of it.
//! - **inbound** is a task for each of those. It says for which name a message came, since a node that is subscribed to
//!   `c.room` and `c.*` gets two copies, one for each.
//! - **watch** sends *barriers*: a publish behind all that was sent before, to a subject that nobody can be subscribed
//!   to, so that the server itself answers. What comes before an answered barrier has reached the server, in both
//!   directions: a subscription is live, a publish is not lost. Cores are told which of their interest is live, and when
//!   there is no use to wait. While a barrier is not answered nothing more is published.

mod drops;
mod inbound;
mod interest;
mod link;
mod options;
mod outbound;
mod refusal;
mod sever;
mod watch;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use async_nats::Client;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    config::Config,
    engine::{
        counters::{Shared as SharedStats, Stats},
        uplink::{Downlink, Uplink},
    },
    error::StartError,
};

use self::{
    drops::{Drops, When},
    inbound::Inbound,
    interest::Table,
    link::Link,
    options::Options,
    watch::Progress,
};

/// How long a stopping bridge goes on sending what waits, while it is connected: at most so long, and less if the time to
/// drain is over before.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);
/// At least so long, for what the cores hand over when they end; a server that answers needs less.
const STOP_TIME_MIN: Duration = Duration::from_millis(100);
/// How long the runtime may take to end after that.
const RUNTIME_STOP_TIME: Duration = Duration::from_millis(200);

/// For each so many bytes of `memory-budget` NATS is asked for one name. A subscription takes 5.6 KB of the client's memory,
/// which comes beside the budget, so all of them take a third of it at most.
const BUDGET_BYTES_PER_NAME: u64 = 16 * 1024;

/// The bridge's thread, as the server holds it.
#[derive(Debug)]
pub(crate) struct Bridge {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    /// The time to drain ends then. Set by whoever asks to stop.
    by: OnceLock<Instant>,
    asked: Notify,
}

/// What the tasks of the bridge share.
struct Shared {
    client: Client,
    link: Arc<Link>,
    uplink: Uplink,
    table: Mutex<Table>,
    inbound: Mutex<Inbound>,
    /// There are publishes to take from the uplink.
    publishes: Arc<Notify>,
    /// Messages of the batch that is being published which are still to come.
    at_hand: AtomicU64,
    /// There is interest to take from the uplink.
    interest: Arc<Notify>,
    /// There are batches for cores.
    deliveries: Notify,
    /// What the bridge has counted; `stats` is what other threads see of it.
    counts: Mutex<Stats>,
    stats: Arc<SharedStats>,
    progress: Mutex<Progress>,
    drops: Mutex<Drops>,
    publish_bytes_max: Arc<AtomicUsize>,
}

/// What the bridge and the rest of the server tell each other by.
pub(crate) struct Ends {
    pub(crate) downlinks: Vec<Downlink>,
    pub(crate) stats: Arc<SharedStats>,
    /// The largest message that may be published; the bridge sets it.
    pub(crate) publish_bytes_max: Arc<AtomicUsize>,
    /// `outbox-max`, which a reload changes.
    pub(crate) outbox_bytes_max: Arc<AtomicUsize>,
}

/// An uplink for [`Bridge::start`], and what its cores wake.
pub(crate) struct Prepared {
    options: Options,
    names_max: usize,
    pub(crate) uplink: Uplink,
    publishes: Arc<Notify>,
    interest: Arc<Notify>,
}

impl Bridge {
    /// Reads the files that the configuration names, and makes the cores' link to the bridge.
    ///
    /// # Errors
    /// [`StartError::Config`]: a file that cannot be read or used.
    pub(crate) fn prepare(config: &Config, memory_budget_bytes: u64) -> Result<Prepared, StartError> {
        let options = Options::read(config).map_err(StartError::Config)?;
        let (publishes, interest) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let wakes = (Arc::clone(&publishes), Arc::clone(&interest));
        let wake = move |has_interest: bool| if has_interest { wakes.1.notify_one() } else { wakes.0.notify_one() };
        let names_max = usize::try_from(memory_budget_bytes / BUDGET_BYTES_PER_NAME).unwrap_or(usize::MAX);
        Ok(Prepared { options, names_max, uplink: Uplink::new(config.nats_buffer_bytes, wake), publishes, interest })
    }

    /// Starts the bridge's thread. `lost` is called if it ends by itself, which only a fault of ours can make it.
    ///
    /// # Errors
    /// The system refuses the thread or its poll.
    pub(crate) fn start(prepared: Prepared, ends: Ends, lost: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = Arc::new(Stop::default());
        let stopped = Arc::clone(&stop);
        let run = move || {
            let guard = Lost(Some(lost));
            runtime.block_on(run(prepared, ends, &stopped));
            runtime.shutdown_timeout(RUNTIME_STOP_TIME);
            guard.disarm();
        };
        let thread = thread::Builder::new().name("lhttp-nats".to_owned()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Sends what the cores have handed over, until `by` or somewhat longer, and not at all if NATS is away, and ends.
    pub(crate) fn stop(&mut self, by: std::time::Instant) {
        self.stop.by.get_or_init(|| by.into());
        self.stop.asked.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the NATS bridge has panicked");
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop(std::time::Instant::now());
    }
}

/// Calls what it holds unless it was disarmed before.
struct Lost<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Lost<F> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for Lost<F> {
    fn drop(&mut self) {
        if let Some(lost) = self.0.take() {
            lost();
        }
    }
}

/// The bridge, from its start to its end.
async fn run(prepared: Prepared, ends: Ends, stop: &Stop) {
    let Ends { downlinks, stats, publish_bytes_max, outbox_bytes_max } = ends;
    let Prepared { options, names_max, uplink, publishes, interest } = prepared;
    let link = Arc::new(Link::default());
    // It does not wait: the client connects on its own, again and again.
    let client = match options.connect(&link).await {
        Ok(client) => client,
        Err(error) => panic!("the NATS client refuses options that were checked: {error}"),
    };
    link.started(client.statistics());
    publish_bytes_max.store(client.max_payload(), Ordering::Relaxed);
    // The client's own names for inboxes take random numbers from `/dev/urandom`, which need not be there.
    let (cores, inbox) = (downlinks.len(), format!("_INBOX.lhttp.{:016x}.{:016x}.", link::random(), link::random()));
    let shared = Arc::new(Shared {
        client,
        link: Arc::clone(&link),
        uplink,
        table: Mutex::new(Table::new(cores, names_max)),
        inbound: Mutex::new(Inbound::new(downlinks, outbox_bytes_max, inbox.clone(), Arc::clone(&link))),
        publishes,
        at_hand: AtomicU64::new(0),
        interest,
        deliveries: Notify::new(),
        counts: Mutex::new(Stats::default()),
        stats,
        progress: Mutex::new(Progress::new(cores)),
        drops: Mutex::default(),
        publish_bytes_max,
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(outbound::run(Arc::clone(&shared)));
    tasks.spawn(interest::run(Arc::clone(&shared)));
    tasks.spawn(inbound::run(Arc::clone(&shared)));
    tasks.spawn(watch::run(Arc::clone(&shared), options.shown(), inbox));
    tokio::select! {
        Some(Err(error)) = tasks.join_next() => panic!("a task of the NATS bridge has ended: {error}"),
        by = stop.wait() => shared.finish(by).await,
    }
}

impl Stop {
    async fn wait(&self) -> Instant {
        loop {
            if let Some(&by) = self.by.get() {
                return by;
            }
            self.asked.notified().await;
        }
    }
}

impl Shared {
    /// Sends what is left, and says what could not be sent.
    async fn finish(&self, by: Instant) {
        if self.link.is_up() {
            let now = Instant::now();
            let _ = timeout_at(by.clamp(now + STOP_TIME_MIN, now + STOP_TIME_MAX), self.wait_until_sent()).await;
        }
        let waiting = self.uplink.take_all_messages() + self.at_hand.load(Ordering::Relaxed);
        let unsent = self.link.unsent();
        let unconfirmed = lock(&self.progress).unconfirmed(&self.link);
        if waiting + unsent + unconfirmed > 0 {
            log::warn!(
                "NATS: {} messages for other nodes were not sent, {unconfirmed} more may not have arrived",
                waiting + unsent
            );
        }
        self.log_drops(When::Now);
        self.count(|_| {});
    }

    /// Waits until the cores' batches have been taken and all that was in them is confirmed.
    async fn wait_until_sent(&self) {
        while !self.uplink.is_empty() || lock(&self.progress).unconfirmed(&self.link) > 0 || self.link.unsent() > 0 {
            self.link.changed.notify_one(); // so that a barrier goes out at once
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Counts something, and shows the numbers to other threads.
    fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut counts = lock(&self.counts);
        change(&mut counts);
        counts.nats_publish_dropped = self.uplink.dropped() + lock(&self.link.refusals).publishes.count();
        self.stats.store(&counts);
    }
}

/// Nothing that holds one of these locks can panic half way, and all of it is on one thread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
