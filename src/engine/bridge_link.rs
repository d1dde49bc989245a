//! The links between the cores and the bridge to other nodes. Unlike the links between cores they drop and count
//! messages when they are full: no core waits for the bridge, and the bridge waits for no core.

// Without the bridge, the other end is never used.
#![cfg_attr(not(feature = "nats"), allow(dead_code))]

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::{
    config::memory,
    engine::{
        relay::{self, Item},
        wake::Wake,
    },
};

/// The cost of a batch beside its bytes, so that very many small batches count against the limit, too.
const BATCH_OVERHEAD_BYTES: usize = 64;

/// Normally the bridge drops messages over the limit, because it knows their channels. But it may not have run yet. At
/// half of this many bytes over the limit, a core sorts in its place. At all of them, a core drops the oldest batches.
const BEHIND_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most bytes that wait for one core. A core that is further behind loses the next messages. After a pause the NATS
/// client may bring 8 MiB before a core can run, so the limit is higher than that.
pub(crate) const DOWNLINK_BYTES_MAX: usize = 12 * 1024 * 1024;

/// The most bytes of interest that wait for the bridge. Above this a core keeps its interest, and subscriptions that
/// are new to NATS wait.
pub(crate) const INTEREST_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(DOWNLINK_BYTES_MAX <= memory::DOWNLINK_BYTES);

/// The link from all cores to the bridge. Clones are the same link.
#[derive(Clone)]
pub(crate) struct Uplink {
    publishes: Sender<Vec<u8>>,
    /// The same queue's other end. A core that overfills the queue takes the oldest batch out.
    oldest: Receiver<Vec<u8>>,
    /// A core's number and its interest. None of it may be lost: the bridge moves it at once into its table of
    /// interest, and interest that does not fit waits at its core.
    interest: Sender<(u32, Vec<u8>)>,
    interest_out: Receiver<(u32, Vec<u8>)>,
    state: Arc<State>,
}

struct State {
    /// Bytes of the batches in `publishes` and of those that the bridge has not released.
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Bytes in `interest`.
    interest_bytes: AtomicUsize,
    /// [`BEHIND_BYTES_MAX`], but for tests.
    behind_bytes_max: usize,
    /// The number of messages that did not fit.
    dropped: AtomicU64,
    /// A channel of a dropped message, for the log, until the bridge takes it.
    dropped_of: Sender<Box<[u8]>>,
    dropped_of_out: Receiver<Box<[u8]>>,
    /// Wakes the bridge.
    wake: Box<dyn Fn() + Send + Sync>,
    /// Drops messages over the limit, chosen by their channels, unless the bridge is doing this already.
    sort: OnceLock<Sort>,
}

type Sort = Box<dyn Fn(&Uplink) + Send + Sync>;

impl Uplink {
    /// A link that holds this many bytes of messages and calls `wake` when there is something to take.
    pub(crate) fn new(bytes_max: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self::with_behind(bytes_max, BEHIND_BYTES_MAX, wake)
    }

    fn with_behind(bytes_max: usize, behind_bytes_max: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let ((publishes, oldest), (interest, interest_out)) = (unbounded(), unbounded());
        let (bytes, dropped) = (AtomicUsize::new(0), AtomicU64::new(0));
        let (dropped_of, dropped_of_out) = bounded(1);
        let interest_bytes = AtomicUsize::new(0);
        let (wake, sort) = (Box::new(wake), OnceLock::new());
        let state = State {
            bytes,
            bytes_max,
            behind_bytes_max,
            interest_bytes,
            dropped,
            dropped_of,
            dropped_of_out,
            wake,
            sort,
        };
        Self { publishes, oldest, interest, interest_out, state: Arc::new(state) }
    }

    /// Sets the function that drops messages over the limit in place of the bridge. It must not wait.
    pub(crate) fn sort_by(&self, sort: impl Fn(&Self) + Send + Sync + 'static) {
        let _ = self.state.sort.set(Box::new(sort));
    }

    /// How many bytes are over the limit.
    fn excess(&self) -> usize {
        self.state.bytes.load(Ordering::Relaxed).saturating_sub(self.state.bytes_max)
    }

    /// Whether a core must keep its interest for now.
    pub(crate) fn is_full_of_interest(&self) -> bool {
        self.state.interest_bytes.load(Ordering::Relaxed) >= INTEREST_BYTES_MAX
    }

    /// Hands interest and publishes of core number `core` to the bridge, which enforces the limit. If the bridge does
    /// not run, the newest batches far above the limit push out the oldest ones.
    pub(crate) fn send(&self, core: u32, interest: Option<Vec<u8>>, publishes: impl Iterator<Item = Vec<u8>>) {
        let mut has_sent = false;
        // No send fails: this link has both ends.
        if let Some(interest) = interest {
            self.state.interest_bytes.fetch_add(interest.len(), Ordering::Relaxed);
            let _ = self.interest.send((core, interest));
            has_sent = true;
        }
        for batch in publishes {
            has_sent = true;
            self.state.bytes.fetch_add(cost(&batch), Ordering::Relaxed);
            let _ = self.publishes.send(batch);
            if self.excess() > self.state.behind_bytes_max / 2
                && let Some(sort) = self.state.sort.get()
            {
                sort(self);
            }
            while self.excess() > self.state.behind_bytes_max {
                let Ok(oldest) = self.oldest.try_recv() else { break };
                self.release(cost(&oldest));
                self.drop_batch(&oldest);
            }
        }
        if has_sent {
            (self.state.wake)();
        }
    }

    /// Whether the batches that were sent and not released take more than half of the limit.
    pub(crate) fn is_filling(&self) -> bool {
        self.state.bytes.load(Ordering::Relaxed) > self.state.bytes_max / 2
    }

    /// The batches that were sent and not released, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.state.bytes.load(Ordering::Relaxed)
    }

    /// The limit for the batches that were sent and not released, in bytes.
    pub(crate) fn bytes_max(&self) -> usize {
        self.state.bytes_max
    }

    /// Whether these batches are over the limit.
    pub(crate) fn is_over(&self) -> bool {
        self.excess() > 0
    }

    /// Counts messages that did not fit, and notes the channel of one of them.
    pub(crate) fn note_dropped(&self, messages: u64, channel: &[u8]) {
        self.count_dropped(messages);
        if self.state.dropped_of.is_empty() {
            let _ = self.state.dropped_of.try_send(channel.into()); // a core may have noted one
        }
    }

    /// The number of waiting batches of publishes.
    pub(crate) fn waiting(&self) -> usize {
        self.oldest.len()
    }

    /// The next batch of publishes. Its [`cost`] counts until it is given to [`Uplink::release`].
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        self.oldest.try_recv().ok()
    }

    /// Releases a batch of this cost.
    pub(crate) fn release(&self, cost: usize) {
        self.state.bytes.fetch_sub(cost, Ordering::Relaxed);
    }

    /// Whether interest waits.
    pub(crate) fn has_interest(&self) -> bool {
        !self.interest_out.is_empty()
    }

    /// The next core's interest.
    pub(crate) fn take_interest(&self) -> Option<(u32, Vec<u8>)> {
        let (core, interest) = self.interest_out.try_recv().ok()?;
        self.state.interest_bytes.fetch_sub(interest.len(), Ordering::Relaxed);
        Some((core, interest))
    }

    /// Whether no batch waits and all are released.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.bytes.load(Ordering::Relaxed) == 0
    }

    fn drop_batch(&self, mut batch: &[u8]) {
        self.count_dropped(relay::messages(batch));
        if self.state.dropped_of.is_empty()
            && let Some(Item::Publish { channels, .. }) = relay::next(&mut batch)
            && let Some(name) = relay::names(channels).next()
        {
            let _ = self.state.dropped_of.try_send(name.into()); // another core may have noted one
        }
    }

    /// Takes the channel of a dropped message, if one was noted.
    pub(crate) fn take_dropped_of(&self) -> Option<String> {
        Some(String::from_utf8_lossy(&self.state.dropped_of_out.try_recv().ok()?).into_owned())
    }

    /// Counts messages that were lost on the way to other nodes.
    pub(crate) fn count_dropped(&self, messages: u64) {
        self.state.dropped.fetch_add(messages, Ordering::Relaxed);
    }

    /// The number of messages that were lost on the way to other nodes.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uplink").field("bytes", &self.state.bytes).finish_non_exhaustive()
    }
}

/// The cost of a batch, which counts against the link's limit, in bytes.
pub(crate) fn cost(batch: &[u8]) -> usize {
    batch.len() + BATCH_OVERHEAD_BYTES
}

/// The link from the bridge to one core: the bridge's end.
#[derive(Debug)]
pub(crate) struct Downlink {
    batches: Sender<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
    wake: Arc<Wake>,
}

impl Downlink {
    /// Bytes that wait for the core.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Hands a batch over. If the core has ended, the batch is dropped.
    pub(crate) fn send(&self, batch: Vec<u8>) {
        self.bytes.fetch_add(batch.len(), Ordering::Relaxed);
        if self.batches.send(batch).is_ok() {
            self.wake.notify();
        }
    }
}

/// A core's end of both links.
#[derive(Debug)]
pub(crate) struct BridgeLink {
    /// The bridge's number.
    pub(crate) peer: u32,
    pub(crate) uplink: Uplink,
    batches_in: Receiver<Vec<u8>>,
    bytes_in: Arc<AtomicUsize>,
}

impl BridgeLink {
    /// The number of waiting batches.
    pub(crate) fn waiting(&self) -> usize {
        self.batches_in.len()
    }

    /// The next batch of the bridge.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        let batch = self.batches_in.try_recv().ok()?;
        self.bytes_in.fetch_sub(batch.len(), Ordering::Relaxed);
        Some(batch)
    }
}

/// Links the bridge to the core that `wake` wakes. To this core the bridge is number `peer`.
pub(crate) fn link_bridge(uplink: &Uplink, peer: u32, wake: Arc<Wake>) -> (Downlink, BridgeLink) {
    let (batches, batches_in) = unbounded();
    let bytes = Arc::new(AtomicUsize::new(0));
    let link = BridgeLink { peer, uplink: uplink.clone(), batches_in, bytes_in: Arc::clone(&bytes) };
    (Downlink { batches, bytes, wake }, link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::relay::Relays, protocol::channel::Kind};

    /// A batch of one publish to two channels.
    fn batch(frame: &[u8]) -> Vec<u8> {
        let mut relays = Relays::new(0, 1);
        let bridge = relays.add_bridge();
        relays.publish(bridge, [&b"a"[..], b"b"].into_iter(), frame);
        relays.take(bridge).expect("a batch")
    }

    #[test]
    fn new_batches_push_out_the_oldest_ones_and_these_are_counted() {
        let one = cost(&batch(&[0; 100]));
        let uplink = Uplink::with_behind(one, one, || {});
        for number in 0..5 {
            uplink.send(0, None, [batch(&[number; 100])].into_iter());
        }
        assert_eq!(uplink.dropped(), 3 * 2, "a message for each channel of the three oldest");
        assert_eq!((uplink.take_dropped_of(), uplink.take_dropped_of()), (Some("a".to_owned()), None));
        assert_eq!(uplink.take(), Some(batch(&[3; 100])));
        uplink.send(0, None, [batch(&[5; 100])].into_iter());
        assert_eq!(
            (uplink.dropped(), uplink.take()),
            (8, Some(batch(&[5; 100]))),
            "batches that are not released count, too"
        );
        assert_eq!(uplink.take(), None);
        uplink.release(2 * one);
        assert!(uplink.is_empty());
    }

    #[test]
    fn interest_is_never_pushed_out() {
        let mut relays = Relays::new(0, 2);
        let bridge = relays.add_bridge();
        relays.announce(b"a", Kind::Exact);
        let interest = relays.take_interest();
        assert!(interest.is_some() && relays.take(1).is_some() && relays.take(bridge).is_none());
        let uplink = Uplink::with_behind(0, 0, || {});
        uplink.send(3, interest.clone(), [batch(b"x")].into_iter());
        assert_eq!((uplink.dropped(), uplink.take_interest()), (2, interest.map(|interest| (3, interest))));
    }
}
