//! The history of the channels of one core (PROTOCOL.md §10): each keeps its newest messages, as they are sent.
//!
//! A channel that a rule gives a history has a *home*: the core that numbers its messages and keeps them. The frames lie in
//! segments of the arena, behind each other whatever their channel; a channel has a ring of their places, 16 bytes each.
//! So a client that comes back gets ranges of the arena, and nothing is copied.
//!
//! Three things end a message's time: the number that its channel keeps, its age, and the budget. Over the budget the
//! channels that hold most lose their oldest messages first.

mod channel;
mod cluster;
mod compaction;
mod expiry;
mod inspecting;
mod keeping;
mod restoring;
mod retention;
mod sizes;

use slab::Slab;

use crate::{
    engine::{
        arena::{Arena, Range},
        index::Index,
        timers::Timers,
    },
    protocol::message::{Epoch, MessageId},
};

use self::{channel::Channel, expiry::START, sizes::Sizes};
pub(crate) use self::{
    cluster::{Load, Loaded, Use},
    retention::Retention,
};

/// The most messages that one call drops because of the budget. The next call goes on.
const DROPS_PER_CALL: usize = 256;
/// The most channels that one call compares with new rules.
const REVIEWED_PER_CALL: usize = 256;

/// A channel of this core. Valid until [`History::forgotten`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChannelId(u32);

/// What a core counts of its history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HistoryCounts {
    /// Messages dropped because of the budget.
    pub(crate) over_budget: u64,
}

/// The history of one core.
pub(crate) struct History {
    epoch: Epoch,
    channels: Slab<Channel>,
    by_name: Index,
    sizes: Sizes,
    /// One entry a channel. `None` until there is one.
    ages: Option<Box<Timers>>,
    /// The memory of the channels without their frames, in bytes.
    table_bytes: usize,
    budget: usize,
    /// The highest number of the channels that were forgotten. New channels begin above it, so that no number stands for
    /// two messages.
    floor: u64,
    /// The number of channels so far.
    opened: u32,
    /// The core's time, in seconds.
    now: u32,
    /// The next channel to be compared with new rules.
    review: Option<usize>,
    /// The channels that were forgotten since the last [`History::take_forgotten`], with the number of their last message.
    forgotten: Vec<(Box<[u8]>, u64)>,
    messages: usize,
    /// A cluster numbers and keeps the messages. This is a copy of the newest ones.
    is_copy: bool,
    /// The next channel whose copy may have missed something.
    stale: Option<usize>,
    /// The number of loads so far.
    loads: u32,
    pub(crate) counts: HistoryCounts,
}

/// The state of a channel, for those who want to know what they have missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The number of the newest message that is not kept any more; the number before the first one of all.
    pub(crate) dropped: u64,
    /// The number of the newest message.
    pub(crate) newest: u64,
}

impl History {
    /// An empty history, whose numbers belong to this epoch.
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            channels: Slab::new(),
            by_name: Index::new(),
            sizes: Sizes::default(),
            ages: None,
            table_bytes: 0,
            budget: usize::MAX,
            floor: 0,
            opened: 0,
            now: START,
            review: None,
            forgotten: Vec::new(),
            messages: 0,
            is_copy: false,
            stale: None,
            loads: 0,
            counts: HistoryCounts::default(),
        }
    }

    /// Sets the most memory that the history takes, in bytes.
    pub(crate) fn set_budget(&mut self, bytes: usize) {
        self.budget = bytes;
    }

    /// The epoch of all numbers.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The channel of this name, if there is one.
    pub(crate) fn find(&self, name: &[u8]) -> Option<ChannelId> {
        let hash = self.by_name.hash(0, name);
        self.by_name.find(hash, |id| *self.channels[id as usize].name == *name).map(ChannelId)
    }

    /// The channel of this name, which keeps as much as `retention` says from now on.
    pub(crate) fn open(&mut self, name: &[u8], retention: Retention) -> ChannelId {
        let id = self.find(name).unwrap_or_else(|| self.add(name));
        let channel = &mut self.channels[id.0 as usize];
        channel.retention = retention;
        channel.used_at = self.now;
        id
    }

    fn add(&mut self, name: &[u8]) -> ChannelId {
        self.opened = self.opened.wrapping_add(1);
        let mut channel = Channel::new(name, if self.is_copy { 0 } else { self.floor }, self.opened);
        channel.copied = self.is_copy.then(Box::default);
        self.table_bytes += channel.table_bytes();
        let id = self.channels.insert(channel) as u32;
        self.by_name.insert(self.by_name.hash(0, name), id);
        self.sizes.add(&mut self.channels, id);
        self.schedule(ChannelId(id));
        ChannelId(id)
    }

    /// The number of a channel's next message.
    pub(crate) fn next(&self, id: ChannelId) -> MessageId {
        MessageId { epoch: self.epoch, offset: self.channels[id.0 as usize].next }
    }

    /// The highest number of all channels that were forgotten.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Sets the number of a channel's next message, which somebody else counts. If others are left out, what is kept of
    /// the channel goes: numbers follow each other, unless a cluster counts.
    pub(crate) fn set_next(&mut self, id: ChannelId, number: u64, arena: &mut Arena) {
        while !self.is_copy
            && self.channels[id.0 as usize].next != number
            && !self.channels[id.0 as usize].ring.is_empty()
        {
            self.shorten(id.0, arena);
        }
        self.channels[id.0 as usize].next = number;
    }

    /// The number of a channel's message before its newest ones, of which there are this many.
    pub(crate) fn before_newest(&self, id: ChannelId, messages: usize) -> u64 {
        self.channels[id.0 as usize].before_newest(messages)
    }

    /// Which of a channel's messages are kept.
    pub(crate) fn extent(&self, id: ChannelId) -> Extent {
        let channel = &self.channels[id.0 as usize];
        Extent { dropped: channel.dropped(), newest: channel.next - 1 }
    }

    /// The memory that the history takes, in bytes.
    pub(crate) fn bytes(&self, arena: &Arena) -> usize {
        self.table_bytes + arena.history_bytes()
    }

    /// Whether [`History::settle`] has something to do.
    pub(crate) fn is_over(&self, arena: &Arena) -> bool {
        self.bytes(arena) > self.budget || self.is_sparse(arena)
    }

    /// Brings the memory back to the budget, step by step: each call does a bounded part of the work. Returns its cost in
    /// units of [`crate::engine::router::Work`].
    pub(crate) fn settle(&mut self, arena: &mut Arena) -> u64 {
        let mut units = 0;
        if self.is_sparse(arena) {
            units += self.compact(arena);
        }
        for _ in 0..DROPS_PER_CALL {
            if self.bytes(arena) <= self.budget {
                break;
            }
            if self.is_sparse(arena) {
                let of_compaction = self.compact(arena);
                if of_compaction > 0 {
                    return units + of_compaction;
                }
            }
            let Some(id) = self.sizes.largest() else { break };
            units += 32;
            if self.channels[id as usize].ring.is_empty() {
                self.forget(id, arena);
                continue;
            }
            self.counts.over_budget += 1;
            self.shorten(id, arena);
        }
        units
    }

    /// Begins to compare all channels with new rules.
    pub(crate) fn begin_review(&mut self) {
        self.review = Some(0);
    }

    /// Whether [`History::review`] has something to do.
    pub(crate) fn is_in_review(&self) -> bool {
        self.review.is_some()
    }

    /// Compares some channels with new rules, which say how much is kept of each.
    pub(crate) fn review(&mut self, arena: &mut Arena, retention: impl Fn(&[u8]) -> Option<Retention>) -> u64 {
        let Some(from) = self.review else { return 0 };
        let ids: Vec<usize> =
            self.channels.iter().map(|(id, _)| id).skip_while(|&id| id < from).take(REVIEWED_PER_CALL).collect();
        self.review = (ids.len() == REVIEWED_PER_CALL).then(|| ids[REVIEWED_PER_CALL - 1] + 1);
        let mut units = 0;
        for id in ids {
            let channel = &mut self.channels[id];
            units += 64;
            let Some(retention) = retention(&channel.name) else {
                self.forget(id as u32, arena);
                continue;
            };
            channel.retention = retention;
            while self.channels[id].ring.len() > retention.messages as usize {
                self.shorten(id as u32, arena);
                units += 16;
            }
            // It may be due earlier. The timer's old entry is of an old generation then.
            self.opened = self.opened.wrapping_add(1);
            self.channels[id].generation = self.opened;
            self.schedule(ChannelId(id as u32));
        }
        units
    }

    /// Drops a channel's oldest message.
    fn shorten(&mut self, id: u32, arena: &mut Arena) {
        let channel = &mut self.channels[id as usize];
        let before = channel.table_bytes();
        Self::drop_oldest(channel, arena);
        channel.slim();
        self.messages -= 1;
        self.table_bytes = self.table_bytes + channel.table_bytes() - before;
        self.sizes.update(&mut self.channels, id);
    }

    /// Forgets a channel with all of its messages.
    fn forget(&mut self, id: u32, arena: &mut Arena) {
        self.sizes.remove(&mut self.channels, id);
        let mut channel = self.channels.remove(id as usize);
        self.messages -= channel.ring.len();
        self.table_bytes -= channel.table_bytes();
        while let Some(range) = channel.pop() {
            arena.drop_kept(range);
        }
        let newest = channel.next - 1;
        self.floor = self.floor.max(newest);
        self.by_name.remove(self.by_name.hash(0, &channel.name), id);
        self.forgotten.push((channel.name, newest));
        if self.channels.is_empty() {
            self.channels = Slab::new();
        }
    }

    /// The channels that were forgotten since the last call, with the number of their last message. Their ids are not valid
    /// any more.
    pub(crate) fn take_forgotten(&mut self) -> Vec<(Box<[u8]>, u64)> {
        std::mem::take(&mut self.forgotten)
    }

    /// Whether [`History::take_forgotten`] has some.
    pub(crate) fn has_forgotten(&self) -> bool {
        !self.forgotten.is_empty()
    }

    /// The places of a channel's messages after number `after`, oldest first, until they have `bytes_max` bytes; at least
    /// one, if there is one. Places that follow each other are joined. Returns the number of the last of them.
    pub(crate) fn read(&self, id: ChannelId, after: u64, bytes_max: usize, out: &mut Vec<Range>) -> u64 {
        self.channels[id.0 as usize].read(after, bytes_max, out)
    }

    /// The length of the first frame that [`History::read`] gives.
    pub(crate) fn next_len(&self, id: ChannelId, after: u64) -> Option<usize> {
        self.channels[id.0 as usize].next_len(after)
    }

    /// The number of channels.
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// The number of messages.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl History {
    /// Checks the sums and the lists.
    ///
    /// # Panics
    /// If one is wrong.
    pub(crate) fn invariants(&self) {
        let channels = || self.channels.iter().map(|(_, channel)| channel);
        assert_eq!(self.table_bytes, channels().map(Channel::table_bytes).sum::<usize>());
        assert_eq!(self.messages, channels().map(|channel| channel.ring.len()).sum::<usize>());
        assert_eq!(self.by_name.len(), self.channels.len());
        for channel in channels() {
            assert_eq!(channel.bytes, channel.ring.iter().map(|entry| entry.range().len()).sum::<usize>());
        }
        self.sizes.invariants(&self.channels);
    }
}

#[cfg(test)]
mod tests;
