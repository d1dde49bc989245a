//! Messages come in, one by one or a run of them.

use super::{ChannelId, DROPS_PER_CALL, History, channel::Channel};
use crate::engine::arena::{Arena, Range};

impl History {
    /// Keeps a frame, which is the channel's next message, of this age in seconds, and lies in the turn.
    pub(crate) fn keep(&mut self, id: ChannelId, arena: &mut Arena, (start, end): (u32, u32), age: u32) {
        let range = arena.keep(start, end);
        self.has_kept(id, arena, range, age);
    }

    /// Keeps frames, which are the channel's next messages and follow each other in `frames`. They end at `ends`. The same
    /// as to keep one after the other, but they are copied and counted together.
    pub(crate) fn keep_run(&mut self, id: ChannelId, arena: &mut Arena, frames: &[u8], ends: &[u32]) {
        let channel = &mut self.channels[id.0 as usize];
        let (before, messages_max) = (channel.table_bytes(), channel.retention.messages as usize);
        // What the later ones would push out is not kept at all.
        let skipped = ends.len().saturating_sub(messages_max);
        channel.skip(skipped);
        let (mut start, mut ends) = (if skipped == 0 { 0 } else { ends[skipped - 1] }, &ends[skipped..]);
        let kept = ends.len();
        while !ends.is_empty() {
            let (range, count) = arena.keep_some(frames, start, ends);
            let excess = (channel.ring.len() + count).saturating_sub(messages_max);
            channel.pop_some(excess, |segment, count, bytes| arena.drop_some(segment, count, bytes));
            self.messages = self.messages + count - excess;
            channel.push_some(range, (start, &ends[..count]), self.now);
            (start, ends) = (ends[count - 1], &ends[count..]);
        }
        channel.used_at = self.now;
        self.table_bytes = self.table_bytes + channel.table_bytes() - before;
        self.sizes.update(&mut self.channels, id.0);
        let mut calls = kept.div_ceil(DROPS_PER_CALL);
        while calls > 0 && self.is_over(arena) {
            self.settle(arena);
            calls -= 1;
        }
    }

    #[inline]
    fn has_kept(&mut self, id: ChannelId, arena: &mut Arena, range: Range, age: u32) {
        let channel = &mut self.channels[id.0 as usize];
        let before = channel.table_bytes();
        while channel.ring.len() >= channel.retention.messages as usize {
            Self::drop_oldest(channel, arena);
            self.messages -= 1;
        }
        channel.push(range, self.now.saturating_sub(age));
        channel.used_at = self.now;
        self.messages += 1;
        self.table_bytes = self.table_bytes + channel.table_bytes() - before;
        self.sizes.update(&mut self.channels, id.0);
        if self.is_over(arena) {
            self.settle(arena);
        }
    }

    pub(super) fn drop_oldest(channel: &mut Channel, arena: &mut Arena) {
        if let Some(range) = channel.pop() {
            arena.drop_kept(range);
        }
    }
}
