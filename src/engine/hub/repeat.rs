//! The shortest way through a core, for what a busy publisher sends: messages that begin as the last one did.

use crate::{
    engine::{
        hub::{Hub, TURN_BYTES_MAX, work::MESSAGE_UNITS},
        slot::Slot,
    },
    error::Fault,
    protocol::{frame, mask},
};

/// What the last message was that did nothing but publish to one channel. What a head means depends on its bytes alone,
/// so a message that starts with the very same ones is published to the same channel without a look at its head.
#[derive(Debug, Default)]
pub(super) struct Repeat {
    /// The head, up to its empty line.
    head: Vec<u8>,
    /// The number of its channel in [`super::publish::Resolved`]: as long as that is what was resolved last, its
    /// subscribers are known. 0 is none.
    channel: u64,
    no_echo: bool,
}

impl Repeat {
    pub(super) fn forget(&mut self) {
        self.channel = 0;
    }
}

impl Hub {
    /// Further messages that begin with `head`, a whole one, are to be published to the channel that was published to
    /// last, and to do nothing else. It holds until a subscription changes or another channel is published to.
    pub(crate) fn expect_repeats(&mut self, head: &[u8], no_echo: bool) {
        // With several audiences a message goes to each before the next one does: no run of messages then.
        if let Some(channel) = self.single_audience() {
            self.repeat.channel = channel;
            self.repeat.no_echo = no_echo;
            self.repeat.head.clear();
            self.repeat.head.extend_from_slice(head);
        }
    }

    /// Takes messages of one frame each for as long as they repeat the last one's head, and gives the bytes used. They
    /// are unmasked on their way into the turn, and are one range there.
    ///
    /// # Errors
    /// 1007 for text that is not UTF-8; what came before it is published.
    pub(super) fn take_repeated(&mut self, slot: Slot, bytes: &[u8]) -> Result<usize, Fault> {
        // One look for the whole run: a message that needs a congested link is to wait, one by one.
        if self.single_audience() != Some(self.repeat.channel) || self.is_congested() {
            return Ok(0);
        }
        let mut turn = std::mem::take(self.outboxes.turn());
        let start = turn.len();
        let taken = self.append_repeated(&mut turn, bytes);
        let end = turn.len();
        if !self.resolved.has_subscribers() {
            turn.truncate(start); // they were there for the peers, if there are any
            self.passed_on += end - start;
        }
        *self.outboxes.turn() = turn;
        if taken.messages > 0 {
            self.work.add(MESSAGE_UNITS * taken.messages);
            self.stats.received += taken.messages;
            self.stats.published += taken.messages;
            if self.resolved.has_subscribers() {
                let except = self.repeat.no_echo.then_some(slot);
                self.deliver(start as u32, end as u32, except, taken.messages);
            }
        }
        taken.fault.map_or(Ok(taken.used), Err)
    }

    fn append_repeated(&mut self, turn: &mut Vec<u8>, bytes: &[u8]) -> Taken {
        let payload_bytes_max = self.limits.message_bytes_max.min(self.publish_bytes_max());
        let head = &self.repeat.head[..];
        let (start, mut end) = (turn.len(), turn.len());
        let end_max = TURN_BYTES_MAX.min(start.saturating_add(self.run_bytes_max()));
        let mut taken = Taken::default();
        while end < end_max {
            let rest = &bytes[taken.used..];
            let Some(whole) = frame::whole(rest) else { break };
            let masked = &rest[whole.start..whole.end];
            if masked.len() > payload_bytes_max || !mask::starts_with(masked, whole.mask, head) {
                break;
            }
            if turn.len() < end + whole.end {
                // Room for twice as many as came yet: what is zeroed in vain is no more than what is used.
                turn.resize(end + whole.end.max(end - start).min(rest.len()), 0);
            }
            let (len, is_ascii) = frame::rewrite(rest, whole, &mut turn[end..]);
            let frame = &turn[end..end + len];
            if whole.is_text && !is_ascii && simdutf8::basic::from_utf8(&frame[len - masked.len()..]).is_err() {
                taken.fault = Some(Fault::NOT_UTF8);
                break;
            }
            self.resolved.relay(frame, &mut self.relays);
            end += len;
            taken.used += whole.end;
            taken.messages += 1;
        }
        turn.truncate(end);
        taken
    }
}

/// What came of some input.
#[derive(Default)]
struct Taken {
    /// Its bytes that were used.
    used: usize,
    messages: u64,
    /// What is wrong with the message behind them.
    fault: Option<Fault>,
}
