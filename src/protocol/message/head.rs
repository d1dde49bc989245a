//! A message's head, parsed in place into spans of the payload. The table of spans is reused for each message.

use crate::{
    error::{Reason, Refusal},
    protocol::{
        message::{
            ACK_BYTES_MAX, COMMAND_BYTES_MAX, Control, NAME_BYTES_MAX, VERSION, is_token, is_value_byte,
            names::{Names, Span},
            trim, trim_start,
        },
        scan,
    },
};

/// The limits of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    /// The most bytes from the start line to the empty line, both included.
    pub(crate) head_bytes_max: usize,
    /// The most header lines.
    pub(crate) headers_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    name: Span,
    value: Span,
    control: Option<Control>,
}

/// The head of one message. Each call takes the payload again, so that the table can live as long as the core and needs
/// no allocation per message.
#[derive(Debug, Default)]
pub(crate) struct Head {
    command: Span,
    lines: Vec<Line>,
    names: Names,
    controls: u16,
    /// The headers of `controls` that occur more than once.
    repeated: u16,
    body: u32,
}

impl Head {
    /// Parses the head of `payload`, which starts with [`VERSION`] (see [`super::is_lhttp`]). If `is_text`, the caller
    /// knows that the head is UTF-8.
    ///
    /// # Errors
    /// `bad-start-line`, `bad-header`, `head-too-big`; after an error the content of the table is unspecified.
    pub(crate) fn parse(&mut self, payload: &[u8], is_text: bool, limits: HeadLimits) -> Result<(), Refusal> {
        self.lines.clear();
        self.names.clear();
        self.controls = 0;
        self.repeated = 0;
        let window = &payload[..payload.len().min(limits.head_bytes_max)];
        let mut at = self.start_line(window, payload.len())?;
        loop {
            match window.get(at..at + 2) {
                Some(b"\r\n") => break,
                Some(_) => {}
                None => return Err(unfinished(window, payload.len(), Reason::BadHeader)),
            }
            if self.lines.len() == limits.headers_max {
                let sentence = format!("the head has more than {} headers", limits.headers_max);
                return Err(Refusal::because(Reason::HeadTooBig, sentence));
            }
            at = self.header_line(window, at, payload.len())?;
        }
        self.body = (at + 2) as u32;
        if !is_text && simdutf8::basic::from_utf8(&window[..at]).is_err() {
            return Err(bad_header("the head is not UTF-8"));
        }
        if !self.has(Control::Subscribe) {
            self.controls &= !Control::OF_SUBSCRIBE;
            self.repeated &= !Control::OF_SUBSCRIBE;
        }
        self.names.keep_first_of_each(payload);
        Ok(())
    }

    fn start_line(&mut self, window: &[u8], payload_len: usize) -> Result<usize, Refusal> {
        let start = VERSION.len() + 1;
        let rest = window.get(start..).unwrap_or_default();
        let len = scan::graphic_len(rest);
        if window.get(VERSION.len()).is_some_and(|&space| space != b' ') || len > COMMAND_BYTES_MAX {
            return Err(bad_start_line());
        }
        match rest.get(len..len + 2) {
            Some(b"\r\n") if len > 0 => {
                self.command = Span::new(start, start + len);
                Ok(start + len + 2)
            }
            Some(_) => Err(bad_start_line()),
            None if matches!(rest.get(len..), Some([] | [b'\r'])) => {
                Err(unfinished(window, payload_len, Reason::BadStartLine))
            }
            None => Err(bad_start_line()),
        }
    }

    /// Parses the header line at `at` and returns where the next line starts.
    fn header_line(&mut self, window: &[u8], at: usize, payload_len: usize) -> Result<usize, Refusal> {
        let line = &window[at..];
        let (name_len, control) = match line {
            // The most common header first, eight bytes at a time.
            [b'p', b'u', b'b', b'l', b'i', b's', b'h', b':', ..] => (7, Some(Control::Publish)),
            _ => {
                let name_len = line.iter().position(|&byte| !is_token(byte)).unwrap_or(line.len());
                (name_len, Control::of(&line[..name_len]))
            }
        };
        match line.get(name_len) {
            Some(b':') if (1..=NAME_BYTES_MAX).contains(&name_len) => {}
            None if name_len <= NAME_BYTES_MAX => return Err(unfinished(window, payload_len, Reason::BadHeader)),
            _ => {
                return Err(bad_header(
                    "a header line does not start with a name of 1 to 64 token characters and a colon",
                ));
            }
        }
        let raw = &line[name_len + 1..];
        let raw_len = scan::value_len(raw);
        match raw.get(raw_len..raw_len + 2) {
            Some(b"\r\n") => {}
            None if matches!(raw.get(raw_len..), Some([] | [b'\r'])) => {
                return Err(unfinished(window, payload_len, Reason::BadHeader));
            }
            _ => return Err(bad_header("a header's value has a control character, or its line does not end in CR LF")),
        }
        let value_start = at + line.len() - trim_start(raw).len();
        let value = trim(&raw[..raw_len]);
        if let Some(control) = control {
            self.control_line(control, value, value_start)?;
        }
        let name = Span::new(at, at + name_len);
        self.lines.push(Line { name, value: Span::new(value_start, value_start + value.len()), control });
        Ok(at + name_len + 1 + raw_len + 2)
    }

    fn control_line(&mut self, control: Control, value: &[u8], value_start: usize) -> Result<(), Refusal> {
        self.repeated |= self.controls & control.bit();
        self.controls |= control.bit();
        match control {
            Control::Ack if !(1..=ACK_BYTES_MAX).contains(&value.len()) => {
                return Err(bad_header("an ack token has 1 to 64 bytes"));
            }
            Control::Subscribe | Control::Publish | Control::Unsubscribe if value.is_empty() => {
                let sentence = "a subscribe, publish or unsubscribe header names no channel";
                return Err(Refusal::because(Reason::BadChannel, sentence));
            }
            Control::Subscribe | Control::Publish | Control::Unsubscribe => {}
            _ => return Ok(()),
        }
        let mut rest = value;
        while !rest.is_empty() {
            let start = value_start + value.len() - rest.len();
            let len = scan::word_len(rest);
            self.names.push(Span::new(start, start + len), control);
            rest = trim_start(&rest[len..]);
        }
        Ok(())
    }

    /// The command.
    pub(crate) fn command<'p>(&self, payload: &'p [u8]) -> &'p [u8] {
        self.command.of(payload)
    }

    /// All headers, as written, values trimmed.
    pub(crate) fn headers<'p>(&self, payload: &'p [u8]) -> impl Iterator<Item = (&'p [u8], &'p [u8])> {
        self.lines.iter().map(|line| (line.name.of(payload), line.value.of(payload)))
    }

    /// The start line with its line end.
    pub(super) fn start_line_bytes<'p>(&self, payload: &'p [u8]) -> &'p [u8] {
        &payload[..self.lines.first().map_or(self.body_start() - 2, |line| line.name.start())]
    }

    /// All header lines, byte by byte with their line ends, each behind its name.
    pub(super) fn raw_lines<'p>(&self, payload: &'p [u8]) -> impl Iterator<Item = (&'p [u8], &'p [u8])> {
        let ends = self.lines.iter().skip(1).map(|line| line.name.start()).chain([self.body_start() - 2]);
        self.lines.iter().zip(ends).map(|(line, end)| (line.name.of(payload), &payload[line.name.start()..end]))
    }

    /// Where the body starts.
    pub(crate) fn body_start(&self) -> usize {
        self.body as usize
    }

    /// The body.
    pub(crate) fn body<'p>(&self, payload: &'p [u8]) -> &'p [u8] {
        &payload[self.body_start()..]
    }

    /// Whether the message has this control header.
    pub(crate) fn has(&self, control: Control) -> bool {
        self.controls & control.bit() != 0
    }

    /// Whether the message only publishes.
    pub(crate) fn only_publishes(&self) -> bool {
        self.has(Control::Publish) && self.controls & !(Control::Publish.bit() | Control::NoEcho.bit()) == 0
    }

    /// Whether the message has any control header.
    pub(crate) fn has_controls(&self) -> bool {
        self.controls != 0
    }

    /// Checks that a control header whose values do not add up occurs at most once (PROTOCOL.md §2).
    ///
    /// # Errors
    /// `bad-header`.
    #[inline]
    pub(crate) fn check_repeated(&self) -> Result<(), Refusal> {
        if self.repeated & Control::SINGLE == 0 {
            return Ok(());
        }
        let sentence = "a message has at most one ack, last, multipart, no-echo, presence-info, since, token, upstream and \
             upstream-reply header each";
        Err(bad_header(sentence))
    }

    /// The channels and patterns in all values of one control header, each once and in order. They are not checked.
    pub(crate) fn names<'a>(&'a self, payload: &'a [u8], control: Control) -> impl Iterator<Item = &'a [u8]> {
        self.names.of(payload, control)
    }

    /// The same as places in the payload.
    pub(crate) fn spans(&self, control: Control) -> impl Iterator<Item = Span> {
        self.names.spans_of(control)
    }

    /// The first value of a control header. It is the only one of a message that passes [`Head::check_repeated`].
    pub(crate) fn value<'p>(&self, payload: &'p [u8], control: Control) -> Option<&'p [u8]> {
        self.values(payload, control).next()
    }

    /// The values of a control header, in order. Without such a header there is no scan.
    pub(crate) fn values<'p>(&self, payload: &'p [u8], control: Control) -> impl Iterator<Item = &'p [u8]> {
        let lines = if self.has(control) { &self.lines[..] } else { &[] };
        lines.iter().filter(move |line| line.control == Some(control)).map(|line| line.value.of(payload))
    }
}

/// The `ack` token of a message whose head may be broken, so that the error can carry the token (PROTOCOL.md §2). Of
/// several, the first valid one. Cost: one pass over the head.
pub(crate) fn find_ack(payload: &[u8], limits: HeadLimits) -> Option<&[u8]> {
    let window = &payload[..payload.len().min(limits.head_bytes_max)];
    let lines = memchr::memmem::find_iter(window, b"\r\n").map(|end| &window[end + 2..]);
    let mut lines = lines.take_while(|line| !line.starts_with(b"\r\n"));
    lines.find_map(|line| {
        let (name, value) = line.split_at_checked("ack:".len())?;
        if !name.eq_ignore_ascii_case(b"ack:") {
            return None;
        }
        let value = trim(&value[..memchr::memmem::find(value, b"\r\n").unwrap_or(value.len())]);
        let is_sound = (1..=ACK_BYTES_MAX).contains(&value.len())
            && value.iter().all(|&byte| is_value_byte(byte))
            && std::str::from_utf8(value).is_ok();
        is_sound.then_some(value)
    })
}

/// The head has no end in the window: either the message is cut off, or the head is over its limit.
fn unfinished(window: &[u8], payload_len: usize, reason: Reason) -> Refusal {
    if payload_len > window.len() {
        let sentence = format!("the head is longer than {} bytes", window.len());
        return Refusal::because(Reason::HeadTooBig, sentence);
    }
    match reason {
        Reason::BadStartLine => bad_start_line(),
        _ => bad_header("the head has no empty line behind it"),
    }
}

fn bad_start_line() -> Refusal {
    let sentence = "the first line is not \"LHTTP/1.0 command\" with one space, 1 to 64 visible characters and CR LF";
    Refusal::because(Reason::BadStartLine, sentence)
}

fn bad_header(sentence: &'static str) -> Refusal {
    Refusal::because(Reason::BadHeader, sentence)
}

#[cfg(test)]
mod tests;
