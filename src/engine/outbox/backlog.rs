//! The unsent bytes of a slow connection: ranges of segments, in order.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use crate::{
    engine::{
        arena::{Arena, Range},
        outbox::{SLICES_MAX, Sink, Written, flush::rest_of_unit},
        slot::Slot,
    },
    protocol::encoding::Encoding,
};

/// About how many ranges of a backlog are sampled to estimate the memory that it pins.
const SAMPLES: usize = 64;

/// One connection's backlog. It exists only while the connection has unsent bytes.
#[derive(Debug)]
pub(super) struct Backlog {
    ranges: VecDeque<Range>,
    /// Bytes of the backlog, including those of the current turn that are not in `ranges` yet.
    pub(super) len: usize,
    /// Bytes at the front that complete a partly sent unit (a frame, in [`Encoding::Frame`]).
    pub(super) unit_rest: usize,
    /// Bytes at the front that the next write must begin with, see [`Written::begun`].
    pub(super) begun: usize,
    /// The socket is full. The next write waits until the socket is writable.
    pub(super) is_blocked: bool,
    /// See [`super::Outboxes::backlog_since`].
    pub(super) since: u64,
}

impl Backlog {
    pub(super) fn new(now: u64) -> Self {
        Self { ranges: VecDeque::new(), len: 0, unit_rest: 0, begun: 0, is_blocked: false, since: now }
    }

    pub(super) fn share(&mut self, segment: u32, start: u32, end: u32, arena: &mut Arena) {
        if let Some(last) = self.ranges.back_mut()
            && last.segment == segment
            && last.end == start
        {
            last.end = end;
            return;
        }
        arena.hold(segment);
        self.ranges.push_back(Range { segment, start, end });
    }

    pub(super) fn copy(&mut self, start: u32, end: u32, arena: &mut Arena) {
        if let Some(range) = arena.copy_out(start, end, self.ranges.back_mut()) {
            self.ranges.push_back(range);
        }
    }

    /// Writes as much as the socket takes. Returns true if nothing is left, not even from this turn.
    pub(super) fn write(
        &mut self,
        slot: Slot,
        sink: &mut impl Sink,
        now: u64,
        (encoding, opaque): (Encoding, &mut u32),
        arena: &mut Arena,
    ) -> io::Result<bool> {
        while !self.is_blocked && !self.ranges.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.ranges.len().min(SLICES_MAX);
            for (slice, &range) in slices.iter_mut().zip(&self.ranges) {
                *slice = IoSlice::new(arena.bytes(range));
            }
            let Written { bytes: sent, is_blocked, begun } = sink.write(slot, &slices[..count])?;
            self.is_blocked = is_blocked;
            self.begun = begun;
            self.since += progress(now.saturating_sub(self.since), sent, self.len);
            self.advance(sent, (encoding, &mut *opaque), arena);
        }
        Ok(self.len == 0)
    }

    /// Removes `sent` bytes, and keeps track of the ends of units.
    fn advance(&mut self, mut sent: usize, (encoding, opaque): (Encoding, &mut u32), arena: &mut Arena) {
        self.len -= sent;
        while sent > 0 {
            let front = self.ranges.front_mut().expect("no more is sent than there is");
            let taken = sent.min(front.len());
            self.unit_rest = rest_of_unit(encoding, arena.bytes(*front), taken, opaque, self.unit_rest);
            front.start += taken as u32;
            sent -= taken;
            if front.start == front.end {
                arena.release(front.segment);
                self.ranges.pop_front();
            }
        }
    }

    /// Keeps only the `opaque` bytes at the front, the rest of a partly sent unit, and the units that the sink has begun
    /// to send. They move to a segment of their own, unless they pin no more than their own length where they are: an
    /// audience that stalled together shares them.
    pub(super) fn truncate(&mut self, opaque: usize, encoding: Encoding, arena: &mut Arena) {
        self.len = self.whole_units(opaque + self.unit_rest, encoding, arena);
        let (mut left, mut pinned) = (self.len, 0);
        self.ranges.retain_mut(|range| {
            let kept = range.len().min(left);
            if kept == 0 {
                arena.release(range.segment);
                return false;
            }
            left -= kept;
            range.end = range.start + kept as u32;
            pinned += arena.part_of_segment(range.segment);
            true
        });
        if pinned > self.len {
            self.copy_out(arena);
        } else {
            self.ranges.shrink_to_fit();
        }
    }

    /// The length of the front that consists of `whole` bytes and the units behind them that the sink has begun to send.
    fn whole_units(&self, mut whole: usize, encoding: Encoding, arena: &Arena) -> usize {
        let mut start = 0;
        for &range in &self.ranges {
            let bytes = arena.bytes(range);
            // A range begins with a unit, except for the part of it that is in `whole` already.
            while whole < self.begun && whole - start < bytes.len() {
                whole += encoding.unit_len(&bytes[whole - start..]);
            }
            start += bytes.len();
            if start >= whole.max(self.begun) {
                break;
            }
        }
        whole
    }

    /// Copies the backlog out of its shared segments, into one of its own.
    pub(super) fn copy_out(&mut self, arena: &mut Arena) {
        let mut bytes = Vec::with_capacity(self.len);
        for range in self.ranges.drain(..) {
            bytes.extend_from_slice(arena.bytes(range));
            arena.release(range.segment);
        }
        self.ranges = VecDeque::from([arena.insert(bytes)]);
    }

    /// The cost that counts against the connection's limit: the bytes, and the list of their ranges.
    pub(super) fn cost(&self) -> usize {
        self.len + self.ranges.len() * size_of::<Range>()
    }

    /// The memory of its list of ranges, in bytes.
    pub(super) fn ranges_bytes(&self) -> usize {
        self.ranges.capacity() * size_of::<Range>()
    }

    /// Its part of the memory that it pins, in bytes: a segment is divided among its holders. If there are more ranges
    /// than [`SAMPLES`], only a sample of them is counted.
    pub(super) fn pinned_bytes(&self, arena: &Arena) -> usize {
        let step = self.ranges.len().div_ceil(SAMPLES).max(1);
        let parts = self.ranges.iter().step_by(step).map(|range| arena.part_of_segment(range.segment));
        step * parts.sum::<usize>() + self.ranges_bytes()
    }

    pub(super) fn release(self, arena: &mut Arena) {
        for range in self.ranges {
            arena.release(range.segment);
        }
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn invariants(&self, arena: &Arena) {
        let len: usize = self.ranges.iter().map(|range| arena.bytes(*range).len()).sum();
        assert_eq!(self.len, len);
        assert!(self.unit_rest <= self.ranges.front().map_or(0, |front| front.len()));
        assert!(self.begun <= self.len);
    }
}

/// How much younger a backlog of this age becomes when its socket takes `sent` of its `len` bytes. The age shrinks in
/// proportion, so one byte now and then does not keep it young.
fn progress(age: u64, sent: usize, len: usize) -> u64 {
    (u128::from(age) * sent as u128 / len.max(1) as u128) as u64
}
