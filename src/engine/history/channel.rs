//! A channel and the ring of its messages.

use std::collections::VecDeque;

use super::{Retention, cluster::Copied, sizes::Place};
use crate::engine::arena::Range;

/// The memory of a channel beside its name and its ring, in bytes: itself, its place in the index and in the timers, and
/// the allocator's overhead.
pub(super) const CHANNEL_BYTES: usize = 192;
/// The least capacity of a ring.
const RING_MIN: usize = 2;

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: Box<[u8]>,
    pub(super) retention: Retention,
    /// The places of its newest messages, oldest first. Their numbers follow each other, and end before `next`, unless a
    /// cluster numbers them.
    pub(super) ring: VecDeque<Entry>,
    /// The number of the next message.
    pub(super) next: u64,
    /// The bytes of its frames.
    pub(super) bytes: usize,
    /// When it was last published or subscribed to, in seconds of the core.
    pub(super) used_at: u32,
    /// Distinguishes it from earlier channels with its id.
    pub(super) generation: u32,
    /// Its place among the channels of its size.
    pub(super) place: Place,
    /// More about it if a cluster numbers its messages.
    pub(super) copied: Option<Box<Copied>>,
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) segment: u32,
    pub(super) start: u32,
    len: u32,
    /// When it was published, in seconds of the core.
    at: u32,
}

impl Entry {
    pub(super) fn range(self) -> Range {
        Range { segment: self.segment, start: self.start, end: self.start + self.len }
    }
}

impl Channel {
    /// An empty channel whose numbers are greater than `floor`.
    pub(super) fn new(name: &[u8], floor: u64, generation: u32) -> Self {
        Self {
            name: name.into(),
            retention: Retention { messages: 1, age: 1 },
            ring: VecDeque::new(),
            next: floor + 1,
            bytes: 0,
            used_at: 0,
            generation,
            place: Place::default(),
            copied: None,
        }
    }

    /// The number of the newest message that is not kept any more.
    pub(super) fn dropped(&self) -> u64 {
        self.copied.as_ref().map_or_else(|| self.next - 1 - self.ring.len() as u64, |copied| copied.dropped)
    }

    /// The number of the message at this place of the ring.
    fn number(&self, index: usize) -> u64 {
        self.copied.as_ref().map_or_else(|| self.dropped() + 1 + index as u64, |copied| copied.numbers[index])
    }

    /// The number of the oldest message that is kept.
    pub(super) fn first(&self) -> Option<u64> {
        (!self.ring.is_empty()).then(|| self.number(0))
    }

    /// The place of the first message after this number in the ring.
    fn index_after(&self, number: u64) -> usize {
        match &self.copied {
            Some(copied) => copied.numbers.partition_point(|one| *one <= number),
            None => number.saturating_sub(self.dropped()) as usize,
        }
    }

    /// The number of the message before the newest ones, of which there are this many.
    pub(super) fn before_newest(&self, messages: usize) -> u64 {
        match self.ring.len().checked_sub(messages) {
            _ if messages == 0 => self.next - 1,
            None | Some(0) => self.dropped(),
            Some(index) => self.number(index - 1),
        }
    }

    /// Adds the next message, which was published at this time, in seconds of the core.
    pub(super) fn push(&mut self, range: Range, at: u32) {
        if self.ring.len() == self.ring.capacity() {
            // Half as much again: with doubling a message might take 32 bytes here.
            let more = (self.ring.len() / 2).max(RING_MIN);
            self.ring
                .reserve_exact(more.min((self.retention.messages as usize).saturating_sub(self.ring.len()).max(1)));
        }
        self.bytes += range.len();
        if let Some(copied) = &mut self.copied {
            copied.push(self.next, self.ring.capacity());
        }
        self.next += 1;
        let Range { segment, start, .. } = range;
        self.ring.push_back(Entry { segment, start, len: range.len() as u32, at });
    }

    /// Passes over the numbers of messages that are not kept.
    pub(super) fn skip(&mut self, messages: usize) {
        self.next += messages as u64;
    }

    /// Adds the next messages, which lie behind each other in this range and were published at this time. `ends` are their
    /// ends and `start` is the first one's start, both where they were copied from.
    pub(super) fn push_some(&mut self, range: Range, (mut start, ends): (u32, &[u32]), at: u32) {
        debug_assert!(self.copied.is_none(), "a cluster's messages come one by one");
        let (len, after) = (self.ring.len(), self.ring.len() + ends.len());
        if after > self.ring.capacity() {
            // As in `push`.
            let capacity = (len + len / 2).min(self.retention.messages as usize).max(after).max(RING_MIN);
            self.ring.reserve_exact(capacity - len);
        }
        self.bytes += range.len();
        self.next += ends.len() as u64;
        let Range { segment, start: mut to, .. } = range;
        self.ring.extend(ends.iter().map(|&end| {
            let entry = Entry { segment, start: to, len: end - start, at };
            (to, start) = (to + entry.len, end);
            entry
        }));
    }

    /// Takes the oldest messages, of this number. `drop` gets a segment, and the number and the bytes of frames in it.
    pub(super) fn pop_some(&mut self, messages: usize, mut drop: impl FnMut(u32, u32, usize)) {
        let (mut segment, mut count, mut bytes) = (0, 0, 0);
        for entry in self.ring.range(..messages) {
            if entry.segment != segment && count > 0 {
                drop(segment, count, bytes);
                self.bytes -= bytes;
                (count, bytes) = (0, 0);
            }
            segment = entry.segment;
            count += 1;
            bytes += entry.len as usize;
        }
        if count > 0 {
            drop(segment, count, bytes);
            self.bytes -= bytes;
        }
        self.ring.drain(..messages);
    }

    /// Takes the oldest message.
    pub(super) fn pop(&mut self) -> Option<Range> {
        let range = self.ring.pop_front()?.range();
        if let Some(copied) = &mut self.copied {
            copied.pop();
        }
        self.bytes -= range.len();
        Some(range)
    }

    /// Frees spare memory of the ring, after it has become much shorter.
    pub(super) fn slim(&mut self) {
        if self.ring.len() < self.ring.capacity() / 4 {
            self.ring.shrink_to(2 * self.ring.len());
            if let Some(copied) = &mut self.copied {
                copied.numbers.shrink_to(2 * self.ring.len());
            }
        }
    }

    /// The places of the messages after number `after`, see [`super::History::read`].
    pub(super) fn read(&self, after: u64, bytes_max: usize, out: &mut Vec<Range>) -> u64 {
        let (mut last, mut bytes) = (after.max(self.dropped()), 0);
        for index in self.index_after(after)..self.ring.len() {
            let range = self.ring[index].range();
            if bytes > 0 && bytes + range.len() > bytes_max {
                return last;
            }
            bytes += range.len();
            last = self.number(index);
            match out.last_mut() {
                Some(before) if before.segment == range.segment && before.end == range.start => before.end = range.end,
                _ => out.push(range),
            }
        }
        last.max(self.next - 1)
    }

    /// The newest messages before number `before`, newest first, until there are this many or they have `bytes_max` bytes;
    /// at least one, if there is one. The second result tells of older ones.
    pub(super) fn read_back(&self, before: u64, messages: usize, bytes_max: usize) -> (Vec<(u64, Range)>, bool) {
        let (mut found, mut bytes) = (Vec::new(), 0);
        for index in (0..self.index_after(before.saturating_sub(1)).min(self.ring.len())).rev() {
            let range = self.ring[index].range();
            if found.len() == messages || (bytes > 0 && bytes + range.len() > bytes_max) {
                return (found, true);
            }
            bytes += range.len();
            found.push((self.number(index), range));
        }
        (found, false)
    }

    /// The length of the first frame after number `after`.
    pub(super) fn next_len(&self, after: u64) -> Option<usize> {
        self.ring.get(self.index_after(after)).map(|entry| entry.range().len())
    }

    /// Whether the oldest message is too old at this time.
    pub(super) fn oldest_is_over(&self, now: u32) -> bool {
        self.ring.front().is_some_and(|entry| entry.at.saturating_add(self.retention.age) <= now)
    }

    /// Whether it has no message, and was not used for as long as it would keep one.
    pub(super) fn is_unused_at(&self, now: u32) -> bool {
        self.ring.is_empty() && self.used_at.saturating_add(self.retention.age) <= now
    }

    /// When to look at it again, in seconds of the core.
    pub(super) fn deadline(&self) -> u32 {
        self.ring.front().map_or(self.used_at, |entry| entry.at).saturating_add(self.retention.age)
    }

    /// Its memory without its frames, in bytes.
    pub(super) fn table_bytes(&self) -> usize {
        let copied = self.copied.as_ref().map_or(0, |copied| copied.bytes());
        CHANNEL_BYTES + self.name.len() + self.ring.capacity() * size_of::<Entry>() + copied
    }
}
