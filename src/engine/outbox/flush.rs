//! The end of a turn: one write for each connection, and a place for the rest of each short write.

use std::io::{self, IoSlice};

use crate::{
    engine::{
        outbox::{ALL, Backlog, Flushed, NONE, Outboxes, SLICES_MAX, ShortWrite, Sink, Written},
        slot::Slot,
    },
    protocol::encoding::Encoding,
};

/// The capacity that the chain and the other lists of ranges keep for the next turn, in entries.
const RANGES_KEPT: usize = 64 * 1024;

impl Outboxes {
    /// Sends the pushed ranges, one write for each connection, and ends the turn.
    pub(crate) fn flush(&mut self, sink: &mut impl Sink, flushed: &mut Flushed) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for &slot in &dirty {
            match self.flush_one(slot, sink) {
                Ok(true) => flushed.emptied.push(slot),
                Ok(false) => {}
                Err(_) => flushed.broken.push(slot),
            }
        }
        dirty.clear();
        self.dirty = dirty;
        self.settle(flushed);
        if !self.chain.is_empty() {
            // Without a chain the other lists have at most one entry for each connection.
            empty(&mut self.chain);
            empty(&mut self.short_writes);
            empty(&mut self.ranges);
        }
        self.arena.end_turn();
    }

    /// Flushes one outbox, and returns whether it is empty now. On an error it keeps its ranges: the hub closes the
    /// connection.
    fn flush_one(&mut self, slot: Slot, sink: &mut impl Sink) -> io::Result<bool> {
        let outbox = &mut self.outboxes[slot as usize];
        if outbox.end == 0 && outbox.backlog.is_none() {
            return Ok(false); // truncated since it was marked
        }
        if outbox.chain == NONE && outbox.backlog.is_none() {
            // The common case: one range, one plain write.
            let (start, end) = (outbox.start, outbox.end);
            let bytes = &self.arena.turn()[start as usize..end as usize];
            let written = sink.write(slot, &[IoSlice::new(bytes)])?;
            outbox.start = 0;
            outbox.end = 0;
            if written.bytes == bytes.len() {
                outbox.sent(written.bytes);
                return Ok(true);
            }
            self.ranges.clear();
            self.ranges.push((start, end));
            self.keep_rest(slot, 0, written);
            return Ok(false);
        }
        self.flush_ranges(slot, sink)
    }

    /// The general case of [`Outboxes::flush_one`], with several ranges or a backlog. It is a function of its own so
    /// that the common case stays short.
    #[inline(never)]
    fn flush_ranges(&mut self, slot: Slot, sink: &mut impl Sink) -> io::Result<bool> {
        self.gather(slot);
        let outbox = &mut self.outboxes[slot as usize];
        if let Some(backlog) = &mut outbox.backlog {
            if !backlog.write(slot, sink, self.now, (outbox.encoding, &mut outbox.opaque), &mut self.arena)? {
                self.keep_rest(slot, 0, Written::default());
                return Ok(false);
            }
            self.backlog_ranges_bytes -= backlog.ranges_bytes();
            self.backlogs -= 1;
            outbox.backlog = None;
        }
        self.write_ranges(slot, sink)
    }

    /// Moves the outbox's ranges of this turn into `self.ranges`, oldest first.
    fn gather(&mut self, slot: Slot) {
        let outbox = &mut self.outboxes[slot as usize];
        self.ranges.clear();
        if outbox.end == 0 {
            return;
        }
        self.ranges.push((outbox.start, outbox.end));
        while outbox.chain != NONE {
            let range = self.chain[outbox.chain as usize];
            self.ranges.push((range.start, range.end));
            outbox.chain = range.previous;
        }
        self.ranges.reverse();
        outbox.start = 0;
        outbox.end = 0;
    }

    fn write_ranges(&mut self, slot: Slot, sink: &mut impl Sink) -> io::Result<bool> {
        let mut first = 0;
        while first < self.ranges.len() {
            let batch = &self.ranges[first..self.ranges.len().min(first + SLICES_MAX)];
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut len = 0;
            for (slice, &(start, end)) in slices.iter_mut().zip(batch) {
                *slice = IoSlice::new(&self.arena.turn()[start as usize..end as usize]);
                len += slice.len();
            }
            let written = sink.write(slot, &slices[..batch.len()])?;
            if written.bytes < len {
                self.keep_rest(slot, first, written);
                return Ok(false);
            }
            first += batch.len();
            self.outboxes[slot as usize].sent(len);
            if written.is_blocked && first < self.ranges.len() {
                self.keep_rest(slot, first, Written::default());
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes a short write of `self.ranges` from `first` on. A backlog that is not empty keeps what it knows of an earlier
    /// write. It is a function of its own so that the common case stays short.
    #[cold]
    #[inline(never)]
    fn keep_rest(&mut self, slot: Slot, first: usize, written: Written) {
        let outbox = &mut self.outboxes[slot as usize];
        let now = self.now;
        self.backlogs += usize::from(outbox.backlog.is_none());
        let mut backlog = outbox.backlog.take().unwrap_or_else(|| Box::new(Backlog::new(now)));
        backlog.is_blocked = true;
        if backlog.len == 0 {
            backlog.begun = written.begun;
        }
        let mut sent = written.bytes;
        for &(start, end) in &self.ranges[first..] {
            let len = (end - start) as usize;
            if sent >= len {
                sent -= len;
                outbox.sent(len);
                continue;
            }
            if sent > 0 {
                let bytes = &self.arena.turn()[start as usize..end as usize];
                backlog.unit_rest = rest_of_unit(outbox.encoding, bytes, sent, &mut outbox.opaque, 0);
            }
            backlog.len += len - sent;
            self.short_writes.push(ShortWrite { slot, start: start + sent as u32, end });
            sent = 0;
        }
        outbox.backlog = Some(backlog);
    }

    /// Moves the rests of this turn's short writes to a place that outlives the turn: a shared segment if they are at
    /// least half as large as the turn, otherwise a copy for each, so that a small rest does not pin a big segment.
    fn settle(&mut self, flushed: &mut Flushed) {
        if self.short_writes.is_empty() {
            return;
        }
        let wanted: usize = self.short_writes.iter().map(|write| (write.end - write.start) as usize).sum();
        let shared = (wanted >= self.arena.turn().len() / 2).then(|| self.arena.share_turn());
        for write in self.short_writes.drain(..) {
            let Some(backlog) = &mut self.outboxes[write.slot as usize].backlog else { continue };
            let before = backlog.ranges_bytes();
            match shared {
                Some((segment, base)) => backlog.share(segment, base + write.start, base + write.end, &mut self.arena),
                None => backlog.copy(write.start, write.end, &mut self.arena),
            }
            self.backlog_ranges_bytes += backlog.ranges_bytes() - before;
            if flushed.backlogged.last() != Some(&write.slot) {
                flushed.backlogged.push(write.slot);
            }
        }
    }
}

/// Clears a list of ranges, and frees its memory if an unusual turn has made it large.
fn empty<T>(list: &mut Vec<T>) {
    list.clear();
    if list.capacity() > RANGES_KEPT {
        *list = Vec::new();
    }
}

/// The bytes that are left of the unit that was cut when `sent` bytes of `bytes` were sent. The first `opaque` bytes
/// belong to no unit; the next `rest` bytes end a unit that was cut before.
pub(super) fn rest_of_unit(encoding: Encoding, bytes: &[u8], sent: usize, opaque: &mut u32, rest: usize) -> usize {
    if *opaque == ALL {
        return 0;
    }
    let skipped = sent.min(*opaque as usize);
    *opaque -= skipped as u32;
    let mut boundary = skipped + rest;
    while boundary < sent {
        boundary += encoding.unit_len(&bytes[boundary..]);
    }
    boundary - sent
}
