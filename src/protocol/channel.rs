//! Channel names and patterns (PROTOCOL.md §2, "Channels"): what is one, and what matches what.
//!
//! A name is 1–255 bytes without space or control character, in tokens separated by `.`, none of them empty. In a
//! subscription a token `*` stands for exactly one token and a last token `>` for one or more; only a *whole* token is a
//! wildcard, so `a*` and `>>` are plain text. That a head is UTF-8 is checked where the head is parsed, not here.

use crate::error::{Reason, Refusal};

/// The longest channel or pattern, in bytes. It bounds the tokens of a name to 128.
pub(crate) const CHANNEL_BYTES_MAX: usize = 255;

/// How much of a refused name its sentence shows, in characters.
const SHOWN_CHARACTERS_MAX: usize = 64;

/// What a subscription names. It is a property of the name alone: no name is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// One channel.
    Exact,
    /// Every channel that a pattern with a `*` or `>` matches.
    Pattern,
}

/// Checks that `name` may be published to. One pass, and no allocation unless it is refused.
///
/// # Errors
/// `bad-channel`: not a channel name, or a whole token of it is `*` or `>`.
pub(crate) fn check_publish(name: &[u8]) -> Result<(), Refusal> {
    match shape(name) {
        Some(Shape { wild: false, .. }) => Ok(()),
        _ => Err(refusal(name, true)),
    }
}

/// Checks that `name` may be subscribed to, and says which kind it is. One pass, and no allocation unless it is refused.
///
/// # Errors
/// `bad-channel`: neither a channel name nor a pattern; a `>` that is not the last token is neither.
pub(crate) fn check_subscribe(name: &[u8]) -> Result<Kind, Refusal> {
    match shape(name) {
        Some(Shape { wild: false, .. }) => Ok(Kind::Exact),
        Some(Shape { tail_inside: false, .. }) => Ok(Kind::Pattern),
        _ => Err(refusal(name, false)),
    }
}

/// What a name that has passed [`check_subscribe`] is.
pub(crate) fn kind(name: &[u8]) -> Kind {
    // Hardly any exact name has one of these bytes at all.
    let is_pattern =
        memchr::memchr2(b'*', b'>', name).is_some() && tokens(name).any(|token| matches!(token, b"*" | b">"));
    if is_pattern { Kind::Pattern } else { Kind::Exact }
}

/// Whether `pattern` matches `channel`, token by token; a pattern without wildcards matches itself alone.
///
/// Both must have passed their check. This is the definition that the pattern trie is held against; a publish to many
/// patterns goes through the trie.
#[cfg(test)]
pub(crate) fn matches(pattern: &[u8], channel: &[u8]) -> bool {
    let mut channel = tokens(channel);
    for wanted in tokens(pattern) {
        match (wanted, channel.next()) {
            (b">", Some(_)) => return true,
            (b"*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    channel.next().is_none()
}

/// Whether the first token of a channel or pattern is a wildcard.
pub(crate) fn begins_with_wildcard(name: &[u8]) -> bool {
    matches!(tokens(name).next(), Some(b"*" | b">"))
}

/// The names in a `subscribe`, `publish` or `unsubscribe` value, separated by spaces or tabs, one or more. They are not
/// checked.
pub(crate) fn split(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b' ' || byte == b'\t').filter(|name| !name.is_empty())
}

/// The tokens of a name or pattern.
pub(crate) fn tokens(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|&byte| byte == b'.')
}

/// What the wildcards of a name of legal bytes and tokens look like.
#[derive(Default)]
struct Shape {
    /// A whole token is `*` or `>`.
    wild: bool,
    /// A whole token is `>`.
    tail: bool,
    /// A whole token before the last one is `>`.
    tail_inside: bool,
}

/// The shape of a name, or `None` if its length, a byte or a token is not legal.
fn shape(name: &[u8]) -> Option<Shape> {
    // Without a way out the compiler checks many bytes at a time; almost all names are fine.
    let forbidden = name.iter().fold(false, |found, &byte| found | is_forbidden(byte));
    if forbidden || name.len() > CHANNEL_BYTES_MAX {
        return None;
    }
    let mut shape = Shape::default();
    for token in tokens(name) {
        // A tail that another token follows.
        shape.tail_inside |= shape.tail;
        match token {
            b"" => return None,
            b"*" => shape.wild = true,
            b">" => {
                shape.wild = true;
                shape.tail = true;
            }
            _ => {}
        }
    }
    Some(shape)
}

/// Whether a byte may not occur in a name: the space would end the name in a header, a control character the line.
fn is_forbidden(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

/// Says what is wrong with a name that has been found wrong: the first of its flaws.
#[cold]
fn refusal(name: &[u8], publish: bool) -> Refusal {
    let flaw = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > CHANNEL_BYTES_MAX {
        format!("has {} bytes, more than {CHANNEL_BYTES_MAX}", name.len())
    } else if name.contains(&b' ') {
        "has a space".to_owned()
    } else if name.iter().any(|&byte| is_forbidden(byte)) {
        "has a control character".to_owned()
    } else if tokens(name).any(<[u8]>::is_empty) {
        "has an empty token".to_owned()
    } else if publish {
        "has a wildcard: patterns are for subscribing only".to_owned()
    } else {
        "has a \">\" that is not its last token".to_owned()
    };
    Refusal::because(Reason::BadChannel, format!("channel {} {flaw}", shown(name)))
}

/// A name in quotes as it can be shown: control characters escaped, bytes that are not UTF-8 replaced, the end cut off
/// if it is long.
fn shown(name: &[u8]) -> String {
    // A character has at most 4 bytes, so a character that this cuts in two is behind those that are shown.
    let start = &name[..name.len().min(4 * SHOWN_CHARACTERS_MAX)];
    let text = String::from_utf8_lossy(start);
    match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        Some((end, _)) => format!("{:?}", format!("{}…", &text[..end])),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
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
        let deepest = [b"a.".repeat(127), b"a".to_vec()].concat();
        assert_eq!(deepest.len(), CHANNEL_BYTES_MAX);
        for name in
            [&b"a"[..], b"a.b", b"a*", b"*a.b", b"**", b">>", b"a.b>", "Zürich.☂".as_bytes(), b"\x80\xff", b"/~"]
                .into_iter()
                .chain([&longest[..], &deepest])
        {
            assert_eq!(check_publish(name), Ok(()), "{name:?}");
            assert_eq!(check_subscribe(name), Ok(Kind::Exact), "{name:?}");
        }
    }

    #[test]
    fn a_whole_token_of_a_wildcard_makes_a_pattern_and_is_never_published_to() {
        for name in [&b"*"[..], b">", b"a.*", b"*.a", b"a.*.b", b"a.>", b"*.>", b"*.*"] {
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
    }

    #[test]
    fn a_star_is_one_token_and_a_tail_is_one_or_more() {
        for (pattern, channel) in
            [("a.*", "a.b"), ("*", "a"), (">", "a"), (">", "a.b.c"), ("a.>", "a.b"), ("*.>", "a.b.c"), ("a*", "a*")]
        {
            assert!(matches(pattern.as_bytes(), channel.as_bytes()), "{pattern} {channel}");
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
        /// The rules of PROTOCOL.md §2 one by one, in as many passes as there are rules.
        #[test]
        fn the_check_agrees_with_the_rules_taken_one_by_one(
            name in prop::collection::vec(prop_oneof![Just(b'.'), Just(b'*'), Just(b'>'), Just(b'a'), any::<u8>()], 0..9)
        ) {
            let tokens: Vec<&[u8]> = name.split(|&byte| byte == b'.').collect();
            let legal = tokens.iter().all(|token| !token.is_empty())
                && name.iter().all(|&byte| byte != b' ' && !byte.is_ascii_control());
            let wild = tokens.iter().any(|&token| token == b"*" || token == b">");
            let tail_inside = tokens[..tokens.len() - 1].contains(&&b">"[..]);
            prop_assert_eq!(check_publish(&name).is_ok(), legal && !wild);
            let kind = if wild { Kind::Pattern } else { Kind::Exact };
            prop_assert_eq!(check_subscribe(&name).ok(), (legal && !tail_inside).then_some(kind));
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
}
