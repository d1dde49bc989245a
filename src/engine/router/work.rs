//! The cost of messages: it decides when a connection has had its share, and when a turn has done enough.
//!
//! A core counts its work in *units* of about a nanosecond each: bytes read, names looked up, places in outboxes, bytes
//! given to sockets. It counts once for each message or run of messages, never for each subscriber. The core's loop
//! sets a limit before it reads a connection. Input that is left at the limit is kept, and the connection goes on
//! behind the others.

use std::time::Duration;

use crate::engine::router::{Router, TURN_BYTES_MAX};

/// Work on one connection at a time while others wait, in units.
pub(crate) const SHARE_UNITS: u64 = 512 * 1024;
/// A piece of one message, in units. The rest of its deliveries waits for the next turn.
const PIECE_UNITS: u64 = 1024 * 1024;

/// The measured time is charged up to this many times the estimate: the thread may have been interrupted.
const CLOCK_RATIO: u64 = 4;
/// Work for a message or another frame, beside its bytes.
pub(crate) const MESSAGE_UNITS: u64 = 64;
/// Work for a byte of a head: 4 of them are a line without a name, or half a channel's name.
const HEAD_BYTE_UNITS: u64 = 8;
/// Work for a byte of a multipart body.
const BODY_BYTE_UNITS: u64 = 2;
/// Work for sending a refusal of a message.
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
/// Work for a pattern of a rule or token that a name is compared with.
pub(crate) const RULE_UNITS: u64 = 16;
/// Work for a token, which is in the cache as a rule.
pub(crate) const TOKEN_UNITS: u64 = 2 * 1024;
/// Work for a token that is refused: its signature may have been checked with several keys.
pub(crate) const BAD_TOKEN_UNITS: u64 = 64 * 1024;
/// Work to keep a message in the history, beside its bytes.
pub(crate) const KEEP_UNITS: u64 = 32;
/// Work for a place in an outbox.
const DELIVERY_UNITS: u64 = 8;
/// Bytes given to a socket for one unit, as measured with `lhttp-bench fanout` for many frames at once. The measured
/// time of flushes makes turns longer or shorter, see `engine/lanes.rs`: writes to a peer that hardly reads cost many
/// times as much.
const BYTES_PER_UNIT: u64 = 8;
/// Work for a write to a socket, beside its bytes, as on loopback.
const WRITE_UNITS: u64 = 6 * 1024;

/// The work of a core.
#[derive(Debug)]
pub(crate) struct Work {
    /// Units so far, without writes.
    done: u64,
    /// Units of writes to sockets. No connection is charged for them: one write serves all publishers of a turn.
    written: u64,
    /// Estimated units of the last flush.
    in_flush: u64,
    /// The largest audience of a delivery since the last flush.
    largest: usize,
    /// The core takes input until this many units are done.
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

    /// Counts the writes of the next flush, which writes to this many connections.
    pub(super) fn write(&mut self, connections: usize) {
        self.in_flush = WRITE_UNITS * connections as u64;
        self.written += self.in_flush;
        self.largest = 0;
    }

    /// Units since the core's start, without writes to sockets.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Units since the core's start with the writes. `waiting` connections wait for a write.
    pub(super) fn with_writes(&self, waiting: usize) -> u64 {
        let pending = if waiting > 2 * self.largest { WRITE_UNITS * waiting as u64 } else { 0 };
        self.done + self.written + pending
    }

    /// Notes the duration of the last flush's writes. It counts if it is more than the estimate.
    pub(crate) fn has_written_for(&mut self, took: Duration) {
        self.written += (took.as_nanos() as u64).saturating_sub(self.in_flush);
    }

    /// Raises the work to this many units, as measured by the clock.
    pub(crate) fn has_worked_until(&mut self, units: u64) {
        self.done = self.done.max(units);
    }

    /// Counts the parsing of a message: the bytes of its head, and of a body that was searched.
    pub(crate) fn has_parsed(&mut self, head_bytes: usize, body_bytes: usize) {
        self.add(HEAD_BYTE_UNITS * head_bytes as u64 + BODY_BYTE_UNITS * body_bytes as u64);
    }

    /// Counts an answer to a request with this many bytes.
    pub(crate) fn has_answered(&mut self, bytes: usize) {
        self.add(bytes as u64 / BYTES_PER_UNIT);
    }

    /// Limits the input until this many more units are done; `u64::MAX` means no limit.
    pub(crate) fn limit(&mut self, units: u64) {
        self.limit = self.done.saturating_add(units);
    }

    /// Whether the limit is reached. The rest of the input is then kept for later.
    pub(crate) fn is_at_limit(&self) -> bool {
        self.done >= self.limit
    }

    /// The charge of a connection for the work since `begun`: `estimated` units, or more if the clock measured more.
    pub(crate) fn charge_since(&self, begun: u64, estimated: u64) -> u64 {
        (self.done - begun).min(CLOCK_RATIO * estimated)
    }

    /// Makes pieces of messages small.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn set_piece_units(&mut self, units: u64) {
        self.piece_units = units;
    }
}

/// The cost of a delivery of this many bytes to this many subscribers.
fn delivery_units(subscribers: usize, bytes: u32) -> u64 {
    subscribers as u64 * (DELIVERY_UNITS + u64::from(bytes) / BYTES_PER_UNIT)
}

/// The cost of looking a channel up among patterns of this many shapes, and of finding this many audiences.
pub(super) fn lookup_units(name: &[u8], shapes: usize, audiences: usize) -> u64 {
    let patterns = if shapes == 0 { 0 } else { name.len() as u64 * 8 + shapes as u64 * SHAPE_UNITS };
    LOOKUP_UNITS * (1 + audiences as u64) + patterns
}

/// The cost of a subscription to a name, and of its end.
pub(crate) fn subscription_units(name: &[u8]) -> u64 {
    SUBSCRIPTION_UNITS + NAME_BYTE_UNITS * name.len() as u64
}

impl Router {
    /// Counts a delivery of this many bytes to this many subscribers.
    pub(super) fn has_given(&mut self, subscribers: usize, bytes: u32) {
        self.work.largest = self.work.largest.max(subscribers);
        self.work.add(delivery_units(subscribers, bytes));
    }

    /// The number of bytes of frames for the resolved channel at which the turn is full or the limit is reached.
    pub(super) fn run_bytes_max(&self) -> usize {
        let left = self.work.limit.saturating_sub(self.work.done);
        let per_subscriber = left / (self.resolved.subscribers as u64).max(1);
        usize::try_from(per_subscriber.saturating_mul(BYTES_PER_UNIT)).unwrap_or(usize::MAX).min(TURN_BYTES_MAX)
    }

    /// Whether a piece of a message that began at this work is large enough.
    pub(crate) fn has_done_piece(&self, begun: u64) -> bool {
        self.is_full() || self.work.done - begun >= self.work.piece_units
    }
}
