//! The shortest way through a core, for what a busy publisher sends: messages that begin as the last one did.

use crate::{
    engine::{
        hub::{Hub, acks::data},
        subscriptions::Slot,
    },
    error::Fault,
    protocol::frame::{self, Whole},
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
        if self.single_audience() != Some(self.repeat.channel) {
            return Ok(0);
        }
        let head = std::mem::take(&mut self.repeat.head);
        let payload_bytes_max = self.limits.message_bytes_max.min(self.publish_bytes_max());
        let start = self.outboxes.turn_len();
        let (mut used, mut messages) = (0, 0);
        let mut result = Ok(());
        while !self.is_full() && !self.must_wait() {
            let Some(whole) = frame::whole(&bytes[used..]) else { break };
            let masked = &bytes[used + whole.start..used + whole.end];
            if masked.len() > payload_bytes_max || !frame::starts_like(masked, whole.mask, &head) {
                break;
            }
            match self.append_repeated(whole, masked, &head) {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            }
            used += whole.end;
            messages += 1;
        }
        self.repeat.head = head;
        self.stats.received += messages;
        self.stats.published += messages;
        self.deliver_repeated(slot, start, messages);
        result.map(|()| used)
    }

    /// Appends one message to the turn. False, and nothing is appended, if its head is another one.
    fn append_repeated(&mut self, whole: Whole, masked: &[u8], head: &[u8]) -> Result<bool, Fault> {
        let turn = self.outboxes.turn();
        let start = turn.len();
        let is_ascii = frame::encode_unmasked(turn, data(whole.is_text), masked, whole.mask);
        let payload = &turn[turn.len() - masked.len()..];
        if !payload.starts_with(head) {
            turn.truncate(start);
            return Ok(false);
        }
        if whole.is_text && !is_ascii && simdutf8::basic::from_utf8(payload).is_err() {
            turn.truncate(start);
            return Err(Fault::NOT_UTF8);
        }
        self.relay_resolved(start as u32);
        Ok(true)
    }

    /// The turn from `start` on is `messages` for the resolved channel.
    fn deliver_repeated(&mut self, slot: Slot, start: usize, messages: u64) {
        if messages == 0 {
            return;
        }
        if self.resolved.has_subscribers {
            let except = self.repeat.no_echo.then_some(slot);
            self.deliver(start as u32, self.outboxes.turn_len() as u32, except, messages);
        } else {
            self.outboxes.turn().truncate(start); // they were there for the peers, if there are any
        }
    }
}
