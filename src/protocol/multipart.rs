//! Multipart bodies (PROTOCOL.md §4): parts cut at byte offsets.

use crate::{
    error::{Reason, Refusal},
    protocol::{
        message::{NAME_BYTES_MAX, is_token, trim},
        scan,
    },
};

/// One part of a multipart body: its own headers and its own body.
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

    /// Reads the head once, line by line, and does not read the body.
    fn parse(bytes: &'p [u8]) -> Result<Self, Refusal> {
        let mut head_len = 0;
        while !bytes[head_len..].starts_with(b"\r\n") {
            head_len += line_len(&bytes[head_len..])?;
        }
        let head = &bytes[..head_len];
        if simdutf8::basic::from_utf8(head).is_err() {
            return Err(bad("a part's header line is not UTF-8"));
        }
        Ok(Self { head, body: &bytes[head_len + 2..] })
    }
}

/// The length of the first header line of `bytes`, its CR LF included.
fn line_len(bytes: &[u8]) -> Result<usize, Refusal> {
    let name_len = bytes.iter().take(NAME_BYTES_MAX).take_while(|&&byte| is_token(byte)).count();
    let value = match bytes.get(name_len) {
        Some(b':') if name_len > 0 => &bytes[name_len + 1..],
        Some(_) => {
            return Err(bad("a part's header line does not start with a name of 1 to 64 token characters and a colon"));
        }
        None => return Err(bad("a part has no empty line")),
    };
    let value_len = scan::value_len(value);
    match value.get(value_len..value_len + 2) {
        Some(b"\r\n") => Ok(name_len + 1 + value_len + 2),
        Some(_) => Err(bad("a part's header has a control character in its value, or its line does not end in CR LF")),
        None => Err(bad("a part has no empty line")),
    }
}

/// The parts of `body`, cut at the offsets in `value`, the value of a `multipart` header. The iterator ends behind the
/// first error.
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

/// Checks all parts (PROTOCOL.md §4: one invalid part refuses the whole message).
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
    fn the_protocols_examples_are_cut_as_it_says() {
        let body = b"k1:v1\r\n\r\nbody1k2:v2\r\n\r\nbody2";
        assert_eq!(bodies("0 14", body).unwrap(), [b"body1", b"body2"]);
        let first = parts(b"0 14", body).next().unwrap().unwrap();
        assert_eq!(first.headers().collect::<Vec<_>>(), [("k1", "v1")]);
        assert_eq!(first.header("K1"), Some("v1"));

        let upload = b"content-type:text/json\r\n\r\n{filename:file.txt,fileLen:5}content-type:text/plain\r\n\r\nhello";
        assert_eq!(bodies("0 55", upload).unwrap(), [&b"{filename:file.txt,fileLen:5}"[..], b"hello"]);
        assert!(
            bodies("0 56", upload).is_ok_and(|parts| parts[1] == b"hello"),
            "an offset that is one off makes a part with another header name"
        );
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

    /// The body of a valid part, else None; without regard to speed. All lines up to the first empty one are headers.
    fn is_part(part: &[u8]) -> Option<&[u8]> {
        let head_len =
            if part.starts_with(b"\r\n") { 0 } else { part.windows(4).position(|end| end == b"\r\n\r\n")? + 2 };
        let head = std::str::from_utf8(&part[..head_len]).ok()?;
        let are_headers = head.split_terminator("\r\n").all(|line| {
            let Some((name, value)) = line.split_once(':') else { return false };
            crate::protocol::message::is_name(name.as_bytes())
                && value.bytes().all(crate::protocol::message::is_value_byte)
        });
        are_headers.then_some(&part[head_len + 2..])
    }

    proptest! {
        #[test]
        fn a_part_is_one_if_a_naive_reader_says_so(pieces in proptest::collection::vec(prop_oneof![
            Just(b"\r\n".to_vec()), Just(b"a:b\r\n".to_vec()), Just(b"a:b".to_vec()), Just(b":".to_vec()), Just(b"\r".to_vec()),
            Just("é:é\t ".as_bytes().to_vec()), Just(vec![b'n'; 64]), any::<u8>().prop_map(|byte| vec![byte]),
        ], 0..9)) {
            let body = pieces.concat();
            let parsed = parts(b"0", &body).next().expect("one part").ok().map(|part| part.body());
            prop_assert_eq!(parsed, is_part(&body), "{}", body.escape_ascii());
        }

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
