//! Decides when to parse a head that comes in pieces.

/// How much of an incomplete head has been examined. The parser begins at the start each time, so a peer that sends
/// byte by byte would make it read a head of `n` bytes `n` times. Instead a head is parsed with its first bytes, when
/// its empty line has come, and when its length has doubled since the last time; the last of these finds errors in the
/// middle. In all, each byte is read at most four times however the head is cut: once in search of the empty line, and
/// three times to parse it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeadProgress {
    /// No empty line ends before this offset.
    scanned: u32,
    /// The length at the last parse.
    parsed: u32,
    /// The head has more than the empty lines that may precede it.
    has_begun: bool,
}

impl HeadProgress {
    /// Whether to parse `head`, which extends the bytes of the last call. A head of `head_bytes_max` or more is always
    /// due, because it is too long.
    pub(crate) fn is_due(&mut self, head: &[u8], head_bytes_max: usize) -> bool {
        let is_long = head.len() >= head_bytes_max || head.len() >= 2 * self.parsed as usize;
        let is_due = self.finds_empty_line(head) || is_long;
        if is_due {
            self.parsed = head.len() as u32;
        }
        is_due
    }

    /// Whether an empty line has come behind the first line. An empty line that ends in a bare LF counts: the parser
    /// refuses it.
    fn finds_empty_line(&mut self, head: &[u8]) -> bool {
        let mut start = self.scanned as usize;
        self.scanned = head.len() as u32;
        if !self.has_begun {
            start += head[start..].iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
            self.has_begun = start < head.len();
        }
        let mut lines = memchr::memchr_iter(b'\n', &head[start..]).map(|at| &head[..start + at]);
        lines.any(|line| line.ends_with(b"\n") || line.ends_with(b"\n\r"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{HeaderSlots, parse_head},
        *,
    };

    const HEAD_BYTES_MAX: usize = 4096;

    /// Sends a head in pieces of these lengths. Returns the verdict with the length at which it came, and how many
    /// bytes the parser was given.
    fn in_pieces(bytes: &[u8], pieces: impl Iterator<Item = usize>) -> (Option<Result<usize, u16>>, usize) {
        let (mut progress, mut end, mut parsed_bytes) = (HeadProgress::default(), 0, 0);
        for piece in pieces {
            if end == bytes.len() {
                break;
            }
            end = bytes.len().min(end + piece);
            if !progress.is_due(&bytes[..end], HEAD_BYTES_MAX) {
                continue;
            }
            parsed_bytes += end;
            match parse_head(&bytes[..end], HEAD_BYTES_MAX, &mut HeaderSlots::new()) {
                Ok(Some((_, head_bytes))) => return (Some(Ok(head_bytes)), parsed_bytes),
                Ok(None) => {}
                Err(fault) => return (Some(Err(fault.status)), parsed_bytes),
            }
        }
        (None, parsed_bytes)
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_parsed_a_few_times_and_when_it_is_complete() {
        let lines: String = (0..100).map(|number| format!("x-{number}: {}\r\n", "y".repeat(20))).collect();
        for front in ["", "\r\n", "\r\n\r\n\r\n"] {
            let head = format!("{front}GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
            let (verdict, parsed_bytes) = in_pieces(head.as_bytes(), std::iter::repeat(1));
            assert_eq!(verdict, Some(Ok(head.len())));
            assert!(parsed_bytes <= 3 * head.len(), "{parsed_bytes} bytes parsed of {}", head.len());
        }
        let (verdict, parsed_bytes) = in_pieces(&b"\r\n".repeat(HEAD_BYTES_MAX), std::iter::repeat(1));
        assert_eq!(verdict, Some(Err(431)));
        assert!(parsed_bytes <= 3 * HEAD_BYTES_MAX);
    }

    #[test]
    fn a_malformed_head_is_refused_with_its_first_piece() {
        for garbage in ["\x16\x03\x01", "SSH-2.0-x\r\n", "GET / HTTP/7.0\r\n"] {
            let (verdict, _) = in_pieces(garbage.as_bytes(), std::iter::once(garbage.len()));
            assert!(matches!(verdict, Some(Err(400 | 505))), "{garbage:?}: {verdict:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_change_neither_a_complete_head_nor_a_refusal(
            text in "(\r?\n){0,3}(GET / HTTP/1.1\r?\n(Host: x\r?\n|x: y\r?\n|[a:\r\n ]{1,4}){0,6}\r?\n)?[A\r\n]{0,6}",
            pieces in prop::collection::vec(1_usize..9, 200),
        ) {
            let (whole, _) = in_pieces(text.as_bytes(), std::iter::once(text.len()));
            let (verdict, parsed_bytes) = in_pieces(text.as_bytes(), pieces.into_iter());
            prop_assert!(parsed_bytes <= 3 * text.len() + 9);
            match (whole, verdict) {
                (Some(whole), Some(verdict)) => prop_assert_eq!(whole, verdict),
                // An error in the last half of an unfinished head is found when more of the head comes.
                (Some(Err(_)), None) => prop_assert!(!text.trim_start().contains("\n\r\n")),
                (whole, verdict) => prop_assert_eq!(whole, verdict),
            }
        }
    }
}
