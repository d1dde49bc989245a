//! Publishing: the life of a message behind its parser.

use smallvec::SmallVec;

use crate::{
    engine::{
        hub::{
            Hub,
            acks::data,
            recent::concerns,
            unfinished::Step,
            work::{MESSAGE_UNITS, lookup_units, subscription_units},
        },
        relay::{self, Item, Relays},
        slot::Slot,
        subscriptions::AudienceId,
    },
    protocol::{channel::Kind, frame},
};

/// Whom the last channel that was published to reaches. It serves the next publish to the same channel, unless whom it
/// reaches has changed since.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) is_valid: bool,
    /// Set when it is not the whole of a channel but one name, to which the bridge delivers; `is_valid` is false then.
    only: Option<Kind>,
    /// No other has the same, so it can be recognised by its number.
    number: u64,
    pub(super) hash: u32,
    pub(super) name: Vec<u8>,
    pub(super) audiences: SmallVec<[AudienceId; 8]>,
    /// A bit for each interested peer.
    pub(super) peers: u64,
    /// Subscribers of all audiences.
    pub(super) subscribers: usize,
}

/// Frames in a row, all for [`Resolved`]: they are given to the subscribers together, when something else comes.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) start: u32,
    /// 0 when there is no run.
    pub(super) end: u32,
    /// The connection that does not get them, because its message said `no-echo`.
    pub(super) except: Option<Slot>,
    pub(super) frames: u64,
}

impl Resolved {
    fn reaches_anyone(&self) -> bool {
        self.has_subscribers() || self.peers != 0
    }

    pub(super) fn has_subscribers(&self) -> bool {
        self.subscribers > 0
    }

    /// A subscription to this name has begun or ended.
    pub(super) fn forget(&mut self, name: &[u8], kind: Kind) {
        self.only = None;
        self.is_valid &= !concerns(name, kind, &self.name);
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
    /// Whether a name is known to be a channel: cheaper than checking it, and what is published to mostly is.
    pub(crate) fn is_known(&self, name: &[u8]) -> bool {
        (self.resolved.is_valid && self.resolved.name == name) || self.subscriptions.find(name).is_some()
    }

    /// Publishes a payload to checked channels, here and on the peers. It is encoded once, whoever gets it. When there are
    /// so many deliveries that the turn is full, the rest of them is left for later: see `hub/unfinished.rs`.
    pub(crate) fn publish<'n>(
        &mut self,
        mut names: impl Iterator<Item = &'n [u8]>,
        is_text: bool,
        payload: &[u8],
        except: Option<Slot>,
    ) {
        if self.is_cut() {
            return self.leave_rest(names, is_text, payload, except);
        }
        let begun = self.work.done();
        let mut frame: Option<(u32, u32)> = None;
        let mut relayed: SmallVec<[(&[u8], u64); 4]> = SmallVec::new();
        let mut is_whole = true;
        for name in names.by_ref() {
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
            if self.has_done_piece(begun) {
                is_whole = false;
                break;
            }
        }
        if let Some((start, end)) = frame
            && !relayed.is_empty()
        {
            self.relay(&relayed, start, end);
        }
        if !is_whole {
            self.leave_rest(names, is_text, payload, except);
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
    pub(super) fn relay(&mut self, channels: &[(&[u8], u64)], start: u32, end: u32) {
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
        while !self.must_stop()
            && !self.must_finish_first()
            && let Some(item) = relay::next(&mut rest)
        {
            match item {
                Item::Publish { channels, frame } => self.deliver_relayed(channels, frame),
                Item::Interest { name, kind, interested } => {
                    self.work.add(subscription_units(name));
                    self.apply_run();
                    self.forget_resolved(name, kind);
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
        self.work.add(MESSAGE_UNITS);
        let rest = self.publish_frame(channels, frame, None, false, self.work.done());
        if !rest.is_empty() {
            self.put_step(Step::Publish { names: rest.into(), frame: frame.into(), except: None, is_relayed: false });
        }
        self.message_done(None);
    }

    /// Delivers a frame of another node to the subscribers of one name alone.
    fn deliver_to(&mut self, name: &[u8], kind: Kind, frame: &[u8]) {
        if self.resolved.only != Some(kind) || self.resolved.name != name {
            self.apply_run();
            self.put_away();
            let resolved = &mut self.resolved;
            resolved.only = Some(kind);
            resolved.name.clear();
            resolved.name.extend_from_slice(name);
            resolved.audiences.clear();
            resolved.audiences.extend(self.subscriptions.find_name(name, kind));
            resolved.subscribers = resolved.audiences.iter().map(|&id| self.subscriptions.subscribers(id).len()).sum();
        }
        self.work.add(MESSAGE_UNITS);
        if self.resolved.has_subscribers() {
            let (start, end) = self.append(frame);
            self.deliver(start, end, None, 1);
        }
    }

    /// Delivers a frame of another node that a wider subscription has brought: to the channel, and to the patterns that this
    /// subscription stands for.
    fn deliver_wide(&mut self, name: &[u8], is_all: bool, frame: &[u8]) {
        self.apply_run();
        self.put_away();
        let hash = self.subscriptions.hash(name);
        let Self { subscriptions, resolved, .. } = self;
        resolved.only = None;
        subscriptions.find_all(hash, name, &mut resolved.audiences);
        resolved.audiences.retain(|&mut audience| {
            let is_for = is_all || !subscriptions.begins_with_wildcard(audience);
            is_for && !subscriptions.subscribers(audience).is_empty()
        });
        resolved.subscribers = resolved.audiences.iter().map(|&id| subscriptions.subscribers(id).len()).sum();
        let found = self.resolved.audiences.len();
        self.work.add(MESSAGE_UNITS + lookup_units(name, self.subscriptions.shapes(), found));
        if self.resolved.has_subscribers() {
            let (start, end) = self.append(frame);
            self.deliver(start, end, None, 1);
        }
        self.message_done(None);
    }

    /// Appends a frame to the turn, and gives its range.
    pub(super) fn append(&mut self, frame: &[u8]) -> (u32, u32) {
        let start = self.outboxes.turn_len() as u32;
        self.outboxes.turn().extend_from_slice(frame);
        (start, self.outboxes.turn_len() as u32)
    }

    /// Looks a checked channel up, unless the last publish did.
    pub(super) fn resolve(&mut self, name: &[u8]) {
        if self.resolved.is_valid && self.resolved.name == name {
            return;
        }
        self.apply_run();
        let hash = self.subscriptions.hash(name);
        if self.subscriptions.has_patterns() {
            return self.resolve_among_patterns(hash, name);
        }
        let resolved = &mut self.resolved;
        (resolved.peers, resolved.subscribers) = (self.relays.always_interested(), 0);
        resolved.audiences.clear();
        if let Some(audience) = self.subscriptions.find_hashed(hash, name) {
            resolved.audiences.push(audience);
            resolved.peers |= self.subscriptions.peers(audience);
            resolved.subscribers = self.subscriptions.subscribers(audience).len();
        }
        self.work.add(lookup_units(name, 0, 1));
        self.has_resolved(hash, name);
    }

    #[inline(never)]
    fn resolve_among_patterns(&mut self, hash: u32, name: &[u8]) {
        self.put_away();
        if self.recent.take(hash, name, &mut self.resolved) {
            return self.count_subscribers();
        }
        let resolved = &mut self.resolved;
        self.subscriptions.find_all(hash, name, &mut resolved.audiences);
        (resolved.peers, resolved.subscribers) = (self.relays.always_interested(), 0);
        for &audience in &resolved.audiences {
            resolved.peers |= self.subscriptions.peers(audience);
            resolved.subscribers += self.subscriptions.subscribers(audience).len();
        }
        self.work.add(lookup_units(name, self.subscriptions.shapes(), resolved.audiences.len()));
        self.has_resolved(hash, name);
    }

    /// The audiences, subscribers and peers of a channel were found.
    fn has_resolved(&mut self, hash: u32, name: &[u8]) {
        self.resolutions += 1;
        let resolved = &mut self.resolved;
        resolved.name.clear();
        resolved.name.extend_from_slice(name);
        (resolved.hash, resolved.only, resolved.number) = (hash, None, self.resolutions);
        resolved.is_valid = true;
    }

    /// The channel that was published to last makes room for another. With patterns, finding out again whom it reaches
    /// costs more than keeping it.
    fn put_away(&mut self) {
        if self.subscriptions.has_patterns() {
            self.recent.put(&mut self.resolved);
        }
        self.resolved.is_valid = false;
    }

    /// A name has its first subscriber, or its last one is gone, on this core or a peer. The audiences of the channels that
    /// it matches may not stand for the same any more.
    pub(super) fn forget_resolved(&mut self, name: &[u8], kind: Kind) {
        self.resolved.forget(name, kind);
        self.recent.forget(name, kind);
    }

    /// A name has more subscribers or fewer, and some still: the resolved channel reaches the same audiences, but they may be
    /// larger or smaller, which its publishers are charged for.
    pub(super) fn count_subscribers(&mut self) {
        if self.resolved.is_valid || self.resolved.only.is_some() {
            let sizes = self.resolved.audiences.iter().map(|&id| self.subscriptions.subscribers(id).len());
            self.resolved.subscribers = sizes.sum();
        }
    }

    /// Bytes `start..end` of the turn, so many frames, are for the resolved channel.
    #[inline]
    pub(super) fn deliver(&mut self, start: u32, end: u32, except: Option<Slot>, frames: u64) {
        self.has_given(self.resolved.subscribers, end - start);
        if self.resolved.audiences.len() != 1 {
            // A connection may be in several audiences: it gets both copies of a message before the next one.
            self.apply_run();
            self.deliver_to_audiences((start, end), except);
        } else if self.run.end == start && self.run.end != 0 && self.run.except == except {
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
        let run = std::mem::take(&mut self.run);
        if let [audience] = self.resolved.audiences[..] {
            self.give(audience, run);
        }
    }

    /// Puts frames into the outboxes of an audience.
    pub(super) fn give(&mut self, audience: AudienceId, Run { start, end, except, frames }: Run) {
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

#[cfg(any(test, feature = "fuzz"))]
impl Hub {
    /// How many channels and patterns the last publish met.
    #[cfg(test)]
    pub(super) fn resolved_audiences(&self) -> usize {
        self.resolved.audiences.len()
    }

    /// Checks that what is kept of a channel is what it would be found to be now.
    pub(super) fn check_resolved(&self, resolved: &Resolved) {
        if !resolved.is_valid {
            return;
        }
        let mut found = SmallVec::new();
        self.subscriptions.find_all(self.subscriptions.hash(&resolved.name), &resolved.name, &mut found);
        let mut kept = resolved.audiences.clone();
        kept.sort_unstable();
        found.sort_unstable();
        assert_eq!(kept, found, "a subscription to {:?} is not known", String::from_utf8_lossy(&resolved.name));
        let peers = found.iter().fold(self.relays.always_interested(), |bits, &id| bits | self.subscriptions.peers(id));
        // Their number is counted anew when a channel that was put away is taken again.
        let has_subscribers = found.iter().any(|&id| !self.subscriptions.subscribers(id).is_empty());
        assert_eq!((resolved.peers, resolved.has_subscribers()), (peers, has_subscribers));
    }
}
