//! Acknowledgements and errors: what a message's sender hears of it (PROTOCOL.md §2, §6).

use std::collections::{BTreeMap, BTreeSet};

use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::{
    engine::{
        hub::{
            Hub,
            unfinished::Step,
            work::{MESSAGE_UNITS, REFUSAL_UNITS},
        },
        slot::{ConnectionKey, Slot},
        subscriptions::AudienceId,
    },
    error::{Reason, Refusal},
    protocol::{channel::Kind, frame},
};

/// Acknowledgements of one connection that wait for peers at once; what asks for one more is refused with 429.
pub(crate) const WAITING_PER_CONNECTION_MAX: u32 = 1024;
/// Those of one core: past it a connection may have [`WAITING_SHARE`] only, so that the greedy do not take the places of
/// others.
const WAITING_MAX: usize = 16 * 1024;
const WAITING_SHARE: u32 = 16;
/// Past this, 8 MiB, nobody may have more.
const WAITING_LIMIT: usize = 64 * 1024;
/// About what one costs, in bytes.
const ACK_BYTES: usize = 128;
/// Acknowledgements that are sent in one turn; more in the next.
const ACKS_PER_TURN: usize = 4096;
/// Refused names that are remembered for acknowledgements which wait.
const REFUSED_MAX: usize = 16 * 1024;
/// Of connections that are gone, so many may be left before they are looked for.
const DEAD_KEPT: usize = 1024;

/// Acknowledgements of subscriptions that are not live yet.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// By the interest that must be answered, then in the order in which they were asked for.
    waiting: BTreeMap<(u64, u64), Ack>,
    /// Counts those that ever waited.
    asked: u64,
    /// By slot, how many of `waiting` are of the connection there; grown to the highest slot that ever waited.
    by_slot: Vec<u32>,
    /// How many of `waiting` are of connections that are gone.
    dead: usize,
    /// Interests that the bridge has told to be refused, for as long as one that waits may include them.
    refused: BTreeSet<u64>,
}

#[derive(Debug)]
struct Ack {
    key: ConnectionKey,
    awaited: Awaited,
    token: Box<[u8]>,
}

/// What an acknowledgement waits for, and says: when the subscriptions of a message are live.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Awaited {
    /// The interest that every peer must have answered; 0 is none.
    live_at: u64,
    /// Of those that are not answered yet, the first one. What lies between may be others', at most a round trip old.
    waits_from: Option<u64>,
    /// Other nodes' publishes do not come to one of them.
    is_refused: bool,
}

impl Awaited {
    /// This and another subscription.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            live_at: self.live_at.max(other.live_at),
            waits_from: self.waits_from.into_iter().chain(other.waits_from).min(),
            is_refused: self.is_refused || other.is_refused,
        }
    }
}

impl Acks {
    /// The memory that they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        (self.waiting.len() - self.dead) * ACK_BYTES
    }

    /// Whether a connection may have one more.
    fn has_room(&self, slot: Slot) -> bool {
        let (own, all) = (self.by_slot.get(slot as usize).copied().unwrap_or(0), self.waiting.len() - self.dead);
        let share = if all < WAITING_MAX { WAITING_PER_CONNECTION_MAX } else { WAITING_SHARE };
        own < share && all < WAITING_LIMIT
    }

    fn push(&mut self, ack: Ack) {
        let slot = ack.key.slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, 0);
        }
        self.by_slot[slot] += 1;
        self.waiting.insert((ack.awaited.live_at, self.asked), ack);
        self.asked += 1;
    }

    /// The connection in a slot ends: what waits for it waits for nobody.
    pub(super) fn forget(&mut self, slot: Slot) {
        let Some(own) = self.by_slot.get_mut(slot as usize) else { return };
        self.dead += std::mem::take(own) as usize;
    }

    /// Removes those of connections that are gone, once they are most of all: each has then paid for one look.
    fn sweep(&mut self, is_alive: impl Fn(&Ack) -> bool) {
        if self.dead > DEAD_KEPT && self.dead > self.waiting.len() / 2 {
            self.waiting.retain(|_, ack| is_alive(ack));
            self.dead = 0;
        }
    }

    /// The next one, if peers have answered the interest that it waits for.
    fn pop_live(&mut self, live: u64) -> Option<Ack> {
        let first = self.waiting.first_entry().filter(|entry| entry.key().0 <= live)?;
        Some(first.remove())
    }

    /// Whether peers have answered what one of them waits for.
    pub(super) fn has_live(&self, live: impl FnOnce() -> u64) -> bool {
        self.waiting.first_key_value().is_some_and(|((live_at, _), _)| *live_at <= live())
    }

    /// Whether other nodes' publishes do not come to one of the subscriptions.
    fn is_refused(&self, awaited: Awaited) -> bool {
        let waits_from = awaited.waits_from.filter(|_| !self.refused.is_empty());
        awaited.is_refused || waits_from.is_some_and(|from| self.refused.range(from..=awaited.live_at).next().is_some())
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.len() == self.dead
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn invariants(&self) {
        let own: usize = self.by_slot.iter().map(|&own| own as usize).sum();
        assert_eq!(own + self.dead, self.waiting.len(), "waiting acknowledgements are counted wrongly");
    }
}

impl Hub {
    /// Tells the sender of a message that it was refused.
    pub(crate) fn refuse(&mut self, slot: Slot, refusal: &Refusal, ack: Option<&[u8]>) {
        self.count_refusal(refusal);
        self.work.add(REFUSAL_UNITS);
        let mut payload = std::mem::take(&mut self.scratch);
        payload.clear();
        encode_refusal(&mut payload, refusal, ack);
        self.send(slot, true, &payload);
        self.scratch = payload;
    }

    /// Counts a message that is refused.
    pub(crate) fn count_refusal(&mut self, refusal: &Refusal) {
        self.stats.refused += 1;
        self.stats.subscriptions_refused += u64::from(refusal.reason() == Reason::TooManySubscriptions.word());
        self.stats.too_many_channels += u64::from(refusal.reason() == Reason::TooManyChannels.word());
        self.stats.forbidden += u64::from(refusal.reason() == Reason::Forbidden.word());
    }

    /// What the acknowledgement of a subscription waits for.
    pub(super) fn awaited(&self, audience: AudienceId) -> Awaited {
        let live_at = self.subscriptions.live_at(audience);
        let waits_from = (live_at > self.relays.live()).then_some(live_at);
        Awaited { live_at, waits_from, is_refused: self.subscriptions.is_refused(audience) }
    }

    /// Acknowledges a message when its interest is answered by all peers; without any, at once.
    pub(crate) fn acknowledge(&mut self, slot: Slot, token: &[u8], awaited: Awaited) {
        if self.is_cut() {
            self.put_step(Step::Acknowledge { key: self.key(slot), token: token.into(), awaited });
        } else if awaited.live_at <= self.relays.live() {
            self.send_ack(slot, token, awaited);
        } else if self.is_open(slot) {
            self.acks.push(Ack { key: self.key(slot), awaited, token: token.into() });
        }
    }

    /// Whether a connection may wait for one more acknowledgement.
    ///
    /// # Errors
    /// `too-many-acks`.
    pub(crate) fn check_acks(&self, slot: Slot) -> Result<(), Refusal> {
        if self.acks.has_room(slot) {
            return Ok(());
        }
        const SENTENCE: &str = "too many acknowledgements of this connection wait for other cores or nodes";
        Err(Refusal::because(Reason::TooManyAcks, SENTENCE))
    }

    /// Acknowledges what has become live, the oldest interest first, and at most a turn's share.
    pub(super) fn acknowledge_live(&mut self) {
        let live = self.relays.live();
        for _ in 0..ACKS_PER_TURN {
            let Some(ack) = self.acks.pop_live(live) else { break };
            let Ack { key, awaited, token } = ack;
            if !self.is_current(key) || !self.is_open(key.slot) {
                self.acks.dead -= 1;
                continue;
            }
            self.acks.by_slot[key.slot as usize] -= 1;
            self.send_ack(key.slot, &token, awaited);
        }
        if self.acks.waiting.is_empty() {
            self.acks.refused.clear();
        }
    }

    /// Whether [`Hub::acknowledge_live`] has something to do.
    pub(super) fn has_live_acks(&self) -> bool {
        self.acks.has_live(|| self.relays.live())
    }

    /// A connection that was open ends.
    pub(super) fn forget_acks(&mut self, slot: Slot) {
        let mut acks = std::mem::take(&mut self.acks);
        acks.forget(slot);
        acks.sweep(|ack| ack.key.slot != slot && self.is_current(ack.key) && self.is_open(ack.key.slot));
        self.acks = acks;
    }

    /// The bridge will get nothing for this name: who subscribes to it is told so, as are those that wait for it. Cost: one
    /// lookup, however many wait.
    pub(super) fn refused_by_bridge(&mut self, name: &[u8], kind: Kind) {
        let Some(audience) = self.subscriptions.find_name(name, kind) else { return };
        self.subscriptions.set_refused(audience);
        if !self.acks.waiting.is_empty() {
            self.acks.refused.insert(self.subscriptions.live_at(audience));
            if self.acks.refused.len() > REFUSED_MAX {
                self.acks.refused.pop_first();
            }
        }
    }

    /// Sends one payload to one connection, in order with what else it gets. After its close frame nothing is sent.
    pub(crate) fn send(&mut self, slot: Slot, is_text: bool, payload: &[u8]) {
        if !self.is_open(slot) {
            return;
        }
        if self.is_cut() {
            let mut bytes = Vec::new();
            frame::encode(&mut bytes, data(is_text), payload);
            self.put_step(Step::Send { key: self.key(slot), frame: bytes.into() });
        } else {
            self.push_frame(slot, |turn| frame::encode(turn, data(is_text), payload));
        }
    }

    /// A subscription that only this node knows of says so.
    fn send_ack(&mut self, slot: Slot, token: &[u8], awaited: Awaited) {
        const START: &[u8] = b"LHTTP/1.0 ack\r\nack:";
        const END: &[u8] = b"\r\n\r\n";
        const OFFLINE_END: &[u8] = b"\r\ncluster:offline\r\n\r\n";
        let is_offline = self.acks.is_refused(awaited) || awaited.live_at > 0 && self.relays.is_offline();
        let end = if is_offline { OFFLINE_END } else { END };
        if self.is_open(slot) {
            self.push_frame(slot, |turn| {
                frame::encode_header(turn, data(true), START.len() + token.len() + end.len());
                turn.extend_from_slice(START);
                turn.extend_from_slice(token);
                turn.extend_from_slice(end);
            });
        }
    }

    /// Appends a frame to the turn, for one connection.
    pub(super) fn push_frame(&mut self, slot: Slot, encode: impl FnOnce(&mut Vec<u8>)) {
        self.apply_run();
        self.work.add(MESSAGE_UNITS);
        let start = self.outboxes.turn_len() as u32;
        encode(self.outboxes.turn());
        let end = self.outboxes.turn_len() as u32;
        self.outboxes.push(slot, start, end);
    }
}

/// Appends the error message that tells of a refusal, with the token of the message that is refused.
pub(crate) fn encode_refusal(payload: &mut Vec<u8>, refusal: &Refusal, ack: Option<&[u8]>) {
    payload.extend_from_slice(b"LHTTP/1.0 error\r\ncode:");
    payload.extend_from_slice(refusal.code().to_string().as_bytes());
    payload.extend_from_slice(b"\r\nreason:");
    payload.extend_from_slice(refusal.reason().as_bytes());
    if let Some(token) = ack {
        payload.extend_from_slice(b"\r\nack:");
        payload.extend_from_slice(token);
    }
    payload.extend_from_slice(b"\r\n\r\n");
    payload.extend_from_slice(refusal.sentence().as_bytes());
}

/// The opcode of a whole data message.
pub(super) fn data(is_text: bool) -> OpCode {
    OpCode::Data(if is_text { Data::Text } else { Data::Binary })
}
