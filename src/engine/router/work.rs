//! What messages cost, who has had its share of the core, and when a turn has done enough.
//!
//! A core counts its work in *units*, about a nanosecond each, from what it does: bytes taken in, names looked up, places
//! in outboxes, bytes that sockets are given. It does so once for each message or run of messages, never for each
//! subscriber. The core's loop sets a limit before it reads a connection; input that is left at the limit is kept, and the
//! connection goes on behind the others.

use std::time::Duration;

use crate::engine::router::{Router, TURN_BYTES_MAX};

/// Work on one connection at a time while others wait, in units.
pub(crate) const SHARE_UNITS: u64 = 512 * 1024;
/// A piece of one message, in units: what is left of its deliveries then waits for the next turn.
const PIECE_UNITS: u64 = 1024 * 1024;

/// Work is charged by the clock up to so many times what it is estimated at: the thread may have been interrupted in it.
const CLOCK_RATIO: u64 = 4;
/// Work for a message or another frame, beside its bytes.
pub(crate) const MESSAGE_UNITS: u64 = 64;
/// Work for a byte of a head: 4 of them are a line without a name, or half a channel's name.
const HEAD_BYTE_UNITS: u64 = 8;
/// Work for a byte of a multipart body.
const BODY_BYTE_UNITS: u64 = 2;
/// Work for telling somebody that a message is refused.
pub(crate) const REFUSAL_UNITS: u64 = 1024;
/// Work for a shape of patterns that may match a channel.
const SHAPE_UNITS: u64 = 24;
/// Work for an HTTP request, beside its bytes.
pub(crate) const REQUEST_UNITS: u64 = 512;
/// Work for a channel that is looked up, and for each audience that is found.
const LOOKUP_UNITS: u64 = 64;
/// Work for a subscription that begins or ends, beside the bytes of its name.
pub(crate) const SUBSCRIPTION_UNITS: u64 = 256;
/// Work for each byte of its name: patterns are stored by their tokens.
pub(crate) const NAME_BYTE_UNITS: u64 = 16;
/// Work for a place in an outbox.
const DELIVERY_UNITS: u64 = 8;
/// Bytes that a socket is given for one unit: as `lhttp-bench fanout` takes for many frames at once. What flushes do take
/// makes turns longer or shorter, see `engine/lanes.rs`: to a peer that hardly reads they cost many times as much.
const BYTES_PER_UNIT: u64 = 8;
/// Work for a write to a socket, beside its bytes, as on loopback.
const WRITE_UNITS: u64 = 6 * 1024;

/// The work of a core.
#[derive(Debug)]
pub(crate) struct Work {
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
    /// [`PIECE_UNITS`], but for tests.
    piece_units: u64,
}

impl Work {
    pub(super) fn new() -> Self {
        Self { done: 0, written: 0, in_flush: 0, largest: 0, limit: u64::MAX, piece_units: PIECE_UNITS }
    }

    pub(crate) fn add(&mut self, units: u64) {
        self.done += units;
    }

    /// The next flush writes to so many connections.
    pub(super) fn write(&mut self, connections: usize) {
        self.in_flush = WRITE_UNITS * connections as u64;
        self.written += self.in_flush;
        self.largest = 0;
    }

    /// Units since the core's start, but for writes to sockets.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// The same with the writes; so many connections wait for one.
    pub(super) fn with_writes(&self, waiting: usize) -> u64 {
        let pending = if waiting > 2 * self.largest { WRITE_UNITS * waiting as u64 } else { 0 };
        self.done + self.written + pending
    }

    /// The writes of the last flush have taken this: so much is done, if it is more than they were estimated at.
    pub(crate) fn has_written_for(&mut self, took: Duration) {
        self.written += (took.as_nanos() as u64).saturating_sub(self.in_flush);
    }

    /// Time has shown that so many units are done, if that is more.
    pub(crate) fn has_worked_until(&mut self, units: u64) {
        self.done = self.done.max(units);
    }

    /// A message's head was parsed, or found wrong: so many bytes of it, and of a body that was looked through.
    pub(crate) fn has_parsed(&mut self, head_bytes: usize, body_bytes: usize) {
        self.add(HEAD_BYTE_UNITS * head_bytes as u64 + BODY_BYTE_UNITS * body_bytes as u64);
    }

    /// A request is answered with so many bytes.
    pub(crate) fn has_answered(&mut self, bytes: usize) {
        self.add(bytes as u64 / BYTES_PER_UNIT);
    }

    /// Input is taken until so many more units are done; `u64::MAX` is without a limit.
    pub(crate) fn limit(&mut self, units: u64) {
        self.limit = self.done.saturating_add(units);
    }

    /// Whether the limit is reached: what is left of the input is kept for later.
    pub(crate) fn is_at_limit(&self) -> bool {
        self.done >= self.limit
    }

    /// What a connection is charged for the work since `begun`: `estimated` units, or more as the clock says.
    pub(crate) fn charge_since(&self, begun: u64, estimated: u64) -> u64 {
        (self.done - begun).min(CLOCK_RATIO * estimated)
    }

    /// Makes pieces of messages small.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn set_piece_units(&mut self, units: u64) {
        self.piece_units = units;
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
pub(crate) fn subscription_units(name: &[u8]) -> u64 {
    SUBSCRIPTION_UNITS + NAME_BYTE_UNITS * name.len() as u64
}

impl Router {
    /// So many bytes are given to so many subscribers.
    pub(super) fn has_given(&mut self, subscribers: usize, bytes: u32) {
        self.work.largest = self.work.largest.max(subscribers);
        self.work.add(delivery_units(subscribers, bytes));
    }

    /// The bytes of frames for the resolved channel after which the turn is full or the limit reached.
    pub(super) fn run_bytes_max(&self) -> usize {
        let left = self.work.limit.saturating_sub(self.work.done);
        let per_subscriber = left / (self.resolved.subscribers as u64).max(1);
        usize::try_from(per_subscriber.saturating_mul(BYTES_PER_UNIT)).unwrap_or(usize::MAX).min(TURN_BYTES_MAX)
    }

    /// Whether a piece of a message that has begun at this work is large enough.
    pub(crate) fn has_done_piece(&self, begun: u64) -> bool {
        self.is_full() || self.work.done - begun >= self.work.piece_units
    }
}
