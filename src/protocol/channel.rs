//! Channel names and patterns (PROTOCOL.md §2, "Channels"): their syntax, and the matching of a pattern with a channel.
//!
//! A name has 1–255 bytes, no space and no control character. It consists of at most 32 tokens, separated by `.`; none
//! is empty. In a subscription a token `*` stands for exactly one token, and a last token `>` for one or more. Only a
//! *whole* token is a wildcard, so `a*` and `>>` are plain text. The parser of the head checks that a head is UTF-8;
//! this module does not.

use crate::error::{Reason, Refusal};

/// The longest channel or pattern, in bytes.
pub(crate) const CHANNEL_BYTES_MAX: usize = 255;
/// The most tokens of a channel or pattern. It bounds the depth of a lookup.
pub(crate) const TOKENS_MAX: usize = 32;
/// The most `*` tokens of a pattern. At each of them a lookup has two ways to go.
pub(crate) const STARS_MAX: usize = 4;

/// The most characters of a refused name that its error sentence shows.
const SHOWN_CHARACTERS_MAX: usize = 64;

/// The kind of a subscription. The name alone decides it, and no name is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// One channel.
    Exact,
    /// Every channel that a pattern with a `*` or `>` matches.
    Pattern,
}

/// Checks that `name` may be published to. One pass; it allocates only to refuse.
///
/// # Errors
/// `bad-channel`: `name` is not a channel name, or one of its whole tokens is `*` or `>`.
pub(crate) fn check_publish(name: &[u8]) -> Result<(), Refusal> {
    match shape(name) {
        Some(Shape { wild: false, .. }) => Ok(()),
        _ => Err(refusal(name, true)),
    }
}

/// Checks that `name` may be subscribed to, and returns its kind. One pass; it allocates only to refuse.
///
/// # Errors
/// `bad-channel`: `name` is neither a channel name nor a pattern. A pattern has `>` only as its last token, and at most
/// [`STARS_MAX`] tokens `*`.
pub(crate) fn check_subscribe(name: &[u8]) -> Result<Kind, Refusal> {
    match shape(name) {
        Some(Shape { wild: false, .. }) => Ok(Kind::Exact),
        Some(Shape { tail_inside: false, stars: ..=STARS_MAX, .. }) => Ok(Kind::Pattern),
        _ => Err(refusal(name, false)),
    }
}

/// Checks that a client may publish or subscribe to `name`. The program that embeds the server may use any name.
///
/// # Errors
/// `forbidden`: the name is reserved for the system, see [`is_system`].
#[inline]
pub(crate) fn check_client(name: &[u8]) -> Result<(), Refusal> {
    if is_system(name) { Err(forbidden(name)) } else { Ok(()) }
}

/// The kind of a name that has passed [`check_subscribe`].
pub(crate) fn kind(name: &[u8]) -> Kind {
    // Hardly any exact name contains one of these bytes, so this test settles most names.
    let is_pattern =
        memchr::memchr2(b'*', b'>', name).is_some() && tokens(name).any(|token| matches!(token, b"*" | b">"));
    if is_pattern { Kind::Pattern } else { Kind::Exact }
}

/// Whether a name is reserved for the system: its first token begins with `$` or `_`, as NATS' own subjects do.
pub(crate) fn is_system(name: &[u8]) -> bool {
    matches!(name, [b'$' | b'_', ..])
}

/// Whether `pattern` matches `channel`, token by token. A pattern without wildcards matches only itself.
///
/// Both must have passed their check. A publish looks up the table of patterns instead; the tests compare that table
/// with this definition.
pub(crate) fn matches(pattern: &[u8], channel: &[u8]) -> bool {
    if begins_with_wildcard(pattern) && is_system(channel) {
        return false;
    }
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

/// The names in a `subscribe`, `publish` or `unsubscribe` value, separated by one or more spaces or tabs. The names are
/// not checked.
pub(crate) fn split(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b' ' || byte == b'\t').filter(|name| !name.is_empty())
}

/// The tokens of a name or pattern.
pub(crate) fn tokens(name: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    name.split(|&byte| byte == b'.')
}

/// The wildcards of a name whose bytes and tokens are legal.
#[derive(Default)]
struct Shape {
    /// A whole token is `*` or `>`.
    wild: bool,
    /// A whole token is `>`.
    tail: bool,
    /// A whole token before the last one is `>`.
    tail_inside: bool,
    /// Whole tokens that are `*`.
    stars: usize,
}

/// The shape of a name, or `None` if its length, a byte, a token or the number of tokens is not legal.
fn shape(name: &[u8]) -> Option<Shape> {
    // Without an early exit the compiler checks many bytes at a time, and almost all names pass.
    let forbidden = name.iter().fold(false, |found, &byte| found | is_forbidden(byte));
    if forbidden || name.len() > CHANNEL_BYTES_MAX {
        return None;
    }
    let mut shape = Shape::default();
    for (before, token) in tokens(name).enumerate() {
        // Another token follows the `>`.
        shape.tail_inside |= shape.tail;
        match token {
            b"" => return None,
            _ if before == TOKENS_MAX => return None,
            b"*" => {
                shape.wild = true;
                shape.stars += 1;
            }
            b">" => {
                shape.wild = true;
                shape.tail = true;
            }
            _ => {}
        }
    }
    Some(shape)
}

/// Whether a name may not contain this byte. A space would end the name in a header, and a control character the line.
fn is_forbidden(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

/// The refusal of an illegal name. The sentence names the first flaw.
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
    } else if tokens(name).count() > TOKENS_MAX {
        format!("has {} tokens, more than {TOKENS_MAX}", tokens(name).count())
    } else if publish {
        "has a wildcard: patterns are for subscribing only".to_owned()
    } else if tokens(name).rev().skip(1).any(|token| token == b">") {
        "has a \">\" that is not its last token".to_owned()
    } else {
        let stars = tokens(name).filter(|token| token == b"*").count();
        format!("has {stars} tokens \"*\", more than {STARS_MAX}")
    };
    Refusal::because(Reason::BadChannel, format!("channel {} {flaw}", shown(name)))
}

#[cold]
fn forbidden(name: &[u8]) -> Refusal {
    let sentence =
        format!("channel {} is the system's: a client's begins neither with \"$\" nor with \"_\"", shown(name));
    Refusal::because(Reason::Forbidden, sentence)
}

/// The refusal of an action that the rules for channels do not allow. It says nothing of the channel itself.
#[cold]
pub(crate) fn not_allowed(action: &str, name: &[u8]) -> Refusal {
    Refusal::because(Reason::Forbidden, format!("this client may not {action} {}", shown(name)))
}

/// A name in quotes, fit to be shown: control characters are escaped, bytes that are not UTF-8 are replaced, and a long
/// name is cut off.
fn shown(name: &[u8]) -> String {
    // A character has at most 4 bytes, so the cut can split only a character behind the shown ones.
    let start = &name[..name.len().min(4 * SHOWN_CHARACTERS_MAX)];
    let text = String::from_utf8_lossy(start);
    match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        Some((end, _)) => format!("{:?}", format!("{}…", &text[..end])),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests;
