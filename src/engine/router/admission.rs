//! Which subscriptions are made: what they may cost, for their connection and for the server.
//!
//! A name is on every core, so a core that refused only what its own table cannot hold would fill those of the others. It
//! keeps to its part of what is left: while so many bytes of its interest are on their way that they would be too many if
//! every core had as many on their way, it refuses more. What has arrived everywhere is in every table alike.

use crate::{
    engine::{
        limits::Limits,
        router::Router,
        slot::Slot,
        subscriptions::{DEEP_SHAPES_PER_CONNECTION_MAX, Demand},
    },
    error::{Reason, Refusal},
};

/// Shapes of deep patterns that are in use at once, over all cores: each costs every publish to a channel of more than six
/// tokens that it fits one probe.
const DEEP_SHAPES_MAX: usize = 64;

/// The last part of what all connections share, one in this many, is for those that hold little.
const RESERVE_DIVISOR: usize = 4;

/// Holding little is one in this many parts of what a connection may hold.
const LITTLE_DIVISOR: usize = 32;

/// What the names of a table take of what is shared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    bytes: usize,
    deep_shapes: usize,
}

/// What was announced to the other cores and is not known to be in their tables yet: an older part and a newer one, each
/// forgotten when the last of it is.
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
    /// Notes an announcement, when all up to `known` are in the tables of the others.
    fn add(&mut self, number: u64, more: Size, known: u64) {
        if self.older.until <= known {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.size.bytes += more.bytes;
        self.newer.size.deep_shapes += more.deep_shapes;
        self.newer.until = number;
    }

    /// What is on its way at most, when all up to `known` has arrived.
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

    /// Whether there is room for more of something of which this core's table has `used`, some of it on its way to others.
    fn has_room(&self, used: usize, in_flight: usize, more: usize, max: usize, has_little: bool) -> bool {
        let max = if has_little { max } else { max - max / RESERVE_DIVISOR };
        let left = max.saturating_sub(used.saturating_sub(in_flight));
        in_flight + more <= left / self.relays.cores()
    }

    #[cfg(test)]
    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.in_flight.size(self.relays.known()).bytes
    }

    /// How much the names of the table take now.
    pub(super) fn table_size(&self) -> Size {
        Size { bytes: self.subscriptions.bytes(), deep_shapes: self.subscriptions.deep_shapes(&[]).0 }
    }

    /// A name was announced to the other cores; the table had that size before.
    pub(super) fn announced(&mut self, number: u64, before: Size) {
        let now = self.table_size();
        let more = Size { bytes: now.bytes - before.bytes, deep_shapes: now.deep_shapes - before.deep_shapes };
        self.in_flight.add(number, more, self.relays.known());
    }
}
