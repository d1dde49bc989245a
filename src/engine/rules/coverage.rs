//! Patterns as sets of channels: their intersection, and whether several together cover one.
//!
//! There is always a token that no pattern names, so the channels of a pattern have *typical* ones: each wildcard is
//! replaced by a token that stands for all that are named nowhere. A set of patterns covers a pattern exactly if it covers
//! each of its typical channels: a pattern that matches a typical channel has a wildcard wherever the typical token is, so
//! it matches every channel of that shape. A `>` has one shape for each number of tokens. From one token more than the
//! longest other pattern on, all shapes are matched by the same patterns, so one of them stands for all.

use std::{borrow::Cow, iter};

use smallvec::SmallVec;

use crate::protocol::channel::{TOKENS_MAX, is_system, tokens};

/// The token that no channel has: a channel has no control characters.
const TYPICAL: &[u8] = b"\0";

/// One token of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(Cow<'a, [u8]>),
    /// `*`: exactly one token.
    One,
    /// `>`: one token or more. It is the last piece.
    Rest,
}

/// A channel or pattern. The intersection of two may have more wildcards than a client may write.
#[derive(Clone, Debug)]
pub(super) struct Pattern<'a>(SmallVec<[Piece<'a>; 4]>);

impl<'a> FromIterator<Piece<'a>> for Pattern<'a> {
    fn from_iter<I: IntoIterator<Item = Piece<'a>>>(pieces: I) -> Self {
        Self(pieces.into_iter().collect())
    }
}

impl<'a> Pattern<'a> {
    /// A checked name.
    pub(super) fn new(name: &'a [u8]) -> Self {
        let piece = |token: &'a [u8]| match token {
            b"*" => Piece::One,
            b">" => Piece::Rest,
            text => Piece::Text(Cow::Borrowed(text)),
        };
        tokens(name).map(piece).collect()
    }

    /// The channels that both match, if there are any: those of one pattern.
    pub(super) fn intersection(&self, other: &Pattern<'a>) -> Option<Pattern<'a>> {
        if self.excludes(other) || other.excludes(self) {
            return None;
        }
        let mut both = SmallVec::new();
        for at in 0.. {
            both.push(match (self.0.get(at), other.0.get(at)) {
                (None, None) => return Some(Self(both)),
                (None, _) | (_, None) => return None,
                (Some(Piece::Rest), Some(_)) => {
                    both.extend(other.0[at..].iter().cloned());
                    return Some(Self(both));
                }
                (Some(_), Some(Piece::Rest)) => {
                    both.extend(self.0[at..].iter().cloned());
                    return Some(Self(both));
                }
                (Some(Piece::One), Some(piece)) | (Some(piece), Some(Piece::One)) => piece.clone(),
                (Some(one), Some(other)) if one == other => one.clone(),
                (Some(Piece::Text(_)), Some(Piece::Text(_))) => return None,
            });
        }
        None
    }

    /// Whether this pattern begins with a wildcard and the other one is about channels of the system.
    fn excludes(&self, other: &Self) -> bool {
        let is_of_system = |piece: &Piece<'_>| matches!(piece, Piece::Text(text) if is_system(text));
        matches!(self.0.first(), Some(Piece::One | Piece::Rest)) && other.0.first().is_some_and(is_of_system)
    }

    /// Whether the patterns together match every channel that this one matches. Adds the number of comparisons to `steps`.
    pub(super) fn is_covered<'p>(&self, by: impl Iterator<Item = &'p Pattern<'a>> + Clone, steps: &mut u64) -> bool
    where
        'a: 'p,
    {
        let longest = by.clone().map(|pattern| pattern.0.len()).max().unwrap_or_default();
        self.typical(longest).all(|channel| {
            let mut compared = by.clone().inspect(|_| *steps += 1);
            compared.any(|pattern| pattern.matches(&channel))
        })
    }

    /// The typical channels, when no other pattern has more than `longest` tokens.
    fn typical(&self, longest: usize) -> impl Iterator<Item = SmallVec<[&[u8]; 8]>> {
        let fixed = self.0.iter().take_while(|piece| !matches!(piece, Piece::Rest)).count();
        let has_rest = fixed < self.0.len();
        let rests = if has_rest { 1..=(longest + 1).min(TOKENS_MAX).saturating_sub(fixed).max(1) } else { 0..=0 };
        rests.map(move |rest| {
            let fixed = self.0[..fixed].iter().map(|piece| match piece {
                Piece::Text(text) => &**text,
                Piece::One | Piece::Rest => TYPICAL,
            });
            fixed.chain(iter::repeat_n(TYPICAL, rest)).collect()
        })
    }

    pub(super) fn matches(&self, channel: &[&[u8]]) -> bool {
        let begins_wild = matches!(self.0.first(), Some(Piece::One | Piece::Rest));
        if begins_wild && channel.first().is_some_and(|token| is_system(token)) {
            return false;
        }
        for (at, piece) in self.0.iter().enumerate() {
            match (piece, channel.get(at)) {
                (Piece::Rest, Some(_)) => return true,
                (Piece::One, Some(_)) => {}
                (Piece::Text(text), Some(token)) if **text == **token => {}
                _ => return false,
            }
        }
        self.0.len() == channel.len()
    }
}
