//! What each message of a connection must say. A message that is missing, comes twice or out of order, or an answer that
//! is an error, ends the run.

use super::counter::STAMP_BYTES;

/// The most bytes of an unexpected message that an error shows.
const WORDS_BYTES_MAX: usize = 300;

/// Whether a message counts.
pub(crate) type Verdict = Result<bool, String>;

/// A check of every message of one connection. Feed it each payload, in pieces if the payload was cut.
#[derive(Debug)]
pub(crate) struct Check {
    rule: Rule,
    /// The part of an unfinished message that came so far.
    message: Vec<u8>,
}

#[derive(Debug)]
enum Rule {
    /// A body begins with its number in hex, and each number comes once and in order. With LHTTP the body is the last
    /// `body_bytes` of the payload, and an acknowledgement does not count; elsewhere the payload is the body.
    Numbers { next: u64, lhttp: bool, body_bytes: usize },
    /// Each message begins with these bytes, as the answer to a publish does.
    Answers(&'static [u8]),
    /// Messages that begin with these bytes count, and others do not; an error of LHTTP is a fault.
    Only(&'static [u8]),
}

impl Check {
    /// Bodies of `body_bytes`, numbered from `first` on.
    pub(crate) fn numbers(first: u64, lhttp: bool, body_bytes: usize) -> Self {
        Self::new(Rule::Numbers { next: first, lhttp, body_bytes })
    }

    /// Answers that begin like this.
    pub(crate) fn answers(start: &'static [u8]) -> Self {
        Self::new(Rule::Answers(start))
    }

    /// Counts only the messages that begin like this.
    pub(crate) fn only(start: &'static [u8]) -> Self {
        Self::new(Rule::Only(start))
    }

    fn new(rule: Rule) -> Self {
        Self { rule, message: Vec::new() }
    }

    /// The number that is due next, where messages are numbered.
    pub(crate) fn next_number(&self) -> Option<u64> {
        match self.rule {
            Rule::Numbers { next, .. } => Some(next),
            _ => None,
        }
    }

    /// The next part of a message. Returns whether a message ends with it that counts.
    pub(crate) fn feed(&mut self, piece: &[u8], starts: bool, ends: bool) -> Verdict {
        if starts && ends {
            return self.rule.judge(piece);
        }
        let most = if matches!(self.rule, Rule::Numbers { .. }) { usize::MAX } else { WORDS_BYTES_MAX };
        self.message.extend_from_slice(&piece[..piece.len().min(most.saturating_sub(self.message.len()))]);
        if !ends {
            return Ok(false);
        }
        let verdict = self.rule.judge(&self.message);
        self.message.clear();
        verdict
    }
}

impl Rule {
    fn judge(&mut self, message: &[u8]) -> Verdict {
        match self {
            Self::Numbers { next, lhttp, body_bytes } => {
                let body = if *lhttp {
                    if message.starts_with(b"LHTTP/1.0 ack\r\n") {
                        return if has_lost(message) { Err(unexpected(message)) } else { Ok(false) };
                    }
                    let head = message.starts_with(b"LHTTP/1.0 chat\r\n");
                    message.len().checked_sub(*body_bytes).filter(|_| head).map(|at| &message[at..])
                } else {
                    (message.len() == *body_bytes).then_some(message)
                };
                let number = body.and_then(|body| body.first_chunk::<STAMP_BYTES>()).and_then(number);
                let number = number.ok_or_else(|| unexpected(message))?;
                if number != *next {
                    return Err(format!("it sent a client message {number} where {next} was due"));
                }
                *next += 1;
                Ok(true)
            }
            Self::Answers(start) if message.starts_with(start) => Ok(true),
            Self::Only(start) if message.starts_with(start) => Ok(true),
            Self::Only(_) if !message.starts_with(b"LHTTP/1.0 error") => Ok(false),
            Self::Answers(_) | Self::Only(_) => Err(unexpected(message)),
        }
    }
}

/// An acknowledgement names a channel whose messages are not all kept.
fn has_lost(ack: &[u8]) -> bool {
    ack.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"lost:"))
}

/// A number in hex.
fn number(digits: &[u8; STAMP_BYTES]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| Some(value << 4 | u64::from((*digit as char).to_digit(16)?)))
}

fn unexpected(message: &[u8]) -> String {
    format!("it sent {:?}", String::from_utf8_lossy(&message[..message.len().min(WORDS_BYTES_MAX)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(number: u64) -> Vec<u8> {
        format!("LHTTP/1.0 chat\r\nmessage-id:x-1\r\nchannel:a\r\npublish:a\r\n\r\n{number:016x}xxxx").into_bytes()
    }

    #[test]
    fn numbers_come_once_and_in_order_however_they_are_cut() {
        for cut in 0..=chat(7).len() {
            let mut check = Check::numbers(7, true, 20);
            assert_eq!(check.feed(b"LHTTP/1.0 ack\r\nack:1\r\n\r\n", true, true), Ok(false));
            for number in 7..9 {
                let message = chat(number);
                assert_eq!(check.feed(&message[..cut], true, false), Ok(false));
                assert_eq!(check.feed(&message[cut..], false, true), Ok(true));
            }
            assert_eq!(check.next_number(), Some(9));
            for wrong in [8, 10] {
                assert!(Check::numbers(9, true, 20).feed(&chat(wrong), true, true).is_err(), "{wrong}");
            }
        }
    }

    #[test]
    fn what_is_no_message_is_a_fault() {
        let judge = |mut check: Check, message: &[u8]| check.feed(message, true, true);
        let error = b"LHTTP/1.0 error\r\ncode:503\r\n\r\n";
        let lost = b"LHTTP/1.0 ack\r\nlost:a\r\nack:1\r\n\r\n";
        assert!(judge(Check::numbers(0, true, 20), error).is_err_and(|why| why.contains("503")));
        assert!(judge(Check::numbers(0, true, 20), lost).is_err());
        assert!(judge(Check::numbers(0, false, 20), b"0000000000000000").is_err(), "too short");
        assert_eq!(judge(Check::numbers(0, false, 16), b"0000000000000000"), Ok(true));
        assert!(judge(Check::answers(b"LHTTP/1.0 ack\r\n"), error).is_err());
        assert!(judge(Check::only(b"LHTTP/1.0 presence-change"), error).is_err());
        assert_eq!(judge(Check::only(b"LHTTP/1.0 presence-change"), b"LHTTP/1.0 ack\r\n\r\n"), Ok(false));
        assert_eq!(judge(Check::only(b"LHTTP/1.0 presence-change"), b"LHTTP/1.0 presence-change\r\n"), Ok(true));
    }
}
