use proptest::prelude::*;

use super::*;

fn sentence(result: Result<impl Sized, Refusal>) -> String {
    let refusal = result.err().expect("refused");
    assert_eq!((refusal.code(), refusal.reason()), (400, "bad-channel"));
    refusal.sentence().to_owned()
}

#[test]
fn plain_names_are_channels() {
    let longest = [b'a'; CHANNEL_BYTES_MAX];
    let deepest = vec!["a*"; TOKENS_MAX].join(".").into_bytes();
    for name in [&b"a"[..], b"a.b", b"a*", b"*a.b", b"**", b">>", b"a.b>", "Zürich.☂".as_bytes(), b"\x80\xff", b"/~"]
        .into_iter()
        .chain([&longest[..], &deepest])
    {
        assert_eq!(check_publish(name), Ok(()), "{name:?}");
        assert_eq!(check_subscribe(name), Ok(Kind::Exact), "{name:?}");
    }
}

#[test]
fn a_whole_token_of_a_wildcard_makes_a_pattern_and_is_never_published_to() {
    let deepest = "a.".repeat(TOKENS_MAX - 1) + ">";
    for name in [&b"*"[..], b">", b"a.*", b"*.a", b"a.*.b", b"a.>", b"*.>", b"*.*", b"*.*.*.*.>", deepest.as_bytes()] {
        assert_eq!(check_subscribe(name), Ok(Kind::Pattern), "{name:?}");
        assert!(sentence(check_publish(name)).ends_with("has a wildcard: patterns are for subscribing only"));
    }
}

#[test]
fn a_refusal_says_what_is_wrong_with_the_name() {
    let both = |name: &[u8]| {
        let published = sentence(check_publish(name));
        assert_eq!(sentence(check_subscribe(name)), published);
        published
    };
    assert_eq!(both(b"a..b"), r#"channel "a..b" has an empty token"#);
    assert_eq!(both(b".a"), r#"channel ".a" has an empty token"#);
    assert_eq!(both(b"a."), r#"channel "a." has an empty token"#);
    assert_eq!(both(b"."), r#"channel "." has an empty token"#);
    assert_eq!(both(b""), r#"channel "" is empty"#);
    assert_eq!(both(b"a b"), r#"channel "a b" has a space"#);
    assert_eq!(both(b"a\r\nb"), r#"channel "a\r\nb" has a control character"#);
    assert_eq!(both(b"\x7f"), r#"channel "\u{7f}" has a control character"#);
    assert_eq!(both(&[b'a'; 256]), format!(r#"channel "{}…" has 256 bytes, more than 255"#, "a".repeat(64)));
    assert_eq!(sentence(check_subscribe(b"a.>.b")), r#"channel "a.>.b" has a ">" that is not its last token"#);
    assert_eq!(sentence(check_subscribe(b">.>")), r#"channel ">.>" has a ">" that is not its last token"#);
    assert_eq!(both(&b"a.".repeat(33)[..65]), format!(r#"channel "{}…" has 33 tokens, more than 32"#, "a.".repeat(32)));
    assert_eq!(sentence(check_subscribe(b"*.*.a.*.*.*")), r#"channel "*.*.a.*.*.*" has 5 tokens "*", more than 4"#);
}

#[test]
fn a_client_may_not_name_a_system_channel() {
    for name in [&b"_"[..], b"$", b"_a.b", b"$SYS.>", b"_.*", b"$a..b"] {
        let refusal = check_client(name).expect_err("refused");
        assert_eq!((refusal.code(), refusal.reason()), (403, "forbidden"));
    }
    let sentence = r#"channel "_a" is the system's: a client's begins neither with "$" nor with "_""#;
    assert_eq!(check_client(b"_a").unwrap_err().sentence(), sentence);
    for name in [&b"a_"[..], b"a._b", b"*", b">", b"*.$", b"", b"-$"] {
        assert_eq!(check_client(name), Ok(()), "{name:?}");
    }
}

#[test]
fn a_star_matches_one_token_and_a_tail_one_or_more_and_neither_matches_a_system_channel() {
    for (pattern, channel) in
        [("a.*", "a.b"), ("*", "a"), (">", "a"), (">", "a.b.c"), ("a.>", "a.b"), ("*.>", "a.b.c"), ("a*", "a*")]
    {
        assert!(matches(pattern.as_bytes(), channel.as_bytes()), "{pattern} {channel}");
    }
    for (pattern, channel) in
        [("$a.*", "$a.b"), ("_.>", "_.a"), ("a.*", "a._b"), ("*.*", "a.$"), (">", "a$"), ("*a", "*a")]
    {
        assert!(matches(pattern.as_bytes(), channel.as_bytes()), "{pattern} {channel}");
    }
    for (pattern, channel) in [(">", "$a"), (">", "_a.b"), ("*", "_"), ("*.a", "$.a"), ("*.>", "_a.b"), ("*", "$*")] {
        assert!(!matches(pattern.as_bytes(), channel.as_bytes()), "{pattern} {channel}");
    }
    for (pattern, channel) in
        [("$a.*", "$a.b"), ("_.>", "_.a"), ("a.*", "a._b"), ("*.*", "a.$"), (">", "a$"), ("*a", "*a")]
    {
        assert!(matches(pattern.as_bytes(), channel.as_bytes()), "{pattern} {channel}");
    }
    for (pattern, channel) in [(">", "$a"), (">", "_a.b"), ("*", "_"), ("*.a", "$.a"), ("*.>", "_a.b"), ("*", "$*")] {
        assert!(!matches(pattern.as_bytes(), channel.as_bytes()), "{pattern} {channel}");
    }
    for (pattern, channel) in
        [("a.*", "a"), ("a.*", "a.b.c"), ("*", "a.b"), ("a.>", "a"), ("*.>", "a"), ("a*", "ab"), ("a", "a.b")]
    {
        assert!(!matches(pattern.as_bytes(), channel.as_bytes()), "{pattern} {channel}");
    }
}

#[test]
fn names_in_a_value_are_separated_by_any_number_of_spaces() {
    let names: Vec<&[u8]> = split(b"  a  b.c\td ").collect();
    assert_eq!(names, [&b"a"[..], b"b.c", b"d"]);
    assert_eq!(split(b" \t ").count(), 0);
}

proptest! {
    /// The rules of PROTOCOL.md §2 one by one, one pass for each rule.
    #[test]
    fn the_check_agrees_with_the_rules_taken_one_by_one(
        name in prop_oneof![
            prop::collection::vec(prop_oneof![Just(b'.'), Just(b'*'), Just(b'>'), Just(b'a'), any::<u8>()], 0..9),
            prop::collection::vec(prop::sample::select(&["a", "a", "a", "*", "b"][..]), 1..40)
                .prop_map(|tokens| tokens.join(".").into_bytes()),
        ]
    ) {
        let tokens: Vec<&[u8]> = name.split(|&byte| byte == b'.').collect();
        let legal = tokens.iter().all(|token| !token.is_empty())
            && tokens.len() <= 32
            && name.iter().all(|&byte| byte != b' ' && !byte.is_ascii_control());
        let stars = tokens.iter().filter(|&&token| token == b"*").count();
        let wild = tokens.iter().any(|&token| token == b"*" || token == b">");
        let tail_inside = tokens[..tokens.len() - 1].contains(&&b">"[..]);
        prop_assert_eq!(check_publish(&name).is_ok(), legal && !wild);
        let kind = if wild { Kind::Pattern } else { Kind::Exact };
        prop_assert_eq!(check_subscribe(&name).ok(), (legal && !tail_inside && stars <= 4).then_some(kind));
        prop_assert_eq!(super::kind(&name), kind);
    }

    #[test]
    fn a_sentence_is_one_short_line_whatever_the_name(name in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Err(refusal) = check_publish(&name) {
            prop_assert!(!refusal.sentence().contains(char::is_control));
            prop_assert!(refusal.sentence().chars().count() < 10 * SHOWN_CHARACTERS_MAX + 80);
        }
    }
}
