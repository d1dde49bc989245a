//! Admission of subscriptions: their cost for the connection and for the server.
//!
//! Every core stores every name. So a core must not check its own table alone: it would fill the tables of the others.
//! It uses only its part of the free memory. It refuses more while its interest in flight would be too much if every
//! core had as much in flight. Interest that has arrived everywhere is in every table.

use crate::{
    engine::{
        limits::Limits,
        router::Router,
        slot::Slot,
        subscriptions::{DEEP_SHAPES_PER_CONNECTION_MAX, Demand},
    },
    error::{Reason, Refusal},
};

/// The most shapes of deep patterns that are in use at once on all cores. Each shape costs one probe for every publish
/// to a channel of more than six tokens that it fits.
const DEEP_SHAPES_MAX: usize = 64;

/// One part in this many of the shared memory is reserved for connections that hold little.
const RESERVE_DIVISOR: usize = 4;

/// A connection holds little if it holds at most one part in this many of its own limit.
const LITTLE_DIVISOR: usize = 32;

/// The part of the shared resources that the names of a table take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    bytes: usize,
    deep_shapes: usize,
}

/// Interest that was announced to the other cores but may not be in their tables yet. It has an older and a newer part;
/// each is forgotten when its last announcement has arrived.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    older: Flight,
    newer: Flight,
}

#[derive(Debug, Default)]
struct Flight {
    size: Size,
    /// The last announcement of this part.
    until: u64,
}

impl InFlight {
    /// Notes an announcement. All announcements up to `known` are in the tables of the other cores.
    fn add(&mut self, number: u64, more: Size, known: u64) {
        if self.older.until <= known {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.size.bytes += more.bytes;
        self.newer.size.deep_shapes += more.deep_shapes;
        self.newer.until = number;
    }

    /// An upper bound of the interest in flight, when all announcements up to `known` have arrived.
    fn size(&self, known: u64) -> Size {
        let flights = [&self.older, &self.newer].into_iter().filter(|flight| flight.until > known);
        flights.fold(Size::default(), |sum, Flight { size, .. }| Size {
            bytes: sum.bytes + size.bytes,
            deep_shapes: sum.deep_shapes + size.deep_shapes,
        })
    }
}

impl Router {
    /// Whether a connection may make these subscriptions.
    ///
    /// # Errors
    /// `too-many-subscriptions`.
    pub(crate) fn check_subscriptions(&self, slot: Slot, demand: &Demand, limits: &Limits) -> Result<(), Refusal> {
        if demand.subscriptions == 0 {
            return Ok(());
        }
        self.check_own_limits(slot, demand, limits)
            .and_then(|()| self.check_shared_limits(slot, demand, limits))
            .map_err(|sentence| Refusal::because(Reason::TooManySubscriptions, sentence))
    }

    fn check_own_limits(&self, slot: Slot, demand: &Demand, limits: &Limits) -> Result<(), String> {
        let (count_max, bytes_max) = (limits.subscriptions_max, limits.subscription_bytes_max);
        if self.subscriptions.count(slot) + demand.subscriptions > count_max {
            return Err(format!("a connection may hold {count_max} subscriptions"));
        }
        if self.subscriptions.charged(slot) + demand.charge > bytes_max {
            return Err(format!("the subscriptions of a connection may take {bytes_max} bytes on all cores"));
        }
        if self.subscriptions.deep_held(slot) + demand.deep.len() > DEEP_SHAPES_PER_CONNECTION_MAX {
            return Err(format!(
                "a connection may place the wildcards of its long patterns in {DEEP_SHAPES_PER_CONNECTION_MAX} ways"
            ));
        }
        Ok(())
    }

    fn check_shared_limits(&self, slot: Slot, demand: &Demand, limits: &Limits) -> Result<(), String> {
        let in_flight = self.in_flight.size(self.relays.known());
        let has_little =
            self.subscriptions.charged(slot) + demand.charge <= limits.subscription_bytes_max / LITTLE_DIVISOR;
        let bytes = self.subscriptions.bytes();
        if !self.has_room(bytes, in_flight.bytes, demand.bytes, limits.table_bytes_max, has_little) {
            return Err("the memory for subscriptions is used up, try again later".to_owned());
        }
        let is_first = self.subscriptions.deep_held(slot) + demand.deep.len() <= 1;
        let (shapes, new) = self.subscriptions.deep_shapes(&demand.deep);
        if new > 0 && !self.has_room(shapes, in_flight.deep_shapes, new, DEEP_SHAPES_MAX, is_first) {
            return Err("too many long patterns with wildcards in other places are in use".to_owned());
        }
        Ok(())
    }

    /// Whether there is room for `more` of a shared resource. This core's table has `used` of it, and `in_flight` of
    /// that may not be in the other tables yet.
    fn has_room(&self, used: usize, in_flight: usize, more: usize, max: usize, has_little: bool) -> bool {
        let max = if has_little { max } else { max - max / RESERVE_DIVISOR };
        let left = max.saturating_sub(used.saturating_sub(in_flight));
        in_flight + more <= left / self.relays.cores()
    }

    #[cfg(test)]
    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.in_flight.size(self.relays.known()).bytes
    }

    /// The current size of the table's names.
    pub(super) fn table_size(&self) -> Size {
        Size { bytes: self.subscriptions.bytes(), deep_shapes: self.subscriptions.deep_shapes(&[]).0 }
    }

    /// Notes that a name was announced to the other cores. `before` is the table's size without it.
    pub(super) fn announced(&mut self, number: u64, before: Size) {
        let now = self.table_size();
        let more = Size { bytes: now.bytes - before.bytes, deep_shapes: now.deep_shapes - before.deep_shapes };
        self.in_flight.add(number, more, self.relays.known());
    }
}
