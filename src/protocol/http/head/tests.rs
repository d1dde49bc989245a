use super::*;

mod properties;

const HEAD_BYTES_MAX: usize = 8192;

/// A head that owns its parts, so that heads from different buffers can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    method: String,
    target: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    minor_version: u8,
    body: Body,
    persistence: Persistence,
    expect_continue: bool,
    names_websocket: bool,
    head_bytes: usize,
}

fn parse_within(bytes: &[u8], head_bytes_max: usize) -> Result<Option<Owned>, HttpFault> {
    let mut slots = HeaderSlots::new();
    let found = parse_head(bytes, head_bytes_max, &mut slots)?;
    Ok(found.map(|(head, head_bytes)| Owned {
        method: head.method.into(),
        target: head.target.into(),
        path: head.path.into(),
        headers: head.headers.iter().map(|h| (h.name.into(), h.value.into())).collect(),
        minor_version: head.minor_version,
        body: head.body,
        persistence: head.persistence,
        expect_continue: head.expect_continue,
        names_websocket: head.names_websocket,
        head_bytes,
    }))
}

fn parse(bytes: &[u8]) -> Result<Option<Owned>, HttpFault> {
    parse_within(bytes, HEAD_BYTES_MAX)
}

/// Feeds every prefix of `bytes`, and checks that the verdict comes once and never changes: a head only when it is
/// complete, and an error for good. Returns the verdict on all of `bytes`.
fn parse_at_every_split(bytes: &[u8], head_bytes_max: usize) -> Result<Option<Owned>, HttpFault> {
    let whole = parse_within(bytes, head_bytes_max);
    let mut verdict = None;
    for end in 0..=bytes.len() {
        let now = parse_within(&bytes[..end], head_bytes_max);
        match (&verdict, &now) {
            (None, Ok(None)) => {}
            (None, _) => {
                if let Ok(Some(head)) = &now {
                    assert_eq!(head.head_bytes, end, "a head is found with its last byte, not before or after");
                }
                verdict = Some(now);
            }
            (Some(before), now) => assert_eq!(before, now, "the verdict changed at byte {end} of {bytes:?}"),
        }
    }
    assert_eq!(verdict.unwrap_or(Ok(None)), whole);
    whole
}

/// The head of an HTTP/1.1 request with these lines; the helper adds the line ends.
fn head_of(lines: &[&str]) -> Owned {
    let text = lines.iter().flat_map(|line| [line, "\r\n"]).collect::<String>() + "\r\n";
    parse_at_every_split(text.as_bytes(), HEAD_BYTES_MAX)
        .unwrap_or_else(|fault| panic!("{lines:?} is refused: {fault:?}"))
        .expect("a whole head")
}

fn with_line(line: &str) -> Owned {
    head_of(&["POST /publish HTTP/1.1", "Host: a", line])
}

#[track_caller]
fn assert_refused(text: &str, status: u16) {
    match parse_at_every_split(text.as_bytes(), HEAD_BYTES_MAX) {
        Err(fault) => assert_eq!(fault.status, status, "{text:?}: {}", fault.sentence),
        accepted => panic!("{text:?} must be {status}, but is {accepted:?}"),
    }
}

#[track_caller]
fn assert_lines_refused(lines: &str, status: u16) {
    assert_refused(&format!("POST /publish HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"), status);
}

#[test]
fn parsing_a_head_gives_its_parts_and_its_length_and_ignores_the_bytes_behind_it() {
    let bytes = b"POST /publish?x=1 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\nX-A:  b c \r\n\r\nhelloGET / HTTP";
    let head = parse_at_every_split(bytes, HEAD_BYTES_MAX).expect("valid").expect("whole");
    assert_eq!((head.method.as_str(), head.target.as_str(), head.path.as_str()), ("POST", "/publish?x=1", "/publish"));
    assert_eq!(head.headers[2], ("X-A".into(), b"b c".to_vec()));
    assert_eq!((head.body, head.minor_version), (Body::Length(5), 1));
    assert_eq!(&bytes[head.head_bytes..], b"helloGET / HTTP");
}

#[test]
fn pipelined_heads_share_one_buffer_and_one_set_of_slots() {
    let bytes = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n".repeat(3);
    let mut slots = HeaderSlots::new();
    let (mut rest, mut heads) = (&bytes[..], 0);
    while let Some((head, head_bytes)) = parse_head(rest, HEAD_BYTES_MAX, &mut slots).expect("valid") {
        assert_eq!((head.path, head.headers.len()), ("/a", 1));
        rest = &rest[head_bytes..];
        heads += 1;
    }
    assert_eq!((heads, rest.len()), (3, 0));
}

#[test]
fn headers_are_found_without_case_and_all_of_them_in_order() {
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-b: 2\r\nx-a: 3\r\n\r\n";
    let mut slots = HeaderSlots::new();
    let (head, _) = parse_head(bytes, HEAD_BYTES_MAX, &mut slots).expect("valid").expect("whole");
    assert_eq!(head.header("X-a"), Some(&b"1"[..]));
    assert_eq!(head.header_values("X-A").collect::<Vec<_>>(), [b"1", b"3"]);
    assert_eq!((head.header("x"), head.header_values("x-c").count()), (None, 0));
}

#[test]
fn empty_lines_in_front_belong_to_the_head() {
    let head = parse_at_every_split(b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", HEAD_BYTES_MAX);
    assert_eq!(head.expect("valid").expect("whole").head_bytes, 31);
    assert_refused("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400);
}

#[test]
fn the_path_is_found_in_each_form_of_the_target() {
    let path = |request_line: &str| head_of(&[request_line, "Host: a"]).path;
    for (target, expected) in [
        ("/", "/"),
        ("/a/b%20c", "/a/b%20c"),
        ("/a?b=/c", "/a"),
        ("/?", "/"),
        ("/a#b", "/a"),
        ("//a?b", "//a"),
        ("http://a/b?c", "/b"),
        ("HTTP://a:80/b", "/b"),
        ("ws://a", "/"),
        ("https://a?b=/c", "/"),
        ("http://a/b://c", "/b://c"),
    ] {
        assert_eq!(path(&format!("GET {target} HTTP/1.1")), expected, "{target}");
    }
    assert_eq!(path("OPTIONS * HTTP/1.1"), "*");
    assert_eq!(path("CONNECT a:80 HTTP/1.1"), "a:80");
    for target in ["*", "a", "a/b", "?a", "http:/a", "http:///a", "://a/", "1a://b/", "a b", "a_b://c/"] {
        assert_refused(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }
}

#[test]
fn a_malformed_request_line_is_400_and_another_version_of_http_is_505() {
    let host = "\r\nHost: a\r\n\r\n";
    for line in ["GET /", "GET  / HTTP/1.1", " GET / HTTP/1.1", "G(T / HTTP/1.1", "GET / HTTP/1.1 ", "GET / HTTPS/1.1"]
    {
        assert_refused(&format!("{line}{host}"), 400);
    }
    for line in ["GET / FOO", "GET / HTTP/x", "GET / http/1.1", "GET /\t HTTP/1.1", "GET", "/ HTTP/1.1", "\u{7f} / "] {
        assert_refused(&format!("{line}{host}"), 400);
    }
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3", "HTTP/1,1", "HTTP/9.9"] {
        assert_refused(&format!("GET / {version}{host}"), 505);
        assert_refused(&format!("\r\nGET / {version}{host}"), 505);
    }
    assert_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    assert_eq!(parse(b"GET /\xff HTTP/1.1\r\n").map_err(|fault| fault.status), Err(400));
}

#[test]
fn a_head_over_its_limit_is_431_and_at_its_limit_is_served() {
    let fixed = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    let head = |bytes: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(bytes - fixed));
    let at_limit = parse_at_every_split(head(300).as_bytes(), 300).expect("valid").expect("whole");
    assert_eq!(at_limit.head_bytes, 300);
    let followed = parse_at_every_split((head(300) + "body").as_bytes(), 300).expect("valid").expect("whole");
    assert_eq!(followed.head_bytes, 300);
    assert_eq!(parse_at_every_split(head(301).as_bytes(), 300), Err(HEAD_TOO_BIG));
    assert_eq!(parse_within(&head(301).as_bytes()[..299], 300), Ok(None));
    let full = parse_within(&head(301).as_bytes()[..300], 300);
    assert_eq!(full, Err(HEAD_TOO_BIG), "no further byte could complete it, so the parser must not wait for one");
    assert_eq!(parse_at_every_split("\r\n".repeat(200).as_bytes(), 300), Err(HEAD_TOO_BIG));
    assert_eq!(parse_at_every_split(format!("GET /{}", "a".repeat(400)).as_bytes(), 300), Err(HEAD_TOO_BIG));
}

#[test]
fn a_hundred_and_twenty_eight_header_lines_are_served_and_one_more_is_431() {
    let head = |lines: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(lines - 1));
    assert_eq!(parse(head(128).as_bytes()).expect("valid").expect("whole").headers.len(), 128);
    assert_refused(&head(129), 431);
}

#[test]
fn a_line_that_another_reader_could_split_differently_is_400() {
    for head in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX:\n\r\n",
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n",
    ] {
        assert_refused(head, 400);
    }
    for lines in
        ["X : y", "X\t: y", " X: y", "X: y\r\n folded", "X: y\r\n\tfolded", ": y", "X", "X y: z", "X: \0", "X: \u{7f}"]
    {
        assert_lines_refused(lines, 400);
    }
    assert_refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400);
}

#[test]
fn http_1_1_needs_exactly_one_valid_host_and_http_1_0_at_most_one() {
    assert_refused("GET / HTTP/1.1\r\n\r\n", 400);
    assert_refused("GET http://a/ HTTP/1.1\r\nX: y\r\n\r\n", 400);
    for version in ["1.1", "1.0"] {
        assert_refused(&format!("GET / HTTP/{version}\r\nHost: a\r\nhost: a\r\n\r\n"), 400);
        for host in ["a b", "a/b", "a@b", "a\\b", "\"a\"", "\u{e4}"] {
            assert_refused(&format!("GET / HTTP/{version}\r\nHost: {host}\r\n\r\n"), 400);
        }
        for host in ["", "a", "a:80", "[::1]:8081", "127.0.0.1", "a_b.c-d~%20"] {
            head_of(&[&format!("GET / HTTP/{version}"), &format!("HOST: {host}")]);
        }
    }
    assert_eq!(head_of(&["GET / HTTP/1.0"]).minor_version, 0);
}

#[test]
fn the_length_is_one_decimal_number_of_64_bits() {
    assert_eq!(with_line("X: y").body, Body::None);
    assert_eq!(with_line("Content-Length: 0").body, Body::Length(0));
    assert_eq!(with_line("content-length:\t0012 ").body, Body::Length(12));
    assert_eq!(with_line("Content-Length: 18446744073709551615").body, Body::Length(u64::MAX));
    for value in [
        "",
        "+5",
        "-5",
        "5 5",
        "5,5",
        "5, 5",
        "0x5",
        "5a",
        "a",
        "5.0",
        "18446744073709551616",
        "36893488147419103232",
        "99999999999999999999999",
        "\u{665}",
        "1_0",
    ] {
        assert_lines_refused(&format!("Content-Length: {value}"), 400);
    }
    for lines in ["Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nX: y\r\ncontent-length: 6"] {
        assert_lines_refused(lines, 400);
    }
}

#[test]
fn chunked_is_the_only_transfer_coding_and_excludes_a_length() {
    assert_eq!(with_line("Transfer-Encoding: chunked").body, Body::Chunked);
    assert_eq!(with_line("transfer-encoding: CHUNKED").body, Body::Chunked);
    for value in [
        "",
        "gzip",
        "identity",
        "gzip, chunked",
        "chunked, chunked",
        "chunked,",
        "chunked;q=1",
        "xchunked",
        "\u{b}chunked",
    ] {
        assert_lines_refused(&format!("Transfer-Encoding: {value}"), 400);
    }
    for lines in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nTransfer-Encoding : chunked",
    ] {
        assert_lines_refused(lines, 400);
    }
    assert_refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
}

#[test]
fn http_1_1_stays_unless_told_to_close_and_http_1_0_only_if_asked() {
    let persistence = |version: &str, lines: &[&str]| {
        let start = format!("GET / HTTP/{version}");
        head_of(&[&[start.as_str(), "Host: a"], lines].concat()).persistence
    };
    for lines in
        [&[][..], &["Connection: keep-alive"], &["Connection: upgrade, x"], &["Connection: closed"], &["Connection: "]]
    {
        assert_eq!(persistence("1.1", lines), Persistence::Keep, "{lines:?}");
    }
    for lines in [
        &["Connection: close"][..],
        &["connection: x ,\tCLOSE"],
        &["Connection: keep-alive", "Connection: close"],
        &["Connection: close", "Connection: keep-alive"],
    ] {
        assert_eq!(persistence("1.1", lines), Persistence::Close, "{lines:?}");
        assert_eq!(persistence("1.0", lines), Persistence::Close, "{lines:?}");
    }
    assert_eq!(persistence("1.0", &[]), Persistence::Close);
    assert_eq!(persistence("1.0", &["Connection: Keep-Alive"]), Persistence::KeepSaid);
    assert_eq!(persistence("1.0", &["Connection: y,keep-alive", "Connection: x"]), Persistence::KeepSaid);
    assert_eq!(persistence("1.0", &["Connection: keep-alive, close"]), Persistence::Close);
}

#[test]
fn only_100_continue_can_be_expected_and_only_where_a_body_waits_for_it() {
    let expects = |lines: &[&str]| head_of(lines).expect_continue;
    let (new, old) = ("POST / HTTP/1.1", "POST / HTTP/1.0");
    assert!(expects(&[new, "Host: a", "Content-Length: 1", "Expect: 100-continue"]));
    assert!(expects(&[new, "Host: a", "expect: 100-Continue", "Transfer-Encoding: chunked"]));
    assert!(!expects(&[new, "Host: a", "Content-Length: 1"]));
    assert!(!expects(&[new, "Host: a", "Content-Length: 0", "Expect: 100-continue"]));
    assert!(!expects(&[new, "Host: a", "Expect: 100-continue"]));
    assert!(!expects(&[old, "Content-Length: 1", "Expect: 100-continue"]));
    for value in ["", "200-ok", "100-continue, x", "100-continue;a=b"] {
        assert_lines_refused(&format!("Content-Length: 1\r\nExpect: {value}"), 417);
    }
}

#[test]
fn the_bearer_token_follows_the_scheme() {
    let token = |lines: &str| {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
        let mut slots = HeaderSlots::new();
        let (head, _) = parse_head(text.as_bytes(), HEAD_BYTES_MAX, &mut slots).expect("valid").expect("whole");
        bearer_token(&head).map(|token| String::from_utf8_lossy(token).into_owned())
    };
    assert_eq!(token("Authorization: Bearer s3cret=").as_deref(), Some("s3cret="));
    assert_eq!(token("authorization:bEARER   s3cret ").as_deref(), Some("s3cret"));
    for none in [
        "X: y",
        "Authorization:",
        "Authorization: Bearer",
        "Authorization: Bearer ",
        "Authorization: Bearers3cret",
        "Authorization: Bearers s3cret",
        "Authorization: Basic s3cret",
        "Authorization: s3cret",
        "Authorization: \u{e4}\u{e4}\u{e4}\u{e4} x",
        "Authorization: Bearer a\r\nAuthorization: Bearer b",
    ] {
        assert_eq!(token(none), None, "{none:?}");
    }
}
