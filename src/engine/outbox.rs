//! The unsent output of each connection: ranges of the arena, never bytes.
//!
//! Within a turn an outbox is its last range and a chain of the earlier ranges, in one table for all connections. A
//! range that starts where the last one ends extends it. [`Outboxes::flush`] gives every dirty connection one vectored
//! write. Only the rest after a short write becomes a [`Backlog`].

mod backlog;
mod flush;
mod kept;
mod sink;

use crate::{
    config::memory,
    engine::{arena::Arena, slot::Slot},
    protocol::encoding::Encoding,
};

use self::backlog::Backlog;
pub(crate) use self::sink::{Sink, SocketCounts, Written};

/// The most ranges in one write. The others take another write.
const SLICES_MAX: usize = 64;
/// The chain has collected enough (3 MiB) when it is this long: if channels alternate, each delivery adds a range.
const CHAIN_RANGES_MAX: usize = 256 * 1024;
const _: () = assert!(CHAIN_RANGES_MAX * size_of::<ChainedRange>() <= memory::RANGES_BYTES);
/// A backlog that pins this many times its own cost is copied out of its shared segments.
const PINNED_PER_BYTE: usize = 4;
/// The end of a chain.
const NONE: u32 = u32::MAX;
/// All bytes are opaque: the connection still speaks HTTP.
const ALL: u32 = u32::MAX;

/// One connection's outbox.
#[derive(Debug)]
struct Outbox {
    /// The newest range of this turn. If `end` is 0 there is none: no range ends at 0.
    start: u32,
    end: u32,
    /// The earlier ranges of this turn, newest first.
    chain: u32,
    /// The number of leading bytes that are not in `encoding`: HTTP answers from before the upgrade. [`ALL`] until the
    /// upgrade.
    opaque: u32,
    encoding: Encoding,
    backlog: Option<Box<Backlog>>,
}

const EMPTY: Outbox = Outbox { start: 0, end: 0, chain: NONE, opaque: ALL, encoding: Encoding::Frame, backlog: None };

impl Outbox {
    /// Whether it is on the list of dirty outboxes: it got a range in this turn, or may retry its backlog.
    fn is_marked(&self) -> bool {
        self.end != 0 || self.backlog.as_ref().is_some_and(|backlog| !backlog.is_blocked)
    }

    /// Notes that `sent` more bytes were sent.
    fn sent(&mut self, sent: usize) {
        if self.opaque != ALL {
            self.opaque = self.opaque.saturating_sub(sent as u32);
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct ChainedRange {
    start: u32,
    end: u32,
    previous: u32,
}

/// What a short write has left of a range of the turn.
#[derive(Clone, Copy, Debug)]
struct ShortWrite {
    slot: Slot,
    start: u32,
    end: u32,
}

/// The results of a flush, for the hub.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    /// Connections whose outbox has become empty.
    pub(crate) emptied: Vec<Slot>,
    /// Connections whose backlog has grown, or begun, in this turn.
    pub(crate) backlogged: Vec<Slot>,
    /// Connections whose socket is broken.
    pub(crate) broken: Vec<Slot>,
}

/// The outboxes of all connections of a core, and the arena that they share.
#[derive(Debug)]
pub(crate) struct Outboxes {
    arena: Arena,
    outboxes: Vec<Outbox>,
    chain: Vec<ChainedRange>,
    /// [`CHAIN_RANGES_MAX`], but for tests.
    pub(crate) chain_ranges_max: usize,
    dirty: Vec<Slot>,
    short_writes: Vec<ShortWrite>,
    ranges: Vec<(u32, u32)>,
    /// The memory of the backlogs' own lists of ranges, in bytes.
    backlog_ranges_bytes: usize,
    /// The outboxes with a backlog.
    backlogs: usize,
    /// Milliseconds for which the core has run.
    now: u64,
}

impl Default for Outboxes {
    fn default() -> Self {
        Self {
            arena: Arena::default(),
            outboxes: Vec::new(),
            chain: Vec::new(),
            chain_ranges_max: CHAIN_RANGES_MAX,
            dirty: Vec::new(),
            short_writes: Vec::new(),
            ranges: Vec::new(),
            backlog_ranges_bytes: 0,
            backlogs: 0,
            now: 0,
        }
    }
}

impl Outboxes {
    /// Begins a turn.
    pub(crate) fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// Adds an empty outbox for a connection.
    pub(crate) fn open(&mut self, slot: Slot) {
        if self.outboxes.len() <= slot as usize {
            self.outboxes.resize_with(slot as usize + 1, || EMPTY);
        }
    }

    /// Drops everything that waits to be sent to a connection.
    pub(crate) fn close(&mut self, slot: Slot) {
        let outbox = std::mem::replace(&mut self.outboxes[slot as usize], EMPTY);
        if outbox.is_marked() {
            self.dirty.retain(|&dirty| dirty != slot); // the slot may get another connection before the flush
        }
        if let Some(backlog) = outbox.backlog {
            self.backlog_ranges_bytes -= backlog.ranges_bytes();
            self.backlogs -= 1;
            backlog.release(&mut self.arena);
        }
    }

    /// This turn's bytes: append a frame, then push its range to its receivers.
    pub(crate) fn turn(&mut self) -> &mut Vec<u8> {
        self.arena.turn_mut()
    }

    pub(crate) fn turn_len(&self) -> usize {
        self.arena.turn().len()
    }

    /// Whether the ranges since the last flush take so much memory, independently of their bytes, that a flush is due.
    pub(crate) fn has_long_chain(&self) -> bool {
        self.chain.len() >= self.chain_ranges_max
    }

    /// These bytes of the turn.
    pub(crate) fn turn_bytes(&self, start: u32, end: u32) -> &[u8] {
        self.arena.turn_bytes(start, end)
    }

    /// Adds bytes `start..end` of the turn, which are whole frames, to a connection's outbox.
    #[inline]
    pub(crate) fn push(&mut self, slot: Slot, start: u32, end: u32) {
        let outbox = &mut self.outboxes[slot as usize];
        if outbox.end == start && start != 0 {
            outbox.end = end;
            return;
        }
        if outbox.end == 0 {
            // Mark it only once: a second visit in one flush would count the rest of a short write, which has no place
            // yet, as sent.
            if !outbox.is_marked() {
                self.dirty.push(slot);
            }
        } else {
            self.chain.push(ChainedRange { start: outbox.start, end: outbox.end, previous: outbox.chain });
            outbox.chain = self.chain.len() as u32 - 1;
        }
        outbox.start = start;
        outbox.end = end;
    }

    /// Notes that the connection has upgraded: the bytes in its outbox are HTTP, and all later ones are in this
    /// encoding.
    pub(crate) fn upgrade(&mut self, slot: Slot, encoding: Encoding) {
        let outbox = &mut self.outboxes[slot as usize];
        let mut outstanding =
            outbox.end - outbox.start + outbox.backlog.as_ref().map_or(0, |backlog| backlog.len as u32);
        let mut at = outbox.chain;
        while at != NONE {
            let range = self.chain[at as usize];
            outstanding += range.end - range.start;
            at = range.previous;
        }
        outbox.opaque = outstanding;
        outbox.encoding = encoding;
    }

    /// Notes that the socket takes bytes again, so that the next flush writes.
    pub(crate) fn writable(&mut self, slot: Slot) {
        let outbox = &mut self.outboxes[slot as usize];
        let is_marked = outbox.is_marked();
        if let Some(backlog) = &mut outbox.backlog {
            backlog.is_blocked = false;
            if !is_marked {
                self.dirty.push(slot);
            }
        }
    }

    /// Makes the next flush write to all dirty connections, even if their sockets have not become writable.
    pub(crate) fn retry(&mut self) {
        for &slot in &self.dirty {
            if let Some(backlog) = &mut self.outboxes[slot as usize].backlog {
                backlog.is_blocked = false;
            }
        }
    }

    /// Whether nothing is left to be sent.
    pub(crate) fn is_empty(&self, slot: Slot) -> bool {
        let outbox = &self.outboxes[slot as usize];
        outbox.end == 0 && outbox.backlog.is_none()
    }

    /// The cost of a connection's backlog, which counts against its limit, in bytes: the unsent bytes and the list of
    /// their ranges.
    pub(crate) fn backlog_cost(&self, slot: Slot) -> usize {
        self.outboxes[slot as usize].backlog.as_ref().map_or(0, |backlog| backlog.cost())
    }

    /// A connection's part of the memory that its backlog pins, in bytes: a few bytes pin a whole shared segment.
    pub(crate) fn pinned_bytes(&self, slot: Slot) -> usize {
        self.outboxes[slot as usize].backlog.as_ref().map_or(0, |backlog| backlog.pinned_bytes(&self.arena))
    }

    /// When a connection's backlog began, in milliseconds for which the core has run. Each write moves this time
    /// forward, in proportion to the part of the backlog that the socket took.
    pub(crate) fn backlog_since(&self, slot: Slot) -> Option<u64> {
        self.outboxes[slot as usize].backlog.as_ref().map(|backlog| backlog.since)
    }

    /// If a connection's backlog pins much more than its own bytes, copies these out, so that it pins only them.
    /// Returns whether it did. Call this between turns only.
    pub(crate) fn unpin(&mut self, slot: Slot) -> bool {
        let Some(backlog) = &mut self.outboxes[slot as usize].backlog else { return false };
        let (cost, pinned) = (backlog.cost(), backlog.pinned_bytes(&self.arena));
        if backlog.len == 0 || pinned < PINNED_PER_BYTE * cost {
            return false;
        }
        let before = backlog.ranges_bytes();
        backlog.copy_out(&mut self.arena);
        self.backlog_ranges_bytes = self.backlog_ranges_bytes - before + backlog.ranges_bytes();
        true
    }

    /// Drops a connection's backlog except for the rest of a partly sent frame, so that a close frame may follow. Frames
    /// that the sink has begun to send in encrypted form stay, too. Call this between turns only.
    pub(crate) fn truncate(&mut self, slot: Slot) {
        let outbox = &mut self.outboxes[slot as usize];
        if let Some(backlog) = &mut outbox.backlog
            && outbox.opaque != ALL
        {
            let before = backlog.ranges_bytes();
            backlog.truncate(outbox.opaque as usize, outbox.encoding, &mut self.arena);
            self.backlog_ranges_bytes = self.backlog_ranges_bytes - before + backlog.ranges_bytes();
            if backlog.len == 0 {
                outbox.backlog = None;
                self.backlogs -= 1;
            }
        }
    }

    /// The memory of all backlogs, in bytes.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.arena.backlog_bytes() + self.backlog_ranges_bytes
    }

    /// The number of connections with a backlog.
    pub(crate) fn backlogs(&self) -> usize {
        self.backlogs
    }

    /// One more than the largest slot that may have a backlog.
    pub(crate) fn slots_end(&self) -> usize {
        if self.backlogs == 0 { 0 } else { self.outboxes.len() }
    }

    /// The number of connections that the next flush writes to.
    pub(crate) fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// Whether a flush has work.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl Outboxes {
    /// Segments that hold backlogs.
    pub(crate) fn segments(&self) -> usize {
        self.arena.segments()
    }

    /// Checks the invariants after a flush.
    ///
    /// # Panics
    /// If one of them does not hold.
    pub(crate) fn invariants(&self) {
        assert!(self.short_writes.is_empty());
        let (mut held, mut ranges_bytes) = (0, 0);
        for (slot, outbox) in self.outboxes.iter().enumerate() {
            let marks = self.dirty.iter().filter(|&&dirty| dirty as usize == slot).count();
            assert!(marks <= 1 && (marks == 1 || outbox.end == 0));
            if let Some(backlog) = &outbox.backlog {
                backlog.invariants(&self.arena);
                held += 1;
                ranges_bytes += backlog.ranges_bytes();
            }
        }
        assert_eq!(self.backlog_ranges_bytes, ranges_bytes, "the memory of the lists of ranges is counted wrongly");
        assert_eq!(self.backlogs, held, "the backlogs are counted wrongly");
        assert!(held > 0 || self.arena.segments() == 0, "segments outlive their backlogs");
        self.arena.history_invariants();
    }
}

#[cfg(test)]
mod tests;
