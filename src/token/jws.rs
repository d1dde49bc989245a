//! The outer form of a token: three parts in base64url, and the head that names its key (RFC 7515 §3.1, §4).

use std::borrow::Cow;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::{Invalid, TOKEN_BYTES_MAX};

/// The most bytes that a part of a token has when it is decoded.
pub(super) const PART_BYTES_MAX: usize = TOKEN_BYTES_MAX / 4 * 3;

/// The parts of a token in compact form, still encoded.
#[derive(Debug)]
pub(super) struct Parts<'t> {
    pub(super) head: &'t [u8],
    pub(super) claims: &'t [u8],
    pub(super) signature: &'t [u8],
    /// What the signature is for: the head, a dot, and the claims.
    pub(super) signed: &'t [u8],
}

impl<'t> Parts<'t> {
    /// # Errors
    /// [`Invalid::Malformed`]: the token is too long, or does not have three parts.
    pub(super) fn split(token: &'t [u8]) -> Result<Self, Invalid> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Invalid::Malformed);
        }
        let mut dots = memchr::memchr_iter(b'.', token);
        match (dots.next(), dots.next(), dots.next()) {
            (Some(first), Some(second), None) => Ok(Self {
                head: &token[..first],
                claims: &token[first + 1..second],
                signature: &token[second + 1..],
                signed: &token[..second],
            }),
            _ => Err(Invalid::Malformed),
        }
    }
}

/// Decodes a part: base64url without padding, and nothing else (RFC 7515 §2). A part has one spelling only.
///
/// # Errors
/// [`Invalid::Malformed`].
pub(super) fn decode<'b>(part: &[u8], buffer: &'b mut [u8; PART_BYTES_MAX]) -> Result<&'b [u8], Invalid> {
    let length = BASE64URL_NOPAD.decode_len(part.len()).map_err(|_| Invalid::Malformed)?;
    let place = buffer.get_mut(..length).ok_or(Invalid::Malformed)?;
    let length = BASE64URL_NOPAD.decode_mut(part, place).map_err(|_| Invalid::Malformed)?;
    Ok(&place[..length])
}

/// Decodes a part that must be UTF-8.
///
/// # Errors
/// [`Invalid::Malformed`].
pub(super) fn decode_text<'b>(part: &[u8], buffer: &'b mut [u8; PART_BYTES_MAX]) -> Result<&'b str, Invalid> {
    simdutf8::basic::from_utf8(decode(part, buffer)?).map_err(|_| Invalid::Malformed)
}

/// What the head of a token says. Nothing else in it is looked at: not keys, not the URLs of keys.
#[derive(Debug, Deserialize)]
pub(super) struct Head<'t> {
    #[serde(borrow)]
    pub(super) alg: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) kid: Option<Cow<'t, str>>,
    #[serde(default)]
    crit: Present,
}

/// True if the name is there, with whatever value.
#[derive(Debug, Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl<'t> Head<'t> {
    /// # Errors
    /// [`Invalid::Malformed`]: it is no JSON object with `alg`, a name of ours stands there twice, or it has `crit`: a token
    /// with it must be refused by those who do not know its extensions (RFC 7515 §4.1.11), and this server knows none.
    pub(super) fn read(text: &'t str) -> Result<Self, Invalid> {
        // serde would take the values of an array for those of an object.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Invalid::Malformed);
        }
        match serde_json::from_str::<Self>(text) {
            Ok(head) if !head.crit.0 => Ok(head),
            _ => Err(Invalid::Malformed),
        }
    }
}
