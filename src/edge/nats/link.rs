//! Whether the connection is up, how much was handed to it, and how much of that was taken.
//!
//! The client's events cannot be relied on, since it drops them in a burst. What can be: it asks for a delay before each
//! attempt to connect, in the task that has just found the connection broken, and it counts its connections. In between it
//! takes no commands, so what it had taken by then is exactly what may be lost.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::Statistics;
use tokio::{sync::Notify, time::Instant};

use super::lock;

/// The shortest delay before an attempt to connect.
const DELAY_MIN: Duration = Duration::from_millis(50);
/// The longest, but for the jitter of up to as much again.
const DELAY_MAX: Duration = Duration::from_secs(2);
/// A connection that ends sooner counts as a failure of its server: the next delay is twice as long.
const LASTING: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Link {
    statistics: OnceLock<Arc<Statistics>>,
    /// Times that the client has begun to connect; the first is its start.
    outages: AtomicU64,
    /// Messages that the client had taken when it began to connect last.
    taken_at_cut: AtomicU64,
    /// Messages (barriers too) that were handed to the client.
    handed: AtomicU64,
    /// The server, which used to answer, does not.
    is_silent: AtomicBool,
    /// The client is to connect again, for it is to have another server.
    is_moving: AtomicBool,
    /// The client's own task has ended.
    has_ended: Notify,
    /// When the last attempt to connect began, and how many connections on end have not lasted.
    last: Mutex<(Option<Instant>, usize)>,
    /// The client has left its connection, for whoever serves that.
    pub(super) outage: Notify,
    /// Why the last attempts to connect failed.
    failure: Mutex<Option<String>>,
    /// Something of this, or of what the server is to confirm, has changed.
    pub(super) changed: Notify,
}

impl Link {
    /// The client's own numbers, before it does anything.
    pub(super) fn started(&self, statistics: Arc<Statistics>) {
        let _ = self.statistics.set(statistics);
    }

    /// The client is about to try to connect; `attempt` counts since it was connected. Gives how long it shall wait.
    pub(super) fn attempt(&self, attempt: usize) -> Duration {
        self.attempt_at(attempt, Instant::now())
    }

    fn attempt_at(&self, attempt: usize, now: Instant) -> Duration {
        if attempt == 1 {
            self.taken_at_cut.store(self.taken(), Ordering::Relaxed);
            self.outages.fetch_add(1, Ordering::Relaxed);
            self.outage.notify_waiters();
            self.changed.notify_one();
        }
        if attempt == 1 && self.is_moving() {
            return Duration::ZERO;
        }
        let mut last = lock(&self.last);
        let (began_at, short) = *last;
        let has_lasted = began_at.is_none_or(|at| now.saturating_duration_since(at) >= LASTING);
        let short = if attempt > 1 {
            short
        } else if has_lasted {
            0
        } else {
            short.saturating_add(1)
        };
        let doublings = attempt.saturating_sub(1).saturating_add(short).min(16) as u32;
        let delay = (DELAY_MIN * 2u32.pow(doublings)).min(DELAY_MAX);
        let delay = delay + delay.mul_f64(random() as f64 / u64::MAX as f64);
        *last = (Some(now + delay), short);
        delay
    }

    /// Which connection this is, or which outage: it changes when a connection is lost.
    pub(super) fn epoch(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }

    /// Whether the client is connected, as far as it knows.
    pub(super) fn is_up(&self) -> bool {
        let connects = self.statistics.get().map_or(0, |statistics| statistics.connects.load(Ordering::Relaxed));
        connects == self.epoch() && connects > 0
    }

    /// Whether messages may be handed to the client. What it is given while the server is silent may be lost.
    pub(super) fn is_open(&self) -> bool {
        self.is_up() && !self.is_silent.load(Ordering::Relaxed) && !self.is_moving()
    }

    /// The server does not answer, or answers again.
    pub(super) fn set_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// Whether it does not.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// The client is to have another server, or has it.
    pub(super) fn set_moving(&self, is_moving: bool) {
        self.is_moving.store(is_moving, Ordering::Relaxed);
    }

    /// Whether the client is to have another server.
    pub(super) fn is_moving(&self) -> bool {
        self.is_moving.load(Ordering::Relaxed)
    }

    /// A message was handed to the client.
    pub(super) fn hand(&self) {
        self.handed.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages that were handed to the client.
    pub(super) fn handed(&self) -> u64 {
        self.handed.load(Ordering::Relaxed)
    }

    /// Messages that the client has taken, to write them to its socket. The others it keeps over an outage.
    pub(super) fn taken(&self) -> u64 {
        self.statistics.get().map_or(0, |statistics| statistics.out_messages.load(Ordering::Relaxed))
    }

    /// Messages that the client had taken when the connection was lost last.
    pub(super) fn taken_at_cut(&self) -> u64 {
        self.taken_at_cut.load(Ordering::Relaxed)
    }

    /// Messages that the client keeps.
    pub(super) fn unsent(&self) -> u64 {
        self.handed().saturating_sub(self.taken())
    }

    /// What the client's own task holds: it is dropped when that task ends, however it does.
    pub(super) fn alive(self: &Arc<Self>) -> Alive {
        Alive(Arc::clone(self))
    }

    /// Waits until the client's own task has ended.
    pub(super) async fn wait_for_end(&self) {
        self.has_ended.notified().await;
    }

    /// An attempt to connect has failed, which may be known better already.
    pub(super) fn failed_somehow(&self, reason: String) {
        lock(&self.failure).get_or_insert(reason);
        self.changed.notify_one();
    }

    /// Attempts to connect have failed.
    pub(super) fn failed(&self, reason: String) {
        *lock(&self.failure) = Some(reason);
        self.changed.notify_one();
    }

    /// Why, until [`Link::forget_failure`].
    pub(super) fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// The client is connected.
    pub(super) fn forget_failure(&self) {
        lock(&self.failure).take();
    }
}

/// Tells by its end that the client has ended.
#[derive(Debug)]
pub(super) struct Alive(Arc<Link>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.has_ended.notify_one();
    }
}

/// A number that differs from process to process and call to call; nothing secret hangs on it.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_with_jitter_between_their_bounds() {
        let link = Link::default();
        for attempt in 1..100 {
            let delay = link.attempt(attempt);
            assert!(delay >= DELAY_MIN && delay <= 2 * DELAY_MAX, "{attempt}: {delay:?}");
        }
        assert!(link.attempt(50) >= DELAY_MAX);
        let delays: Vec<_> = (0..10).map(|_| link.attempt(60)).collect();
        assert!(delays.iter().any(|delay| *delay != delays[0]), "no jitter: {delays:?}");
    }

    #[test]
    fn connections_that_do_not_last_are_made_ever_more_slowly() {
        let (link, mut now) = (Link::default(), Instant::now());
        for _ in 0..8 {
            now += link.attempt_at(1, now) + Duration::from_millis(20);
        }
        assert!(link.attempt_at(1, now) >= DELAY_MAX, "it lets us in and throws us out");
        now += 2 * DELAY_MAX + LASTING;
        assert!(link.attempt_at(1, now) <= 2 * DELAY_MIN, "the last one has lasted");
    }

    #[test]
    fn an_outage_begins_with_the_first_attempt_and_ends_with_a_connection() {
        let (link, statistics) = (Link::default(), Arc::new(Statistics::default()));
        link.started(Arc::clone(&statistics));
        assert!(!link.is_up());
        link.attempt(1);
        link.attempt(2);
        assert!(!link.is_up());
        statistics.connects.fetch_add(1, Ordering::Relaxed);
        assert!(link.is_up());
        statistics.out_messages.fetch_add(7, Ordering::Relaxed);
        let epoch = link.epoch();
        link.attempt(1);
        assert!(!link.is_up() && link.epoch() != epoch);
        assert_eq!(link.taken_at_cut(), 7);
    }
}
