//! The bytes that a core is about to send: each frame once, for any number of connections.
//!
//! Frames are appended to the *turn*, one buffer that stays hot in the cache and is empty again after the flush. After
//! short writes, the unsent bytes move from the turn into *segments*. All connections that wait for the same bytes
//! share them, so a stalled audience costs its backlog once. The history of channels is in segments of its own, see
//! `kept`; a backlog refers to them in the same way.

mod kept;

use slab::Slab;

use crate::config::memory;

/// A segment of this size takes no further bytes, so that memory is freed piece by piece.
pub(crate) const SEGMENT_BYTES: usize = 64 * 1024;
/// The turn's buffer is freed if one giant message made it larger than this.
const TURN_CAPACITY_MAX: usize = 1024 * 1024;

const _: () = assert!(TURN_CAPACITY_MAX <= memory::TURN_CAPACITY);

/// Bytes that outlive their turn.
#[derive(Debug, Default)]
struct Segment {
    bytes: Vec<u8>,
    /// Ranges of backlogs in this segment. A segment without holds is freed, even if it is the open one.
    holds: u32,
    /// The frames of the history in this segment, and their bytes. It is freed only without them.
    kept: u32,
    kept_bytes: u32,
    /// It is in the list of sparse segments.
    is_sparse: bool,
}

/// A range of a segment, held by one backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) segment: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Range {
    pub(crate) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// All the bytes of one core that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    turn: Vec<u8>,
    segments: Slab<Segment>,
    /// The segment to which the next shared turn is appended.
    open: Option<u32>,
    segment_bytes: usize,
    history: kept::History,
}

impl Arena {
    /// This turn's bytes so far; append to it, and give the range to [`super::outbox::Outboxes::push`].
    pub(crate) fn turn(&self) -> &Vec<u8> {
        &self.turn
    }

    /// These bytes of the turn.
    pub(crate) fn turn_bytes(&self, start: u32, end: u32) -> &[u8] {
        &self.turn[start as usize..end as usize]
    }

    pub(crate) fn turn_mut(&mut self) -> &mut Vec<u8> {
        &mut self.turn
    }

    pub(crate) fn bytes(&self, range: Range) -> &[u8] {
        &self.segments[range.segment as usize].bytes[range.start as usize..range.end as usize]
    }

    /// A segment's memory in bytes, divided by the number of ranges that hold it. It is freed only when none of them is
    /// left. A segment of the history is there anyway.
    pub(crate) fn part_of_segment(&self, segment: u32) -> usize {
        let segment = &self.segments[segment as usize];
        if segment.kept > 0 {
            return 0;
        }
        segment.bytes.capacity() / segment.holds.max(1) as usize
    }

    /// The memory of backlogs, in bytes.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// Ends the turn. No range may refer to its bytes any more.
    pub(crate) fn end_turn(&mut self) {
        self.turn.clear();
        if self.turn.capacity() > TURN_CAPACITY_MAX {
            self.turn = Vec::new();
        }
    }

    /// Appends the whole turn to the open segment. Returns the segment and the position of the turn's first byte there.
    /// This does not hold the segment: see [`Arena::hold`].
    pub(crate) fn share_turn(&mut self) -> (u32, u32) {
        let turn = std::mem::take(&mut self.turn);
        let has_room = |id: &u32| self.segments[*id as usize].bytes.len() + turn.len() <= SEGMENT_BYTES;
        let id = match self.open.filter(has_room) {
            Some(id) => id,
            None => {
                self.close_open();
                let id = self.segments.insert(Segment::default()) as u32;
                self.open = Some(id);
                id
            }
        };
        let base = self.segments[id as usize].bytes.len() as u32;
        self.append(id, &turn);
        self.turn = turn;
        (id, base)
    }

    /// Copies one range of the turn for a single holder. `last` is the holder's newest range. It is extended if it ends
    /// a segment that only this holder has, not even the history, and that has room. Otherwise the new range is returned,
    /// already held.
    pub(crate) fn copy_out(&mut self, start: u32, end: u32, last: Option<&mut Range>) -> Option<Range> {
        let turn = std::mem::take(&mut self.turn);
        let bytes = &turn[start as usize..end as usize];
        let own = last.filter(|last| {
            let segment = &self.segments[last.segment as usize];
            Some(last.segment) != self.open
                && segment.kept == 0
                && segment.holds == 1
                && segment.bytes.len() == last.end as usize
                && segment.bytes.len() + bytes.len() <= SEGMENT_BYTES
        });
        let new = match own {
            Some(last) => {
                self.append(last.segment, bytes);
                last.end += end - start;
                None
            }
            None => Some(self.insert(bytes.to_vec())),
        };
        self.turn = turn;
        new
    }

    /// Adds a segment of one holder, with these bytes.
    pub(crate) fn insert(&mut self, bytes: Vec<u8>) -> Range {
        let end = bytes.len() as u32;
        self.segment_bytes += bytes.capacity();
        let segment = self.segments.insert(Segment { bytes, holds: 1, ..Segment::default() }) as u32;
        Range { segment, start: 0, end }
    }

    pub(crate) fn hold(&mut self, segment: u32) {
        self.segments[segment as usize].holds += 1;
    }

    pub(crate) fn release(&mut self, segment: u32) {
        let entry = &mut self.segments[segment as usize];
        entry.holds -= 1;
        if entry.holds == 0 && entry.kept == 0 {
            if self.open == Some(segment) {
                self.open = None;
            }
            self.segment_bytes -= entry.bytes.capacity();
            self.segments.remove(segment as usize);
        }
    }

    fn append(&mut self, id: u32, bytes: &[u8]) {
        let segment = &mut self.segments[id as usize];
        let before = segment.bytes.capacity();
        segment.bytes.extend_from_slice(bytes);
        self.segment_bytes += segment.bytes.capacity() - before;
    }

    /// Closes the open segment, and frees its spare capacity.
    fn close_open(&mut self) {
        let Some(id) = self.open.take() else { return };
        let segment = &mut self.segments[id as usize];
        let before = segment.bytes.capacity();
        segment.bytes.shrink_to_fit();
        self.segment_bytes -= before - segment.bytes.capacity();
    }

    /// The number of segments that backlogs hold, for the tests that prove that all are freed.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn segments(&self) -> usize {
        self.segments.iter().filter(|(_, segment)| segment.holds > 0).count()
    }
}
