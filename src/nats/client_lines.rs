//! Follows what async-nats sends to the server, to find the ends of its commands, where commands of ours may be inserted, and
//! to count its messages.

use memchr::memchr;

/// The position in the client's commands. It is our own client, so its commands are well formed.
#[derive(Debug, Default)]
pub(super) struct ClientLines {
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    /// Missing bytes of a payload.
    payload: usize,
    /// Complete messages so far.
    published: u64,
    /// The client's `PING`s since the last [`ClientLines::take_pings`].
    pings: usize,
}

impl ClientLines {
    /// Follows the next bytes. Gives the end of the last command in them, if one ends there.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Option<usize> {
        let (mut at, mut end) = (0, None);
        while at < bytes.len() {
            if self.payload > 0 {
                let len = self.payload.min(bytes.len() - at);
                self.payload -= len;
                at += len;
                if self.payload > 0 {
                    break;
                }
                self.published += 1;
                end = Some(at);
                continue;
            }
            let Some(len) = memchr(b'\n', &bytes[at..]) else {
                self.line.extend_from_slice(&bytes[at..]);
                break;
            };
            let line = &bytes[at..at + len];
            at += len + 1;
            if self.line.is_empty() {
                self.begin(line);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.begin(&whole);
            }
            if self.payload == 0 {
                end = Some(at);
            }
        }
        end
    }

    fn begin(&mut self, line: &[u8]) {
        let line = line.trim_ascii_end();
        if line.starts_with(b"PUB ") {
            let digits = line.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            let number = line[line.len() - digits..].iter().fold(0, |sum, byte| sum * 10 + usize::from(byte - b'0'));
            self.payload = number + 2;
        } else if line == b"PING" {
            self.pings += 1;
        }
    }

    /// True if all commands so far are complete.
    pub(super) fn is_between(&self) -> bool {
        self.payload == 0 && self.line.is_empty()
    }

    /// Complete messages so far.
    pub(super) fn published(&self) -> u64 {
        self.published
    }

    /// The number of the client's `PING`s since the last call.
    pub(super) fn take_pings(&mut self) -> usize {
        std::mem::take(&mut self.pings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_commands_are_found_however_they_are_cut() {
        let commands = [
            "PING\r\n",
            "PUB room 5\r\nPING\r\r\n",
            "PUB a re.ply 0\r\n\r\n",
            "PONG\r\n",
            "PUB b 12\r\n0123456789\r\n\r\n",
        ];
        let sent = commands.concat();
        let mut ends: Vec<usize> = Vec::new();
        for command in commands {
            ends.push(ends.last().unwrap_or(&0) + command.len());
        }
        for piece in 1..=sent.len() {
            let (mut lines, mut at) = (ClientLines::default(), 0);
            for bytes in sent.as_bytes().chunks(piece) {
                let last = ends.iter().copied().rfind(|end| (at + 1..=at + bytes.len()).contains(end));
                assert_eq!(lines.follow(bytes), last.map(|end| end - at), "in pieces of {piece} at {at}");
                at += bytes.len();
                assert_eq!(lines.is_between(), ends.contains(&at));
            }
            assert_eq!((lines.published(), lines.take_pings(), lines.take_pings()), (3, 1, 0));
        }
    }
}
