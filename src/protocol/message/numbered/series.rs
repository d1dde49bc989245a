//! Numbered messages of one channel that differ in their number and their body alone.

use super::{Epoch, Unnumbered};
use crate::protocol::frame;

/// The longest header of a server's frame.
const HEADER_BYTES_MAX: usize = 10;

/// What stands before the body in the frame of the next message. It is made once; each message after that adds one to the
/// decimal digits of the number, and writes the header of the frame anew if the body has another length.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// Room for the header of the frame, which ends where the head begins, and the head.
    bytes: Vec<u8>,
    header: Vec<u8>,
    /// Where the header of the frame begins.
    start: usize,
    /// Where the digits of the number begin and end.
    digits: (usize, usize),
    number: u64,
    /// The body for which the header of the frame was written: whether it is text, and its length.
    body: Option<(bool, usize)>,
}

impl Series {
    /// The messages of a channel that begin as this one does, up to their body.
    pub(crate) fn new(head: Unnumbered<'_>, epoch: Epoch, channel: &[u8]) -> Self {
        let before: [&[u8]; 5] = [&[0; HEADER_BYTES_MAX], head.start_line, b"message-id:", &epoch.0, b"-"];
        let mut bytes = before.concat();
        let digits = (bytes.len(), bytes.len() + 1);
        [b"0\r\nchannel:", channel, b"\r\n", head.rest].iter().for_each(|part| bytes.extend_from_slice(part));
        Self { bytes, digits, ..Self::default() }
    }

    /// Goes on with this number.
    pub(crate) fn go_on_with(&mut self, number: u64) {
        if number != self.number {
            let (start, end) = self.digits;
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(number).as_bytes();
            self.bytes.splice(start..end, digits.iter().copied());
            (self.digits, self.number, self.body) = ((start, start + digits.len()), number, None);
        }
    }

    /// The frame of the next message up to its body.
    #[inline]
    pub(crate) fn begin(&mut self, is_text: bool, body_len: usize) -> &[u8] {
        if self.body != Some((is_text, body_len)) {
            self.put_header(is_text, body_len);
        }
        &self.bytes[self.start..]
    }

    fn put_header(&mut self, is_text: bool, body_len: usize) {
        self.header.clear();
        let payload_len = self.bytes.len() - HEADER_BYTES_MAX + body_len;
        frame::encode_header(&mut self.header, frame::data(is_text), payload_len);
        self.start = HEADER_BYTES_MAX - self.header.len();
        self.bytes[self.start..HEADER_BYTES_MAX].copy_from_slice(&self.header);
        self.body = Some((is_text, body_len));
    }

    /// Goes on with the next number.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.number += 1;
        let (start, end) = self.digits;
        for digit in self.bytes[start..end].iter_mut().rev() {
            if *digit != b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
        self.bytes.insert(start, b'1');
        (self.digits, self.body) = ((start, end + 1), None);
    }
}
