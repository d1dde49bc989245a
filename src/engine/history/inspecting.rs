//! What operators ask of the history of a channel.

#![cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]

use super::{ChannelId, History};
use crate::{
    engine::arena::{Arena, Range},
    protocol::message::MessageId,
};

impl History {
    /// The newest messages of a channel before number `before`, newest first, until there are this many or they have
    /// `bytes_max` bytes; at least one, if there is one. The second result tells of older ones.
    pub(crate) fn read_back(
        &self,
        ChannelId(id): ChannelId,
        before: u64,
        messages: usize,
        bytes_max: usize,
    ) -> (Vec<(MessageId, Range)>, bool) {
        let (found, has_more) = self.channels[id as usize].read_back(before, messages, bytes_max);
        let id = |offset| MessageId { epoch: self.epoch, offset };
        (found.into_iter().map(|(number, range)| (id(number), range)).collect(), has_more)
    }

    /// Drops a channel's oldest messages up to number `last`, at most this many. Returns how many it dropped; if they are
    /// fewer, no such message is left. The numbers go on, so a client that has missed one of them is told so.
    pub(crate) fn drop_up_to(&mut self, ChannelId(id): ChannelId, last: u64, most: usize, arena: &mut Arena) -> usize {
        let mut dropped = 0;
        while dropped < most && self.channels[id as usize].first().is_some_and(|first| first <= last) {
            self.shorten(id, arena);
            dropped += 1;
        }
        dropped
    }
}
