//! The async-nats client: when it reconnects, whether it is connected, and how many messages it has taken.
//!
//! The bridge cannot rely on the client's events, because the client drops some in a burst. It can rely on two things: it
//! asks for a delay before each attempt to connect, in the task that has just found the connection broken, and it counts
//! its connections. It takes no messages in between, so those that it had taken by then are exactly those that may be
//! lost.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ClientError, ConnectError, ConnectOptions, Event, Statistics};
use tokio::{sync::mpsc, time::Instant};

use super::{access::Access, random::random};

/// The shortest delay before an attempt to connect.
const DELAY_MIN: Duration = Duration::from_millis(50);
/// The longest delay, without the jitter of up to the same time again.
const DELAY_MAX: Duration = Duration::from_secs(2);
/// A connection that ends sooner counts as a failure of its server: the next delay is twice as long.
const LASTING: Duration = Duration::from_secs(5);
/// Commands that wait for the client's own task.
const CLIENT_CAPACITY: usize = 256;
/// The longest time of one attempt to connect: all servers are tried in it, each with limits of its own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The client gives up a connection that is silent for two to three times as long.
const PING_INTERVAL: Duration = Duration::from_secs(3);
/// Events of the client that wait for the bridge. When there are more, the newest is dropped: each says only that the bridge
/// must look at the state, and the first reason of a failure is as good as the next.
const EVENTS_MAX: usize = 16;

/// The client's own state. The client's tasks write it; atomics, since the client asks for `Send` and `Sync`.
#[derive(Debug)]
pub(super) struct ClientState {
    /// The client's own counters, once it is started.
    statistics: OnceLock<Arc<Statistics>>,
    /// How often the client has begun to connect; the first time is its start.
    outages: AtomicU64,
    /// Messages that the client had taken when it last began to connect.
    taken_at_cut: AtomicU64,
    /// The bridge has the client change its server, so the client need not wait.
    is_moving: AtomicBool,
    /// When this was made.
    origin: Instant,
    /// When the last attempt to connect began, in milliseconds since `origin`; [`NEVER`] before the first.
    began_at: AtomicU64,
    /// How many connections in a row did not last.
    short: AtomicUsize,
}

/// See [`ClientState::began_at`].
const NEVER: u64 = u64::MAX;

/// News of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClientEvent {
    /// The state may have changed.
    Changed,
    /// An attempt to connect has failed.
    Failed(String),
}

/// Starts the client, which connects by itself, again and again. The receiver ends when the client's own task ends, even if
/// that panics.
///
/// # Errors
/// A URL that the client cannot parse.
pub(super) async fn start_client(
    access: &Arc<Access>,
    url: String,
    name: &str,
) -> Result<(Client, Arc<ClientState>, mpsc::Receiver<ClientEvent>), ConnectError> {
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    let state = Arc::new(ClientState::new());
    let (access, of_attempts, attempts) = (Arc::clone(access), Arc::clone(&state), events.clone());
    let client = ConnectOptions::with_auth_callback(move |nonce| std::future::ready(access.auth(&nonce)))
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
            let delay = of_attempts.attempt(attempt);
            let _ = attempts.try_send(ClientEvent::Changed);
            delay
        })
        .event_callback(move |event| {
            let _ = events.try_send(match event {
                Event::ClientError(ClientError::Other(reason)) => ClientEvent::Failed(reason),
                _ => ClientEvent::Changed,
            });
            std::future::ready(())
        })
        .connect(url)
        .await?;
    let _ = state.statistics.set(client.statistics());
    Ok((client, state, receiver))
}

impl ClientState {
    fn new() -> Self {
        Self {
            statistics: OnceLock::new(),
            outages: AtomicU64::new(0),
            taken_at_cut: AtomicU64::new(0),
            is_moving: AtomicBool::new(false),
            origin: Instant::now(),
            began_at: AtomicU64::new(NEVER),
            short: AtomicUsize::new(0),
        }
    }

    /// The client is about to try to connect; `attempt` counts since it was connected. Gives the delay before it tries.
    fn attempt(&self, attempt: usize) -> Duration {
        self.attempt_at(attempt, Instant::now())
    }

    fn attempt_at(&self, attempt: usize, now: Instant) -> Duration {
        if attempt == 1 {
            self.taken_at_cut.store(self.taken(), Ordering::Relaxed);
            self.outages.fetch_add(1, Ordering::Relaxed);
        }
        if attempt == 1 && self.is_moving() {
            return Duration::ZERO;
        }
        let since_origin = |at: Instant| at.saturating_duration_since(self.origin).as_millis() as u64;
        let began_at = self.began_at.load(Ordering::Relaxed);
        let has_lasted = began_at == NEVER || since_origin(now).saturating_sub(began_at) >= LASTING.as_millis() as u64;
        let short = match self.short.load(Ordering::Relaxed) {
            short if attempt > 1 => short,
            _ if has_lasted => 0,
            short => short.saturating_add(1),
        };
        let doublings = attempt.saturating_sub(1).saturating_add(short).min(16) as u32;
        let delay = (DELAY_MIN * 2u32.pow(doublings)).min(DELAY_MAX);
        let delay = delay + delay.mul_f64(random() as f64 / u64::MAX as f64);
        self.began_at.store(since_origin(now + delay), Ordering::Relaxed);
        self.short.store(short, Ordering::Relaxed);
        delay
    }

    /// The number of the connection or outage: it changes when a connection is lost.
    pub(super) fn epoch(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }

    /// True if the client is connected, as far as it knows.
    pub(super) fn is_up(&self) -> bool {
        let connects = self.statistics.get().map_or(0, |statistics| statistics.connects.load(Ordering::Relaxed));
        connects == self.epoch() && connects > 0
    }

    /// Sets whether the client must change its server.
    pub(super) fn set_moving(&self, is_moving: bool) {
        self.is_moving.store(is_moving, Ordering::Relaxed);
    }

    /// True if the client must change its server.
    pub(super) fn is_moving(&self) -> bool {
        self.is_moving.load(Ordering::Relaxed)
    }

    /// True if the client may get messages; this does not consider a silent server.
    pub(super) fn may_publish(&self) -> bool {
        self.is_up() && !self.is_moving()
    }

    /// Messages that the client has taken to write them to its socket. It keeps the others over an outage.
    pub(super) fn taken(&self) -> u64 {
        self.statistics.get().map_or(0, |statistics| statistics.out_messages.load(Ordering::Relaxed))
    }

    /// Messages that the client had taken when the connection was last lost.
    pub(super) fn taken_at_cut(&self) -> u64 {
        self.taken_at_cut.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_with_jitter_between_their_bounds() {
        let state = ClientState::new();
        for attempt in 1..100 {
            let delay = state.attempt(attempt);
            assert!(delay >= DELAY_MIN && delay <= 2 * DELAY_MAX, "{attempt}: {delay:?}");
        }
        assert!(state.attempt(50) >= DELAY_MAX);
        let delays: Vec<_> = (0..10).map(|_| state.attempt(60)).collect();
        assert!(delays.iter().any(|delay| *delay != delays[0]), "no jitter: {delays:?}");
    }

    #[test]
    fn connections_that_do_not_last_are_retried_more_and_more_slowly() {
        let (state, mut now) = (ClientState::new(), Instant::now());
        for _ in 0..8 {
            now += state.attempt_at(1, now) + Duration::from_millis(20);
        }
        assert!(state.attempt_at(1, now) >= DELAY_MAX, "it lets us in and throws us out");
        now += 2 * DELAY_MAX + LASTING;
        assert!(state.attempt_at(1, now) <= 2 * DELAY_MIN, "the last one has lasted");
    }

    #[test]
    fn an_outage_begins_with_the_first_attempt_and_ends_with_a_connection() {
        let (state, statistics) = (ClientState::new(), Arc::new(Statistics::default()));
        state.statistics.set(Arc::clone(&statistics)).expect("it is not set");
        assert!(!state.is_up());
        state.attempt(1);
        state.attempt(2);
        assert!(!state.is_up());
        statistics.connects.fetch_add(1, Ordering::Relaxed);
        assert!(state.is_up());
        statistics.out_messages.fetch_add(7, Ordering::Relaxed);
        let epoch = state.epoch();
        state.attempt(1);
        assert!(!state.is_up() && state.epoch() != epoch);
        assert_eq!(state.taken_at_cut(), 7);
    }

    #[test]
    fn the_end_of_the_clients_own_task_is_noticed() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (events, mut receiver) = mpsc::channel::<ClientEvent>(EVENTS_MAX);
            tokio::spawn(async move {
                let _events = events;
                panic!("as a parser may");
            });
            assert_eq!(receiver.recv().await, None);
        });
    }
}
