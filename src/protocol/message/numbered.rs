//! Messages with a number (PROTOCOL.md §10): on a channel with a history, the server puts two lines behind the start line.
//!
//! ```text
//! LHTTP/1.0 chat
//! message-id:0c6l2v8rq1ta-42
//! channel:room.lobby
//! ```

use std::{fmt, str::FromStr};

use crate::protocol::{frame, scan};

mod series;

pub(crate) use self::series::Series;

/// Letters of an epoch.
const EPOCH_LETTERS: usize = 12;
const LETTERS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
/// The names of the lines that the server writes itself.
const OWN: [&[u8]; 2] = [b"message-id", b"channel"];

/// The life of a history. Numbers of different epochs have nothing to do with each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Epoch([u8; EPOCH_LETTERS]);

impl Epoch {
    /// The epoch of these 60 bits.
    pub(crate) fn new(bits: u64) -> Self {
        let mut letters = [0; EPOCH_LETTERS];
        for (index, letter) in letters.iter_mut().enumerate() {
            *letter = LETTERS[(bits >> (5 * index)) as usize % LETTERS.len()];
        }
        Self(letters)
    }
}

impl Epoch {
    /// The epoch as bytes, for [`Epoch::of_bytes`].
    pub(crate) fn bytes(self) -> [u8; EPOCH_LETTERS] {
        self.0
    }

    /// The epoch of these bytes.
    pub(crate) fn of_bytes(bytes: [u8; EPOCH_LETTERS]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Epoch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let letters = <[u8; EPOCH_LETTERS]>::try_from(text.as_bytes()).ok();
        let letters = letters.filter(|letters| letters.iter().all(|letter| LETTERS.contains(letter)));
        letters.map(Self).ok_or_else(|| format!("{text:?} is not an epoch"))
    }
}

/// The id of a message: opaque for clients, which keep the newest of each channel and give it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageId {
    pub(crate) epoch: Epoch,
    /// Counts the messages of the channel.
    pub(crate) offset: u64,
}

impl MessageId {
    /// The id that a client gives back. `None` if it is not one of ours.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (epoch, rest) = text.split_first_chunk::<EPOCH_LETTERS>()?;
        let digits = rest.strip_prefix(b"-")?;
        let is_canonical =
            digits.iter().all(u8::is_ascii_digit) && (digits.first() != Some(&b'0') || digits.len() == 1);
        if !is_canonical || !epoch.iter().all(|letter| LETTERS.contains(letter)) {
            return None;
        }
        let offset = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(Self { epoch: Epoch(*epoch), offset })
    }

    /// Appends the id.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(self.offset).as_bytes();
        out.reserve(EPOCH_LETTERS + 1 + digits.len());
        out.extend_from_slice(&self.epoch.0);
        out.push(b'-');
        out.extend_from_slice(digits);
    }
}

/// A message without the lines that the server writes itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unnumbered<'m> {
    /// The start line with its end.
    pub(super) start_line: &'m [u8],
    /// The header lines, the empty line and the body.
    pub(super) rest: &'m [u8],
}

impl<'m> Unnumbered<'m> {
    /// Splits a message, which begins with a valid head. If it has lines that the server writes itself, the message without
    /// them is made in `room`.
    pub(crate) fn of(message: &'m [u8], room: &'m mut Vec<u8>) -> Self {
        let split = Self::of_clean(message);
        let mut lines = split.rest;
        while let Some(len) = line_end(lines).filter(|&len| len > 0) {
            if is_own(&lines[..len]) {
                *room = without_own_lines(message).unwrap_or_default();
                return Self::of_clean(room);
            }
            lines = &lines[len + 2..];
        }
        split
    }

    /// Splits a message that has no such lines.
    pub(crate) fn of_clean(message: &'m [u8]) -> Self {
        let end = line_end(message).map_or(message.len(), |end| end + 2);
        let (start_line, rest) = message.split_at(end);
        Self { start_line, rest }
    }

    /// The length of the message.
    pub(crate) fn len(self) -> usize {
        self.start_line.len() + self.rest.len()
    }

    /// Appends the message.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.start_line);
        out.extend_from_slice(self.rest);
    }

    /// Appends the message with its number and its channel, as it is sent.
    pub(crate) fn encode(self, out: &mut Vec<u8>, is_text: bool, id: MessageId, channel: &[u8]) {
        let Self { start_line, rest } = self;
        let mut digits = itoa::Buffer::new();
        let offset = digits.format(id.offset).as_bytes();
        // The parts of a known length need no call each to be copied.
        let (name, channel_name) = (b"message-id:", b"\r\nchannel:");
        let known = name.len() + id.epoch.0.len() + 1 + channel_name.len() + 2;
        let len = start_line.len() + offset.len() + channel.len() + rest.len() + known;
        out.reserve(len + 10);
        frame::encode_header(out, frame::data(is_text), len);
        out.extend_from_slice(start_line);
        out.extend_from_slice(name);
        out.extend_from_slice(&id.epoch.0);
        out.push(b'-');
        out.extend_from_slice(offset);
        out.extend_from_slice(channel_name);
        out.extend_from_slice(channel);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(rest);
    }
}

/// Whether the server writes header lines of this name itself.
pub(crate) fn is_own_name(name: &[u8]) -> bool {
    match (name.len(), name.first().map(|first| first | 0x20)) {
        (10, Some(b'm')) | (7, Some(b'c')) => OWN.iter().any(|own| name.eq_ignore_ascii_case(own)),
        _ => false,
    }
}

/// The message without header lines of the names that the server writes itself; `None` if there are none.
pub(crate) fn without_own_lines(message: &[u8]) -> Option<Vec<u8>> {
    let mut kept: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(len) = line_end(&message[at..]) {
        let line = &message[at..at + len + 2];
        if len == 0 {
            break;
        }
        if at > 0 && is_own(line) {
            kept.get_or_insert_with(|| message[..at].to_vec());
        } else if let Some(kept) = &mut kept {
            kept.extend_from_slice(line);
        }
        at += line.len();
    }
    let mut kept = kept?;
    kept.extend_from_slice(&message[at..]);
    Some(kept)
}

/// Whether this is a line that the server writes itself.
fn is_own(line: &[u8]) -> bool {
    OWN.iter().any(|name| line.get(name.len()) == Some(&b':') && is_own_name(&line[..name.len()]))
}

/// Where the first line ends that has an end.
fn line_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += scan::before_cr(&bytes[at..]);
        match bytes.get(at + 1) {
            Some(b'\n') => return Some(at),
            Some(_) => at += 1,
            None => return None,
        }
    }
}

/// The id and the channel of a numbered message that this module has encoded.
pub(crate) fn of_frame(frame: &[u8]) -> Option<(MessageId, &[u8])> {
    let message = frame::payload(frame);
    let rest = &message[line_end(message)? + 2..];
    let (id, rest) = rest.split_at(line_end(rest)?);
    let id = id.strip_prefix(b"message-id:")?;
    let channel = rest[2..2 + line_end(&rest[2..])?].strip_prefix(b"channel:")?;
    Some((MessageId::parse(id)?, channel))
}

#[cfg(test)]
mod tests;
