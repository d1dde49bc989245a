//! Subscribing and publishing: the life of a message behind its parser.

use smallvec::SmallVec;

use crate::{
    engine::{
        hub::{
            Hub,
            acks::{Awaited, data},
        },
        relay::{self, Item, Relays},
        subscriptions::{AudienceId, Slot},
    },
    error::{Reason, Refusal},
    protocol::{channel::Kind, frame},
};

/// Whom the last channel that was published to reaches. It serves the next publish to the same channel, unless a
/// subscription has changed since.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    is_valid: bool,
    /// Set when it is not the whole of a channel but one name, to which the bridge delivers; `is_valid` is false then.
    only: Option<Kind>,
    /// Counts the channels resolved, so that this one can be recognised by its number.
    number: u64,
    name: Vec<u8>,
    audiences: SmallVec<[AudienceId; 8]>,
    /// A bit for each interested peer.
    peers: u64,
    pub(super) has_subscribers: bool,
}

/// Frames in a row, all for [`Resolved`]: they are given to the subscribers together, when something else comes.
#[derive(Debug, Default)]
pub(super) struct Run {
    start: u32,
    /// 0 when there is no run.
    pub(super) end: u32,
    /// The connection that does not get them, because its message said `no-echo`.
    except: Option<Slot>,
    frames: u64,
}

impl Resolved {
    fn reaches_anyone(&self) -> bool {
        self.has_subscribers || self.peers != 0
    }

    /// Hands a frame for this one channel to the peers that are interested.
    #[inline]
    pub(super) fn relay(&self, frame: &[u8], relays: &mut Relays) {
        let mut peers = self.peers;
        while peers != 0 {
            relays.publish(peers.trailing_zeros(), std::iter::once(&self.name[..]), frame);
            peers &= peers - 1;
        }
    }
}

impl Hub {
    /// Whether the connection may hold that many subscriptions more.
    ///
    /// # Errors
    /// `too-many-subscriptions`.
    pub(crate) fn check_subscriptions(&self, slot: Slot, more: usize) -> Result<(), Refusal> {
        if self.subscriptions.count(slot) + more <= self.limits.subscriptions_max {
            return Ok(());
        }
        let sentence = format!("a connection may hold {} subscriptions", self.limits.subscriptions_max);
        Err(Refusal::because(Reason::TooManySubscriptions, sentence))
    }

    /// Whether a connection is subscribed to this name.
    pub(crate) fn is_subscribed(&self, slot: Slot, name: &[u8], kind: Kind) -> bool {
        self.subscriptions.is_subscribed(slot, name, kind)
    }

    /// Subscribes a connection to a checked name, and gives what [`Hub::acknowledge`] waits for.
    pub(crate) fn subscribe(&mut self, slot: Slot, name: &[u8], kind: Kind) -> Awaited {
        if !self.is_open(slot) {
            return Awaited::default();
        }
        self.forget_resolved();
        let subscribed = self.subscriptions.subscribe(slot, name, kind);
        if subscribed.first {
            let live_at = self.relays.announce(name, kind);
            self.subscriptions.set_live_at(subscribed.audience, live_at);
        }
        self.awaited(subscribed.audience)
    }

    /// Ends a subscription, if there is one.
    pub(crate) fn unsubscribe(&mut self, slot: Slot, name: &[u8], kind: Kind) {
        self.forget_resolved();
        if self.subscriptions.unsubscribe(slot, name, kind).is_some_and(|unsubscribed| unsubscribed.last) {
            self.relays.withdraw(name, kind);
        }
    }

    /// Ends all subscriptions of a connection.
    pub(super) fn unsubscribe_all(&mut self, slot: Slot) {
        if self.subscriptions.count(slot) > 0 {
            self.forget_resolved();
            let relays = &mut self.relays;
            self.subscriptions.close(slot, &mut |name, kind| relays.withdraw(name, kind));
        }
    }

    /// Whether a name is known to be a channel: cheaper than checking it, and what is published to mostly is.
    pub(crate) fn is_known(&self, name: &[u8]) -> bool {
        (self.resolved.is_valid && self.resolved.name == name) || self.subscriptions.find(name).is_some()
    }

    /// Publishes a payload to checked channels, here and on the peers. It is encoded once, whoever gets it.
    pub(crate) fn publish<'n>(
        &mut self,
        names: impl Iterator<Item = &'n [u8]>,
        is_text: bool,
        payload: &[u8],
        except: Option<Slot>,
    ) {
        let mut frame: Option<(u32, u32)> = None;
        let mut relayed: SmallVec<[(&[u8], u64); 4]> = SmallVec::new();
        for name in names {
            self.stats.published += 1;
            self.resolve(name);
            if !self.resolved.reaches_anyone() {
                continue;
            }
            let (start, end) = match frame {
                Some(frame) => frame,
                None => self.encode(is_text, payload),
            };
            frame = Some((start, end));
            self.deliver(start, end, except, 1);
            if self.resolved.peers != 0 {
                relayed.push((name, self.resolved.peers));
            }
        }
        if let Some((start, end)) = frame
            && !relayed.is_empty()
        {
            self.relay(&relayed, start, end);
        }
    }

    /// The number of the channel that was published to last, if all of its subscribers are one audience, and neither they
    /// nor the interested peers have changed since.
    pub(super) fn single_audience(&self) -> Option<u64> {
        (self.resolved.is_valid && self.resolved.audiences.len() <= 1).then_some(self.resolved.number)
    }

    /// Appends a message to the turn, and gives its range.
    fn encode(&mut self, is_text: bool, payload: &[u8]) -> (u32, u32) {
        let start = self.outboxes.turn_len() as u32;
        frame::encode(self.outboxes.turn(), data(is_text), payload);
        (start, self.outboxes.turn_len() as u32)
    }

    /// Hands a frame to each peer that is interested in one of the channels, with those that it is interested in.
    fn relay(&mut self, channels: &[(&[u8], u64)], start: u32, end: u32) {
        let mut peers = channels.iter().fold(0, |peers, (_, interested)| peers | interested);
        while peers != 0 {
            let peer = peers.trailing_zeros();
            peers &= peers - 1;
            let names = channels.iter().filter(|(_, interested)| interested & (1 << peer) != 0).map(|(name, _)| *name);
            self.relays.publish(peer, names, self.outboxes.turn_bytes(start, end));
        }
    }

    /// Takes a batch of a peer, and gives how many of its bytes were used: fewer than all only when the turn is full and
    /// wants to be flushed before the rest is given again.
    pub(crate) fn relayed(&mut self, peer: u32, batch: &[u8]) -> usize {
        let mut is_answered = false;
        let mut rest = batch;
        while !self.is_full()
            && let Some(item) = relay::next(&mut rest)
        {
            match item {
                Item::Publish { channels, frame } => self.deliver_relayed(channels, frame),
                Item::Interest { name, kind, interested } => {
                    self.forget_resolved();
                    self.subscriptions.set_interest(peer, name, kind, interested);
                    if interested {
                        self.relays.heard_interest(peer);
                    }
                }
                Item::Answered(count) => {
                    self.relays.answered(peer, count);
                    is_answered = true;
                }
                Item::Delivery { name, kind, frame } => self.deliver_to(name, kind, frame),
                Item::Wide { name, is_all, frame } => self.deliver_wide(name, is_all, frame),
                Item::Accepted { name, kind } => self.subscriptions.accept(name, kind),
                Item::Refused { name, kind } => self.refused_by_bridge(name, kind),
                Item::Absent => {
                    self.relays.absent(peer);
                    self.subscriptions.forget_refusals();
                    is_answered = true;
                }
                Item::Stopping => self.relays.has_stopped(peer),
            }
        }
        if is_answered {
            self.acknowledge_live();
        }
        batch.len() - rest.len()
    }

    fn deliver_relayed(&mut self, channels: &[u8], frame: &[u8]) {
        let mut range: Option<(u32, u32)> = None;
        for name in relay::names(channels) {
            self.resolve(name);
            if !self.resolved.has_subscribers {
                continue; // the last one left while the frame was on its way
            }
            let (start, end) = range.unwrap_or_else(|| {
                let start = self.outboxes.turn_len() as u32;
                self.outboxes.turn().extend_from_slice(frame);
                (start, self.outboxes.turn_len() as u32)
            });
            range = Some((start, end));
            self.deliver(start, end, None, 1);
        }
    }

    /// Delivers a frame of another node to the subscribers of one name alone.
    fn deliver_to(&mut self, name: &[u8], kind: Kind, frame: &[u8]) {
        if self.resolved.only != Some(kind) || self.resolved.name != name {
            self.forget_resolved();
            let resolved = &mut self.resolved;
            resolved.only = Some(kind);
            resolved.name.clear();
            resolved.name.extend_from_slice(name);
            resolved.audiences.clear();
            resolved.audiences.extend(self.subscriptions.find_name(name, kind));
            let has_subscribers = |&audience: &AudienceId| !self.subscriptions.subscribers(audience).is_empty();
            resolved.has_subscribers = resolved.audiences.iter().any(has_subscribers);
        }
        if self.resolved.has_subscribers {
            let start = self.outboxes.turn_len() as u32;
            self.outboxes.turn().extend_from_slice(frame);
            self.deliver(start, self.outboxes.turn_len() as u32, None, 1);
        }
    }

    /// Delivers a frame of another node that a wider subscription has brought: to the channel, and to the patterns that this
    /// subscription stands for.
    fn deliver_wide(&mut self, name: &[u8], is_all: bool, frame: &[u8]) {
        self.forget_resolved();
        let subscriptions = &self.subscriptions;
        let resolved = &mut self.resolved;
        resolved.name.clear();
        subscriptions.find_all(name, &mut resolved.audiences);
        resolved.audiences.retain(|&mut audience| {
            let is_for = is_all || !subscriptions.begins_with_wildcard(audience);
            is_for && !subscriptions.subscribers(audience).is_empty()
        });
        if !resolved.audiences.is_empty() {
            let start = self.outboxes.turn_len() as u32;
            self.outboxes.turn().extend_from_slice(frame);
            self.deliver(start, self.outboxes.turn_len() as u32, None, 1);
        }
    }

    /// Looks a checked channel up, unless the last publish did.
    fn resolve(&mut self, name: &[u8]) {
        if self.resolved.is_valid && self.resolved.name == name {
            return;
        }
        self.apply_run();
        let resolved = &mut self.resolved;
        resolved.name.clear();
        resolved.name.extend_from_slice(name);
        self.subscriptions.find_all(name, &mut resolved.audiences);
        resolved.only = None;
        resolved.peers = self.relays.always_interested();
        resolved.has_subscribers = false;
        for &audience in &resolved.audiences {
            resolved.peers |= self.subscriptions.peers(audience);
            resolved.has_subscribers |= !self.subscriptions.subscribers(audience).is_empty();
        }
        resolved.is_valid = true;
        resolved.number += 1;
    }

    /// A subscription is about to change: the audiences may not stand for the same after it.
    fn forget_resolved(&mut self) {
        self.apply_run();
        self.resolved.is_valid = false;
        self.resolved.only = None;
    }

    /// Bytes `start..end` of the turn, so many frames, are for the resolved channel.
    pub(super) fn deliver(&mut self, start: u32, end: u32, except: Option<Slot>, frames: u64) {
        // A connection may be in several audiences: it gets both copies of a message before the next one.
        let is_simple = self.resolved.audiences.len() == 1;
        if self.run.end == start && self.run.end != 0 && self.run.except == except && is_simple {
            self.run.end = end;
            self.run.frames += frames;
        } else {
            self.apply_run();
            self.run = Run { start, end, except, frames };
        }
    }

    /// Gives the run to its subscribers. To be called before anything else goes into an outbox.
    pub(super) fn apply_run(&mut self) {
        if self.run.end == 0 {
            return;
        }
        let Run { start, end, except, frames } = std::mem::take(&mut self.run);
        for &audience in &self.resolved.audiences {
            let subscribers = self.subscriptions.subscribers(audience);
            self.stats.delivered += frames * subscribers.len() as u64;
            for subscriber in subscribers {
                if Some(subscriber.slot()) == except {
                    self.stats.delivered -= frames;
                } else {
                    self.outboxes.push(subscriber.slot(), start, end);
                }
            }
        }
    }
}
