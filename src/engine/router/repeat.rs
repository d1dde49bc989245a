//! The shortest path through a core, for a busy publisher: messages with the same head as the last one.

mod numbered;

use smallvec::SmallVec;

use crate::{
    engine::{
        router::{OwnPublish, Router, TURN_BYTES_MAX, resolve::What, work::MESSAGE_UNITS},
        session::Grant,
        slot::ConnectionKey,
    },
    error::Fault,
    protocol::{
        frame, mask,
        message::{Series, Span},
    },
};

/// The longest head that is kept: comparing a longer one would cost as much as parsing it.
const HEAD_BYTES_MAX: usize = 256;

/// The head of the last message that only published. The meaning of a head depends on its bytes and its sender's grant
/// alone. So a message that starts with the same bytes, from a connection with the same grant, is neither parsed nor
/// checked again.
#[derive(Debug, Default)]
pub(super) struct LastHead {
    /// The head up to its empty line; empty when none is known.
    bytes: Vec<u8>,
    /// The grant of the sender for which the head was checked.
    grant: Grant,
    /// Where the head names its channels.
    names: Vec<Span>,
    no_echo: bool,
    further: Further,
    /// The messages of a channel with a history that have this head.
    series: Series,
    /// Buffers that are reused: the frames of some of these messages, and their ends.
    frames: Vec<u8>,
    ends: Vec<u32>,
}

/// How messages that repeat the last head are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Further {
    #[default]
    OneByOne,
    /// As one range of the turn, while the last resolution in [`super::resolve::What`] has this number: the head has one
    /// channel, whose subscribers are one audience.
    Together { number: u64 },
    /// The same for a channel whose history is kept in the memory of this core.
    Numbered { number: u64 },
}

impl Router {
    /// Remembers the head of a valid message that only publishes to these channels, from a connection that has `grant`.
    /// Further messages with this head do the same, until [`Router::forget_head`].
    pub(crate) fn keep_head(&mut self, grant: Grant, head: &[u8], names: impl Iterator<Item = Span>, no_echo: bool) {
        if head.len() > HEAD_BYTES_MAX {
            return;
        }
        let last = &mut self.last_head;
        last.bytes.clear();
        last.bytes.extend_from_slice(head);
        last.names.clear();
        last.names.extend(names);
        // Only a second message shows that more may come.
        (last.grant, last.no_echo, last.further) = (grant, no_echo, Further::OneByOne);
    }

    /// Forgets the last head, because the limits or rules that it was checked against have changed.
    pub(crate) fn forget_head(&mut self) {
        self.last_head.bytes.clear();
        self.last_head.further = Further::OneByOne;
    }

    /// Forgets the last head if it was checked for this grant, whose permissions have changed.
    pub(crate) fn forget_head_of(&mut self, grant: Grant) {
        if self.last_head.grant == grant {
            self.forget_head();
        }
    }

    /// Whether a message from a connection with this grant begins with the last head.
    pub(crate) fn repeats(&self, grant: Grant, payload: &[u8]) -> bool {
        let last = &self.last_head;
        !last.bytes.is_empty() && last.grant == grant && payload.starts_with(&last.bytes)
    }

    /// The bytes of the shortest frame that repeats the last head: its header, its mask, and the head.
    pub(crate) fn repeated_bytes_min(&self) -> u64 {
        (self.last_head.bytes.len() + frame::CLIENT_HEADER_BYTES_MIN) as u64
    }

    /// Whether the last head was checked for another grant than this.
    #[inline]
    pub(crate) fn has_head_of_other(&self, grant: Grant) -> bool {
        self.last_head.grant != grant
    }

    /// Whether a message begins with the last head, whatever grant that was checked for.
    pub(crate) fn has_last_head(&self, payload: &[u8]) -> bool {
        !self.last_head.bytes.is_empty() && payload.starts_with(&self.last_head.bytes)
    }

    /// Where the last head names its channels.
    pub(crate) fn head_names(&self) -> SmallVec<[Span; 4]> {
        self.last_head.names.iter().copied().collect()
    }

    /// Notes that the last head has the same meaning for connections with this grant.
    pub(crate) fn give_head_to(&mut self, grant: Grant) {
        self.last_head.grant = grant;
    }

    /// Publishes a message that [repeats](Router::repeats) the last head. If its channel is the only one, and reaches one
    /// audience, the next messages go through [`Router::take_repeated`].
    pub(crate) fn publish_repeated(&mut self, key: ConnectionKey, is_text: bool, payload: &[u8]) {
        let names = std::mem::take(&mut self.last_head.names);
        let except = self.last_head.no_echo.then_some(key);
        let own = OwnPublish { publisher: Some(key), receipt: None };
        self.publish(names.iter().map(|name| name.of(payload)), is_text, payload, except, own);
        // With several audiences, a message goes to all of them before the next one. So there can be no run of
        // messages.
        self.last_head.further = if names.len() == 1 { self.further() } else { Further::OneByOne };
        self.last_head.names = names;
    }

    /// How further messages to the resolved channel alone are published.
    fn further(&mut self) -> Further {
        match self.single_audience() {
            Some(number) if self.resolved.has_history() => self.expect_numbered(number),
            Some(number) => Further::Together { number },
            None => Further::OneByOne,
        }
    }

    /// Whether [`Router::take_repeated`] may take messages.
    pub(crate) fn expects_repeated(&self) -> bool {
        self.last_head.further != Further::OneByOne
    }

    /// Takes messages of one frame each while they repeat the last head and are no larger than `payload_bytes_max`.
    /// They are unmasked while they are copied into the turn, and form one range there.
    ///
    /// # Errors
    /// [`Repeated::fault`] is 1007 for text that is not UTF-8. The messages before it are published.
    pub(crate) fn take_repeated(
        &mut self,
        key: ConnectionKey,
        grant: Grant,
        payload_bytes_max: usize,
        bytes: &[u8],
    ) -> Repeated {
        let number = match self.last_head.further {
            Further::OneByOne => return Repeated::default(),
            Further::Together { number } | Further::Numbered { number } => number,
        };
        // One check for the whole run: with a congested link, messages take the general way one by one.
        let is_current = self.resolved.what == What::Channel { number } && self.last_head.grant == grant;
        if !is_current || self.is_congested() {
            return Repeated::default();
        }
        if let Further::Numbered { .. } = self.last_head.further {
            return self.take_numbered(key, payload_bytes_max, bytes);
        }
        let mut turn = std::mem::take(self.outboxes.turn());
        let start = turn.len();
        let taken = self.append_repeated(&mut turn, payload_bytes_max, bytes);
        let end = turn.len();
        if !self.resolved.has_subscribers() {
            turn.truncate(start); // only peers get these messages
            self.passed_on += end - start;
        }
        *self.outboxes.turn() = turn;
        if taken.messages > 0 {
            self.work.add(MESSAGE_UNITS * taken.messages);
            self.published += taken.messages;
            self.sample_resolved();
            if self.resolved.has_subscribers() {
                let except = self.last_head.no_echo.then_some(key);
                self.deliver(start as u32, end as u32, except, taken.messages);
            }
        }
        taken
    }

    fn append_repeated(&mut self, turn: &mut Vec<u8>, payload_bytes_max: usize, bytes: &[u8]) -> Repeated {
        let head = &self.last_head.bytes[..];
        let (start, mut end) = (turn.len(), turn.len());
        let end_max = TURN_BYTES_MAX.min(start.saturating_add(self.run_bytes_max()));
        let mut taken = Repeated::default();
        while end < end_max {
            let rest = &bytes[taken.used..];
            let Some(whole) = frame::whole(rest) else { break };
            let masked = &rest[whole.start..whole.end];
            if masked.len() > payload_bytes_max || !mask::starts_with(masked, whole.mask, head) {
                break;
            }
            if turn.len() < end + whole.end {
                // Doubles the space, so that no more bytes are zeroed needlessly than are used.
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

/// The result of [`Router::take_repeated`].
#[derive(Default)]
pub(crate) struct Repeated {
    /// The number of used bytes.
    pub(crate) used: usize,
    pub(crate) messages: u64,
    /// The fault of the message after them.
    pub(crate) fault: Option<Fault>,
}
