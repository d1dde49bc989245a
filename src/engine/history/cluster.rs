//! Channels that the nodes of a cluster share (PROTOCOL.md §10): a stream of the cluster numbers and keeps the messages, and
//! the home of a channel has a copy of the newest ones for the clients of its node.
//!
//! Messages come in two ways: the live ones, each with the number of the channel's message before it, and those that are
//! loaded from the stream, in order, when a client asks for old ones or something is missing. Numbers grow, with gaps.
//!
//! Subscribers that are not behind get each message once, in order: the live ones at once, and of those that a load brings
//! the ones behind the last that they were given. A channel of which nothing was given or kept so far has no such last
//! one: its first load is for clients that ask for old messages alone.

use std::collections::VecDeque;

use super::{ChannelId, History};
use crate::{engine::arena::Arena, protocol::message::Epoch};

/// The most channels of which one call of [`History::next_stale`] looks for one that has missed something.
const STALE_PER_CALL: usize = 256;

/// A channel's copy, beside its ring.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// The numbers of the messages in the ring.
    pub(super) numbers: VecDeque<u64>,
    /// The number of the newest message that was before those in the ring, or a later one before the next message.
    pub(super) dropped: u64,
    /// The number of the last message that subscribers were given; 0 for none.
    delivered: u64,
    /// The highest number of a live message.
    seen: u64,
    /// The same when the load under way began.
    seen_before_load: u64,
    state: State,
    /// The load under way.
    loading: Option<Load>,
    /// The load under way may have ended too early for the first subscriber, so another one follows.
    must_load_again: bool,
}

/// A load of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Distinguishes it from earlier loads, also of a channel that was forgotten since.
    pub(crate) id: u32,
    /// It brings the messages after this number.
    pub(crate) after: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The ring was never loaded. Live messages pass by.
    #[default]
    Absent,
    /// The ring has everything after `dropped`, up to the channel's last number.
    Whole,
    /// The same up to the last number in the ring. Later messages may be missing: nobody was subscribed for a while.
    Left,
}

/// The end of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// The next load: a live message has come that this one has not brought.
    pub(crate) next: Option<Load>,
    /// Subscribers were given messages up to this number alone, and must get the rest of the ring.
    pub(crate) behind: Option<u64>,
}

/// The use of a message of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Use {
    /// Subscribers get it.
    pub(crate) is_delivered: bool,
    /// The ring gets it.
    pub(crate) is_kept: bool,
    /// Something before it is missing: the channel must be loaded.
    pub(crate) has_gap: bool,
}

impl Copied {
    pub(super) fn push(&mut self, number: u64, capacity: usize) {
        if self.numbers.len() == self.numbers.capacity() {
            self.numbers.reserve_exact((capacity - self.numbers.len()).max(1));
        }
        self.numbers.push_back(number);
    }

    pub(super) fn pop(&mut self) {
        self.dropped = self.numbers.pop_front().unwrap_or(self.dropped).max(self.dropped);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.numbers.capacity() * size_of::<u64>()
    }

    /// Whether the ring, which ends with the number `newest`, has everything that subscribers may have been given.
    fn is_whole(&self, newest: u64) -> bool {
        self.state == State::Whole && self.loading.is_none() && self.seen <= newest
    }

    /// What to do with a live message. `before` is the number of the channel's message before it.
    fn take_live(&mut self, number: u64, before: u64, newest: u64) -> Use {
        let is_whole = self.is_whole(newest);
        if number <= self.delivered {
            return Use::default();
        }
        self.seen = self.seen.max(number);
        // The first one has nothing before it that a subscriber could miss. A later one without one before it may: others
        // have come and gone.
        let follows = match self.state {
            State::Absent | State::Left if self.delivered == 0 => true,
            _ => before <= self.delivered && before != 0,
        };
        if !follows {
            return Use { has_gap: self.loading.is_none(), ..Use::default() };
        }
        self.delivered = number;
        // One that follows the ring is kept, also during a load: otherwise the load of a busy channel would never end.
        let is_kept = is_whole || (self.loading.is_some() && before == newest);
        // What the ring lacks since a load has failed is still to be loaded.
        let has_gap = !is_whole && self.state == State::Whole && self.loading.is_none();
        Use { is_delivered: true, is_kept, has_gap }
    }

    /// What to do with a message that a load brings, if `newest` is the last one in the ring.
    fn take_loaded(&mut self, number: u64, load: u32, newest: u64) -> Use {
        if !self.loads(load) || number <= newest {
            return Use::default();
        }
        // Otherwise the ring has more than subscribers were given: see [`Loaded::behind`].
        let is_delivered = self.has_subscribers_behind() && newest <= self.delivered && number > self.delivered;
        if is_delivered {
            self.delivered = number;
        }
        Use { is_delivered, is_kept: true, has_gap: false }
    }

    fn loads(&self, load: u32) -> bool {
        self.loading.is_some_and(|loading| loading.id == load)
    }

    /// Notes that a channel has its first subscriber. NATS may have brought nothing of it before. `has_others` tells of
    /// subscribers to patterns, who have gone on getting messages.
    fn has_first_subscriber(&mut self, has_others: bool) {
        if !has_others {
            (self.delivered, self.seen) = (0, 0);
        }
        if self.state == State::Whole {
            self.state = State::Left;
        }
        self.must_load_again = self.loading.is_some();
    }

    /// Whether a subscriber would miss what comes after `delivered`.
    fn has_subscribers_behind(&self) -> bool {
        self.delivered != 0 || self.state == State::Whole
    }
}

impl History {
    /// Makes this a copy of what a cluster keeps. Call it before there is a channel.
    pub(crate) fn join_cluster(&mut self) {
        self.is_copy = true;
    }

    /// Whether this is a copy of what a cluster keeps.
    pub(crate) fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// The name of a channel.
    pub(crate) fn name(&self, ChannelId(id): ChannelId) -> &[u8] {
        &self.channels[id as usize].name
    }

    /// Takes the epoch of the cluster's stream. What is kept of another one, or before it was `is_anew`, goes, and its loads
    /// end. Returns whether that is so.
    pub(crate) fn set_epoch(&mut self, epoch: Epoch, is_anew: bool, arena: &mut Arena) -> bool {
        if self.epoch == epoch && !is_anew {
            return false;
        }
        self.epoch = epoch;
        let ids: Vec<u32> = self.channels.iter().map(|(id, _)| id as u32).collect();
        ids.into_iter().for_each(|id| self.forget(id, arena));
        true
    }

    /// Whether everything is here that is kept of a channel.
    pub(crate) fn is_whole(&self, ChannelId(id): ChannelId) -> bool {
        let channel = &self.channels[id as usize];
        channel.copied.as_ref().is_none_or(|copied| copied.is_whole(channel.next - 1))
    }

    /// Whether a load of a channel is under way.
    pub(crate) fn is_loading(&self, ChannelId(id): ChannelId) -> bool {
        self.channels[id as usize].copied.as_ref().is_some_and(|copied| copied.loading.is_some())
    }

    /// Notes that a channel has its first subscriber on this node, apart from those to patterns.
    pub(crate) fn has_first_subscriber(&mut self, name: &[u8], has_others: bool) {
        if let Some(ChannelId(id)) = self.find(name)
            && let Some(copied) = &mut self.channels[id as usize].copied
        {
            copied.has_first_subscriber(has_others);
        }
    }

    /// Begins to load a channel, unless that is under way.
    pub(crate) fn begin_load(&mut self, ChannelId(id): ChannelId) -> Option<Load> {
        let channel = &mut self.channels[id as usize];
        let copied = channel.copied.as_mut().filter(|copied| copied.loading.is_none())?;
        let after = if copied.state == State::Absent { 0 } else { channel.next - 1 };
        self.loads = self.loads.wrapping_add(1);
        copied.loading = Some(Load { id: self.loads, after });
        copied.seen_before_load = copied.seen;
        copied.loading
    }

    /// Begins to use a live message of the cluster.
    pub(crate) fn take_live(&mut self, ChannelId(id): ChannelId, number: u64, before: u64) -> Use {
        let channel = &mut self.channels[id as usize];
        let newest = channel.next - 1;
        channel.copied.as_mut().map_or_else(Use::default, |copied| copied.take_live(number, before, newest))
    }

    /// Begins to use a message that a load brings.
    pub(crate) fn take_loaded(&mut self, ChannelId(id): ChannelId, number: u64, load: u32) -> Use {
        let channel = &mut self.channels[id as usize];
        let newest = channel.next - 1;
        channel.copied.as_mut().map_or_else(Use::default, |copied| copied.take_loaded(number, load, newest))
    }

    /// Ends a load that has brought everything after `dropped` that there is. A channel without messages is at `position`.
    pub(crate) fn loaded(
        &mut self,
        ChannelId(id): ChannelId,
        load: u32,
        (dropped, position): (u64, u64),
        arena: &mut Arena,
    ) -> Loaded {
        let began = self.channels[id as usize].copied.as_ref().and_then(|copied| copied.loading);
        let Some(Load { after: began, .. }) = began.filter(|began| began.id == load) else { return Loaded::default() };
        while self.channels[id as usize].first().is_some_and(|first| first <= dropped) {
            self.shorten(id, arena);
        }
        let channel = &mut self.channels[id as usize];
        let Some(copied) = &mut channel.copied else { return Loaded::default() };
        copied.loading = None;
        copied.dropped = copied.dropped.max(dropped);
        if channel.ring.is_empty() {
            channel.next = channel.next.max(position + 1).max(copied.dropped + 1);
        }
        let newest = channel.next - 1;
        let is_behind = copied.has_subscribers_behind() && copied.delivered < newest;
        let behind = is_behind.then_some(copied.delivered);
        copied.state = State::Whole;
        copied.delivered = copied.delivered.max(newest);
        let must_load_again = std::mem::take(&mut copied.must_load_again);
        let has_news = newest > began || copied.seen > copied.seen_before_load;
        if must_load_again || (copied.seen > newest && has_news) {
            return Loaded { next: self.begin_load(ChannelId(id)), behind };
        }
        // What was seen and was not loaded is not kept any more.
        channel.next = channel.next.max(copied.seen + 1);
        copied.delivered = channel.next - 1;
        Loaded { next: None, behind }
    }

    /// Ends a load that has failed. What the ring had before stays.
    pub(crate) fn load_failed(&mut self, ChannelId(id): ChannelId, load: u32) {
        if let Some(copied) = &mut self.channels[id as usize].copied
            && copied.loads(load)
        {
            (copied.loading, copied.must_load_again) = (None, false);
        }
    }

    /// Begins to look for channels that may have missed something, because the cluster was away.
    pub(crate) fn begin_catching_up(&mut self) {
        self.stale = Some(0);
    }

    /// Whether [`History::next_stale`] has something to do.
    pub(crate) fn has_stale(&self) -> bool {
        self.stale.is_some()
    }

    /// Some of the channels that may have missed something.
    pub(crate) fn next_stale(&mut self) -> Vec<ChannelId> {
        let Some(from) = self.stale else { return Vec::new() };
        let looked: Vec<(usize, bool)> = self
            .channels
            .iter()
            .skip_while(|(id, _)| *id < from)
            .take(STALE_PER_CALL)
            .map(|(id, channel)| (id, channel.copied.as_ref().is_some_and(|copied| copied.has_subscribers_behind())))
            .collect();
        self.stale = (looked.len() == STALE_PER_CALL).then(|| looked[STALE_PER_CALL - 1].0 + 1);
        looked.into_iter().filter(|(_, is_stale)| *is_stale).map(|(id, _)| ChannelId(id as u32)).collect()
    }
}

#[cfg(test)]
mod tests;
