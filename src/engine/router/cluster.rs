//! Channels that the nodes of a cluster share: the bridge brings the messages of the cluster's stream to their homes.

use smallvec::SmallVec;

use crate::{
    engine::{
        history::{ChannelId, Loaded, Retention},
        relay::{StreamMessage, Way},
        router::{Home, Router, work::MESSAGE_UNITS},
    },
    protocol::{
        channel::Kind,
        frame,
        message::{MessageId, Unnumbered},
    },
};

/// The most bytes of a copy that are taken out at once for its subscribers.
const DELIVERED_BYTES_MAX: usize = 64 * 1024;

impl Router {
    /// Takes a message of the stream. Subscribers get it, and the copy of its channel, as far as they do not have it.
    pub(crate) fn take_stream_message(&mut self, message: StreamMessage<'_>) {
        let StreamMessage { name, number, way, is_text, except, message } = message;
        self.work.add(MESSAGE_UNITS);
        self.resolve(name);
        // Another node may have other rules, for a moment after a reload or for good.
        let Home::Here(retention) = self.resolved.home else { return };
        let channel = self.resolved_channel(retention);
        let (usage, age) = match way {
            Way::Live { before } => (self.history.take_live(channel, number, before), 0),
            Way::Loaded { load, age } => (self.history.take_loaded(channel, number, load), age),
        };
        if usage.has_gap {
            self.load(name, retention);
        }
        if !usage.is_delivered && !usage.is_kept {
            return;
        }
        if usage.is_kept {
            self.history.set_next(channel, number, self.outboxes.arena());
        }
        let id = MessageId { epoch: self.history.epoch(), offset: number };
        let mut room = Vec::new();
        self.put_numbered(channel, (id, age), usage, is_text, Unnumbered::of(message, &mut room), except);
    }

    /// Call it before a channel gets a subscriber, here or on another core. If that is the first one, NATS may have brought
    /// nothing of the channel since the last one has left.
    pub(crate) fn note_first_subscriber(&mut self, name: &[u8]) {
        if self.history.is_copy() && self.subscriptions.find(name).is_none() && self.history.find(name).is_some() {
            let mut audiences = SmallVec::new();
            self.subscriptions.find_all(self.subscriptions.hash(name), name, &mut audiences);
            self.history.has_first_subscriber(name, !audiences.is_empty());
        }
    }

    /// Whether everything is here that is kept of a channel whose home is here. If not, it is loaded from now on.
    pub(crate) fn is_whole(&mut self, name: &[u8], retention: Retention) -> bool {
        if !self.history.is_copy() {
            return true;
        }
        let channel = self.history.open(name, retention);
        let is_whole = self.history.is_whole(channel);
        if !is_whole {
            self.load(name, retention);
        }
        is_whole
    }

    /// Loads what is missing of a channel whose home is here.
    pub(crate) fn load(&mut self, name: &[u8], retention: Retention) {
        let channel = self.history.open(name, retention);
        if let Some(load) = self.history.begin_load(channel) {
            self.relays.load(name, retention, load);
        }
    }

    /// Loads a channel again if there is something here that may have a gap.
    pub(crate) fn load_missed(&mut self, name: &[u8]) {
        if let Home::Here(retention) = self.home(name, Kind::Exact)
            && self.history.find(name).is_some()
        {
            self.load(name, retention);
        }
    }

    /// Loads some of the channels that may have missed something while the cluster was away.
    pub(crate) fn load_stale(&mut self) {
        for channel in self.history.next_stale() {
            let name: Box<[u8]> = self.history.name(channel).into();
            self.work.add(MESSAGE_UNITS);
            self.load_missed(&name);
        }
    }

    /// Ends a load, see [`crate::engine::history::History::loaded`]. Returns whether those that wait for the channel can go
    /// on.
    pub(crate) fn loaded(&mut self, name: &[u8], load: u32, found: (u64, u64)) -> bool {
        let Some(channel) = self.history.find(name) else { return true };
        let Loaded { next, behind } = self.history.loaded(channel, load, found, self.outboxes.arena());
        if let Some(after) = behind {
            self.deliver_copy(name, channel, after);
        }
        let Some(load) = next else { return true };
        let Home::Here(retention) = self.home(name, Kind::Exact) else {
            self.history.load_failed(channel, load.id);
            return true;
        };
        self.relays.load(name, retention, load);
        false
    }

    /// Gives subscribers what the copy of a channel has after this number. It is little: what has come in the moment of the
    /// channel's first load. All of it is given: the live messages do not count any more.
    fn deliver_copy(&mut self, name: &[u8], channel: ChannelId, mut after: u64) {
        loop {
            let mut ranges = Vec::new();
            after = self.history.read(channel, after, DELIVERED_BYTES_MAX, &mut ranges);
            if ranges.is_empty() {
                return;
            }
            let arena = self.outboxes.arena_ref();
            let bytes: Vec<u8> = ranges.into_iter().flat_map(|range| arena.bytes(range)).copied().collect();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (frame, others) = rest.split_at(frame::server_frame_len(rest));
                self.deliver_numbered(name, frame, None);
                self.resolved.relay_but(frame, None, &mut self.relays);
                rest = others;
            }
        }
    }

    /// Ends a load that has failed.
    pub(crate) fn load_failed(&mut self, name: &[u8], load: u32) {
        if let Some(channel) = self.history.find(name) {
            self.history.load_failed(channel, load);
        }
    }
}
