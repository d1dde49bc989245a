//! Parses a NATS server's bytes as they arrive. Nothing that another client publishes is an error here: any subject and any
//! headers are taken, and a message that is too large is skipped without being kept.

use memchr::{memchr, memrchr};

/// The longest line of a server. `INFO` lists the servers of its cluster; a subject has at most 4 KiB by default.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The buffer's size. It grows for a larger message and shrinks after it.
const BUFFER_BYTES: usize = 128 * 1024;
/// The most bytes of headers that a message may have beside its payload.
const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// One line of the server, with its payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerLine<'b> {
    /// A message for the subscription with this number. `headers` is what stands before the payload, or nothing.
    Message { sid: u64, subject: &'b [u8], headers: &'b [u8], payload: &'b [u8] },
    /// A message that is too large and is skipped.
    TooBig { subject: &'b [u8] },
    /// The server's description, with the addresses of other servers, in JSON.
    Info(&'b [u8]),
    /// The server asks for a `PONG`.
    Ping,
    /// The server has processed everything that was sent before a `PING`.
    Pong,
    /// A command was accepted. The server says so only if asked to.
    Ok,
    /// A command was refused, in the server's words.
    Error(&'b [u8]),
}

/// The server does not speak NATS.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotNats;

/// Bytes that were read and not parsed yet.
#[derive(Debug, Default)]
pub(crate) struct ServerLines {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes still to skip, of a message that is too large.
    skipped: usize,
    /// Bytes that the next line needs, from `start`.
    needed: usize,
}

/// The positions of a message's parts, counted from the start of its line.
struct Head {
    sid: u64,
    subject: (usize, usize),
    headers: usize,
    total: usize,
}

impl ServerLines {
    /// The space to read into; never empty.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > BUFFER_BYTES && self.needed <= BUFFER_BYTES {
                self.buffer = Vec::new();
            }
        }
        if self.buffer.len() < BUFFER_BYTES {
            self.buffer.resize(BUFFER_BYTES, 0);
        }
        // An incomplete line or message moves to the front.
        if self.start > 0 && (self.end == self.buffer.len() || self.start + self.needed > self.buffer.len()) {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.needed > self.buffer.len() {
            self.buffer.resize(self.needed, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// The buffer's memory in bytes.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// This many bytes were read into [`ServerLines::space`].
    pub(crate) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// The next line, if it is complete. A payload has at most `payload_bytes_max` bytes.
    ///
    /// # Errors
    /// The bytes are not NATS: the connection is of no more use.
    pub(crate) fn next(&mut self, payload_bytes_max: usize) -> Result<Option<ServerLine<'_>>, NotNats> {
        let skipped = self.skipped.min(self.end - self.start);
        self.start += skipped;
        self.skipped -= skipped;
        self.needed = 0;
        let rest = &self.buffer[self.start..self.end];
        let Some(line_end) = memchr(b'\n', rest) else {
            return if rest.len() > LINE_BYTES_MAX { Err(NotNats) } else { Ok(None) };
        };
        let line = rest[..line_end].strip_suffix(b"\r").unwrap_or(&rest[..line_end]);
        if !line.starts_with(b"MSG ") && !line.starts_with(b"HMSG ") {
            let (at, len) = (self.start, line.len());
            self.start += line_end + 1;
            return other(&self.buffer[at..at + len]).map(Some);
        }
        let head = Head::parse(line).ok_or(NotNats)?;
        let (body, whole) = (line_end + 1, line_end + 1 + head.total + 2);
        let is_too_big = head.total - head.headers > payload_bytes_max || head.headers > HEADERS_BYTES_MAX;
        if !is_too_big && rest.len() < whole {
            self.needed = whole;
            return Ok(None);
        }
        let at = self.start;
        let subject = at + head.subject.0..at + head.subject.1;
        if is_too_big {
            self.start += body;
            self.skipped = head.total + 2;
            return Ok(Some(ServerLine::TooBig { subject: &self.buffer[subject] }));
        }
        self.start += whole;
        let (headers, payload) = self.buffer[at + body..at + body + head.total].split_at(head.headers);
        Ok(Some(ServerLine::Message { sid: head.sid, subject: &self.buffer[subject], headers, payload }))
    }
}

/// Parses a line that is no message.
fn other(line: &[u8]) -> Result<ServerLine<'_>, NotNats> {
    match line {
        b"PING" => Ok(ServerLine::Ping),
        b"PONG" => Ok(ServerLine::Pong),
        b"+OK" => Ok(ServerLine::Ok),
        _ => match (line.strip_prefix(b"INFO "), line.strip_prefix(b"-ERR ")) {
            (Some(json), _) => Ok(ServerLine::Info(json)),
            (_, Some(text)) => {
                let text = text.trim_ascii();
                Ok(ServerLine::Error(text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)))
            }
            _ => Err(NotNats),
        },
    }
}

impl Head {
    /// ```text
    /// MSG <subject> <sid> [reply-to] <bytes>
    /// HMSG <subject> <sid> [reply-to] <bytes of headers> <bytes in all>
    /// ```
    /// Nobody here uses the reply.
    fn parse(line: &[u8]) -> Option<Self> {
        let has_headers = line[0] == b'H';
        let subject = if has_headers { 5 } else { 4 };
        let subject_end = subject + memchr(b' ', &line[subject..])?;
        let (rest, total) = last_number(line)?;
        let (rest, headers) = if has_headers { last_number(rest)? } else { (rest, 0) };
        // An unknown number becomes 0, which no subscription has.
        let sid = rest.get(subject_end + 1..)?.split(|&byte| byte == b' ').next().and_then(number).unwrap_or(0);
        (headers <= total).then_some(Self { sid: sid as u64, subject: (subject, subject_end), headers, total })
    }
}

/// Cuts the last number off.
fn last_number(line: &[u8]) -> Option<(&[u8], usize)> {
    let space = memrchr(b' ', line)?;
    Some((&line[..space], number(&line[space + 1..])?))
}

/// Parses at most 18 digits, so that no addition overflows.
fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let add = |number, byte: &u8| byte.is_ascii_digit().then(|| number * 10 + usize::from(byte - b'0'));
    digits.iter().try_fold(0, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses the bytes in pieces of this size and describes each line.
    fn heard(bytes: &[u8], piece: usize, payload_bytes_max: usize) -> Result<Vec<String>, NotNats> {
        let (mut lines, mut heard) = (ServerLines::default(), Vec::new());
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = lines.space();
            let len = piece.min(rest.len()).min(space.len());
            space[..len].copy_from_slice(&rest[..len]);
            lines.filled(len);
            rest = &rest[len..];
            while let Some(said) = lines.next(payload_bytes_max)? {
                heard.push(match said {
                    ServerLine::Message { sid, subject, headers, payload } => {
                        assert!(headers.is_empty() || headers.starts_with(b"NATS/1.0\r\nk: a\rb\r\n"));
                        format!("{sid} {} {}", subject.escape_ascii(), payload.escape_ascii())
                    }
                    ServerLine::TooBig { subject } => format!("big {}", subject.escape_ascii()),
                    ServerLine::Info(json) => format!("info {}", json.escape_ascii()),
                    ServerLine::Error(text) => format!("error {}", text.escape_ascii()),
                    other => format!("{other:?}"),
                });
            }
        }
        Ok(heard)
    }

    #[test]
    fn a_servers_lines_are_parsed_however_they_are_cut() {
        let head = b"NATS/1.0\r\nk: a\rb\r\n\r\n";
        let mut said = b"INFO {\"a\":1}\r\nMSG room 7 2\r\nhi\r\nMSG room 7 re.ply 0\r\n\r\nPING\r\n".to_vec();
        said.extend_from_slice(format!("HMSG room 8 {} {}\r\n", head.len(), head.len() + 2).as_bytes());
        said.extend_from_slice(head);
        said.extend_from_slice(b"ho\r\nMSG a\xffb 9 \xc2\xa0\xff 3\r\n\r\n\xfe\r\nMSG x y 1\r\nz\r\n+OK\r\nPONG\r\n");
        said.extend_from_slice(b"-ERR 'Permissions Violation'\r\nMSG large 1 9\r\n123456789\r\nMSG room 7 1\r\n!\r\n");
        let expected = [
            "info {\\\"a\\\":1}",
            "7 room hi",
            "7 room ",
            "Ping",
            "8 room ho",
            "9 a\\xffb \\r\\n\\xfe",
            "0 x z",
            "Ok",
            "Pong",
            "error Permissions Violation",
            "big large",
            "7 room !",
        ];
        for piece in 1..said.len() {
            assert_eq!(heard(&said, piece, 8).expect("it is NATS"), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn bytes_that_are_not_nats_end_the_connection_and_no_buffer_grows() {
        for said in ["HTTP/1.1 200 OK\r\n", "MSG a\r\n", "MSG a 1 x\r\n", "HMSG a 1 9 3\r\n", "\r\n"] {
            assert_eq!(heard(said.as_bytes(), 3, 8), Err(NotNats), "{said}");
        }
        assert_eq!(heard(&[b'x'; 2 * LINE_BYTES_MAX], 4096, 8), Err(NotNats), "a line without end");
        let mut lines = ServerLines::default();
        let line = b"MSG a 1 999999999999999999\r\n";
        lines.space()[..line.len()].copy_from_slice(line);
        lines.filled(line.len());
        assert_eq!(lines.next(1 << 20), Ok(Some(ServerLine::TooBig { subject: b"a" })));
        assert_eq!((lines.space().len(), lines.next(1 << 20)), (BUFFER_BYTES, Ok(None)));
    }

    #[test]
    fn a_large_message_takes_its_room_only_while_it_comes() {
        let mut said = format!("MSG a 1 {}\r\n", 4 * BUFFER_BYTES).into_bytes();
        said.resize(said.len() + 4 * BUFFER_BYTES, b'x');
        said.extend_from_slice(b"\r\n");
        let mut lines = ServerLines::default();
        let mut rest = &said[..];
        while !rest.is_empty() {
            assert_eq!(lines.next(1 << 20), Ok(None));
            let space = lines.space();
            let len = space.len().min(rest.len());
            space[..len].copy_from_slice(&rest[..len]);
            lines.filled(len);
            rest = &rest[len..];
        }
        assert!(
            matches!(lines.next(1 << 20), Ok(Some(ServerLine::Message { payload, .. })) if payload.len() == 4 * BUFFER_BYTES)
        );
        assert_eq!(lines.space().len(), BUFFER_BYTES);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes: Vec<u8>, piece in 1usize..64) {
            let _ = heard(&bytes, piece, 16);
            let _ = heard(&[b"MSG a 1 2\r\n".as_slice(), &bytes, b"\r\nHMSG b 2 1 9\r\n", &bytes].concat(), piece, 16);
        }
    }
}
