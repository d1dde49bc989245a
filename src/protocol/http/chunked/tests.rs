use proptest::{prelude::*, sample::Index};

use super::*;

const BODY_BYTES_MAX: usize = 1000;

/// The result of a body: its bytes and how much of the input belonged to it, or None while it is not complete.
type Outcome = Result<Option<(Vec<u8>, usize)>, HttpFault>;

/// Feeds the pieces one after the other, as reads would bring them. The rest of a piece is not fed again.
fn decode_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, body_bytes_max: usize) -> Outcome {
    let (mut body, mut out, mut consumed) = (ChunkedBody::default(), Vec::new(), 0);
    for piece in pieces {
        let (used, complete) = body.decode(piece, &mut out, body_bytes_max)?;
        consumed += used;
        if complete {
            assert_eq!(body.decode(b"5\r\n", &mut out, body_bytes_max), Ok((0, true)), "what follows is not its");
            return Ok(Some((out, consumed)));
        }
        assert_eq!(used, piece.len(), "an incomplete body takes all that there is");
    }
    Ok(None)
}

/// Decodes in one piece, byte by byte and at every single cut, and checks that all agree.
fn decode(bytes: &[u8]) -> Outcome {
    let whole = decode_pieces([bytes], BODY_BYTES_MAX);
    assert_eq!(decode_pieces(bytes.chunks(1), BODY_BYTES_MAX), whole, "byte by byte: {bytes:?}");
    for cut in 0..=bytes.len() {
        assert_eq!(decode_pieces([&bytes[..cut], &bytes[cut..]], BODY_BYTES_MAX), whole, "cut at {cut}: {bytes:?}");
    }
    whole
}

#[track_caller]
fn assert_decodes(bytes: &[u8], expected: &[u8], left: usize) {
    assert_eq!(decode(bytes), Ok(Some((expected.to_vec(), bytes.len() - left))));
    for end in 0..bytes.len() - left {
        assert_eq!(decode_pieces([&bytes[..end]], BODY_BYTES_MAX), Ok(None), "cut off at {end}");
    }
}

#[track_caller]
fn assert_refused(bytes: &[u8], status: u16) {
    match decode(bytes) {
        Err(fault) => assert_eq!(fault.status, status, "{}", fault.sentence),
        accepted => panic!("{:?} must be {status}, but is {accepted:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn chunks_are_joined_and_the_bytes_behind_the_body_are_left() {
    assert_decodes(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET / HTTP/1.1\r\n", b"hello world", 16);
    assert_decodes(b"0\r\n\r\n", b"", 0);
    assert_decodes(b"0000000000000005\r\na\r\n\0b\r\n000\r\n\r\n", b"a\r\n\0b", 0);
    assert_decodes(b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789", 0);
}

#[test]
fn extensions_and_trailers_are_skipped() {
    assert_decodes(b"1;a=b;c=\"d e\"\r\nx\r\n0;z\r\n\r\n", b"x", 0);
    assert_decodes(b"1 \t;\ta\r\nx\r\n0\r\n\r\n", b"x", 0);
    assert_decodes(b"0\r\nX-Sum: 5\r\nContent-Length: 7\r\nY:\r\n\r\nrest", b"", 4);
}

#[test]
fn a_chunk_size_that_is_not_hexadecimal_and_crlf_is_400() {
    for size in ["", "+1", "-1", " 1", "0x1", "x", "1 ", "1 1", "1g", "1\t", "1,", ";a", "1 x;a", "\u{661}"] {
        assert_refused(format!("{size}\r\nx\r\n0\r\n\r\n").as_bytes(), 400);
    }
    for size in ["10000000000000000", "00000000000000001", "fffffffffffffffff"] {
        assert_refused(format!("{size}\r\nx\r\n0\r\n\r\n").as_bytes(), 400);
    }
    for end in ["\n", "\r", "\r\r\n", ";a\n", ";a\r", ";a\0\r\n", ";a\rb\r\n", ";\u{7f}\r\n"] {
        assert_refused(format!("1{end}x\r\n0\r\n\r\n").as_bytes(), 400);
    }
}

#[test]
fn data_that_is_not_followed_by_crlf_is_400() {
    for end in ["", "\n", "\r", "y\r\n", "\r\r\n", "\n\r"] {
        assert_refused(format!("1\r\nx{end}0\r\n\r\n").as_bytes(), 400);
    }
}

#[test]
fn a_trailer_that_is_no_header_is_400() {
    for trailer in [
        "X\r\n",
        "X y: z\r\n",
        ": y\r\n",
        " X: y\r\n",
        "X: y\n",
        "X: y\r\r\n",
        "X: y\r\n z\r\n",
        "X: \0\r\n",
        "\n",
        "\r",
    ] {
        assert_refused(format!("0\r\n{trailer}\r\n").as_bytes(), 400);
    }
}

#[test]
fn a_body_over_its_limit_is_413_as_soon_as_a_size_says_so() {
    let body = |bytes: usize| format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes)).into_bytes();
    assert_decodes(&body(BODY_BYTES_MAX), &[b'x'; BODY_BYTES_MAX], 0);
    assert_eq!(decode_pieces([&b"3e9\r\n"[..]], BODY_BYTES_MAX), Err(BODY_TOO_BIG));
    assert_eq!(decode_pieces([&b"1\r\nx\r\n3e8\r\n"[..]], BODY_BYTES_MAX), Err(BODY_TOO_BIG));
    assert_eq!(decode_pieces([&b"1\r\nx\r\nffffffffffffffff\r\n"[..]], BODY_BYTES_MAX), Err(BODY_TOO_BIG));
    assert_eq!(decode_pieces([&b"1\r\nx\r\nffffffffffffffff\r\n"[..]], usize::MAX), Err(BODY_TOO_BIG));
    assert_eq!(decode_pieces([&b"0\r\n\r\n"[..]], 0), Ok(Some((Vec::new(), 5))));
}

#[test]
fn extensions_and_trailers_together_are_bounded() {
    let max = CHUNK_OVERHEAD_BYTES_MAX as usize;
    let extended = |bytes: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(bytes - 1)).into_bytes();
    let trailed = |bytes: usize| format!("0\r\nX:{}\r\n\r\n", "t".repeat(bytes - 2)).into_bytes();
    let padded = |bytes: usize| format!("1{};\r\nx\r\n0\r\n\r\n", " ".repeat(bytes - 1)).into_bytes();
    for served in [extended(max), trailed(max), padded(max)] {
        assert!(decode_pieces([&served[..]], BODY_BYTES_MAX).is_ok_and(|found| found.is_some()));
    }
    for refused in
        [extended(max + 1), trailed(max + 1), padded(max + 1), "1;e\r\nx\r\n".repeat(max / 2 + 1).into_bytes()]
    {
        assert_eq!(decode_pieces([&refused[..]], 1 << 20), Err(OVERHEAD_TOO_BIG));
        assert_eq!(decode_pieces(refused.chunks(7), 1 << 20), Err(OVERHEAD_TOO_BIG));
    }
}

#[test]
fn the_decoder_is_a_few_bytes_of_state() {
    assert!(size_of::<ChunkedBody>() <= 32);
}

/// The oracle: RFC 9112 §7.1 line by line over a whole body, with nothing shared with the decoder. None for input that
/// is not a complete and valid body.
fn naive(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    fn line(rest: &mut &[u8]) -> Option<String> {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let line = &rest[..end];
        *rest = &rest[end + 2..];
        let plain = |b: &u8| *b == b'\t' || (*b >= 0x20 && *b != 0x7f);
        line.iter().all(plain).then(|| String::from_utf8_lossy(line).into_owned())
    }
    let (mut rest, mut body) = (input, Vec::new());
    loop {
        let size_line = line(&mut rest)?;
        let digits = match size_line.split_once(';') {
            Some((digits, _)) => digits.trim_end_matches([' ', '\t']),
            None => size_line.as_str(),
        };
        if digits.is_empty() || digits.len() > 16 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        let size = usize::from_str_radix(digits, 16).ok()?;
        if size == 0 {
            break;
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    loop {
        let trailer = line(&mut rest)?;
        if trailer.is_empty() {
            return (body.len() <= BODY_BYTES_MAX).then(|| (body, input.len() - rest.len()));
        }
        let (name, _) = trailer.split_once(':')?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)) {
            return None;
        }
    }
}

/// A body's data and one way to write it: chunks with leading zeros, either case, extensions, trailers.
fn bodies() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let extension = "([ \t]{0,2};[a-z]{1,5}(=(\"[a-z ;]{0,5}\"|[a-z]{1,3}))?)?";
    let chunk = (prop::collection::vec(any::<u8>(), 1..40), 0_usize..6, any::<bool>(), extension);
    let trailers = prop::collection::vec("[A-Za-z-]{1,8}:[ -~]{0,12}", 0..4);
    (prop::collection::vec(chunk, 0..8), trailers, extension).prop_map(|(chunks, trailers, last)| {
        let (mut data, mut written) = (Vec::new(), Vec::new());
        for (bytes, zeros, upper, extension) in chunks {
            let digits = if upper { format!("{:X}", bytes.len()) } else { format!("{:x}", bytes.len()) };
            written.extend(format!("{}{digits}{extension}\r\n", "0".repeat(zeros)).bytes());
            written.extend(&bytes);
            written.extend(b"\r\n");
            data.extend(bytes);
        }
        written.extend(format!("0{last}\r\n").bytes());
        written.extend(trailers.iter().flat_map(|line| format!("{line}\r\n").into_bytes()));
        written.extend(b"\r\n");
        (data, written)
    })
}

/// `bytes` in pieces, cut at these places.
fn cut(bytes: &[u8], cuts: &[Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_way_to_chunk_a_body_gives_the_body_however_it_arrives(
        (data, written) in bodies(),
        behind in prop::collection::vec(any::<u8>(), 0..20),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let input = [&written[..], &behind].concat();
        let pieces = cut(&input, &cuts);
        let outcome = decode_pieces(pieces.iter().map(Vec::as_slice), BODY_BYTES_MAX);
        prop_assert_eq!(outcome, Ok(Some((data.clone(), written.len()))));
        prop_assert_eq!(naive(&input), Some((data, written.len())), "the oracle itself");
    }

    #[test]
    fn a_damaged_body_is_accepted_exactly_when_the_oracle_accepts_it(
        (_, mut written) in bodies(),
        damage in prop::collection::vec((any::<Index>(), prop::sample::select(&b"\r\n;: 0159af+-x\0"[..]), 0..3), 1..4),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        for (at, byte, kind) in damage {
            let at = at.index(written.len());
            match kind {
                0 => written[at] = byte,
                1 => written.insert(at, byte),
                _ => drop(written.remove(at)),
            }
        }
        let whole = decode_pieces([&written[..]], BODY_BYTES_MAX);
        let pieces = cut(&written, &cuts);
        prop_assert_eq!(&decode_pieces(pieces.iter().map(Vec::as_slice), BODY_BYTES_MAX), &whole);
        prop_assert_eq!(whole.ok().flatten(), naive(&written));
    }
}
