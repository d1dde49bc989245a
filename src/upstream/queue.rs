//! The queue from the cores to the upstream workers, and what a connection may have of it.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    engine::slot::ConnectionKey,
    error::{Reason, Refusal},
};

use super::fetch::Fetch;

/// A connection may have as much waiting as this part of what is left free, and one request in any case if its address may
/// have it. So one connection gets a fifth of an empty queue, and each further one less than the one before.
const SHARE_OF_FREE: usize = 4;
/// All connections of an address may have as much waiting as this part of what other addresses leave, and one request in any
/// case. So however many connections an address has, others find a place.
const ADDRESS_SHARE: usize = 2;
/// This last part of the queue, and of what an address may have of it, is for connections that have nothing waiting. So many
/// connections with much to do do not fill it, whether they have one address or many.
const KEPT_FOR_FIRST: usize = 4;
/// An IPv6 network of this many bits is one address: a host can have all the addresses in it.
const IPV6_PREFIX_BITS: u32 = 64;
/// Shares that are kept before the first look for those that nobody needs any more.
const SHARES_KEPT: usize = 64;

/// Why a request is not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The queue is full.
    Queue,
    /// Its connection, or all connections of its address, have their share of the queue.
    Share,
}

/// The cores' end. When all clones are gone, the workers' end is closed.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    fetches: Sender<Box<Fetch>>,
    capacity: Arc<Capacity>,
}

/// What waits, whether in the queue or already with the workers, behind other requests.
#[derive(Debug)]
pub(super) struct Capacity {
    all: Amount,
    max: Load,
    /// Of all cores. Only a connection that has no share yet looks here.
    addresses: Mutex<ArcMap<IpAddr, Amount>>,
}

/// What waits of one connection.
#[derive(Debug, Default)]
pub(super) struct Share {
    own: Amount,
    /// What waits of all connections of its address, if it has one.
    address: Option<Arc<Amount>>,
}

#[derive(Debug, Default)]
struct Amount {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// An amount at one time.
#[derive(Clone, Copy, Debug)]
struct Load {
    messages: usize,
    bytes: usize,
}

/// A place in the queue. Dropped when its request waits no more.
#[derive(Debug)]
pub(super) struct Place {
    capacity: Arc<Capacity>,
    share: Arc<Share>,
    bytes: usize,
}

/// The shares of one core's connections that have something waiting, and of some that had.
#[derive(Debug, Default)]
pub(super) struct Shares(ArcMap<ConnectionKey, Share>);

/// What somebody else holds too, and some that was held.
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
    /// A queue for this many requests, whose messages have this many bytes together; and its other end.
    pub(super) fn new(messages_max: usize, bytes_max: usize) -> (Self, Receiver<Box<Fetch>>, Arc<Capacity>) {
        let (fetches, intake) = bounded(messages_max);
        let max = Load { messages: messages_max, bytes: bytes_max };
        let capacity = Arc::new(Capacity { all: Amount::default(), max, addresses: Mutex::default() });
        (Self { fetches, capacity: Arc::clone(&capacity) }, intake, capacity)
    }

    /// Puts a request of a connection with this peer into the queue, if there is room for it; else it is not even made.
    ///
    /// # Errors
    /// What is full: the queue, or what its connection or address may have of it.
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
    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.all.messages.load(Ordering::Relaxed)
    }

    /// Takes room for a request. The first one of all gets it whatever it costs.
    fn take(self: &Arc<Self>, share: &Arc<Share>, bytes: usize) -> Result<Place, Full> {
        let all = self.all.add(bytes);
        let own = share.own.add(bytes);
        let address = share.address.as_ref().map(|address| address.add(bytes));
        // From here on it is given back when this is dropped.
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

    /// What waits of the address of a peer; none if the peer has no address.
    fn address(&self, peer: IpAddr) -> Option<Arc<Amount>> {
        let address = network(peer)?;
        // Nothing that holds this lock can panic half way.
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(addresses.of(address, Amount::default)))
    }
}

/// What counts as the address of a peer.
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
    /// Adds a request, and gives what there was before.
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

    /// What is left, at least nothing: other cores may have changed one of the two since the other was read.
    fn without(self, other: Self) -> Self {
        Self { messages: self.messages.saturating_sub(other.messages), bytes: self.bytes.saturating_sub(other.bytes) }
    }

    /// Whether there is room in `part` for this and a request.
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
        // What nobody else holds is found now and then, so each costs the time of one look.
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
