//! What async-nats says to the server: followed only to know where a command ends, so that commands of ours can come
//! between, and how many messages have gone by.

use memchr::memchr;

/// Where the client is in what it says. It is our own client, so what it says is sound.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// The beginning of a line that is not whole yet.
    line: Vec<u8>,
    /// Bytes of a payload that are still to come.
    payload: usize,
    /// Messages that have gone by whole.
    published: u64,
    /// `PING`s that the client has said since [`Follower::take_pings`].
    pings: usize,
}

impl Follower {
    /// Follows what goes by next, and gives where in it the last command ends, if one does.
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

    /// Whether a command has just ended.
    pub(super) fn is_between(&self) -> bool {
        self.payload == 0 && self.line.is_empty()
    }

    /// Messages that have gone by whole.
    pub(super) fn published(&self) -> u64 {
        self.published
    }

    /// How often the client has asked whether the server is there, since this was asked last.
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
        let spoken = commands.concat();
        let mut ends: Vec<usize> = Vec::new();
        for command in commands {
            ends.push(ends.last().unwrap_or(&0) + command.len());
        }
        for piece in 1..=spoken.len() {
            let (mut follower, mut at) = (Follower::default(), 0);
            for bytes in spoken.as_bytes().chunks(piece) {
                let last = ends.iter().copied().rfind(|end| (at + 1..=at + bytes.len()).contains(end));
                assert_eq!(follower.follow(bytes), last.map(|end| end - at), "in pieces of {piece} at {at}");
                at += bytes.len();
                assert_eq!(follower.is_between(), ends.contains(&at));
            }
            assert_eq!((follower.published(), follower.take_pings(), follower.take_pings()), (3, 1, 0));
        }
    }
}
