//! Who is read in a turn, and in which order: those that ask for little first, the others by turns.
//!
//! Connections that are ready are read one after the other, each up to its share of work ([`SHARE_UNITS`]). Those that a turn
//! has no time for are left over: the next turns read them behind those that are ready then, and keep half of the turn for
//! them. One that has made much work lately goes behind the others, and so does one that has just connected: it is read
//! when they were, round robin, with what is left of the turn. So somebody who sends a message now and then waits for no
//! more than one turn, however many others connect or send as much as they can; and those lose nothing, for a core that
//! has time reads them turn after turn. Who is alone has no share to keep to.

use std::{collections::VecDeque, time::Duration};

use crate::engine::{hub::Hub, router::SHARE_UNITS, slot::ConnectionKey};

/// Work on connections in one turn, in units (see `router/work.rs`): then it ends, and others are looked at.
const TURN_UNITS: u64 = 2 * 1024 * 1024;
/// A flush of less work than this says little about what its sockets cost, in units.
const TELLING_UNITS: u64 = 64 * 1024;
/// The least and the most that a unit is taken to last in flushes, in sixteenths of a nanosecond: who is the only one to be
/// read is read for longer if they are fast, and a turn of many is shorter if they are slow.
const SIXTEENTHS_MIN: u64 = 4;
const SIXTEENTHS_MAX: u64 = 128;
/// The only connection that is ready has so many turns' work at once, if writes take as long as they are estimated at.
const ONLY_ONE_TURNS: u64 = 2;
/// A connection is alone if no other one was read for this long.
pub(crate) const ALONE_AFTER: Duration = Duration::from_millis(50);

/// The order of one core's connections.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Those that were ready when a turn had done enough, the one that has waited longest first.
    left_over: VecDeque<ConnectionKey>,
    /// Those that have had their share or are new, the one that has waited longest first.
    behind: VecDeque<ConnectionKey>,
    /// The work at which the running turn has done enough.
    turn_end: u64,
    /// The work at which it goes on to those that were left over.
    ready_end: u64,
    /// How long flushes have taken of late for a unit of the work before them, in sixteenths of a nanosecond. Writes to peers
    /// that hardly read cost many times what others do.
    sixteenths: u64,
    /// The work at the last flush.
    flushed: u64,
    /// [`TURN_UNITS`] and [`SHARE_UNITS`], but for tests.
    turn_units: u64,
    share_units: u64,
    /// Nobody waits for the one that is read.
    is_alone: bool,
    /// The work that a connection is read for in the running turn if it is the only one; none if there are others, which have
    /// a share each.
    only_one: Option<u64>,
    /// The last one that had something to say, and since when it is the only one.
    last: Option<ConnectionKey>,
    last_since: Duration,
}

/// What a connection is to do after it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, until its socket says so.
    Wait,
    /// To be read with the others in the next turn.
    Ready,
    /// To be read behind them. It is on that list already.
    Behind,
}

impl Default for Lanes {
    fn default() -> Self {
        Self::new(TURN_UNITS, SHARE_UNITS)
    }
}

impl Lanes {
    /// Turns and shares of so many units.
    pub(crate) fn new(turn_units: u64, share_units: u64) -> Self {
        Self {
            left_over: VecDeque::new(),
            behind: VecDeque::new(),
            turn_end: 0,
            ready_end: 0,
            sixteenths: SIXTEENTHS_MIN,
            flushed: 0,
            turn_units,
            share_units,
            is_alone: false,
            only_one: None,
            last: None,
            last_since: Duration::ZERO,
        }
    }

    /// A turn begins to read, with so many connections that are ready.
    pub(crate) fn begin(&mut self, hub: &Hub, now: Duration, ready: usize) {
        let units = self.turn_units * 16 / self.sixteenths.max(16);
        self.turn_end = hub.router.work_with_writes() + units;
        self.ready_end = if self.left_over.is_empty() { self.turn_end } else { self.turn_end - units / 2 };
        let has_others = now.saturating_sub(self.last_since) < ALONE_AFTER;
        let waiting = ready + self.left_over.len() + self.behind.len();
        self.is_alone = waiting <= 1 && !has_others;
        self.only_one = match waiting {
            0 | 1 if self.is_alone => Some(u64::MAX),
            0 | 1 => Some(ONLY_ONE_TURNS * self.turn_units * 16 / self.sixteenths),
            _ => None,
        };
    }

    /// All that was collected has been written, which took so long.
    pub(crate) fn has_flushed(&mut self, hub: &mut Hub, took: Duration) {
        // Less than at the last flush if connections with waiting writes have gone since.
        let units = hub.router.work_with_writes().saturating_sub(self.flushed);
        hub.router.work.has_written_for(took);
        self.flushed = hub.router.work_with_writes();
        if units >= TELLING_UNITS {
            let sixteenths = (took.as_nanos() as u64 * 16 / units).clamp(SIXTEENTHS_MIN, SIXTEENTHS_MAX);
            self.sixteenths = sixteenths.max((7 * self.sixteenths + sixteenths) / 8);
        }
    }

    /// Whether no other connection was read for a while.
    pub(crate) fn is_quiet(&self, now: Duration) -> bool {
        self.last.is_none() || now.saturating_sub(self.last_since) >= ALONE_AFTER
    }

    /// Whether the turn has done enough.
    pub(crate) fn is_over(&self, hub: &Hub) -> bool {
        !self.is_alone && hub.router.work_with_writes() >= self.turn_end
    }

    /// Whether the turn goes on to those that were left over.
    pub(crate) fn is_over_for_ready(&self, hub: &Hub) -> bool {
        !self.is_alone && hub.router.work_with_writes() >= self.ready_end
    }

    /// Whether connections wait for the next turn.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.left_over.is_empty() || !self.behind.is_empty()
    }

    /// These are ready, and the turn has done enough.
    pub(crate) fn leave_over(&mut self, keys: impl Iterator<Item = ConnectionKey>) {
        self.left_over.extend(keys);
    }

    /// How many were left over.
    pub(crate) fn left_over(&self) -> usize {
        self.left_over.len()
    }

    /// The next of them.
    pub(crate) fn next_left_over(&mut self) -> Option<ConnectionKey> {
        self.left_over.pop_front()
    }

    /// How many have had their share or are new.
    pub(crate) fn behind(&self) -> usize {
        self.behind.len()
    }

    /// The next of them.
    pub(crate) fn next_behind(&mut self) -> Option<ConnectionKey> {
        self.behind.pop_front()
    }

    /// A connection that is ready is to be read: true if it goes behind the others instead.
    pub(crate) fn puts_behind(&mut self, hub: &Hub, key: ConnectionKey) -> bool {
        let is_put = !self.is_alone && (hub.sessions.is_heavy(key.slot) || hub.sessions.is_new(key.slot));
        if is_put {
            self.behind.push_back(key);
        }
        is_put
    }

    /// A connection is read from here on. Gives the work so far, for [`Lanes::has_read`].
    pub(crate) fn reads(&self, hub: &mut Hub, key: ConnectionKey) -> u64 {
        // A light connection has less than a whole share: else the next light one would wait for many whole ones when many
        // heavy ones begin at once.
        let share = if hub.sessions.is_heavy(key.slot) {
            self.share_units
        } else {
            hub.sessions.light_units().min(self.share_units)
        };
        hub.router.work.limit(self.only_one.unwrap_or(share));
        hub.router.work.done()
    }

    /// The connection had something to say.
    pub(crate) fn has_heard(&mut self, key: ConnectionKey, now: Duration) {
        if self.last != Some(key) {
            self.last = Some(key);
            self.last_since = now;
        }
    }

    /// A connection was read, since the work was `begun`, which is estimated at so many units; `has_more` if it may have
    /// more to say.
    pub(crate) fn has_read(
        &mut self,
        hub: &mut Hub,
        key: ConnectionKey,
        (begun, estimated): (u64, u64),
        has_more: bool,
    ) -> Next {
        hub.router.work.limit(u64::MAX);
        hub.sessions.charge(key.slot, hub.router.work.charge_since(begun, estimated));
        if !has_more {
            return Next::Wait;
        }
        if self.is_alone || !hub.sessions.is_heavy(key.slot) {
            return Next::Ready;
        }
        hub.stats.put_behind += 1;
        self.behind.push_back(key);
        Next::Behind
    }
}
