//! Channels with a history: each has a home, the core that numbers and keeps its messages.
//!
//! Other cores hand a publish to the home, down the same links as all publishes, and get it back with its number if they
//! have subscribers. So all subscribers of a channel get its messages in the order of their numbers, and each publisher's
//! messages to a channel keep their order.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

use crate::{
    engine::{
        history::{ChannelId, Retention, Use},
        relay::{MissedPart, PresenceItem, Store},
        router::{
            Router,
            receipts::Receipt,
            work::{KEEP_UNITS, MESSAGE_UNITS},
        },
        slot::ConnectionKey,
        storing::Origin,
    },
    protocol::{
        channel::Kind,
        message::{MessageId, Unnumbered, numbered::without_own_lines},
    },
};

/// How the cores share the channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Homes {
    own: u32,
    cores: u32,
    /// The same for all cores, and nobody else knows it: clients must not choose channels that all have one home.
    seed: u64,
}

impl Homes {
    pub(crate) fn new(own: u32, cores: u32, seed: u64) -> Self {
        Self { own, cores, seed }
    }

    /// Whether this core is the home of a channel.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    pub(crate) fn is_here(self, name: &[u8]) -> bool {
        self.of(name) == self.own
    }

    /// The home of a channel.
    pub(crate) fn of(self, name: &[u8]) -> u32 {
        if self.cores == 1 {
            return self.own;
        }
        let mut hasher = FixedState::with_seed(self.seed).build_hasher();
        hasher.write(name);
        (hasher.finish() % u64::from(self.cores)) as u32
    }
}

/// Where a channel's messages are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Home {
    /// Nowhere: it has no history.
    #[default]
    None,
    /// On this core.
    Here(Retention),
    /// On this one.
    Away(u32),
}

/// The core that is the home of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Here,
    Away(u32),
}

impl Router {
    /// The home of a channel, whether it has a history or not.
    pub(crate) fn place(&self, name: &[u8]) -> Place {
        match self.homes.of(name) {
            home if home == self.homes.own => Place::Here,
            home => Place::Away(home),
        }
    }

    /// How the cores share the channels.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    pub(crate) fn homes(&self) -> Homes {
        self.homes
    }

    /// The number of this core.
    pub(crate) fn own(&self) -> u32 {
        self.homes.own
    }

    /// The number that all cores of the server share.
    pub(crate) fn seed(&self) -> u64 {
        self.homes.seed
    }

    /// Asks all other cores which of their connections are in the channels whose home is this one. They may have got new rules
    /// earlier, and have told then.
    pub(crate) fn ask_who_is_present(&mut self) {
        let Homes { own, cores, .. } = self.homes;
        for core in (0..cores).filter(|&core| core != own) {
            self.put_presence(core, &PresenceItem::Recount);
        }
    }

    /// Hands an item about who is present to a core.
    pub(crate) fn put_presence(&mut self, core: u32, item: &PresenceItem<'_>) {
        self.passed_on += self.relays.put_presence(core, item);
    }

    /// Tells the subscribers of a channel something, on all cores.
    pub(crate) fn tell(&mut self, name: &[u8], message: &[u8]) {
        self.work.add(MESSAGE_UNITS);
        self.resolve(name);
        self.publish_unnumbered(true, message, None);
    }

    /// Where the messages of a name are kept. A pattern has no history.
    pub(crate) fn home(&self, name: &[u8], kind: Kind) -> Home {
        match kind {
            Kind::Exact if self.keeps_some => self.home_of_channel(name),
            _ => Home::None,
        }
    }

    pub(super) fn home_of_channel(&self, name: &[u8]) -> Home {
        let Some(retention) = self.rules.retention(name) else { return Home::None };
        match self.place(name) {
            Place::Here => Home::Here(retention),
            Place::Away(home) => Home::Away(home),
        }
    }

    /// Restores a channel of an earlier run, if its home is here: the number of its last message, and its messages with
    /// their age in seconds, oldest first. Their numbers follow each other and end with that.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    pub(crate) fn restore<'m>(
        &mut self,
        name: &[u8],
        newest: u64,
        messages: impl ExactSizeIterator<Item = (u64, bool, &'m [u8])>,
    ) {
        let Home::Here(retention) = self.home(name, Kind::Exact) else { return };
        let channel = self.history.restore(name, retention, newest);
        let skipped = messages.len().saturating_sub(retention.messages as usize);
        let (first, mut frame) = (newest - messages.len() as u64 + 1, Vec::new());
        for (index, (age, is_text, message)) in messages.enumerate().skip(skipped) {
            let id = MessageId { epoch: self.history.epoch(), offset: first + index as u64 };
            frame.clear();
            Unnumbered::of_clean(message).encode(&mut frame, is_text, id, name);
            self.history.restore_message(channel, &frame, age, self.outboxes.arena());
        }
    }

    /// Publishes a message to the resolved channel, which has a history. `publisher` is the connection that is told if it
    /// cannot be kept. A message that `is_clean` has no lines that only the server writes.
    pub(super) fn publish_numbered(
        &mut self,
        is_text: bool,
        message: &[u8],
        (publisher, except): (Option<ConnectionKey>, Option<ConnectionKey>),
        receipt: Option<Receipt>,
        is_clean: bool,
    ) {
        let receipt = receipt.map_or(0, Receipt::number);
        match self.resolved.home {
            Home::Here(retention) => {
                let origin = Origin { core: None, publisher, except, receipt };
                if is_clean {
                    debug_assert!(without_own_lines(message).is_none(), "the application lets such lines through");
                    self.keep_clean(retention, is_text, Unnumbered::of_clean(message), origin);
                } else {
                    self.keep(retention, is_text, message, origin);
                }
            }
            Home::Away(home) => {
                self.work.add(MESSAGE_UNITS);
                let origin = Origin { core: None, publisher, except, receipt };
                let store = Store { origin, is_text, name: &self.resolved.name, message };
                self.passed_on += self.relays.store(home, store);
            }
            Home::None => {}
        }
    }

    /// Keeps a message of the resolved channel without the lines that only the server writes.
    fn keep(&mut self, retention: Retention, is_text: bool, message: &[u8], origin: Origin) {
        let mut room = Vec::new();
        self.keep_clean(retention, is_text, Unnumbered::of(message, &mut room), origin);
    }

    /// Keeps a message of the resolved channel, in the store first if there is one.
    #[inline]
    fn keep_clean(&mut self, retention: Retention, is_text: bool, message: Unnumbered<'_>, origin: Origin) {
        if self.storing.is_some() {
            return self.put_into_store(retention, is_text, message, origin);
        }
        let id = self.keep_message(retention, is_text, message, origin);
        self.note_stored(origin, Some(id));
    }

    /// Numbers a message for the resolved channel, keeps it, and gives it to all who are subscribed.
    fn keep_message(
        &mut self,
        retention: Retention,
        is_text: bool,
        message: Unnumbered<'_>,
        origin: Origin,
    ) -> MessageId {
        let channel = self.resolved_channel(retention);
        let id = self.history.next(channel);
        let usage = Use { is_delivered: true, is_kept: true, has_gap: false };
        let except = origin.except.map(|except| (origin.core.unwrap_or(self.homes.own), except));
        self.put_numbered(channel, (id, 0), usage, is_text, message, except);
        id
    }

    /// Keeps a message of the resolved channel, of this age in seconds, and gives it to all who are subscribed, as far as
    /// `usage` says so. `except` is a connection that does not get it, and its core.
    #[inline]
    pub(super) fn put_numbered(
        &mut self,
        channel: ChannelId,
        (id, age): (MessageId, u32),
        usage: Use,
        is_text: bool,
        message: Unnumbered<'_>,
        except: Option<(u32, ConnectionKey)>,
    ) {
        let start = self.outboxes.turn_len() as u32;
        message.encode(self.outboxes.turn(), is_text, id, &self.resolved.name);
        let end = self.outboxes.turn_len() as u32;
        let (of_own, of_other) = match except {
            Some((core, key)) if core == self.homes.own => (Some(key), None),
            other => (None, other),
        };
        let (resolved, arena) = (&self.resolved, self.outboxes.arena());
        if usage.is_delivered {
            resolved.relay_but(arena.turn_bytes(start, end), of_other, &mut self.relays);
        }
        if usage.is_kept {
            self.history.keep(channel, arena, (start, end), age);
        }
        self.work.add(KEEP_UNITS + u64::from(end - start) / 8);
        if usage.is_delivered {
            self.deliver_appended((start, end), of_own);
        } else {
            self.outboxes.turn().truncate(start as usize);
        }
        self.forget_channels();
    }

    /// Publishes a message that the store has kept under this number.
    pub(super) fn publish_stored(
        &mut self,
        name: &[u8],
        retention: Retention,
        is_text: bool,
        message: &[u8],
        (number, origin): (u64, Origin),
    ) {
        self.work.add(MESSAGE_UNITS);
        self.resolve(name);
        let channel = self.resolved_channel(retention);
        self.history.set_next(channel, number, self.outboxes.arena());
        let id = self.keep_message(retention, is_text, Unnumbered::of_clean(message), origin);
        self.note_stored(origin, Some(id));
    }

    /// The history of the resolved channel.
    pub(super) fn resolved_channel(&mut self, retention: Retention) -> ChannelId {
        match self.resolved.channel {
            Some(channel) => channel,
            None => {
                let channel = self.history.open(&self.resolved.name, retention);
                self.resolved.channel = Some(channel);
                channel
            }
        }
    }

    /// Lets nothing refer to channels whose history is forgotten.
    pub(crate) fn forget_channels(&mut self) {
        if self.history.has_forgotten() {
            let channels = self.history.take_forgotten();
            channels.iter().for_each(|(name, _)| self.forget_resolved(name, Kind::Exact));
            self.forget_stored(channels);
        }
    }

    /// Numbers and keeps a message that another core has handed over, and tells that core its number if it asks.
    pub(crate) fn store(&mut self, core: u32, store: Store<'_>) {
        let Store { origin, is_text, name, message } = store;
        let origin = Origin { core: Some(core), ..origin };
        self.work.add(MESSAGE_UNITS);
        self.resolve(name);
        match self.resolved.home {
            Home::Here(retention) => self.keep(retention, is_text, message, origin),
            // This core has other rules, for a moment after a reload.
            Home::None | Home::Away(_) => {
                self.publish_unnumbered(is_text, message, origin.except.map(|except| (core, except)));
                self.note_stored(origin, None);
            }
        }
    }

    /// Gives a message without a number to the subscribers of the resolved channel, here and on other cores. One of those
    /// does not give it to one of its connections.
    fn publish_unnumbered(&mut self, is_text: bool, message: &[u8], except: Option<(u32, ConnectionKey)>) {
        let (start, end) = self.encode(is_text, message);
        let (resolved, arena) = (&self.resolved, self.outboxes.arena());
        resolved.relay_but(arena.turn_bytes(start, end), except, &mut self.relays);
        self.deliver_appended((start, end), None);
    }

    /// Gives the last frame of the turn to the subscribers of the resolved channel. The turn does not keep it for nobody.
    fn deliver_appended(&mut self, (start, end): (u32, u32), except: Option<ConnectionKey>) {
        if self.resolved.has_subscribers() {
            self.deliver(start, end, except, 1);
        } else {
            self.outboxes.turn().truncate(start as usize);
            self.passed_on += (end - start) as usize;
        }
    }

    /// Gives a frame of the home to the subscribers of a channel, except this connection.
    pub(crate) fn deliver_numbered(&mut self, name: &[u8], frame: &[u8], except: Option<ConnectionKey>) {
        self.work.add(MESSAGE_UNITS);
        self.resolve(name);
        if self.resolved.has_subscribers() {
            let (start, end) = self.append(frame);
            self.deliver(start, end, except, 1);
        }
    }

    /// Hands a part of what a client has missed to the core that asks.
    pub(crate) fn answer_missed(&mut self, peer: u32, part: MissedPart<'_>) {
        self.passed_on += self.relays.answer_missed(peer, part);
    }
}
