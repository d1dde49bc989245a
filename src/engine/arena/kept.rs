//! Segments with the history of channels: frames that are kept although nobody waits for them, and that a backlog may hold
//! like its own bytes.
//!
//! Frames of all channels follow each other in one open segment. A closed segment is freed when its last frame is dropped
//! and no backlog holds it. If less than two thirds of a closed segment are in use, it is *sparse*, and its frames can be
//! moved.

use super::{Arena, Range, SEGMENT_BYTES, Segment};

/// The capacity of the first segment: a server that keeps little needs little.
const FIRST_BYTES: usize = 4 * 1024;

/// The state of these segments.
#[derive(Debug)]
pub(super) struct History {
    /// [`SEGMENT_BYTES`], but for tests.
    segment_bytes: usize,
    /// The segment to which the next frame is appended.
    open: Option<u32>,
    /// The memory of all segments with frames, in bytes.
    bytes: usize,
    /// The bytes of these frames.
    frames_bytes: usize,
    /// Segments that were found sparse. Some may have been freed since.
    sparse: Vec<u32>,
}

impl Default for History {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, open: None, bytes: 0, frames_bytes: 0, sparse: Vec::new() }
    }
}

impl Arena {
    /// Keeps a frame of the turn.
    pub(crate) fn keep(&mut self, start: u32, end: u32) -> Range {
        let turn = std::mem::take(&mut self.turn);
        let range = self.keep_bytes(&turn[start as usize..end as usize]);
        self.turn = turn;
        range
    }

    /// Keeps a frame that another core or a file has kept.
    pub(crate) fn keep_bytes(&mut self, frame: &[u8]) -> Range {
        let id = self.open_for(frame.len());
        self.append_kept(id, frame, 1)
    }

    /// Keeps frames that follow each other in `frames`, as many of them as fit into one segment, and at least one. `ends` are
    /// their ends. Returns the place of the frames that are kept, and their number.
    #[inline]
    pub(crate) fn keep_some(&mut self, frames: &[u8], start: u32, ends: &[u32]) -> (Range, usize) {
        let id = self.open_for((ends[0] - start) as usize);
        let room = self.history.segment_bytes.saturating_sub(self.segments[id as usize].bytes.len());
        let fits = |end: &u32| (end - start) as usize <= room;
        let count = if ends.last().is_some_and(fits) { ends.len() } else { ends.partition_point(fits).max(1) };
        let range = self.append_kept(id, &frames[start as usize..ends[count - 1] as usize], count as u32);
        (range, count)
    }

    #[inline]
    fn append_kept(&mut self, id: u32, frames: &[u8], count: u32) -> Range {
        let segment = &mut self.segments[id as usize];
        let (start, before) = (segment.bytes.len() as u32, segment.bytes.capacity());
        segment.bytes.extend_from_slice(frames);
        segment.kept += count;
        segment.kept_bytes += frames.len() as u32;
        self.history.bytes += segment.bytes.capacity() - before;
        self.history.frames_bytes += frames.len();
        Range { segment: id, start, end: start + frames.len() as u32 }
    }

    /// The open segment, which has room for a frame of this length. A frame that is longer than a segment gets one for
    /// itself.
    fn open_for(&mut self, len: usize) -> u32 {
        let segment_bytes = self.history.segment_bytes;
        let has_room = |id: &u32| self.segments[*id as usize].bytes.len() + len <= segment_bytes;
        if let Some(id) = self.history.open.filter(has_room) {
            return id;
        }
        let capacity = match self.history.open.take() {
            None => FIRST_BYTES.min(segment_bytes).max(len),
            Some(full) => {
                self.close(full);
                segment_bytes.max(len)
            }
        };
        let bytes = Vec::with_capacity(capacity);
        self.history.bytes += bytes.capacity();
        let id = self.segments.insert(Segment { bytes, ..Segment::default() }) as u32;
        self.history.open = Some(id);
        id
    }

    /// Closes the open segment.
    fn close(&mut self, id: u32) {
        let bytes = &mut self.segments[id as usize].bytes;
        let before = bytes.capacity();
        if before - bytes.len() > before / 8 {
            bytes.shrink_to_fit();
        }
        self.history.bytes -= before - bytes.capacity();
        self.note_if_sparse(id);
    }

    /// Drops a frame.
    pub(crate) fn drop_kept(&mut self, range: Range) {
        self.drop_some(range.segment, 1, range.len());
    }

    /// Drops some frames of a segment, which have this many bytes.
    pub(crate) fn drop_some(&mut self, id: u32, count: u32, bytes: usize) {
        let segment = &mut self.segments[id as usize];
        segment.kept -= count;
        segment.kept_bytes -= bytes as u32;
        self.history.frames_bytes -= bytes;
        if segment.kept > 0 {
            return self.note_if_sparse(id);
        }
        if self.history.open == Some(id) {
            self.history.open = None;
        }
        let capacity = segment.bytes.capacity();
        self.history.bytes -= capacity;
        if segment.holds > 0 {
            self.segment_bytes += capacity; // it is only for backlogs now
        } else {
            self.segments.remove(id as usize);
        }
    }

    fn note_if_sparse(&mut self, id: u32) {
        let segment = &mut self.segments[id as usize];
        let is_sparse =
            self.history.open != Some(id) && (segment.kept_bytes as usize) < segment.bytes.capacity() / 3 * 2;
        if is_sparse && !std::mem::replace(&mut segment.is_sparse, true) {
            self.history.sparse.push(id);
        }
    }

    /// A sparse segment, and the number of its frames: the caller moves them. `None` if there is none.
    pub(crate) fn take_sparse(&mut self) -> Option<(u32, u32)> {
        let Self { segments, history, .. } = self;
        let is_sparse =
            |id: &u32| segments.get(*id as usize).is_some_and(|segment| segment.is_sparse && segment.kept > 0);
        let id = std::iter::from_fn(|| history.sparse.pop()).find(is_sparse)?;
        Some((id, self.segments[id as usize].kept))
    }

    /// Moves a frame to the open segment.
    pub(crate) fn move_kept(&mut self, range: Range) -> Range {
        let bytes = std::mem::take(&mut self.segments[range.segment as usize].bytes);
        let moved = self.keep_bytes(&bytes[range.start as usize..range.end as usize]);
        self.segments[range.segment as usize].bytes = bytes;
        self.drop_kept(range);
        moved
    }

    /// The bytes of a segment from here on.
    pub(crate) fn bytes_from(&self, id: u32, start: u32) -> &[u8] {
        &self.segments[id as usize].bytes[start as usize..]
    }

    /// The size of a segment.
    pub(crate) fn history_segment_bytes(&self) -> usize {
        self.history.segment_bytes
    }

    /// The memory of the history, in bytes.
    pub(crate) fn history_bytes(&self) -> usize {
        self.history.bytes
    }

    /// The part of it that no frame uses, in bytes.
    pub(crate) fn unused_history_bytes(&self) -> usize {
        self.history.bytes - self.history.frames_bytes
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl Arena {
    /// Makes segments small.
    #[cfg(test)]
    pub(crate) fn set_history_segments(&mut self, bytes: usize) {
        self.history.segment_bytes = bytes;
    }

    /// Checks the sums against the segments.
    ///
    /// # Panics
    /// If one is wrong.
    pub(crate) fn history_invariants(&self) {
        let kept = || self.segments.iter().filter(|(_, segment)| segment.kept > 0);
        let bytes: usize = kept().map(|(_, segment)| segment.bytes.capacity()).sum();
        let frames: usize = kept().map(|(_, segment)| segment.kept_bytes as usize).sum();
        assert_eq!((self.history.bytes, self.history.frames_bytes), (bytes, frames));
        let others = self.segments.iter().filter(|(_, segment)| segment.kept == 0);
        assert!(others.clone().all(|(_, segment)| segment.holds > 0), "a segment that nothing needs is still there");
        assert_eq!(self.segment_bytes, others.map(|(_, segment)| segment.bytes.capacity()).sum::<usize>());
    }
}
