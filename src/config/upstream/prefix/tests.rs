//! No spelling of a URL leaves its prefix: tables of known tricks, and generated URLs compared with a reader of paths
//! that falls for every trick.

use proptest::{prelude::*, sample::select};
use ureq::http::Uri;

use super::*;

/// The URL that the server would fetch, if `prefix` allows it.
fn fetched(prefix: &str, url: &str) -> Option<String> {
    let prefix: Prefix = prefix.parse().unwrap();
    parse_url(url).filter(|url| prefix.allows(url)).map(String::from)
}

#[test]
fn a_url_below_a_prefix_is_fetched_however_it_is_spelled() {
    for (prefix, url, canonical) in [
        ("http://h", "http://h", "http://h/"),
        ("http://h/", "http://h/any/path?a=b&c", "http://h/any/path?a=b&c"),
        ("http://h/", "HTTP://H:80/", "http://h/"),
        ("http://h/", "http://h:0080/", "http://h/"),
        ("http://h/", "http://h:/x", "http://h/x"),
        ("http://h:80/", "http://h/", "http://h/"),
        ("http://h:9000/", "http://h:09000/", "http://h:9000/"),
        ("https://h/", "https://h:443/", "https://h/"),
        ("http://H/", "http://%68/", "http://h/"),
        ("http://127.0.0.1/", "http://0x7f.1/", "http://127.0.0.1/"),
        ("http://127.0.0.1/", "http://2130706433/", "http://127.0.0.1/"),
        ("http://127.1/", "http://0177.0.0.1/", "http://127.0.0.1/"),
        ("http://[::1]:81/", "http://[0:0:0::0001]:81/", "http://[::1]:81/"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/"),
        ("http://h/api", "http://h/api", "http://h/api"),
        ("http://h/api", "http://h/api/", "http://h/api/"),
        ("http://h/api/", "http://h/api", "http://h/api"),
        ("http://h/api", "http://h/api?q=/../..", "http://h/api?q=/../.."),
        ("http://h/api", "http://h/x/../api/./y", "http://h/api/y"),
        ("http://h/api", "http://h/x/%2E%2e/api/y", "http://h/api/y"),
        ("http://h/api", "http://h\\api\\y", "http://h/api/y"),
        ("http://h/api", "http://h/api/ä#part", "http://h/api/%C3%A4"),
        ("http://h/api", "http://h/api/a%2Fb;v=1/..x", "http://h/api/a%2Fb;v=1/..x"),
    ] {
        assert_eq!(fetched(prefix, url).as_deref(), Some(canonical), "{url} below {prefix}");
    }
}

#[test]
fn a_url_outside_its_prefix_is_not_fetched() {
    for (prefix, url) in [
        ("http://h/", "https://h/"),
        ("http://h/", "http://h:81/"),
        ("http://h:81/", "http://h/"),
        ("http://h/", "http://h.example/"),
        ("http://h/", "http://h./"),
        ("http://h/", "http://h@evil/"),
        ("http://h/", "http://user@h/"),
        ("http://h/", "http://:password@h/"),
        ("http://h/", "http://@h/"),
        ("http://h/", "http:///@h/"),
        ("http://h/", "http://evil\\@h/"),
        ("http://h/", "http://evil#@h/"),
        ("http://h/", "http://evil?@h/"),
        ("http://h/", "http://evil/@h/"),
        ("http://h/", "http://h%00.evil/"),
        ("http://h/", "http://h:65536/"),
        ("http://h/", "http://h:80:81/"),
        ("http://127.0.0.1/", "http://[::ffff:127.0.0.1]/"),
        ("http://127.0.0.1/", "http://127.0.0.1.evil/"),
        ("http://[::1]/", "http://[::1%25lo]/"),
        ("http://h/api", "http://h/"),
        ("http://h/api", "http://h/apix"),
        ("http://h/api", "http://h/API"),
        ("http://h/api", "http://h//api"),
        ("http://h/api", "http://h/%61pi"),
        ("http://h/api", "http://h/api%2fx"),
        ("http://h/api", "http://h/api/../x"),
        ("http://h/api", "http://h/api/%2e%2E/x"),
        ("http://h/api", "http://h/api/.%2e/x"),
        ("http://h/api", "http://h/api/%252e%252e/x"),
        ("http://h/api", "http://h/api/%25252e./x"),
        ("http://h/api", "http://h/api/..%2fx"),
        ("http://h/api", "http://h/api/..%5cx"),
        ("http://h/api", "http://h/api/..\\x"),
        ("http://h/api", "http://h/api/..%255cx"),
        ("http://h/api", "http://h/api/..;/x"),
        ("http://h/api", "http://h/api/..;a=b/x"),
        ("http://h/api", "http://h/api/..%3b/x"),
        ("http://h/api", "http://h/api/..%20/x"),
        ("http://h/api", "http://h/api/%c0%ae%c0%ae/x"),
        ("http://h/api", "ftp://h/api"),
        ("http://h/api", "file:///api"),
        ("http://h/api", "/api"),
        ("http://h/api", ""),
    ] {
        assert_eq!(fetched(prefix, url), None, "{url} below {prefix}");
    }
}

#[test]
fn a_url_that_takes_long_to_parse_is_not_fetched() {
    let escaped = |times: usize| format!("http://h/%{}41", "25".repeat(times));
    assert!(fetched("http://h/", &escaped(ESCAPED_TIMES_MAX - 1)).is_some());
    assert_eq!(fetched("http://h/", &escaped(ESCAPED_TIMES_MAX)), None);
    assert_eq!(fetched("http://h/", &escaped(4000)), None);
    let host = |length: usize| format!("http://{}/", "a.".repeat(length / 2));
    assert!(fetched(&host(250), &host(250)).is_some());
    for slashes in ["http://", "http:///", "http://\\"] {
        assert!(parse_url(&format!("{slashes}{}/", "書".repeat(AUTHORITY_BYTES_MAX / 3 + 1))).is_none());
    }
}

#[test]
fn an_invalid_prefix_is_refused_and_shown() {
    for text in [
        "",
        "h",
        "h:80",
        "/api",
        "ftp://h/",
        "http:/h/",
        "http:h",
        "http://",
        "http://u@h/",
        "http://u:p@h/",
        "http://h/?q",
        "http://h/#f",
        "http://h/%2e%2e%2f",
        "http://h/..;/",
        "http://h/ x",
        "http://h:99999/",
        "http://[::1/",
        "*",
    ] {
        let error = text.parse::<Prefix>().expect_err(text);
        assert!(error.starts_with("upstream-allow: ") && error.contains(text) && !error.contains('\n'), "{error}");
    }
}

/// The path as read by a server that decodes it `times` times, takes backslashes for slashes, and drops the text after a
/// semicolon: resolved segments, or `None` if it climbs above the root.
fn naive_segments(path: &str, times: usize) -> Option<Vec<Vec<u8>>> {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..times {
        bytes = percent_decode(&bytes).collect();
    }
    let mut resolved = Vec::new();
    for segment in bytes.split(|byte| matches!(byte, b'/' | b'\\')).skip(1) {
        match segment.split(|&byte| byte == b';').next().unwrap().trim_ascii() {
            b"." => {}
            b".." => drop(resolved.pop()?),
            name => resolved.push(name.to_vec()),
        }
    }
    Some(resolved)
}

/// URLs made of pieces, one from each list in turn.
fn hostile_urls() -> impl Strategy<Value = String> {
    let scheme = select(vec!["http://", "HTTP://", "hTTp://", "https://", "http:/", "http:", "http:\\\\", "http:///"]);
    let user = select(vec!["", "", "", "", "@", "a@", "a:b@", "evil:80@", "h@evil@", "evil\\@", "evil%40", "evil/@"]);
    let host = select(vec![
        "h",
        "H",
        "h.",
        "%68",
        "h.evil",
        "evil",
        "h%2eevil",
        "h%00",
        "h%23",
        "127.0.0.1",
        "0x7f.1",
        "127.1",
        "017700000001",
        "2130706433",
        "[::1]",
        "[0:0::1]",
        "[::ffff:127.0.0.1]",
        "[::1",
        "ｈ",
        "h\u{200d}",
        "1.2.3.4.",
        "evil#h",
        "evil?h",
    ]);
    let port =
        select(vec!["", "", "", ":", ":80", ":0080", ":81", ":080", ":8080", ":65616", ":80@evil", ":443", ":+80"]);
    let segment = select(vec![
        "a",
        "b",
        "A",
        "%61",
        "ab",
        "a;x",
        "",
        ".",
        "..",
        "...",
        "%2e",
        "%2E%2e",
        ".%2e",
        "%252e%252e",
        "%25252e%25252e",
        "..%2f",
        "%2f..",
        "..%2f..",
        "..%5c..",
        "..%255c",
        "..\\",
        "\\..",
        "..;",
        "..;x=y",
        "..%3b",
        "a%2f..%2f..%2f..",
        "%",
        "%zz",
        "%00",
        "..%00",
        "%09..",
        "ä",
        "%c0%ae%c0%ae",
        "..%20",
        "?",
        "#",
        "a%2fb",
        "%5c",
        ";",
        "..;%2f..",
    ]);
    let slash = select(vec!["/", "/", "/", "//", "\\", "%2f"]);
    let path = prop::collection::vec((slash, segment), 0..7);
    (scheme, user, host, port, path).prop_map(|(scheme, user, host, port, path)| {
        let path: String = path.into_iter().flat_map(|(slash, segment)| [slash, segment]).collect();
        format!("{scheme}{user}{host}{port}{path}")
    })
}

/// Prefixes with their origins and segments.
const PREFIXES: [(&str, &str, &[&str]); 6] = [
    ("http://h/a", "http://h:80", &["a"]),
    ("http://h/a/b/", "http://h:80", &["a", "b"]),
    ("http://h", "http://h:80", &[]),
    ("https://h/a", "https://h:443", &["a"]),
    ("http://127.0.0.1:81/a", "http://127.0.0.1:81", &["a"]),
    ("http://[::1]/a", "http://[::1]:80", &["a"]),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn nothing_leaves_its_prefix_however_it_is_read(url in hostile_urls()) {
        for (prefix, origin, segments) in PREFIXES {
            let Some(canonical) = fetched(prefix, &url) else { continue };
            // The HTTP client reads the URL with another parser.
            let uri: Uri = canonical.parse().unwrap();
            let scheme = uri.scheme_str().unwrap();
            let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
            prop_assert_eq!(format!("{scheme}://{}:{port}", uri.host().unwrap()), origin, "{}", canonical);
            prop_assert!(!uri.authority().unwrap().as_str().contains('@'), "{}", canonical);
            for times in 0..5 {
                let read = naive_segments(uri.path(), times);
                let is_below = read.as_ref().is_some_and(|read| {
                    read.len() >= segments.len() && read.iter().zip(segments).all(|(read, wanted)| read == wanted.as_bytes())
                });
                prop_assert!(is_below, "{} below {} is {:?} when it is decoded {} times", canonical, prefix, read, times);
            }
        }
    }

    #[test]
    fn every_plain_path_below_a_prefix_is_fetched_as_it_is(
        path in prop::collection::vec("[A-Za-z0-9_~.-]{1,8}[A-Za-z0-9]|%C3%A4|a%2Fb", 0..5), query in "(\\?[a-z0-9=&/.%-]{0,20})?",
    ) {
        for (prefix, ..) in PREFIXES {
            let base = prefix.trim_end_matches('/');
            let url = format!("{base}{}{query}", path.iter().map(|segment| format!("/{segment}")).collect::<String>());
            let expected = if url.matches('/').count() == 2 { url.replace('?', "/?") } else { url.clone() };
            let expected = if expected.matches('/').count() == 2 { format!("{expected}/") } else { expected };
            let got = fetched(prefix, &url);
            prop_assert!(got.as_ref() == Some(&expected) || query.contains('/'), "{} is {:?}", url, got);
            prop_assert!(got.is_some(), "{}", url);
        }
    }
}

#[test]
fn a_host_that_is_too_long_in_its_canonical_form_is_not_fetched() {
    let host = |labels: usize| format!("http://{}h/", "\u{e9}.".repeat(labels));
    let url = parse_url(&host(20)).expect("a name of 180 bytes and more");
    assert_eq!(parse_url(url.as_str()), Some(url));
    assert!(host(100).len() < AUTHORITY_BYTES_MAX, "as it is written it is short enough");
    assert_eq!(parse_url(&host(100)), None);
}
