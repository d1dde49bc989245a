use proptest::{prelude::*, sample::Index};

use super::*;

const REQUEST_LINES: &[&[u8]] =
    &[b"GET / HTTP/1.1\r\n", b"POST /publish HTTP/1.1\r\n", b"POST /publish?x HTTP/1.0\r\n"];

/// Lines that are mostly compatible. The generator adds `Host`.
const LINES: &[&[u8]] = &[
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close, upgrade\r\n",
    b"Expect: 100-continue\r\n",
    b"X: y \r\n",
    b"Y:\r\n",
];

/// Pieces that make a head wrong, or only different.
const SPLINTERS: &[&[u8]] =
    &[b"\n", b"\r", b"\r\n", b" ", b"\t", b"\0", b"\xff", b":", b",", b"HTTP/2", b"5", b"Host: a\r\n", b"\r\n\r\n"];

/// Heads that are right or nearly right: a shuffled choice of lines, with up to two splinters anywhere.
fn near_heads() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop::sample::subsequence(LINES, 0..=LINES.len()).prop_shuffle();
    let splinters = prop::collection::vec((any::<Index>(), prop::sample::select(SPLINTERS)), 0..3);
    (prop::sample::select(REQUEST_LINES), lines, splinters).prop_map(|(start, lines, splinters)| {
        let mut head = [start, b"Host: a\r\n", &lines.concat(), b"\r\nhello"].concat();
        for (at, splinter) in splinters {
            let at = at.index(head.len());
            head.splice(at..at, splinter.iter().copied());
        }
        head
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_bytes_never_panic_and_their_verdict_never_changes(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        head_bytes_max in 0_usize..200,
    ) {
        let _ = parse_at_every_split(&bytes, head_bytes_max);
    }

    #[test]
    fn a_prefix_is_never_a_head_and_the_verdict_on_near_heads_never_changes(
        bytes in near_heads(),
        head_bytes_max in prop_oneof![Just(HEAD_BYTES_MAX), 0_usize..200],
    ) {
        let _ = parse_at_every_split(&bytes, head_bytes_max);
    }

    #[test]
    fn an_accepted_head_has_nothing_that_could_smuggle_a_request(bytes in near_heads()) {
        if let Ok(Some(head)) = parse(&bytes) {
            let text = &bytes[..head.head_bytes];
            prop_assert!(text.ends_with(b"\r\n\r\n"));
            let lines = text.split(|b| *b == b'\n').count() - 1;
            prop_assert_eq!(text.windows(2).filter(|pair| pair == b"\r\n").count(), lines);
            prop_assert_eq!(text.iter().filter(|b| **b == b'\r').count(), lines);
            let count = |name: &str| head.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count();
            let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
            prop_assert!(lengths + codings <= 1);
            prop_assert_eq!(head.body == Body::Chunked, codings == 1);
            prop_assert_eq!(matches!(head.body, Body::Length(_)), lengths == 1);
            prop_assert!(count("host") == 1 || (head.minor_version == 0 && count("host") == 0));
        }
    }

    #[test]
    fn any_valid_head_reads_back_as_it_was_written(
        target in "/[a-z0-9/%]{0,30}(\\?[a-z=&]{0,10})?",
        headers in prop::collection::vec(("X-[A-Za-z0-9_-]{0,12}", "([!-~\u{e4}]([ -~]{0,20}[!-~])?)?"), 0..20),
        length in prop::option::of(any::<u64>()),
        behind in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut text = format!("PUT {target} HTTP/1.1\r\nHost: h\r\n");
        for (name, value) in &headers {
            text += &format!("{name}: \t{value} \r\n");
        }
        if let Some(length) = length {
            text += &format!("Content-Length: {length}\r\n");
        }
        text += "\r\n";
        let head = parse(&[text.as_bytes(), &behind].concat()).expect("valid").expect("whole");
        prop_assert_eq!(head.head_bytes, text.len());
        prop_assert_eq!(&head.path, target.split('?').next().expect("a first part"));
        prop_assert_eq!(head.body, length.map_or(Body::None, Body::Length));
        let expected: Vec<_> = headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
        prop_assert_eq!(&head.headers[1..=expected.len()], &expected[..]);
    }
}
