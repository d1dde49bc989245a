//! The same for a channel with a history: each message gets its number while it is copied into the turn.

use crate::{
    engine::{
        history::ChannelId,
        router::{
            Home, Repeated, Router, TURN_BYTES_MAX,
            repeat::Further,
            work::{KEEP_UNITS, MESSAGE_UNITS},
        },
        slot::ConnectionKey,
    },
    error::Fault,
    protocol::{
        frame::{self, Whole},
        mask,
        message::Unnumbered,
    },
};

impl Router {
    /// Prepares [`Router::take_numbered`] for the messages after the last one, which was published to the resolved channel,
    /// if this core keeps that.
    pub(super) fn expect_numbered(&mut self, number: u64) -> Further {
        if !matches!(self.resolved.home, Home::Here(_)) || self.storing.is_some() {
            return Further::OneByOne;
        }
        let (last, mut room) = (&mut self.last_head, Vec::new());
        last.parts = Unnumbered::of(&last.bytes, &mut room).around_number(self.history.epoch(), &self.resolved.name);
        Further::Numbered { number }
    }

    /// The rest of [`Router::take_repeated`].
    #[inline(never)]
    pub(super) fn take_numbered(&mut self, key: ConnectionKey, payload_bytes_max: usize, bytes: &[u8]) -> Repeated {
        let Some(channel) = self.resolved.channel else { return Repeated::default() };
        let mut turn = std::mem::take(self.outboxes.turn());
        let start = turn.len();
        let taken = self.append_numbered(channel, &mut turn, payload_bytes_max, bytes);
        let end = turn.len();
        if !self.resolved.has_subscribers() {
            turn.truncate(start);
            self.passed_on += end - start;
        }
        *self.outboxes.turn() = turn;
        if taken.messages > 0 {
            self.work.add((MESSAGE_UNITS + KEEP_UNITS) * taken.messages + (end - start) as u64 / 8);
            self.published += taken.messages;
            if self.resolved.has_subscribers() {
                let except = self.last_head.no_echo.then_some(key);
                self.deliver(start as u32, end as u32, except, taken.messages);
            }
            self.forget_channels();
        }
        taken
    }

    fn append_numbered(
        &mut self,
        channel: ChannelId,
        turn: &mut Vec<u8>,
        payload_bytes_max: usize,
        bytes: &[u8],
    ) -> Repeated {
        let (head, (before, behind)) = (&self.last_head.bytes[..], &self.last_head.parts);
        let end_max = TURN_BYTES_MAX.min(turn.len().saturating_add(self.run_bytes_max()));
        let mut taken = Repeated::default();
        while turn.len() < end_max && !self.history.has_forgotten() {
            let rest = &bytes[taken.used..];
            let Some(Whole { is_text, mask, start, end }) = frame::whole(rest) else { break };
            let masked = &rest[start..end];
            if masked.len() > payload_bytes_max || !mask::starts_with(masked, mask, head) {
                break;
            }
            let (begin, body) = (turn.len(), &masked[head.len()..]);
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(self.history.next(channel).offset).as_bytes();
            let len = before.len() + digits.len() + behind.len() + body.len();
            turn.reserve(len + 10);
            frame::encode_header(turn, frame::data(is_text), len);
            turn.extend_from_slice(before);
            turn.extend_from_slice(digits);
            turn.extend_from_slice(behind);
            let body_at = turn.len();
            turn.extend_from_slice(body);
            let is_ascii = mask::unmask(&mut turn[body_at..], mask::turned_by(mask, head.len()));
            if is_text && !is_ascii && simdutf8::basic::from_utf8(&turn[body_at..]).is_err() {
                turn.truncate(begin);
                taken.fault = Some(Fault::NOT_UTF8);
                break;
            }
            let frame = &turn[begin..];
            self.resolved.relay_but(frame, None, &mut self.relays);
            self.history.keep_frame(channel, self.outboxes.arena(), frame);
            taken.used += end;
            taken.messages += 1;
        }
        taken
    }
}
