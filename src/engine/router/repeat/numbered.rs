//! The same for a channel with a history: each message gets its number while it is copied into the turn.

use crate::{
    config::memory,
    engine::{
        router::{
            Home, Repeated, Router, TURN_BYTES_MAX,
            repeat::{Further, LastHead},
            work::{KEEP_UNITS, MESSAGE_UNITS},
        },
        slot::ConnectionKey,
    },
    error::Fault,
    protocol::{
        frame, mask,
        message::{Series, Unnumbered},
    },
};

/// So many bytes of frames are made before they are kept and delivered: few enough for the fastest cache.
const PIECE_BYTES: usize = 16 * 1024;
/// The longest message of one frame here.
const WHOLE_BYTES_MAX: usize = 64 * 1024;

// The buffer grows by doubling. The ends of its frames take far less.
const _: () = assert!(2 * (2 * PIECE_BYTES + WHOLE_BYTES_MAX) <= memory::HISTORY_RUN_BYTES);

impl Router {
    /// Prepares [`Router::take_numbered`] for the messages after the last one, which was published to the resolved channel,
    /// if this core keeps that.
    pub(super) fn expect_numbered(&mut self, number: u64) -> Further {
        if !matches!(self.resolved.home, Home::Here(_)) || self.storing.is_some() {
            return Further::OneByOne;
        }
        let further = Further::Numbered { number };
        if self.last_head.further == further {
            return further; // the series is of this head and channel already
        }
        let (last, mut room) = (&mut self.last_head, Vec::new());
        last.series = Series::new(Unnumbered::of(&last.bytes, &mut room), self.history.epoch(), &self.resolved.name);
        further
    }

    /// The rest of [`Router::take_repeated`].
    #[inline(never)]
    pub(super) fn take_numbered(&mut self, key: ConnectionKey, payload_bytes_max: usize, bytes: &[u8]) -> Repeated {
        let Some(channel) = self.resolved.channel.filter(|_| !self.history.has_forgotten()) else {
            return Repeated::default();
        };
        let start = self.outboxes.turn_len();
        let bytes_max = TURN_BYTES_MAX.saturating_sub(start).min(self.run_bytes_max());
        let (mut taken, mut len) = (Repeated::default(), 0);
        self.last_head.series.go_on_with(self.history.next(channel).offset);
        while len < bytes_max && taken.fault.is_none() {
            let piece_max = PIECE_BYTES.min(bytes_max - len);
            let piece = self.number_piece(&mut taken, (payload_bytes_max, piece_max), bytes);
            if piece == 0 {
                break;
            }
            let Self { last_head: LastHead { frames, ends, .. }, history, outboxes, .. } = self;
            history.keep_run(channel, outboxes.arena(), &frames[..piece], ends);
            if self.resolved.has_subscribers() {
                outboxes.turn().extend_from_slice(&frames[..piece]);
            }
            len += piece;
            if piece < piece_max || history.has_forgotten() {
                break;
            }
        }
        if taken.messages > 0 {
            self.work.add((MESSAGE_UNITS + KEEP_UNITS) * taken.messages + len as u64 / 8);
            self.published += taken.messages;
            self.sample_resolved();
            if self.resolved.has_subscribers() {
                let except = self.last_head.no_echo.then_some(key);
                self.deliver(start as u32, (start + len) as u32, except, taken.messages);
            } else {
                self.passed_on += len;
            }
            self.forget_channels();
        }
        taken
    }

    /// Makes the frames of the next messages, until they have `bytes_max` bytes, and hands them to peers. They and their ends
    /// are in the last head. Returns their length.
    fn number_piece(
        &mut self,
        taken: &mut Repeated,
        (payload_bytes_max, bytes_max): (usize, usize),
        bytes: &[u8],
    ) -> usize {
        let Self { last_head: LastHead { bytes: head, series, frames, ends, .. }, resolved, relays, .. } = self;
        let has_peers = resolved.peers & !relays.always_interested() != 0;
        let mut end = 0;
        ends.clear();
        while end < bytes_max {
            let rest = &bytes[taken.used..];
            let Some(whole) = frame::whole(rest) else { break };
            let masked = &rest[whole.start..whole.end];
            if masked.len() > payload_bytes_max || !mask::starts_with(masked, whole.mask, head) {
                break;
            }
            let body = &masked[head.len()..];
            let begin = series.begin(whole.is_text, body.len());
            let len = begin.len() + body.len();
            if frames.len() < end + len {
                frames.resize((end + len).max(PIECE_BYTES), 0);
            }
            let frame = &mut frames[end..end + len];
            let (to_begin, to_body) = frame.split_at_mut(begin.len());
            to_begin.copy_from_slice(begin);
            let is_ascii = mask::unmask_into(to_body, body, mask::turned_by(whole.mask, head.len()));
            if whole.is_text && !is_ascii && simdutf8::basic::from_utf8(to_body).is_err() {
                taken.fault = Some(Fault::NOT_UTF8);
                break;
            }
            if has_peers {
                resolved.relay_but(frame, None, relays);
            }
            series.advance();
            end += len;
            ends.push(end as u32);
            taken.used += whole.end;
            taken.messages += 1;
        }
        end
    }
}
