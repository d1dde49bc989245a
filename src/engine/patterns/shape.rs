//! The shape of a pattern: how many tokens it has, and which of them are wildcards.

use crate::protocol::channel::{TOKENS_MAX, tokens};

/// A shape with at most this many tokens is never deep, wherever its wildcards are.
const SHALLOW_TOKENS_MAX: u32 = 6;

/// The positions of a pattern's wildcards. Patterns of one shape differ only in their plain tokens, so at most one of
/// them matches a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    /// The last token is `>`.
    pub(super) has_tail: bool,
    /// Tokens before the `>`.
    pub(super) tokens: u8,
    /// A bit for each token that is `*`.
    pub(super) stars: u32,
}

/// The positions of a channel's tokens.
pub(super) struct Tokens {
    /// The start of each token, and after the last one the start of a next one.
    starts: [u16; TOKENS_MAX + 1],
    pub(super) count: usize,
}

impl Shape {
    /// The smallest and the largest shape, for ranges.
    pub(crate) const MIN: Self = Self { has_tail: false, tokens: 0, stars: 0 };
    pub(crate) const MAX: Self = Self { has_tail: true, tokens: u8::MAX, stars: u32::MAX };

    /// The shape of a pattern that has passed `channel::check_subscribe`.
    pub(crate) fn of(pattern: &[u8]) -> Self {
        let mut shape = Self { has_tail: false, tokens: 0, stars: 0 };
        for token in tokens(pattern) {
            match token {
                b">" => shape.has_tail = true,
                _ => {
                    shape.stars |= u32::from(token == b"*") << shape.tokens;
                    shape.tokens += 1;
                }
            }
        }
        shape
    }

    /// Whether it has more than [`SHALLOW_TOKENS_MAX`] tokens, counting the `>`, and more than one wildcard.
    ///
    /// A channel is looked up once for each shape that fits its number of tokens. At most 120 shallow shapes fit a
    /// channel, so all of them may be in use. But 41,416 and more deep shapes may fit a channel of 32 tokens, so their
    /// number has a limit.
    pub(crate) fn is_deep(self) -> bool {
        let tail = u32::from(self.has_tail);
        u32::from(self.tokens) + tail > SHALLOW_TOKENS_MAX && self.stars.count_ones() + tail > 1
    }

    /// Whether the first token is a wildcard.
    pub(super) fn begins_wild(self) -> bool {
        self.stars & 1 != 0 || self.tokens == 0
    }

    /// The numbers of the tokens that are `*`.
    #[inline]
    pub(super) fn stars(self) -> impl Iterator<Item = usize> {
        let mut stars = self.stars;
        std::iter::from_fn(move || {
            let star = (stars != 0).then(|| stars.trailing_zeros() as usize);
            stars &= stars.wrapping_sub(1);
            star
        })
    }

    /// Whether a pattern has this shape and matches a channel that has enough tokens for it. All plain tokens between
    /// two wildcards are compared at once.
    pub(super) fn matches(self, mut pattern: &[u8], channel: &[u8], tokens: &Tokens) -> bool {
        let mut from = 0;
        for star in self.stars() {
            let plain = tokens.bytes(channel, from, star);
            let Some(rest) = pattern.strip_prefix(plain).and_then(|rest| rest.strip_prefix(b"*")) else { return false };
            match rest {
                [b'.', rest @ ..] => pattern = rest,
                [] => return !self.has_tail && star + 1 == usize::from(self.tokens),
                _ => return false,
            }
            from = star + 1;
        }
        if self.has_tail {
            let plain = tokens.bytes(channel, from, self.tokens.into());
            pattern.strip_prefix(plain) == Some(b">")
        } else {
            from < tokens.count && *pattern == channel[usize::from(tokens.starts[from])..]
        }
    }
}

impl Tokens {
    /// The tokens of a channel. `token` is called for each with its number.
    #[inline]
    pub(super) fn of(channel: &[u8], mut token: impl FnMut(usize, &[u8])) -> Self {
        let mut found = Self { starts: [0; TOKENS_MAX + 1], count: 0 };
        let mut start = 0;
        for end in memchr::memchr_iter(b'.', channel).chain([channel.len()]) {
            token(found.count, &channel[start..end]);
            found.count += 1;
            start = end + 1;
            found.starts[found.count] = start as u16;
        }
        found
    }

    /// The bytes of tokens `from..to` of a channel, each with the `.` after it.
    fn bytes<'c>(&self, channel: &'c [u8], from: usize, to: usize) -> &'c [u8] {
        &channel[self.starts[from].into()..self.starts[to].into()]
    }
}
