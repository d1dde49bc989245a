//! The order in which a turn reads connections: those with little work first, the others round robin.
//!
//! A turn reads the ready connections one after the other, each up to its share of work ([`SHARE_UNITS`]). Connections
//! that a turn has no time for are left over: the next turns read them after their own ready connections, and keep half
//! of the turn for them. A connection that caused much work lately goes behind the others, and so does a new one: the
//! core reads these round robin, with the rest of the turn. So a client that sends a message now and then waits for one
//! turn at most, however many others connect or send as much as they can. The busy ones lose nothing: a core that has
//! time reads them turn after turn. A connection that is alone has no limit.

use std::{collections::VecDeque, time::Duration};

use crate::engine::{hub::Hub, router::SHARE_UNITS, slot::ConnectionKey};

/// Work on connections in one turn, in units (see `router/work.rs`). Then the turn ends, so that the core polls again.
const TURN_UNITS: u64 = 2 * 1024 * 1024;
/// Of this, the work on connections that have had their share or are new. A message of another connection waits for it, and
/// a crowd that comes back keeps a core in such turns.
const BEHIND_UNITS: u64 = 32 * 1024;
/// A flush of less work than this says little about the cost of its sockets, in units.
const TELLING_UNITS: u64 = 64 * 1024;
/// The bounds of the estimated duration of a unit in flushes, in sixteenths of a nanosecond. If flushes are fast, a
/// connection that is the only ready one is read for longer; if they are slow, a turn of many is shorter.
const SIXTEENTHS_MIN: u64 = 4;
const SIXTEENTHS_MAX: u64 = 128;
/// The only ready connection gets the work of this many turns at once, if writes take as long as estimated.
const ONLY_ONE_TURNS: u64 = 2;
/// A connection is alone if no other one has sent anything for this long.
pub(crate) const ALONE_AFTER: Duration = Duration::from_millis(50);

/// The order of one core's connections.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Connections that were ready when a turn had done enough, the longest waiting one first.
    left_over: VecDeque<ConnectionKey>,
    /// Connections that have had their share or are new, the longest waiting one first.
    behind: VecDeque<ConnectionKey>,
    /// The work at which the running turn has done enough.
    turn_end: u64,
    /// The work at which the turn goes on to the connections that were left over.
    ready_end: u64,
    /// The recent duration of flushes for each unit of the work before them, in sixteenths of a nanosecond. Writes to
    /// peers that hardly read cost many times as much as others.
    sixteenths: u64,
    /// The work at the last flush.
    flushed: u64,
    /// [`TURN_UNITS`], [`SHARE_UNITS`] and [`BEHIND_UNITS`], but for tests.
    turn_units: u64,
    share_units: u64,
    behind_units: u64,
    /// No other connection waits while this one is read.
    is_alone: bool,
    /// The limit of work for the only connection of the running turn; `None` if there are several, which have a share
    /// each.
    only_one: Option<u64>,
    /// The last connection that sent something, and since when it has been the only one.
    last: Option<ConnectionKey>,
    last_since: Duration,
}

/// How a connection goes on after it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It waits until its socket has something to read.
    Wait,
    /// It is read with the others in the next turn.
    Ready,
    /// It is read behind them. It is on that list already.
    Behind,
}

impl Default for Lanes {
    fn default() -> Self {
        Self::new(TURN_UNITS, SHARE_UNITS)
    }
}

impl Lanes {
    /// Lanes with turns and shares of these sizes, in units.
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
            behind_units: turn_units / (TURN_UNITS / BEHIND_UNITS),
            is_alone: false,
            only_one: None,
            last: None,
            last_since: Duration::ZERO,
        }
    }

    /// Begins to read in a turn with this many ready connections.
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

    /// Notes that the core has written all collected bytes, and how long that took.
    pub(crate) fn has_flushed(&mut self, hub: &mut Hub, took: Duration) {
        // The work is less than at the last flush if connections with waiting writes have gone since.
        let units = hub.router.work_with_writes().saturating_sub(self.flushed);
        hub.router.work.has_written_for(took);
        self.flushed = hub.router.work_with_writes();
        if units >= TELLING_UNITS {
            let sixteenths = (took.as_nanos() as u64 * 16 / units).clamp(SIXTEENTHS_MIN, SIXTEENTHS_MAX);
            self.sixteenths = sixteenths.max((7 * self.sixteenths + sixteenths) / 8);
        }
    }

    /// Whether no connection but the last one has sent anything for a while.
    pub(crate) fn is_quiet(&self, now: Duration) -> bool {
        self.last.is_none() || now.saturating_sub(self.last_since) >= ALONE_AFTER
    }

    /// Whether the turn has done enough.
    pub(crate) fn is_over(&self, hub: &Hub) -> bool {
        !self.is_alone && hub.router.work_with_writes() >= self.turn_end
    }

    /// Begins with the connections that have had their share or are new.
    pub(crate) fn begin_behind(&mut self, hub: &Hub) {
        self.turn_end = self.turn_end.min(hub.router.work_with_writes() + self.behind_units);
    }

    /// Whether the turn has done enough for the ready connections.
    pub(crate) fn is_over_for_ready(&self, hub: &Hub) -> bool {
        !self.is_alone && hub.router.work_with_writes() >= self.ready_end
    }

    /// Whether connections wait for the next turn.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.left_over.is_empty() || !self.behind.is_empty()
    }

    /// Leaves ready connections over for the next turns, because this one has done enough.
    pub(crate) fn leave_over(&mut self, keys: impl Iterator<Item = ConnectionKey>) {
        self.left_over.extend(keys);
    }

    /// The number of connections that were left over.
    pub(crate) fn left_over(&self) -> usize {
        self.left_over.len()
    }

    /// The next connection that was left over.
    pub(crate) fn next_left_over(&mut self) -> Option<ConnectionKey> {
        self.left_over.pop_front()
    }

    /// The number of connections that have had their share or are new.
    pub(crate) fn behind(&self) -> usize {
        self.behind.len()
    }

    /// The next connection of those that have had their share or are new.
    pub(crate) fn next_behind(&mut self) -> Option<ConnectionKey> {
        self.behind.pop_front()
    }

    /// Decides about a ready connection: true if it goes behind the others instead of being read now.
    pub(crate) fn puts_behind(&mut self, hub: &Hub, key: ConnectionKey) -> bool {
        let is_put = !self.is_alone && (hub.sessions.is_heavy(key.slot) || hub.sessions.is_new(key.slot));
        if is_put {
            self.behind.push_back(key);
        }
        is_put
    }

    /// Begins to read a connection. Returns the work so far, for [`Lanes::has_read`].
    pub(crate) fn reads(&self, hub: &mut Hub, key: ConnectionKey) -> u64 {
        // A light connection gets less than a whole share. Otherwise, when many heavy ones begin at once, the next
        // light one would wait for many whole shares.
        let share = if hub.sessions.is_heavy(key.slot) {
            self.share_units
        } else {
            hub.sessions.light_units().min(self.share_units)
        };
        hub.router.work.limit(self.only_one.unwrap_or(share));
        hub.router.work.done()
    }

    /// Notes that the connection has sent something.
    pub(crate) fn has_heard(&mut self, key: ConnectionKey, now: Duration) {
        if self.last != Some(key) {
            self.last = Some(key);
            self.last_since = now;
        }
    }

    /// Ends the read of a connection that began at the work `begun` and is estimated at `estimated` units. `has_more`
    /// is true if the connection may have more input.
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
