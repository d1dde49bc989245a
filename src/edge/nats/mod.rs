//! The bridge to other nodes (PROTOCOL.md §7): one helper thread with a tokio runtime of its own, and on it async-nats.
//!
//! ```text
//!           uplink: publishes ──► outbound ──► ┌──────────┐
//!   cores           interest  ──► table        │async-nats│
//!     ▲                             │          └────┬─────┘ loopback
//!     │                             │ SUB, PING   gate
//!     │  downlink                   └────────► ┌────┴─────┐
//!     ├───────────────────────────── inbound ◄─┤  server  │ ◄──► a NATS server
//!     │                                        └──────────┘
//!     └── watch: is the connection up, and what has the server confirmed
//! ```
//!
//! - **outbound** publishes batch after batch. When NATS is away or slow it waits, and what waits behind it is bounded by
//!   `nats-buffer`.
//! - **gate** is where async-nats connects to. It **dials** a server, lets the client log in there, and lets both speak. The
//!   client hears nothing but the answers to its own `PING`s: its parser ends connections, or panics, at messages that any
//!   neighbour may send.
//! - **server** is one connection: it puts our `SUB`s and `PING`s between the client's commands, and takes what the server
//!   says. An answered `PING` says that all before it has reached the server: a subscription is live, a publish is not lost.
//! - **table** is what the cores want, with a NATS subscription for each name, or **wide** ones for many.
//! - **inbound** gives each message to the cores that want it. It says for which name it came, since a node that is
//!   subscribed to `c.room` and `c.*` gets two copies, one for each.
//! - **watch** tells cores when there is no use to wait, and moves to another server before this one closes.
//!
//! If the client ends or panics all the same, the runtime goes with it, and the next one begins with the same table.

mod answers;
mod audience;
mod backlog;
mod dial;
mod drops;
mod gate;
mod inbound;
mod interest;
mod kept;
mod link;
mod options;
mod outbound;
mod overlap;
mod refusal;
pub(crate) mod said;
mod secrets;
mod server;
mod service;
mod spoken;
mod table;
#[cfg(test)]
mod tests;
mod watch;
mod wide;

use std::{
    io,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use async_nats::Client;
use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    config::Config,
    engine::{
        counters::Shared as SharedStats,
        uplink::{Downlink, Uplink},
    },
    error::StartError,
};

pub(crate) use self::service::prepare;
use self::{drops::When, gate::Gate, kept::Kept, link::Link, options::Options};

/// How long a stopping bridge goes on sending what waits, while it is connected: at most so long, and less if the time to
/// drain is over before.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);
/// At least so long, for what the cores hand over when they end; a server that answers needs less.
const STOP_TIME_MIN: Duration = Duration::from_millis(100);
/// How long the runtime may take to end after that.
const RUNTIME_STOP_TIME: Duration = Duration::from_millis(200);

/// For each so many bytes of `memory-budget` NATS is asked for one name; past it for wider ones. A name takes 250 bytes here,
/// and more of nats-server.
const BUDGET_BYTES_PER_NAME: u64 = 2 * 1024;

/// How long after a client has ended the next one begins: twice as long each time, up to the longest.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);

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
    kept: Arc<Kept>,
}

impl Deref for Shared {
    type Target = Kept;

    fn deref(&self) -> &Kept {
        &self.kept
    }
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
    /// For a reload, which has their files read again.
    pub(crate) options: Arc<Options>,
    prefix: Option<String>,
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
        let options = Arc::new(Options::read(config).map_err(StartError::Config)?);
        let prefix = config.nats_prefix.as_ref().map(|prefix| format!("{prefix}."));
        let (publishes, interest) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let wakes = (Arc::clone(&publishes), Arc::clone(&interest));
        let wake = move |has_interest: bool| if has_interest { wakes.1.notify_one() } else { wakes.0.notify_one() };
        let names_max = usize::try_from(memory_budget_bytes / BUDGET_BYTES_PER_NAME).unwrap_or(usize::MAX);
        Ok(Prepared {
            options,
            prefix,
            names_max,
            uplink: Uplink::new(config.nats_buffer_bytes, wake),
            publishes,
            interest,
        })
    }

    /// Starts the bridge's thread. `lost` is called if it ends by itself, which only a fault of ours can make it.
    ///
    /// # Errors
    /// The system refuses the thread or its poll.
    pub(crate) fn start(prepared: Prepared, ends: Ends, lost: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let stopped = Arc::clone(&stop);
        let first = runtime()?;
        let run = move || {
            let guard = Lost(Some(lost));
            let kept = Arc::new(Kept::new(prepared, ends));
            live(first, &kept, &stopped, async |kept, stop| run(kept, stop).await);
            guard.disarm();
        };
        let thread = thread::Builder::new().name("lhttp-nats".to_owned()).spawn(run)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Sends what the cores have handed over, until `by` or somewhat longer, and not at all if NATS is away, and ends.
    pub(crate) fn stop(&mut self, by: std::time::Instant) {
        self.stop.by.get_or_init(|| by.into());
        self.stop.asked.notify_one();
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
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

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// The bridge, from its start to its end: client after client, should one of them end.
fn live(first: Runtime, kept: &Arc<Kept>, stop: &Stop, run: impl AsyncFn(&Arc<Kept>, &Stop) -> Result<(), String>) {
    let (mut next, mut pause) = (Ok(first), RESTART_PAUSE_MIN);
    loop {
        let began = Instant::now();
        let why = match next {
            Ok(runtime) => {
                let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(kept, stop))));
                // The client's own tasks go with it, whatever has become of them.
                runtime.shutdown_timeout(RUNTIME_STOP_TIME);
                match ended {
                    Ok(Ok(())) => return,
                    Ok(Err(why)) => why,
                    Err(_) => "it has panicked".to_owned(),
                }
            }
            Err(error) => format!("the system refuses a poll: {error}"),
        };
        if began.elapsed() > RESTART_PAUSE_MAX {
            pause = RESTART_PAUSE_MIN;
        }
        log::error!("NATS: the client has ended ({why}); the next one begins in {pause:?}");
        kept.client_has_ended();
        if stop.wait_blocking(pause) {
            return;
        }
        pause = (pause * 2).min(RESTART_PAUSE_MAX);
        next = runtime();
    }
}

/// One client, from its start to its end. It ends well only because it is to stop.
async fn run(kept: &Arc<Kept>, stop: &Stop) -> Result<(), String> {
    let gate = Gate::open().await.map_err(|error| format!("there is no port for the bridge's own use: {error}"))?;
    let url = gate.url().map_err(|error| error.to_string())?;
    let link = Arc::new(Link::default());
    // It does not wait: the client connects on its own, again and again.
    let client = kept.options.connect(&link, url, gate.token()).await.map_err(|error| error.to_string())?;
    link.started(client.statistics());
    lock(&kept.progress).begin();
    kept.take_publish_bytes_max(client.max_payload());
    let shared = Arc::new(Shared { client, link, kept: Arc::clone(kept) });
    let mut tasks = JoinSet::new();
    tasks.spawn(gate::run(Arc::clone(&shared), gate));
    tasks.spawn(outbound::run(Arc::clone(&shared)));
    tasks.spawn(interest::run(Arc::clone(&shared)));
    tasks.spawn(watch::run(Arc::clone(&shared)));
    tokio::select! {
        ended = tasks.join_next() => Err(match ended {
            Some(Err(error)) => format!("a task has ended: {error}"),
            _ => "a task has ended".to_owned(),
        }),
        () = shared.link.wait_for_end() => Err("it takes nothing more".to_owned()),
        by = stop.wait() => {
            shared.finish(by).await;
            Ok(())
        }
    }
}

impl Stop {
    /// Waits on this thread, without a runtime. Says whether the bridge is to stop.
    fn wait_blocking(&self, pause: Duration) -> bool {
        let end = std::time::Instant::now() + pause;
        while self.by.get().is_none() {
            let Some(rest) = end.checked_duration_since(std::time::Instant::now()) else { return false };
            thread::park_timeout(rest);
        }
        true
    }

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
        let waiting = self.give_up_waiting() + self.at_hand.load(Ordering::Relaxed);
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
            if let Some(server) = self.server() {
                server.ask();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Nothing that holds one of these locks can panic half way, and all of it is on one thread but for the backlog,
/// which a core tries to lock and does not wait for.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
