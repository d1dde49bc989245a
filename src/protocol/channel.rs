//! Channel names and patterns (PROTOCOL.md §2, "Channels"): what is one, and what matches what.
//!
//! A name is 1–255 bytes without space or control character, in at most 32 tokens separated by `.`, none of them empty. In
//! a subscription a token `*` stands for exactly one token and a last token `>` for one or more; only a *whole* token is a
//! wildcard, so `a*` and `>>` are plain text. That a head is UTF-8 is checked where the head is parsed, not here.

use crate::error::{Reason, Refusal};

/// The longest channel or pattern, in bytes.
pub(crate) const CHANNEL_BYTES_MAX: usize = 255;
/// The most tokens of a channel or pattern: so deep is the way to it, at most.
pub(crate) const TOKENS_MAX: usize = 32;
/// The most tokens of a pattern that are `*`: each is one more place where a lookup has two ways to go.
pub(crate) const STARS_MAX: usize = 4;

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
/// `bad-channel`: neither a channel name nor a pattern; a `>` that is not the last token is neither, nor are more than
/// [`STARS_MAX`] tokens `*`.
pub(crate) fn check_subscribe(name: &[u8]) -> Result<Kind, Refusal> {
    match shape(name) {
        Some(Shape { wild: false, .. }) => Ok(Kind::Exact),
        Some(Shape { tail_inside: false, stars: ..=STARS_MAX, .. }) => Ok(Kind::Pattern),
        _ => Err(refusal(name, false)),
    }
}

/// Checks that a client may publish or subscribe to `name`. The program that embeds the server may use any.
///
/// # Errors
/// `forbidden`: the name is the system's, see [`is_system`].
#[inline]
pub(crate) fn check_client(name: &[u8]) -> Result<(), Refusal> {
    if is_system(name) { Err(forbidden(name)) } else { Ok(()) }
}

/// What a name that has passed [`check_subscribe`] is.
pub(crate) fn kind(name: &[u8]) -> Kind {
    // Hardly any exact name has one of these bytes at all.
    let is_pattern =
        memchr::memchr2(b'*', b'>', name).is_some() && tokens(name).any(|token| matches!(token, b"*" | b">"));
    if is_pattern { Kind::Pattern } else { Kind::Exact }
}

/// Whether a name is the system's: its first token begins with `$` or `_`, as those of NATS' own subjects do.
pub(crate) fn is_system(name: &[u8]) -> bool {
    matches!(name, [b'$' | b'_', ..])
}

/// Whether `pattern` matches `channel`, token by token; a pattern without wildcards matches itself alone.
///
/// Both must have passed their check. This is the definition that the table of patterns is held against, which a publish
/// goes through.
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

/// The names in a `subscribe`, `publish` or `unsubscribe` value, separated by spaces or tabs, one or more. They are not
/// checked.
pub(crate) fn split(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b' ' || byte == b'\t').filter(|name| !name.is_empty())
}

/// The tokens of a name or pattern.
pub(crate) fn tokens(name: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
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
    /// Whole tokens that are `*`.
    stars: usize,
}

/// The shape of a name, or `None` if its length, a byte, a token or their number is not legal.
fn shape(name: &[u8]) -> Option<Shape> {
    // Without a way out the compiler checks many bytes at a time; almost all names are fine.
    let forbidden = name.iter().fold(false, |found, &byte| found | is_forbidden(byte));
    if forbidden || name.len() > CHANNEL_BYTES_MAX {
        return None;
    }
    let mut shape = Shape::default();
    for (before, token) in tokens(name).enumerate() {
        // A tail that another token follows.
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
mod tests;
