//! Multipart bodies (PROTOCOL.md §4): parts cut at byte offsets.

use crate::{
    error::{Reason, Refusal},
    protocol::message::{is_name, is_value_byte, trim},
};

/// One part of a multipart body: headers of its own, and a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'p> {
    head: &'p [u8],
    body: &'p [u8],
}

impl<'p> Part<'p> {
    /// The part's headers, in order, values trimmed.
    pub fn headers(&self) -> impl Iterator<Item = (&'p str, &'p str)> + use<'p> {
        lines(self.head).filter_map(|line| {
            let (name, value) = line.split_at(memchr::memchr(b':', line)?);
            Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(trim(&value[1..])).ok()?))
        })
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&'p str> {
        self.headers().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The part's body.
    pub fn body(&self) -> &'p [u8] {
        self.body
    }

    fn parse(bytes: &'p [u8]) -> Result<Self, Refusal> {
        let head_len = match bytes {
            [b'\r', b'\n', ..] => 0,
            _ => memchr::memmem::find(bytes, b"\r\n\r\n").ok_or_else(|| bad("a part has no empty line"))? + 2,
        };
        let head = &bytes[..head_len];
        for line in lines(head) {
            let colon = memchr::memchr(b':', line).ok_or_else(|| bad("a part's header line has no colon"))?;
            let value_is_sound = line[colon + 1..].iter().all(|&byte| is_value_byte(byte));
            if !is_name(&line[..colon]) || !value_is_sound || std::str::from_utf8(line).is_err() {
                return Err(bad("a part's header line is malformed"));
            }
        }
        Ok(Self { head, body: &bytes[head_len + 2..] })
    }
}

/// The parts that `value`, a `multipart` header's, cuts `body` into; the iterator ends behind the first error.
pub(crate) fn parts<'p>(value: &'p [u8], body: &'p [u8]) -> impl Iterator<Item = Result<Part<'p>, Refusal>> + use<'p> {
    let mut offsets = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).peekable();
    let mut previous: Option<usize> = None;
    let mut failed = offsets.peek().is_none().then(|| bad("there is no offset"));
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        if let Some(refusal) = failed.take() {
            ended = true;
            return Some(Err(refusal));
        }
        let word = offsets.next()?;
        let part = offset(word, previous, body.len()).and_then(|start| {
            previous = Some(start);
            let end = match offsets.peek() {
                Some(next) => offset(next, previous, body.len())?,
                None => body.len(),
            };
            Part::parse(&body[start..end])
        });
        ended = part.is_err();
        Some(part)
    })
}

/// Checks all parts (PROTOCOL.md §4: one that is wrong refuses the message).
///
/// # Errors
/// `bad-multipart`.
pub(crate) fn check(value: &[u8], body: &[u8]) -> Result<(), Refusal> {
    parts(value, body).try_for_each(|part| part.map(drop))
}

fn offset(word: &[u8], previous: Option<usize>, body_len: usize) -> Result<usize, Refusal> {
    let is_decimal = word.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(word).ok().filter(|_| is_decimal).and_then(|word| word.parse::<usize>().ok());
    match number {
        None => Err(bad("an offset is not a decimal number")),
        Some(offset) if offset > body_len => Err(bad("an offset is beyond the body")),
        Some(offset) if previous.is_some_and(|previous| offset <= previous) => Err(bad("the offsets do not ascend")),
        Some(offset) => Ok(offset),
    }
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    std::iter::from_fn(move || {
        let end = memchr::memmem::find(rest, b"\r\n")?;
        let line = &rest[..end];
        rest = &rest[end + 2..];
        Some(line)
    })
}

fn bad(sentence: &'static str) -> Refusal {
    Refusal::because(Reason::BadMultipart, sentence)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bodies<'p>(value: &'p str, body: &'p [u8]) -> Result<Vec<&'p [u8]>, Refusal> {
        parts(value.as_bytes(), body).map(|part| part.map(|part| part.body)).collect()
    }

    #[test]
    fn the_seeds_examples_are_cut_as_the_protocol_says() {
        let body = b"k1:v1\r\n\r\nbody1k2:v2\r\n\r\nbody2";
        assert_eq!(bodies("0 14", body).unwrap(), [b"body1", b"body2"]);
        let first = parts(b"0 14", body).next().unwrap().unwrap();
        assert_eq!(first.headers().collect::<Vec<_>>(), [("k1", "v1")]);
        assert_eq!(first.header("K1"), Some("v1"));

        let upload = b"content-type:text/json\r\n\r\n{filename:file.txt,fileLen:5}content-type:text/plain\r\n\r\nhello";
        assert_eq!(bodies("0 55", upload).unwrap(), [&b"{filename:file.txt,fileLen:5}"[..], b"hello"]);
        assert!(bodies("0 56", upload).is_ok_and(|parts| parts[1] == b"hello"), "one off is a part of another name");
    }

    #[test]
    fn a_part_may_start_late_and_have_no_headers() {
        assert_eq!(bodies("3", b"...\r\nbody").unwrap(), [b"body"]);
        assert_eq!(bodies("0", b"\r\n").unwrap(), [b""]);
    }

    #[test]
    fn wrong_offsets_and_parts_are_refused() {
        let body = b"\r\none\r\ntwo";
        for value in ["", "5 0", "0 0", "0 11", "0 -5", "+0", "0x0", "0,5", "0 99999999999999999999999", "1", "0 10"] {
            let refusal = bodies(value, body).expect_err(value);
            assert_eq!((refusal.code(), refusal.reason()), (400, "bad-multipart"), "{value}");
        }
        for body in [&b"a:b\r\n"[..], b"", b"\r", b"a\r\n\r\n", b":b\r\n\r\n", b"a:\x01\r\n\r\n", b"a:\xff\r\n\r\n"] {
            assert!(check(b"0", body).is_err(), "{}", body.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn parts_that_were_joined_are_found_again(parts in proptest::collection::vec(
            (proptest::collection::vec(("[a-z]{1,5}", "[a-z ]{0,5}"), 0..3), proptest::collection::vec(any::<u8>(), 0..20)),
            1..5,
        )) {
            let (mut body, mut offsets) = (Vec::new(), Vec::new());
            for (headers, part) in &parts {
                offsets.push(body.len().to_string());
                for (name, value) in headers {
                    body.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
                }
                body.extend_from_slice(b"\r\n");
                body.extend_from_slice(part);
            }
            let value = offsets.join(" ");
            let found: Vec<_> = super::parts(value.as_bytes(), &body).map(Result::unwrap).collect();
            prop_assert_eq!(found.len(), parts.len());
            for (part, (headers, body)) in found.iter().zip(&parts) {
                prop_assert_eq!(part.body(), &body[..]);
                let trimmed: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.trim())).collect();
                prop_assert_eq!(part.headers().collect::<Vec<_>>(), trimmed);
            }
        }
    }
}
