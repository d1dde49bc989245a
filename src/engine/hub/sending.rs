//! Sending to a single connection: errors, acknowledgements, answers of the application (PROTOCOL.md §2, §6).

use crate::{
    engine::{
        hub::Hub,
        router::{Awaited, Step, work::REFUSAL_UNITS},
        slot::Slot,
    },
    error::Refusal,
    protocol::message::{acknowledgement, encode_refusal},
};

impl Hub {
    /// Tells the sender of a message that it was refused.
    pub(crate) fn refuse(&mut self, slot: Slot, refusal: &Refusal, ack: Option<&[u8]>) {
        self.count_refusal(refusal);
        self.router.work.add(REFUSAL_UNITS);
        let mut payload = std::mem::take(&mut self.scratch);
        payload.clear();
        encode_refusal(&mut payload, refusal, ack);
        self.send(slot, true, &payload);
        self.scratch = payload;
    }

    /// Counts a message that is refused.
    pub(crate) fn count_refusal(&mut self, refusal: &Refusal) {
        self.stats.count_refusal(refusal.reason());
        self.stats.unauthorized += u64::from(refusal.code() == 401);
    }

    /// Sends one payload to one connection, in order with its other messages. Sends nothing after the close frame.
    pub(crate) fn send(&mut self, slot: Slot, is_text: bool, payload: &[u8]) {
        if !self.sessions.is_open(slot) {
            return;
        }
        let encoding = self.sessions[slot].encoding;
        if self.router.unfinished.is_cut() {
            let mut unit = Vec::new();
            encoding.message(&mut unit, is_text, payload);
            self.router.unfinished.put(Step::Send { key: self.sessions.key(slot), unit: unit.into() });
        } else {
            self.router.push(slot, |turn| encoding.message(turn, is_text, payload));
        }
    }

    /// Acknowledges a message whose subscriptions are live. The acknowledgement says whether a subscription is only
    /// known to this node.
    pub(super) fn send_ack(&mut self, slot: Slot, token: &[u8], awaited: Awaited) {
        if self.sessions.is_open(slot) {
            let is_offline = self.acks.is_refused(awaited) || awaited.live_at > 0 && self.router.relays.is_offline();
            let encoding = self.sessions[slot].encoding;
            let parts = acknowledgement(token, is_offline);
            self.router.push(slot, |turn| encoding.message_of_parts(turn, true, &parts));
        }
    }
}
