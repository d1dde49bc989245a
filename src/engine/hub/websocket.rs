//! WebSocket input: frames, fragments, control frames (RFC 6455 §5, §6.2).

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::{
    engine::{application::Application, hub::Hub, router::work::MESSAGE_UNITS, session::Phase, slot::Slot},
    error::Fault,
    protocol::{
        frame::{self, Header, Whole},
        mask,
        utf8::Utf8,
    },
};

impl Hub {
    /// Takes frames from `bytes`, unmasks them in place, and keeps an unfinished one. Returns the number of bytes used.
    pub(super) fn receive_frames(&mut self, app: &mut dyn Application, slot: Slot, bytes: &mut [u8]) -> usize {
        if self.sessions.is_open(slot) {
            self.sessions[slot].heard = self.sessions.now(); // closing has its own deadline
        }
        match self.take_frames(app, slot, bytes) {
            Ok(used) => used,
            Err(fault) => {
                self.fail(app, slot, fault);
                bytes.len()
            }
        }
    }

    fn take_frames(&mut self, app: &mut dyn Application, slot: Slot, bytes: &mut [u8]) -> Result<usize, Fault> {
        let mut used = self.finish_partial(app, slot, bytes)?;
        while used < bytes.len() && self.takes_frames(slot) {
            used += self.take_whole_messages(app, slot, &mut bytes[used..])?;
            if used == bytes.len() || !self.takes_frames(slot) || self.router.must_stop() {
                break;
            }
            let rest = &mut bytes[used..];
            let header = self.decode(slot, rest)?;
            let Some(header) = header.filter(|header| header.len + header.payload_len <= rest.len()) else {
                self.sessions.fragments_mut(slot).partial.extend_from_slice(rest);
                return Ok(bytes.len());
            };
            let len = header.len + header.payload_len;
            let links = self.links_needed_by(app, slot, &header, &mut rest[header.len..len]);
            if links != 0 {
                self.pause_with(slot, rest, links);
                return Ok(bytes.len());
            }
            self.take_frame(app, slot, header, &mut rest[header.len..len])?;
            used += len;
        }
        Ok(if self.reads_frames(slot) { used } else { bytes.len() })
    }

    /// Takes messages of one frame each, as nearly all are, until another kind of frame comes. Returns the bytes used.
    /// The result is the same as of the general way, but without its checks of each frame.
    fn take_whole_messages(&mut self, app: &mut dyn Application, slot: Slot, bytes: &mut [u8]) -> Result<usize, Fault> {
        let mut used = 0;
        while self.sessions[slot].is_plain() && !self.router.is_congested() && !self.router.must_stop() {
            used += self.take_repeated(slot, &bytes[used..])?;
            if self.router.must_stop() {
                break;
            }
            let rest = &mut bytes[used..];
            let Some(Whole { is_text, mask, start, end }) = frame::whole(rest) else { break };
            let payload = &mut rest[start..end];
            if payload.len() > self.limits.message_bytes_max {
                break;
            }
            let is_ascii = mask::unmask(payload, mask);
            if is_text && !is_ascii && simdutf8::basic::from_utf8(payload).is_err() {
                return Err(Fault::NOT_UTF8);
            }
            self.message(app, slot, is_text, payload);
            used += end;
        }
        Ok(used)
    }

    /// Completes the kept frame, if there is one, with the first of `bytes`. Returns how many bytes this took.
    fn finish_partial(&mut self, app: &mut dyn Application, slot: Slot, bytes: &[u8]) -> Result<usize, Fault> {
        let Some(fragments) = self.sessions[slot].fragments() else { return Ok(0) };
        if fragments.partial.is_empty() {
            return Ok(0);
        }
        let mut partial = std::mem::take(&mut fragments.partial);
        let mut used = 0;
        let header = loop {
            let header = self.decode(slot, &partial)?;
            let missing = match &header {
                Some(header) => header.len + header.payload_len - partial.len(),
                None => 1,
            };
            if let Some(header) = header
                && missing == 0
            {
                break header;
            }
            let more = &bytes[used..bytes.len().min(used + missing)];
            if more.is_empty() {
                self.sessions.fragments_mut(slot).partial = partial;
                return Ok(used);
            }
            partial.extend_from_slice(more);
            used += more.len();
        };
        let links = self.links_needed_by(app, slot, &header, &mut partial[header.len..]);
        if links != 0 {
            partial.extend_from_slice(&bytes[used..]);
            self.pause_with(slot, &partial, links);
            return Ok(bytes.len());
        }
        self.take_frame(app, slot, header, &mut partial[header.len..])?;
        self.sessions[slot].tidy();
        Ok(used)
    }

    /// Reads a frame's header, and checks the message's length against the limit before the payload is there.
    fn decode(&mut self, slot: Slot, bytes: &[u8]) -> Result<Option<Header>, Fault> {
        let limit = self.limits.message_bytes_max;
        let header = frame::decode(bytes, limit)?;
        if let Some(Header { opcode: OpCode::Data(_), payload_len, .. }) = header
            && let Some(fragments) = self.sessions[slot].fragments()
            && fragments.message.len() + payload_len > limit
        {
            return Err(Fault::TOO_BIG);
        }
        Ok(header)
    }

    fn reads_frames(&self, slot: Slot) -> bool {
        matches!(self.sessions[slot].phase(), Phase::Open | Phase::Closing)
    }

    /// Whether the hub takes frames of the connection now. If its last message is unfinished, they wait.
    fn takes_frames(&self, slot: Slot) -> bool {
        self.reads_frames(slot) && !self.sessions[slot].is_paused()
    }

    /// The congested links, a bit for each, that are needed by the message that this frame completes. If no link is
    /// congested, which is the normal case, the frame is not parsed. The payload is masked before and after.
    fn links_needed_by(&mut self, app: &mut dyn Application, slot: Slot, header: &Header, payload: &mut [u8]) -> u64 {
        let OpCode::Data(kind) = header.opcode else { return 0 };
        if !self.router.is_congested() || !header.is_final || !self.sessions.is_open(slot) {
            return 0;
        }
        mask::unmask(payload, header.mask);
        let links = if kind == Data::Continue {
            let fragments = self.sessions[slot].fragments();
            let message = fragments.map_or(Vec::new(), |fragments| [&fragments.message[..], payload].concat());
            self.links_needed(app, &message)
        } else {
            self.links_needed(app, payload)
        };
        mask::unmask(payload, header.mask);
        links
    }

    /// The entry for all complete messages. If a message repeats the last one's head, its effect is known; the
    /// application decides about all others. Text is UTF-8.
    #[inline]
    fn message(&mut self, app: &mut dyn Application, slot: Slot, is_text: bool, payload: &[u8]) {
        self.router.work.add(2 * MESSAGE_UNITS);
        self.stats.received += 1;
        if self.meter.is_on() {
            self.message_metered(app, slot, is_text, payload);
        } else {
            self.message_admitted(app, slot, is_text, payload);
        }
    }

    /// Handles a message that is within the rates of its connection.
    #[inline]
    pub(super) fn message_admitted(&mut self, app: &mut dyn Application, slot: Slot, is_text: bool, payload: &[u8]) {
        let grant = self.sessions[slot].grant();
        let repeats = self.router.repeats(grant, payload)
            || self.router.has_head_of_other(grant) && self.takes_over_head(slot, payload);
        if repeats && payload.len() <= self.limits.publish_bytes() {
            self.router.publish_repeated(self.sessions.key(slot), is_text, payload);
        } else {
            app.on_message(self, slot, is_text, payload);
        }
        self.message_done(Some(slot));
    }

    /// Takes messages while they repeat the last one's head, see [`crate::engine::router::Router::take_repeated`].
    /// Returns the bytes used.
    fn take_repeated(&mut self, slot: Slot, bytes: &[u8]) -> Result<usize, Fault> {
        if self.meter.is_on() { self.take_repeated_metered(slot, bytes) } else { self.take_run(slot, bytes) }
    }

    /// The same for a connection without rates.
    #[inline]
    pub(super) fn take_run(&mut self, slot: Slot, bytes: &[u8]) -> Result<usize, Fault> {
        if !self.router.expects_repeated() {
            return Ok(0);
        }
        let (key, grant) = (self.sessions.key(slot), self.sessions[slot].grant());
        let payload_bytes_max = self.limits.message_bytes_max.min(self.limits.publish_bytes());
        let taken = self.router.take_repeated(key, grant, payload_bytes_max, bytes);
        self.stats.received += taken.messages;
        taken.fault.map_or(Ok(taken.used), Err)
    }

    /// Takes a complete frame.
    fn take_frame(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        header: Header,
        payload: &mut [u8],
    ) -> Result<(), Fault> {
        self.router.work.add(MESSAGE_UNITS);
        let is_ascii = mask::unmask(payload, header.mask);
        let is_open = self.sessions.is_open(slot);
        if self.meter.is_on() && is_open && matches!(header.opcode, OpCode::Control(_)) {
            self.count_control(app, slot, payload.len());
            if !self.sessions.is_open(slot) {
                return Ok(()); // it was one too many
            }
        }
        match header.opcode {
            OpCode::Control(Control::Close) => self.closed_by_peer(app, slot, payload),
            OpCode::Control(Control::Ping) if is_open => {
                let encoding = self.sessions[slot].encoding;
                self.router.push(slot, |turn| encoding.pong(turn, payload));
                Ok(())
            }
            OpCode::Data(kind) if is_open && header.is_final && kind != Data::Continue => {
                self.take_message(app, slot, kind, payload, is_ascii)
            }
            OpCode::Data(kind) if is_open => self.take_fragment(app, slot, kind, header.is_final, payload),
            _ => Ok(()), // a pong, which counts as heard already; or our close frame is on its way
        }
    }

    /// Takes a message in one frame.
    fn take_message(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        kind: Data,
        payload: &[u8],
        is_ascii: bool,
    ) -> Result<(), Fault> {
        if self.sessions[slot].fragments().is_some_and(|fragments| fragments.kind.is_some()) {
            return Err(Fault::protocol("a message begins inside of another"));
        }
        let is_text = kind == Data::Text;
        if is_text && !is_ascii && simdutf8::basic::from_utf8(payload).is_err() {
            return Err(Fault::NOT_UTF8);
        }
        self.message(app, slot, is_text, payload);
        Ok(())
    }

    fn take_fragment(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        kind: Data,
        is_final: bool,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let fragments = self.sessions.fragments_mut(slot);
        if (kind == Data::Continue) != fragments.kind.is_some() {
            return Err(Fault::protocol("continuation is out of order"));
        }
        let is_text = *fragments.kind.get_or_insert(kind) == Data::Text;
        if is_text && !fragments.utf8.feed(payload) {
            return Err(Fault::NOT_UTF8);
        }
        fragments.message.extend_from_slice(payload);
        if !is_final {
            return Ok(());
        }
        if is_text && !fragments.utf8.is_complete() {
            return Err(Fault::NOT_UTF8);
        }
        let message = std::mem::take(&mut fragments.message);
        fragments.kind = None;
        fragments.utf8 = Utf8::default();
        self.sessions[slot].tidy();
        self.message(app, slot, is_text, &message);
        Ok(())
    }
}
