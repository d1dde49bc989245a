//! What each connection is still to be sent: ranges of the arena, never bytes.
//!
//! Within a turn an outbox is a last range and a chain of the ranges before it, in one table for all connections; a
//! range that starts where the last one ends extends it. [`Outboxes::flush`] gives every dirty connection one vectored
//! write. Only what its socket refuses becomes a [`Backlog`].

mod backlog;
mod flush;

use std::io::{self, IoSlice};

use crate::{
    config::memory,
    engine::{arena::Arena, slot::Slot},
    protocol::encoding::Encoding,
};

use self::backlog::Backlog;

/// Ranges that go into one write; more take another write.
const SLICES_MAX: usize = 64;
/// The chain has collected enough (3 MiB) when it is this long: if channels alternate, each delivery adds a range.
const CHAIN_RANGES_MAX: usize = 256 * 1024;
const _: () = assert!(CHAIN_RANGES_MAX * size_of::<ChainedRange>() <= memory::RANGES_BYTES);
/// A backlog that pins so many times what waits is copied out of the segments that it shares.
const PINNED_PER_BYTE: usize = 4;
/// The end of a chain.
const NONE: u32 = u32::MAX;
/// All bytes are opaque: the connection still speaks HTTP.
const ALL: u32 = u32::MAX;

/// Where an outbox's bytes go.
pub(crate) trait Sink {
    /// Writes some of `slices` to the connection without blocking.
    ///
    /// # Errors
    /// The connection is lost.
    fn write(&mut self, slot: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written>;
}

/// What a write has done. A socket that encrypts may take all bytes and still wait to send them, so the two are not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// So many bytes were taken: they are the sink's to send.
    pub(crate) bytes: usize,
    /// The sink takes nothing more until it says that it is writable.
    pub(crate) is_blocked: bool,
}

impl Written {
    /// What came of a write of `len` bytes to a socket without a buffer of its own: a short write means that it is full.
    ///
    /// # Errors
    /// All but `WouldBlock`, which is a write of nothing.
    pub(crate) fn of(result: io::Result<usize>, len: usize) -> io::Result<Self> {
        match result {
            Ok(bytes) => Ok(Self { bytes, is_blocked: bytes < len }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Self { bytes: 0, is_blocked: true }),
            Err(error) => Err(error),
        }
    }
}

/// One connection's outbox.
#[derive(Debug)]
struct Outbox {
    /// The newest range of this turn; empty when `end` is 0, for a range never ends at 0.
    start: u32,
    end: u32,
    /// The ranges of this turn before it, newest first.
    chain: u32,
    /// Leading bytes that are not in `encoding`, but what HTTP answered before the upgrade; [`ALL`] until then.
    opaque: u32,
    encoding: Encoding,
    backlog: Option<Box<Backlog>>,
}

const EMPTY: Outbox = Outbox { start: 0, end: 0, chain: NONE, opaque: ALL, encoding: Encoding::Frame, backlog: None };

impl Outbox {
    /// Whether it is on the list of dirty ones: it has got something in this turn, or may try its backlog again.
    fn is_marked(&self) -> bool {
        self.end != 0 || self.backlog.as_ref().is_some_and(|backlog| !backlog.is_blocked)
    }

    /// `sent` more bytes are gone.
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

/// What a flush found out, for the hub to act on.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    /// Connections whose outbox has become empty.
    pub(crate) emptied: Vec<Slot>,
    /// Connections that have a backlog, newly or still, and got more in this turn.
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
    /// The memory that the backlogs' own lists of ranges take, in bytes.
    backlog_ranges_bytes: usize,
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
            now: 0,
        }
    }
}

impl Outboxes {
    /// A turn begins.
    pub(crate) fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// Makes room for a connection.
    pub(crate) fn open(&mut self, slot: Slot) {
        if self.outboxes.len() <= slot as usize {
            self.outboxes.resize_with(slot as usize + 1, || EMPTY);
        }
    }

    /// Forgets all that was to be sent to a connection.
    pub(crate) fn close(&mut self, slot: Slot) {
        let outbox = std::mem::replace(&mut self.outboxes[slot as usize], EMPTY);
        if outbox.is_marked() {
            self.dirty.retain(|&dirty| dirty != slot); // the slot may have another connection before the flush
        }
        if let Some(backlog) = outbox.backlog {
            self.backlog_ranges_bytes -= backlog.ranges_bytes();
            backlog.release(&mut self.arena);
        }
    }

    /// This turn's bytes: append a frame, then push its range to those who get it.
    pub(crate) fn turn(&mut self) -> &mut Vec<u8> {
        self.arena.turn_mut()
    }

    pub(crate) fn turn_len(&self) -> usize {
        self.arena.turn().len()
    }

    /// Whether what was pushed since the last flush takes so much memory, whatever it says, that it is to be flushed.
    pub(crate) fn has_long_chain(&self) -> bool {
        self.chain.len() >= self.chain_ranges_max
    }

    /// These bytes of the turn.
    pub(crate) fn turn_bytes(&self, start: u32, end: u32) -> &[u8] {
        &self.arena.turn()[start as usize..end as usize]
    }

    /// The connection is to get bytes `start..end` of the turn, which are whole frames.
    #[inline]
    pub(crate) fn push(&mut self, slot: Slot, start: u32, end: u32) {
        let outbox = &mut self.outboxes[slot as usize];
        if outbox.end == start && start != 0 {
            outbox.end = end;
            return;
        }
        if outbox.end == 0 {
            // Once only: a second look would take what is refused in this flush, and has no place yet, for sent.
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

    /// The connection has upgraded: what it is still to be sent is HTTP, and what follows is in this encoding.
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

    /// The socket takes bytes again: the next flush tries.
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

    /// The next flush tries all that got something, also those whose sockets have not said that they take bytes again.
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

    /// What a connection's backlog counts against its limit, in bytes: what the socket refused, and where it is.
    pub(crate) fn backlog_cost(&self, slot: Slot) -> usize {
        self.outboxes[slot as usize].backlog.as_ref().map_or(0, |backlog| backlog.cost())
    }

    /// A connection's part of the memory that cannot be freed while its backlog waits, in bytes: a few bytes pin all that
    /// was shared in their turn.
    pub(crate) fn pinned_bytes(&self, slot: Slot) -> usize {
        self.outboxes[slot as usize].backlog.as_ref().map_or(0, |backlog| backlog.pinned_bytes(&self.arena))
    }

    /// Since when a connection has a backlog, in milliseconds for which the core has run: of what it kept then, what the
    /// socket took since has moved it on in proportion.
    pub(crate) fn backlog_since(&self, slot: Slot) -> Option<u64> {
        self.outboxes[slot as usize].backlog.as_ref().map(|backlog| backlog.since)
    }

    /// If a connection's backlog pins much more than what waits for it, its bytes are copied out, so that it pins no more
    /// than them; true then. To be called between turns only.
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

    /// Drops a connection's backlog but for the rest of a frame that is partly sent, so that a close frame may follow.
    /// To be called between turns only.
    pub(crate) fn truncate(&mut self, slot: Slot) {
        let outbox = &mut self.outboxes[slot as usize];
        if let Some(backlog) = &mut outbox.backlog
            && outbox.opaque != ALL
        {
            let before = backlog.ranges_bytes();
            backlog.truncate(outbox.opaque as usize, &mut self.arena);
            self.backlog_ranges_bytes = self.backlog_ranges_bytes - before + backlog.ranges_bytes();
            if backlog.len == 0 {
                outbox.backlog = None;
            }
        }
    }

    /// The memory that all backlogs take, in bytes.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.arena.backlog_bytes() + self.backlog_ranges_bytes
    }

    /// How many connections a flush writes to.
    pub(crate) fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// Whether a flush has anything to do.
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

    /// Checks what must hold when a flush has ended.
    ///
    /// # Panics
    /// If it does not hold.
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
        assert_eq!(self.backlog_ranges_bytes, ranges_bytes, "the lists of ranges are counted wrongly");
        assert!(held > 0 || self.arena.segments() == 0, "segments outlive their backlogs");
    }
}

#[cfg(test)]
mod tests;
