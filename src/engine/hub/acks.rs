//! Acknowledgements and errors: what a message's sender hears of it (PROTOCOL.md §2, §6).

use std::collections::VecDeque;

use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::{
    engine::{
        hub::Hub,
        session::ConnectionKey,
        subscriptions::{AudienceId, Slot},
    },
    error::{Reason, Refusal},
    protocol::{channel::Kind, frame},
};

/// Acknowledgements that wait for peers at once, on one core; past it publishers wait. Each costs about 64 bytes.
const WAITING_MAX: usize = 16 * 1024;

/// Acknowledgements of subscriptions that are not live yet.
#[derive(Debug, Default)]
pub(super) struct Acks {
    waiting: VecDeque<Ack>,
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
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Hub {
    /// Tells the sender of a message that it was refused.
    pub(crate) fn refuse(&mut self, slot: Slot, refusal: &Refusal, ack: Option<&[u8]>) {
        self.stats.refused += 1;
        let is_subscription = refusal.reason() == Reason::TooManySubscriptions.word();
        self.stats.subscriptions_refused += u64::from(is_subscription);
        let mut payload = std::mem::take(&mut self.scratch);
        payload.clear();
        encode_refusal(&mut payload, refusal, ack);
        self.send(slot, true, &payload);
        self.scratch = payload;
    }

    /// What the acknowledgement of a subscription waits for.
    pub(super) fn awaited(&self, audience: AudienceId) -> Awaited {
        let live_at = self.subscriptions.live_at(audience);
        let waits_from = (live_at > self.relays.live()).then_some(live_at);
        Awaited { live_at, waits_from, is_refused: self.subscriptions.is_refused(audience) }
    }

    /// Acknowledges a message when its interest is answered by all peers; without any, at once.
    pub(crate) fn acknowledge(&mut self, slot: Slot, token: &[u8], awaited: Awaited) {
        if awaited.live_at <= self.relays.live() {
            self.send_ack(slot, token, awaited);
        } else {
            let ack = Ack { key: self.key(slot), awaited, token: token.into() };
            self.acks.waiting.push_back(ack);
        }
    }

    /// Peers have answered: what has become live is acknowledged, in the order in which it was asked for.
    pub(super) fn acknowledge_live(&mut self) {
        let live = self.relays.live();
        for _ in 0..self.acks.waiting.len() {
            let Some(ack) = self.acks.waiting.pop_front() else { break };
            if ack.awaited.live_at > live {
                self.acks.waiting.push_back(ack);
            } else if self.is_current(ack.key) && self.is_open(ack.key.slot) {
                self.send_ack(ack.key.slot, &ack.token, ack.awaited);
            }
        }
    }

    /// The bridge will get nothing for this name: who subscribes to it is told so, as are those that wait for it.
    pub(super) fn refused_by_bridge(&mut self, name: &[u8], kind: Kind) {
        let Some(audience) = self.subscriptions.find_name(name, kind) else { return };
        self.subscriptions.set_refused(audience);
        let live_at = self.subscriptions.live_at(audience);
        for Ack { awaited, .. } in &mut self.acks.waiting {
            awaited.is_refused |= awaited.waits_from.is_some_and(|from| (from..=awaited.live_at).contains(&live_at));
        }
    }

    /// Sends one payload to one connection, in order with what else it gets. After its close frame nothing is sent.
    pub(crate) fn send(&mut self, slot: Slot, is_text: bool, payload: &[u8]) {
        if self.is_open(slot) {
            self.push_frame(slot, |turn| frame::encode(turn, data(is_text), payload));
        }
    }

    /// A subscription that only this node knows of says so.
    fn send_ack(&mut self, slot: Slot, token: &[u8], awaited: Awaited) {
        const START: &[u8] = b"LHTTP/1.0 ack\r\nack:";
        const END: &[u8] = b"\r\n\r\n";
        const OFFLINE_END: &[u8] = b"\r\ncluster:offline\r\n\r\n";
        let is_offline = awaited.is_refused || awaited.live_at > 0 && self.relays.is_offline();
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
