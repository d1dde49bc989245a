//! How many connections each address has, and how often it connects: one table for all cores.
//!
//! A core looks here when a connection begins or ends, never for a message. The cores take no lock: each entry is two
//! atomic words. The table does not grow. An address has sixteen places, chosen by a hash with a secret of this process, so
//! that nobody can choose addresses that push out a certain other one. A place may be taken over when its address has no
//! connection; first one whose bucket is full again, because that entry says nothing. If all sixteen addresses have
//! connections, another address is admitted and not counted: a full table locks nobody out.

use std::{
    fmt,
    hash::BuildHasher,
    net::IpAddr,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::{
    config::{Config, memory},
    engine::rates::{Rate, Wait},
};

/// The addresses that the table has room for.
const ADDRESSES_MAX: usize = 1 << 17;
/// The places of one address.
const WAYS: usize = 16;
const SETS: usize = ADDRESSES_MAX / WAYS;

const _: () = assert!(ADDRESSES_MAX * size_of::<Entry>() <= memory::ADDRESSES_BYTES);

/// The bits of [`Entry::tag_and_count`] that count connections; the others are the tag.
const COUNT_BITS: u32 = 24;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// The bits of an IPv6 address that are one customer's: a /64.
const CUSTOMER_BITS: u32 = 64;

/// The limits of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressLimits {
    /// Connections a second.
    connects: Rate,
    /// Connections at once; zero is no limit.
    connections_max: u64,
}

/// The table.
#[derive(Default)]
pub(crate) struct Addresses {
    /// Made when the first address is counted.
    table: OnceLock<Table>,
}

struct Table {
    entries: Box<[Entry]>,
    secret: foldhash::quality::RandomState,
    /// The zero of all times in the table.
    start: Instant,
}

/// One address.
#[derive(Default)]
struct Entry {
    /// A part of the hash that no other address of this place is likely to have, and the number of open connections. Zero if
    /// the place was never used.
    tag_and_count: AtomicU64,
    /// When the bucket of connects is full again.
    full_at: AtomicU64,
}

/// A counted connection, or one that is not counted. Give it back with [`Addresses::release`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

/// Why an address gets no further connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooMany {
    /// It has connected too often.
    Connects(Wait),
    /// It has too many connections.
    Connections,
}

impl AddressLimits {
    pub(crate) fn new(config: &Config) -> Self {
        Self { connects: Rate::new(config.connect_rate), connections_max: config.address_connections as u64 }
    }

    /// Without a limit of connections at once.
    pub(crate) fn rate_alone(self) -> Self {
        Self { connections_max: 0, ..self }
    }

    /// Whether there is any limit.
    pub(crate) fn are_on(self) -> bool {
        self != Self::default()
    }
}

impl Ticket {
    /// Of a connection that is not counted.
    pub(crate) const NONE: Self = Self(0);
}

impl Addresses {
    /// Counts a connection of an address. If the table has no place for the address, the ticket is [`Ticket::NONE`].
    ///
    /// # Errors
    /// The address is at one of its limits. Nothing is counted then.
    pub(crate) fn enter(&self, address: IpAddr, limits: AddressLimits) -> Result<Ticket, TooMany> {
        let table = self.table.get_or_init(Table::new);
        table.enter(address, limits, table.now())
    }

    /// Ends a connection.
    pub(crate) fn release(&self, ticket: Ticket) {
        if let Some(table) = self.table.get()
            && ticket != Ticket::NONE
        {
            // The connection is counted, so this does not reach into the tag.
            table.entries[ticket.0 as usize - 1].tag_and_count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addresses").finish_non_exhaustive()
    }
}

impl Table {
    fn new() -> Self {
        let entries = (0..ADDRESSES_MAX).map(|_| Entry::default()).collect();
        Self { entries, secret: foldhash::quality::RandomState::default(), start: Instant::now() }
    }

    /// The time since the table was made, in nanoseconds. All cores see the same.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn enter(&self, address: IpAddr, limits: AddressLimits, now: u64) -> Result<Ticket, TooMany> {
        let hash = self.secret.hash_one(customer(address));
        let set = (hash as usize % SETS) * WAYS;
        let tag = (hash >> COUNT_BITS).max(1); // zero is a place that was never used
        // Another core may take over the place that this one has found: then it looks again, though not for ever.
        for _ in 0..WAYS {
            let Some(way) = self.place(set, tag, now) else { return Ok(Ticket::NONE) };
            if let Some(entered) = self.entries[way].enter(tag, limits, now) {
                return entered.map(|()| Ticket(way as u32 + 1));
            }
        }
        Ok(Ticket::NONE)
    }

    /// The place of an address, which it may have taken over.
    fn place(&self, set: usize, tag: u64, now: u64) -> Option<usize> {
        let ways = set..set + WAYS;
        let word = |way: usize| self.entries[way].tag_and_count.load(Ordering::Relaxed);
        if let Some(way) = ways.clone().find(|&way| word(way) >> COUNT_BITS == tag) {
            return Some(way);
        }
        let full_at = |way: usize| self.entries[way].full_at.load(Ordering::Relaxed);
        // The one that says least: a full bucket says nothing.
        let free = ways.filter(|&way| word(way) & COUNT_MAX == 0).min_by_key(|&way| full_at(way).max(now))?;
        let before = word(free);
        let entry = &self.entries[free];
        let is_free = before & COUNT_MAX == 0;
        let takes =
            |entry: &AtomicU64| entry.compare_exchange(before, tag << COUNT_BITS, Ordering::Relaxed, Ordering::Relaxed);
        if is_free && takes(&entry.tag_and_count).is_ok() {
            // This may lose a connect that another core counts at the same moment.
            if entry.full_at.load(Ordering::Relaxed) > now {
                entry.full_at.store(0, Ordering::Relaxed);
            }
        }
        Some(free) // if another core was faster, `Entry::enter` finds another tag
    }
}

impl Entry {
    /// Counts a connection; none if the place is not this address's any more.
    fn enter(&self, tag: u64, limits: AddressLimits, now: u64) -> Option<Result<(), TooMany>> {
        let count = |word: u64| (word >> COUNT_BITS == tag).then_some(word & COUNT_MAX);
        let has_room =
            |count: u64| count < COUNT_MAX && (limits.connections_max == 0 || count < limits.connections_max);
        let add = |word: u64| count(word).filter(|&count| has_room(count)).map(|_| word + 1);
        if let Err(word) = self.tag_and_count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            return count(word).map(|_| Err(TooMany::Connections));
        }
        // The connection is counted now, so nobody takes the place over.
        let mut refused = None;
        let take = |full_at: u64| {
            let mut full_at = full_at;
            refused = limits.connects.take_one(&mut full_at, now).err();
            refused.is_none().then_some(full_at)
        };
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        Some(match (taken, refused) {
            (Err(_), Some(wait)) => {
                self.tag_and_count.fetch_sub(1, Ordering::Relaxed);
                Err(TooMany::Connects(wait))
            }
            _ => Ok(()),
        })
    }
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 address.
fn customer(address: IpAddr) -> (bool, u64) {
    match address.to_canonical() {
        IpAddr::V4(address) => (true, u64::from(address.to_bits())),
        IpAddr::V6(address) => (false, (address.to_bits() >> CUSTOMER_BITS) as u64),
    }
}

#[cfg(test)]
mod tests;
