//! What messages cost, who has had its share of the core, and when a turn has done enough.
//!
//! A core counts its work in *units*, about a nanosecond each, from what it does: bytes taken in, names looked up, places
//! in outboxes, bytes that sockets are given. It does so once for each message or run of messages, never for each
//! subscriber. The core's loop sets a limit before it reads a connection; input that is left at the limit is kept, and the
//! connection goes on behind the others.

use std::time::Duration;

use crate::engine::{
    hub::{Hub, TURN_BYTES_MAX},
    slot::Slot,
};

/// Work on one connection at a time while others wait, in units.
pub(crate) const SHARE_UNITS: u64 = 512 * 1024;
/// A piece of one message, in units: what is left of its deliveries then waits for the next turn.
const PIECE_UNITS: u64 = 1024 * 1024;

/// A connection that has made more work than this within a window is read behind those that have not, in units.
const HEAVY_UNITS: u64 = 128 * 1024;
/// The windows in which that is counted, as a power of two of milliseconds: 64 ms.
const WINDOW_SHIFT: u32 = 6;
/// Work is charged by the clock up to so many times what it is estimated at: the thread may have been interrupted in it.
const CLOCK_RATIO: u64 = 4;
/// [`Share`] counts in steps of so many units.
const STEP_UNITS: u64 = 512;

/// Work for a message or another frame, beside its bytes.
pub(super) const MESSAGE_UNITS: u64 = 64;
/// Work for a byte of a head: 4 of them are a line without a name, or half a channel's name.
const HEAD_BYTE_UNITS: u64 = 8;
/// Work for a byte of a multipart body.
const BODY_BYTE_UNITS: u64 = 2;
/// Work for telling somebody that a message is refused.
pub(super) const REFUSAL_UNITS: u64 = 1024;
/// Work for a shape of patterns that may match a channel.
const SHAPE_UNITS: u64 = 24;
/// Work for an HTTP request, beside its bytes.
pub(super) const REQUEST_UNITS: u64 = 512;
/// Work for a channel that is looked up, and for each audience that is found.
const LOOKUP_UNITS: u64 = 64;
/// Work for a subscription that begins or ends, beside the bytes of its name.
pub(super) const SUBSCRIPTION_UNITS: u64 = 256;
/// Work for each byte of its name: patterns are stored by their tokens.
pub(super) const NAME_BYTE_UNITS: u64 = 16;
/// Work for a place in an outbox.
const DELIVERY_UNITS: u64 = 8;
/// Bytes that a socket is given for one unit: as `lhttp-bench fanout` takes for many frames at once. What flushes do take
/// makes turns longer or shorter, see `engine/lanes.rs`: to a peer that hardly reads they cost many times as much.
const BYTES_PER_UNIT: u64 = 8;
/// Work for a write to a socket, beside its bytes, as on loopback.
const WRITE_UNITS: u64 = 6 * 1024;

/// The work of a core.
#[derive(Debug)]
pub(super) struct Work {
    /// Units so far, but for writes.
    done: u64,
    /// Units of writes to sockets, which are nobody's alone: one write serves all who publish in a turn.
    written: u64,
    /// Those of the last flush.
    in_flush: u64,
    /// The most subscribers that something was given to since.
    largest: usize,
    /// Input is taken until so many are done.
    limit: u64,
    /// [`PIECE_UNITS`] and [`HEAVY_UNITS`], but for tests.
    pub(super) piece_units: u64,
    pub(super) heavy_units: u64,
}

impl Work {
    pub(super) fn new() -> Self {
        Self {
            done: 0,
            written: 0,
            in_flush: 0,
            largest: 0,
            limit: u64::MAX,
            piece_units: PIECE_UNITS,
            heavy_units: HEAVY_UNITS,
        }
    }

    pub(super) fn add(&mut self, units: u64) {
        self.done += units;
    }

    /// So many connections are written to.
    pub(super) fn write(&mut self, connections: usize) {
        self.in_flush = WRITE_UNITS * connections as u64;
        self.written += self.in_flush;
        self.largest = 0;
    }

    pub(super) fn done(&self) -> u64 {
        self.done
    }
}

/// What it costs to give so many bytes to so many subscribers.
fn delivery_units(subscribers: usize, bytes: u32) -> u64 {
    subscribers as u64 * (DELIVERY_UNITS + u64::from(bytes) / BYTES_PER_UNIT)
}

/// What it costs to look a channel up among patterns of so many shapes, and to find so many audiences.
pub(super) fn lookup_units(name: &[u8], shapes: usize, audiences: usize) -> u64 {
    let patterns = if shapes == 0 { 0 } else { name.len() as u64 * 8 + shapes as u64 * SHAPE_UNITS };
    LOOKUP_UNITS * (1 + audiences as u64) + patterns
}

/// What a subscription to a name costs, and its end.
pub(super) fn subscription_units(name: &[u8]) -> u64 {
    SUBSCRIPTION_UNITS + NAME_BYTE_UNITS * name.len() as u64
}

impl Hub {
    /// Units of work since the core's start, but for writes to sockets.
    pub(crate) fn work(&self) -> u64 {
        self.work.done
    }

    /// The same with the writes, also those that the next flush will make if they are for many audiences. More messages for
    /// the same one make no more of them.
    pub(crate) fn work_with_writes(&self) -> u64 {
        let writes = self.outboxes.dirty_len();
        let pending = if writes > 2 * self.work.largest { WRITE_UNITS * writes as u64 } else { 0 };
        self.work.done + self.work.written + pending
    }

    /// So many bytes are given to so many subscribers.
    pub(super) fn has_given(&mut self, subscribers: usize, bytes: u32) {
        self.work.largest = self.work.largest.max(subscribers);
        self.work.add(delivery_units(subscribers, bytes));
    }

    /// The writes of the last flush have taken this: so much is done, if it is more than they were estimated at.
    pub(crate) fn has_written_for(&mut self, took: Duration) {
        self.work.written += (took.as_nanos() as u64).saturating_sub(self.work.in_flush);
    }

    /// Time has shown that so many are done, if that is more.
    pub(crate) fn has_worked_until(&mut self, units: u64) {
        self.work.done = self.work.done.max(units);
    }

    /// A request is answered with so many bytes.
    pub(super) fn has_answered(&mut self, bytes: usize) {
        self.work.add(bytes as u64 / BYTES_PER_UNIT);
    }

    /// A message's head was read, or found wrong: so many bytes of it, and of a body that was looked through.
    pub(crate) fn has_parsed(&mut self, head_bytes: usize, body_bytes: usize) {
        self.work.add(HEAD_BYTE_UNITS * head_bytes as u64 + BODY_BYTE_UNITS * body_bytes as u64);
    }

    /// Input is taken until so many more units are done; `u64::MAX` is without a limit.
    pub(crate) fn limit_work(&mut self, units: u64) {
        self.work.limit = self.work.done.saturating_add(units);
    }

    /// Whether the limit is reached: what is left of the input is to be kept for later.
    pub(crate) fn is_at_limit(&self) -> bool {
        self.work.done >= self.work.limit
    }

    /// Whether input waits: for a flush, or because enough was done.
    pub(super) fn must_stop(&self) -> bool {
        self.is_full() || self.is_at_limit()
    }

    /// The bytes of frames for the resolved channel after which the turn is full or the limit reached.
    pub(super) fn run_bytes_max(&self) -> usize {
        let left = self.work.limit.saturating_sub(self.work.done);
        let per_subscriber = left / (self.resolved.subscribers as u64).max(1);
        usize::try_from(per_subscriber.saturating_mul(BYTES_PER_UNIT)).unwrap_or(usize::MAX).min(TURN_BYTES_MAX)
    }

    /// Charges a connection with the work since `begun`: `estimated` units, or more as the clock says.
    pub(crate) fn charge(&mut self, slot: Slot, begun: u64, estimated: u64) {
        let units = (self.work.done - begun).min(CLOCK_RATIO * estimated);
        let window = self.window();
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        session.share.add(window, units.div_ceil(STEP_UNITS));
    }

    /// Whether a connection has made so much work of late that others are read before it.
    pub(crate) fn is_heavy(&self, slot: Slot) -> bool {
        self.sessions[slot as usize].share.steps(self.window()) * STEP_UNITS > self.work.heavy_units
    }

    /// The most that a connection may have done and not be heavy.
    pub(crate) fn light_units(&self) -> u64 {
        self.work.heavy_units
    }

    /// Whether a connection has yet to say the first thing. The others are read before those that do, for anybody may
    /// connect again and again.
    pub(crate) fn is_new(&self, slot: Slot) -> bool {
        self.sessions[slot as usize].is_new()
    }

    fn window(&self) -> u64 {
        self.now >> WINDOW_SHIFT
    }
}
