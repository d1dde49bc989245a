//! What an earlier run of the server has kept.

use super::{ChannelId, History, Retention};
use crate::{engine::arena::Arena, protocol::message::Epoch};

#[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
impl History {
    /// Continues the epoch of an earlier run, in which no number above `floor` was given to a channel that is not restored.
    pub(crate) fn continue_from(&mut self, epoch: Epoch, floor: u64) {
        (self.epoch, self.floor) = (epoch, self.floor.max(floor));
    }

    /// Restores a channel whose last message had this number.
    pub(crate) fn restore(&mut self, name: &[u8], retention: Retention, newest: u64) -> ChannelId {
        let id = self.open(name, retention);
        self.channels[id.0 as usize].next = newest + 1;
        id
    }

    /// Restores the newest of the messages that a channel has so far, of this age in seconds. Call it for each, oldest
    /// first, before the channel is used.
    pub(crate) fn restore_message(&mut self, id: ChannelId, frame: &[u8], age: u64, arena: &mut Arena) {
        let range = arena.keep_bytes(frame);
        let at = self.now.saturating_sub(u32::try_from(age).unwrap_or(u32::MAX));
        let channel = &mut self.channels[id.0 as usize];
        let (before, next) = (channel.table_bytes(), channel.next);
        channel.push(range, at);
        channel.next = next; // they end at the number that was restored
        self.messages += 1;
        self.table_bytes = self.table_bytes + channel.table_bytes() - before;
        self.sizes.update(&mut self.channels, id.0);
        self.settle(arena);
    }
}
