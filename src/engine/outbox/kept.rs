//! Ranges of the history in outboxes.

use super::{Backlog, Outboxes};
use crate::engine::{
    arena::{Arena, Range},
    slot::Slot,
};

impl Outboxes {
    /// The arena, to change its history.
    pub(crate) fn arena(&mut self) -> &mut Arena {
        &mut self.arena
    }

    /// The arena.
    pub(crate) fn arena_ref(&self) -> &Arena {
        &self.arena
    }

    /// Adds ranges of the history, which are whole frames, to a connection's outbox, before the bytes of this turn.
    pub(crate) fn push_kept(&mut self, slot: Slot, ranges: &[Range]) {
        let Self { arena, outboxes, dirty, .. } = self;
        let outbox = &mut outboxes[slot as usize];
        if !outbox.is_marked() && outbox.backlog.as_ref().is_none_or(|backlog| !backlog.is_blocked) {
            dirty.push(slot);
        }
        let now = self.now;
        self.backlogs += usize::from(outbox.backlog.is_none());
        let backlog = outbox.backlog.get_or_insert_with(|| Box::new(Backlog::new(now)));
        let before = backlog.ranges_bytes();
        for range in ranges {
            backlog.share(range.segment, range.start, range.end, arena);
            backlog.len += range.len();
        }
        self.backlog_ranges_bytes += backlog.ranges_bytes() - before;
    }
}
