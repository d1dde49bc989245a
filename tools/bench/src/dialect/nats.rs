//! The NATS client protocol inside WebSocket frames. Every publish goes in its own frame, as with every WebSocket
//! client of NATS. The server may pack and cut its deliveries as it likes.

use serde_json::json;

use super::{
    Progress, Resume, Role,
    check::Check,
    counter::StampReader,
    websocket::{self, MaskedFrame, Walker},
};

/// JetStream's name for what it keeps.
const STREAM: &str = "KEPT";
/// The server's protocol lines are never longer, except `INFO`, which comes before any count.
const LINE_BYTES_MAX: usize = 4096;

/// `CONNECT`, `SUB` if wanted, and a `PING`. The `PONG` confirms both. A publisher whose messages are confirmed subscribes
/// to their answers. A client that resumes asks JetStream for a consumer of its own, which begins where it says, and needs
/// no answer to that.
pub(crate) fn joining(role: &Role) -> Vec<u8> {
    let subscribe = match &role.resumes {
        Some(Resume { since, client }) => {
            let deliver = format!("deliver.{client}");
            let consumer = json!({"stream_name": STREAM, "config": {
                "deliver_subject": deliver, "deliver_policy": "by_start_sequence",
                "opt_start_seq": since.parse::<u64>().unwrap_or(1), "filter_subject": role.channel,
                "ack_policy": "none", "mem_storage": true, "replay_policy": "instant",
            }})
            .to_string();
            format!("SUB {deliver} 1\r\nPUB $JS.API.CONSUMER.CREATE.{STREAM} {}\r\n{consumer}\r\n", consumer.len())
        }
        None if role.subscribes => format!("SUB {} 1\r\n", role.channel),
        None if role.confirms => format!("SUB {} 1\r\n", answers(&role.channel)),
        None => String::new(),
    };
    let connect = r#"CONNECT {"verbose":false,"pedantic":false,"echo":true,"lang":"lhttp-bench","version":"1"}"#;
    let operations = format!("{connect}\r\n{subscribe}PING\r\n");
    websocket::masked(websocket::BINARY, operations.as_bytes(), [0x12, 0x9b, 0x3c, 0x77]).bytes
}

/// Where the answers to confirmed publishes go.
fn answers(channel: &str) -> String {
    format!("answers.{channel}")
}

/// The request that makes JetStream keep the newest `messages` of each channel `kept.*`, in memory.
pub(crate) fn stream(messages: usize) -> Vec<u8> {
    let stream = json!({
        "name": STREAM, "subjects": ["kept.*"], "retention": "limits", "num_replicas": 1,
        "storage": "memory", "max_msgs_per_subject": messages,
    })
    .to_string();
    let connect = r#"CONNECT {"verbose":false,"pedantic":false,"lang":"lhttp-bench","version":"1"}"#;
    let length = stream.len();
    format!("{connect}\r\nSUB made 1\r\nPUB $JS.API.STREAM.CREATE.{STREAM} made {length}\r\n{stream}\r\n").into_bytes()
}

/// Done once the `PONG` has come.
pub(crate) fn joined(received: &[u8]) -> Result<Progress, String> {
    let mut walker = Walker::default();
    let mut input = received;
    let mut text = Vec::new();
    while let Some(piece) = walker.next(&mut input)? {
        text.extend_from_slice(piece.bytes);
    }
    if let Some(at) = text.windows(4).position(|four| four == b"-ERR") {
        return Err(format!("it answered {}", String::from_utf8_lossy(&text[at..])));
    }
    Ok(if text.ends_with(b"PONG\r\n") { Progress::Done(received.len()) } else { Progress::More })
}

/// One `PUB` in one masked binary frame, and the offset of the body in its payload. JetStream answers a confirmed one.
pub(crate) fn publish(channel: &str, body: &[u8], mask: [u8; 4], confirmed: bool) -> (MaskedFrame, usize) {
    let reply = if confirmed { answers(channel) + " " } else { String::new() };
    let mut operation = format!("PUB {channel} {reply}{}\r\n", body.len()).into_bytes();
    let body_at = operation.len();
    operation.extend_from_slice(body);
    operation.extend_from_slice(b"\r\n");
    (websocket::masked(websocket::BINARY, &operation, mask), body_at)
}

/// Counts `MSG` operations in a stream that comes in arbitrary cuts.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    /// An unfinished protocol line.
    line: Vec<u8>,
    /// Bytes of the current message that are still to come, with the CRLF behind it.
    remaining: usize,
    /// No byte of the current message has come.
    fresh: bool,
}

impl Operations {
    /// The number of messages that end in `input`.
    ///
    /// # Errors
    /// The server sent `-ERR`, or bytes that are not a NATS operation.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        stamp: &mut StampReader,
        on_stamp: &mut Option<&mut dyn FnMut(u64)>,
        mut check: Option<&mut Check>,
    ) -> Result<u64, String> {
        let mut messages = 0;
        while !input.is_empty() {
            if self.remaining > 0 {
                let (piece, rest) = input.split_at(self.remaining.min(input.len()));
                if let Some(on_stamp) = on_stamp {
                    stamp.feed(piece, *on_stamp);
                }
                let counts = match &mut check {
                    None => self.remaining == piece.len(),
                    Some(check) => {
                        // The CRLF behind the body is none of it.
                        let body = &piece[..piece.len().min(self.remaining.saturating_sub(2))];
                        let starts = std::mem::take(&mut self.fresh);
                        check.feed(body, starts, self.remaining == piece.len())?
                    }
                };
                self.remaining -= piece.len();
                messages += u64::from(counts);
                input = rest;
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', input) else {
                self.line.extend_from_slice(input);
                if self.line.len() > LINE_BYTES_MAX {
                    return Err("it sent an endless protocol line".into());
                }
                break;
            };
            let (line, rest) = input.split_at(end + 1);
            input = rest;
            self.remaining = if self.line.is_empty() {
                message_bytes(line)?
            } else {
                self.line.extend_from_slice(line);
                let whole = std::mem::take(&mut self.line);
                message_bytes(&whole)?
            };
            self.fresh = true;
            stamp.start();
        }
        Ok(messages)
    }
}

/// The size that a `MSG subject sid size` line announces, with its CRLF; 0 for the other operations.
fn message_bytes(line: &[u8]) -> Result<usize, String> {
    if !line.starts_with(b"MSG ") {
        let known = [&b"PING"[..], b"PONG", b"+OK", b"INFO"].iter().any(|name| line.starts_with(name));
        return if known { Ok(0) } else { Err(format!("it sent {:?}", String::from_utf8_lossy(line))) };
    }
    let digits = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let size = digits.iter().try_fold(0_usize, |size, digit| {
        digit.is_ascii_digit().then(|| size * 10 + usize::from(digit - b'0')).filter(|size| *size < 1 << 30)
    });
    size.map(|size| size + 2).ok_or_else(|| format!("it sent {:?}", String::from_utf8_lossy(line)))
}
