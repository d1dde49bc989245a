//! Compaction: frames of segments that are mostly unused move to the open segment.
//!
//! A segment has no list of its frames. Each frame says its channel and its number, so the channel's ring tells whether
//! this is the frame that is kept.

use super::{History, channel::Entry};
use crate::{
    engine::arena::Arena,
    protocol::{encoding::Encoding, message::numbered},
};

/// Work for a frame that is looked at, in units of [`crate::engine::router::Work`].
const FRAME_UNITS: u64 = 48;

impl History {
    /// Whether so much of the memory is unused that a segment must be compacted.
    pub(super) fn is_sparse(&self, arena: &Arena) -> bool {
        let (bytes, unused) = (arena.history_bytes(), arena.unused_history_bytes());
        unused > bytes / 3 + 2 * arena.history_segment_bytes()
    }

    /// Moves the frames of one sparse segment. Returns the cost in units of work.
    pub(super) fn compact(&mut self, arena: &mut Arena) -> u64 {
        let Some((segment, mut left)) = arena.take_sparse() else { return 0 };
        let (mut at, mut units) = (0, 0);
        while left > 0 {
            let bytes = arena.bytes_from(segment, at);
            let len = Encoding::Frame.unit_len(bytes);
            units += FRAME_UNITS + len as u64 / 4;
            if let Some((id, name)) = numbered::of_frame(&bytes[..len])
                && let Some(entry) = self.entry(name, id.offset)
                && (entry.segment, entry.start) == (segment, at)
            {
                let moved = arena.move_kept(entry.range());
                (entry.segment, entry.start) = (moved.segment, moved.start);
                left -= 1; // the segment may be gone after the last one
            }
            at += len as u32;
        }
        units
    }

    fn entry(&mut self, name: &[u8], number: u64) -> Option<&mut Entry> {
        let id = self.find(name)?;
        let channel = &mut self.channels[id.0 as usize];
        let index = number.checked_sub(channel.dropped() + 1)?;
        channel.ring.get_mut(usize::try_from(index).ok()?)
    }
}
