//! The queue from the cores to the upstream workers, and the share of it that a connection may use.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    engine::slot::ConnectionKey,
    error::{Reason, Refusal},
};

use super::{fetch::Fetch, lock};

/// A connection may fill 1/`SHARE_OF_FREE` of the free capacity. It may always have one request waiting if its address has
/// room. So the first connection gets a fifth of an empty queue, and each further one gets less.
const SHARE_OF_FREE: usize = 4;
/// All connections of an address together may fill 1/`ADDRESS_SHARE` of the capacity that other addresses leave. They may
/// always have one request waiting. So an address with very many connections leaves room for others.
const ADDRESS_SHARE: usize = 2;
/// The last 1/`KEPT_FOR_FIRST` of the queue, and of each address's share, is kept for connections without a waiting request.
/// So busy connections cannot fill the queue, whether they come from one address or from many.
const KEPT_FOR_FIRST: usize = 4;
/// An IPv6 network with a prefix of this many bits counts as one address: one host may own all of it.
const IPV6_PREFIX_BITS: u32 = 64;
/// Entries of an [`ArcMap`] before it first looks for unused ones.
const SHARES_KEPT: usize = 64;

/// Why a request is not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The queue is full.
    Queue,
    /// Its connection, or all connections of its address, have their share of the queue.
    Share,
}

/// The cores' end. When all clones are dropped, the workers' end is closed.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    fetches: Sender<Box<Fetch>>,
    capacity: Arc<Capacity>,
}

/// The queue's capacity and how much of it is used: by requests in the queue, and by those in the workers' schedule.
#[derive(Debug)]
pub(super) struct Capacity {
    all: Amount,
    max: Load,
    /// By address, for all cores. Only a connection without a share needs this lock.
    addresses: Mutex<ArcMap<IpAddr, Amount>>,
}

/// The waiting requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Share {
    own: Amount,
    /// The waiting requests of all connections from its address; none on a unix socket.
    address: Option<Arc<Amount>>,
}

#[derive(Debug, Default)]
struct Amount {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// An [`Amount`] at one moment.
#[derive(Clone, Copy, Debug)]
struct Load {
    messages: usize,
    bytes: usize,
}

/// The place of a waiting request. Dropping it frees the capacity.
#[derive(Debug)]
pub(super) struct Place {
    capacity: Arc<Capacity>,
    share: Arc<Share>,
    bytes: usize,
}

/// The shares of one core's connections with waiting requests. Some unused ones stay for a while.
#[derive(Debug, Default)]
pub(super) struct Shares(ArcMap<ConnectionKey, Share>);

/// Values by key, shared with their users. Unused values are removed from time to time.
#[derive(Debug)]
struct ArcMap<K, V> {
    by_key: HashMap<K, Arc<V>>,
    tidy_at: usize,
}

impl Full {
    /// The error that the sender gets.
    pub(super) fn refusal(self) -> Refusal {
        let sentence = match self {
            Self::Queue => "the queue of upstream requests is full, the message was not sent there",
            Self::Share => {
                "this connection or its address has its share of the queue of upstream requests, the message was not sent there"
            }
        };
        Refusal::because(Reason::UpstreamBusy, sentence)
    }
}

impl Queue {
    /// A queue for this many requests with this many bytes in all, the workers' end of it, and its capacity.
    pub(super) fn new(messages_max: usize, bytes_max: usize) -> (Self, Receiver<Box<Fetch>>, Arc<Capacity>) {
        let (fetches, intake) = bounded(messages_max);
        let max = Load { messages: messages_max, bytes: bytes_max };
        let capacity = Arc::new(Capacity { all: Amount::default(), max, addresses: Mutex::default() });
        (Self { fetches, capacity: Arc::clone(&capacity) }, intake, capacity)
    }

    /// Queues a request of a connection with this peer. `fetch` is called only if there is room.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn push(
        &self,
        shares: &mut Shares,
        (key, peer): (ConnectionKey, IpAddr),
        bytes: usize,
        fetch: impl FnOnce(Place) -> Fetch,
    ) -> Result<(), Full> {
        let place = self.capacity.take(shares.of(key, peer, &self.capacity), bytes)?;
        self.fetches.try_send(Box::new(fetch(place))).map_err(|_| Full::Queue)
    }
}

impl Capacity {
    /// The number of waiting requests.
    pub(super) fn waiting(&self) -> usize {
        self.all.messages.load(Ordering::Relaxed)
    }

    /// Takes a place for a request. A request of any size fits into an empty queue.
    fn take(self: &Arc<Self>, share: &Arc<Share>, bytes: usize) -> Result<Place, Full> {
        let all = self.all.add(bytes);
        let own = share.own.add(bytes);
        let address = share.address.as_ref().map(|address| address.add(bytes));
        // From here on, dropping the place gives everything back.
        let place = Place { capacity: Arc::clone(self), share: Arc::clone(share), bytes };
        let max = self.max;
        if all.messages >= max.messages || (all.bytes > 0 && all.bytes + bytes > max.bytes) {
            return Err(Full::Queue);
        }
        let is_first = own.messages == 0;
        let open = |part: Load| if is_first { part } else { part.without(part.over(KEPT_FOR_FIRST)) };
        let fits_own =
            is_first || (own.fits(bytes, max.without(all).over(SHARE_OF_FREE)) && all.fits(bytes, open(max)));
        let fits_address = address.is_none_or(|address| {
            let others = all.without(address);
            address.messages == 0 || address.fits(bytes, open(max.without(others).over(ADDRESS_SHARE)))
        });
        if fits_own && fits_address { Ok(place) } else { Err(Full::Share) }
    }

    /// The amount of a peer's address; none if the peer has no address.
    fn address(&self, peer: IpAddr) -> Option<Arc<Amount>> {
        let address = network(peer)?;
        let mut addresses = lock(&self.addresses);
        Some(Arc::clone(addresses.of(address, Amount::default)))
    }
}

/// The address that a peer counts for: its network for IPv6, none if it is unspecified.
fn network(peer: IpAddr) -> Option<IpAddr> {
    match peer.to_canonical() {
        peer if peer.is_unspecified() => None,
        IpAddr::V6(peer) => {
            Some(Ipv6Addr::from_bits(peer.to_bits() & (u128::MAX << (u128::BITS - IPV6_PREFIX_BITS))).into())
        }
        peer => Some(peer),
    }
}

impl Amount {
    /// Adds a request, and gives the amount before it.
    fn add(&self, bytes: usize) -> Load {
        Load {
            messages: self.messages.fetch_add(1, Ordering::Relaxed),
            bytes: self.bytes.fetch_add(bytes, Ordering::Relaxed),
        }
    }

    fn remove(&self, bytes: usize) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Load {
    fn over(self, divisor: usize) -> Self {
        Self { messages: self.messages / divisor, bytes: self.bytes / divisor }
    }

    /// The difference, at least zero: another core may have changed one of the two amounts between the reads.
    fn without(self, other: Self) -> Self {
        Self { messages: self.messages.saturating_sub(other.messages), bytes: self.bytes.saturating_sub(other.bytes) }
    }

    /// True if `part` has room for this amount and one more request.
    fn fits(self, bytes: usize, part: Self) -> bool {
        self.messages < part.messages && self.bytes + bytes <= part.bytes
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.capacity.all.remove(self.bytes);
        self.share.own.remove(self.bytes);
        if let Some(address) = &self.share.address {
            address.remove(self.bytes);
        }
    }
}

impl Shares {
    /// The share of a connection with this peer.
    fn of(&mut self, key: ConnectionKey, peer: IpAddr, capacity: &Capacity) -> &Arc<Share> {
        self.0.of(key, || Share { own: Amount::default(), address: capacity.address(peer) })
    }
}

impl<K: Eq + Hash, V> ArcMap<K, V> {
    fn of(&mut self, key: K, new: impl FnOnce() -> V) -> &Arc<V> {
        // The map doubles before it is scanned again, so an entry costs a constant share of the scans.
        if self.by_key.len() >= self.tidy_at.max(SHARES_KEPT) {
            self.by_key.retain(|_, value| Arc::strong_count(value) > 1);
            self.tidy_at = 2 * self.by_key.len();
        }
        self.by_key.entry(key).or_insert_with(|| Arc::new(new()))
    }
}

impl<K, V> Default for ArcMap<K, V> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), tidy_at: 0 }
    }
}

#[cfg(test)]
mod tests;
