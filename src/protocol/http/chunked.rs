//! The chunked transfer coding (RFC 9112 §7.1), decoded as the bytes arrive.

use crate::{
    error::HttpFault,
    protocol::message::{is_token, is_value_byte},
};

/// The most bytes of chunk extensions and trailer lines of one body. The decoder skips them, so without this limit a
/// peer could send them for ever and never reach the body's own limit (RFC 9112 §7.1.1, §7.1.2).
pub(crate) const CHUNK_OVERHEAD_BYTES_MAX: u32 = 4096;

/// A number with more hexadecimal digits does not fit into 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

const BAD_SIZE: HttpFault = HttpFault::new(400, "a chunk size is not 1 to 16 hexadecimal digits and CRLF");
const BAD_EXTENSION: HttpFault = HttpFault::new(400, "a chunk extension is malformed or not ended by CRLF");
const BAD_END: HttpFault = HttpFault::new(400, "a chunk's data is not followed by CRLF");
const BAD_TRAILER: HttpFault = HttpFault::new(400, "a line behind the last chunk is neither a header nor empty");
const BODY_TOO_BIG: HttpFault = HttpFault::new(413, "the body is over the limit");
const OVERHEAD_TOO_BIG: HttpFault = HttpFault::new(431, "chunk extensions and trailers are over 4096 bytes");

/// The decoder of one chunked body: 32 bytes of state and no buffer. The result does not depend on how the input is
/// cut.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChunkedBody {
    at: At,
    digits: u8,
    overhead_bytes: u32,
    /// In `Size`: the number read so far. In `Data`: the bytes of the chunk that are still missing.
    size: u64,
    /// The sum of the sizes of all chunks that have begun; never over the body limit.
    body_bytes: u64,
}

/// The part of the coding that the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// The digits of a chunk size.
    #[default]
    Size,
    /// Blanks between a chunk size and its `;` (allowed there only, RFC 9112 §7.1.1).
    Blank,
    /// Behind the `;` of a chunk size.
    Extension,
    /// The LF that ends a chunk size's line.
    SizeLf,
    /// A chunk's data.
    Data,
    /// The CR behind a chunk's data.
    DataCr,
    /// The LF behind a chunk's data.
    DataLf,
    /// The first byte of a line behind the last chunk.
    Line,
    /// The name of a trailer line.
    Name,
    /// The value of a trailer line.
    Value,
    /// The LF that ends a trailer line.
    ValueLf,
    /// The LF that ends the body.
    EndLf,
    /// The body is complete.
    Done,
}

impl ChunkedBody {
    /// Decodes `input` and appends the body's bytes to `out`. Returns how many bytes of `input` belong to this body,
    /// and whether the body is now complete. Bytes that are not consumed belong to the next request. Once the body is
    /// complete, nothing more is consumed.
    ///
    /// Extensions and trailers are checked and discarded. Data is copied in whole runs.
    ///
    /// # Errors
    /// 400 for input that RFC 9112 §7.1 forbids (also bare LF, signs, blanks, sizes over 64 bits). 413 as soon as a
    /// chunk size shows that the body is over `body_bytes_max`. 431 past [`CHUNK_OVERHEAD_BYTES_MAX`]. After an error
    /// the decoder and `out` hold nothing of use.
    pub(crate) fn decode(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        body_bytes_max: usize,
    ) -> Result<(usize, bool), HttpFault> {
        let mut rest = input;
        while self.at != At::Done && !rest.is_empty() {
            if self.at == At::Data {
                let run = usize::try_from(self.size).map_or(rest.len(), |size| size.min(rest.len()));
                out.extend_from_slice(&rest[..run]);
                rest = &rest[run..];
                self.size -= run as u64;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
            } else {
                self.at = self.after(rest[0], body_bytes_max)?;
                rest = &rest[1..];
            }
        }
        Ok((input.len() - rest.len(), self.at == At::Done))
    }

    /// The state after one byte outside the data.
    fn after(&mut self, byte: u8, body_bytes_max: usize) -> Result<At, HttpFault> {
        let next = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => return self.digit(byte),
            (At::Size, _) if self.digits == 0 => return Err(BAD_SIZE),
            (At::Size | At::Blank, b' ' | b'\t') => At::Blank,
            (At::Size | At::Blank, b';') => At::Extension,
            (At::Size | At::Extension, b'\r') => At::SizeLf,
            (At::Extension, _) if is_value_byte(byte) => At::Extension,
            (At::SizeLf, b'\n') => self.begin_chunk(body_bytes_max)?,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            (At::Line, b'\r') => At::EndLf,
            (At::Line | At::Name, _) if is_token(byte) => At::Name,
            (At::Name, b':') => At::Value,
            (At::Value, b'\r') => At::ValueLf,
            (At::Value, _) if is_value_byte(byte) => At::Value,
            (At::ValueLf, b'\n') => At::Line,
            (At::EndLf, b'\n') => At::Done,
            (At::Size | At::Blank, _) => return Err(BAD_SIZE),
            (At::Extension | At::SizeLf, _) => return Err(BAD_EXTENSION),
            (At::DataCr | At::DataLf, _) => return Err(BAD_END),
            _ => return Err(BAD_TRAILER),
        };
        if matches!(next, At::Blank | At::Extension | At::Name | At::Value) {
            self.overhead_bytes += 1;
            if self.overhead_bytes > CHUNK_OVERHEAD_BYTES_MAX {
                return Err(OVERHEAD_TOO_BIG);
            }
        }
        Ok(next)
    }

    fn digit(&mut self, byte: u8) -> Result<At, HttpFault> {
        if self.digits == SIZE_DIGITS_MAX {
            return Err(BAD_SIZE);
        }
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        self.digits += 1;
        self.size = self.size << 4 | u64::from(value);
        Ok(At::Size)
    }

    /// The line of a chunk size has ended. Data follows; after the size 0, the trailer follows.
    fn begin_chunk(&mut self, body_bytes_max: usize) -> Result<At, HttpFault> {
        self.digits = 0;
        if self.size == 0 {
            return Ok(At::Line);
        }
        self.body_bytes = match self.body_bytes.checked_add(self.size) {
            Some(sum) if sum <= body_bytes_max as u64 => sum,
            _ => return Err(BODY_TOO_BIG),
        };
        Ok(At::Data)
    }
}

#[cfg(test)]
mod tests;
