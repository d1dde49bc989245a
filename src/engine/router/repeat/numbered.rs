//! The same for a channel with a history: each message gets its number while it is copied into the turn.

use crate::{
    engine::{
        history::ChannelId,
        router::{
            Home, Repeated, Router, TURN_BYTES_MAX,
            resolve::What,
            work::{KEEP_UNITS, MESSAGE_UNITS},
        },
        session::Grant,
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
    /// Prepares [`Router::take_numbered`] for the messages after the last one, which was published to the resolved channel.
    pub(super) fn expect_numbered(&mut self) {
        let number = match (self.resolved.what, self.resolved.home) {
            (What::Channel { number }, Home::Here(_))
                if self.storing.is_none() && self.resolved.audiences.len() <= 1 =>
            {
                number
            }
            _ => return,
        };
        let (last, mut room) = (&mut self.last_head, Vec::new());
        last.rest.clear();
        Unnumbered::of(&last.bytes, &mut room).write_rest(&mut last.rest);
        last.numbered = Some(number);
    }

    /// The same as [`Router::take_repeated`].
    #[inline(never)]
    pub(super) fn take_numbered(
        &mut self,
        key: ConnectionKey,
        grant: Grant,
        payload_bytes_max: usize,
        bytes: &[u8],
    ) -> Repeated {
        let (What::Channel { number }, Some(channel)) = (self.resolved.what, self.resolved.channel) else {
            return Repeated::default();
        };
        if self.last_head.numbered != Some(number) || self.last_head.grant != grant || self.is_congested() {
            return Repeated::default();
        }
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
        let head = &self.last_head.bytes[..];
        let start_line = &head[..Unnumbered::of_clean(head).start_line_len()];
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
            let parts = Unnumbered::of_parts(start_line, &self.last_head.rest);
            parts.encode_before(turn, is_text, self.history.next(channel), &self.resolved.name, body.len());
            let body_at = turn.len();
            turn.resize(body_at + body.len(), 0);
            let is_ascii = mask::unmask_into(&mut turn[body_at..], body, mask::turned_by(mask, head.len()));
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
