//! URLs that clients ask for, and the prefixes that must contain them.

use percent_encoding::percent_decode;

use super::dice::Dice;
use crate::config::{Config, parse_url};

const WORDS: [&[u8]; 36] = [
    b"http://h:8080/a/b",
    b"http://",
    b"https://",
    b"h:8080",
    b"/a/b",
    b"/",
    b"..",
    b".",
    b"%2e",
    b"%2f",
    b"%5c",
    b"%252e",
    b"\\",
    b";",
    b"?",
    b"#",
    b"@",
    b":",
    b"[::1]",
    b"127.1",
    b"0x7f.1",
    b"%",
    b"%c0%ae",
    b"\t",
    b"\n",
    b" ",
    b"\xc3\xa9",
    b"xn--",
    b"%25",
    b"/c",
    b"user:pass@",
    b"H",
    b"\xe3\x80\x82",
    b"%00",
    b"//",
    b"http:\\\\h:8080\\a\\b",
];

/// An allowed URL is at the allowed server and below the allowed path, however often its escapes are resolved, and it
/// is in canonical form. The option's parser accepts or refuses any text without a panic.
pub fn urls(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let is_below = dice.is_one_in(2);
    let text = dice.text(&WORDS);
    let Ok(text) = String::from_utf8([if is_below { &b"http://h:8080/a/b/"[..] } else { b"" }, &text].concat()) else {
        return;
    };
    let of_text = Config { upstream_allow: vec![text.clone()], ..Config::default() };
    let _ = of_text.upstream_allowed();
    let Some(url) = parse_url(&text) else { return };
    assert_eq!(parse_url(url.as_str()).as_ref(), Some(&url), "a canonical URL is not its own");
    assert!(url.fragment().is_none() && url.username().is_empty() && url.password().is_none());
    let config = Config { upstream_allow: vec!["http://h:8080/a/b".to_owned()], ..Config::default() };
    let allow = config.upstream_allowed().expect("a prefix");
    assert!(allow.server("DELETE", &url).is_err());
    if allow.server("GET", &url).is_err() {
        return;
    }
    assert_eq!((url.scheme(), url.host_str(), url.port()), ("http", Some("h"), Some(8080)), "{text:?}");
    let mut path = url.path().as_bytes().to_vec();
    assert!(path == b"/a/b" || path.starts_with(b"/a/b/"), "{text:?}");
    for _ in 0..8 {
        let mut segments = path.split(|byte| b"/\\".contains(byte));
        let is_parent = |segment: &[u8]| segment.split(|&byte| byte == b';').next() == Some(b"..");
        assert!(!segments.any(is_parent), "{text:?} hides a parent");
        path = percent_decode(&path).collect();
    }
}
