//! Tokens (PROTOCOL.md §8): JSON Web Tokens, the keys that check them, and what they say of a client.
//!
//! [`Keys`] belong to the server: they come from `token-key` and `token-jwks`. Each core has a [`Verifier`] with the same
//! keys and a cache of its own. A verifier takes the bytes of a token and the time, and gives [`Claims`] or the reason why
//! the token is [`Invalid`]; it has no clock.
//!
//! The key decides the algorithm, never the token (RFC 8725 §3.1). Everything that is cheap to check is checked before the
//! signature.

#[cfg(not(feature = "token"))]
mod absent;
#[cfg(feature = "token")]
mod cache;
#[cfg(feature = "token")]
mod claims;
#[cfg(feature = "token")]
mod der;
#[cfg(feature = "token")]
mod fetch;
mod invalid;
#[cfg(feature = "token")]
mod jws;
#[cfg(feature = "token")]
mod key;
#[cfg(feature = "token")]
mod key_file;
#[cfg(feature = "token")]
mod key_set;
#[cfg(feature = "token")]
mod keys;
#[cfg(feature = "token")]
mod shared;
mod tally;
#[cfg(feature = "token")]
mod verifier;

#[cfg(not(feature = "token"))]
pub(crate) use self::absent::{Keys, Verifier};
pub(crate) use self::{
    invalid::Invalid,
    tally::{KeyNumbers, Tally},
};
#[cfg(feature = "token")]
pub(crate) use self::{keys::Keys, verifier::Verifier};

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    /// `sub`: 1–128 bytes without control characters and without a space at either end. It may have dots and wildcards.
    pub(crate) user: Box<str>,
    /// `lhttp.subscribe`: channels and patterns, at most 64, each of which may be subscribed to.
    pub(crate) subscribe: Box<[Box<str>]>,
    /// `lhttp.publish`: channels and patterns, as those of `subscribe`.
    pub(crate) publish: Box<[Box<str>]>,
    /// `lhttp.info`: any JSON but `null`, as it was written, at most 1 KiB.
    pub(crate) info: Option<Box<str>>,
    /// `exp`: Unix seconds, without leeway.
    pub(crate) expires: u64,
}

/// The longest token, in bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 4096;

/// The most keys in one file or set.
pub(crate) const KEYS_MAX: usize = 64;

/// How far the clocks of the issuer and of this machine may be apart, in seconds: a token counts as valid so much before its
/// `nbf`, and so much after its `exp`.
pub(crate) const LEEWAY_SECONDS: u64 = 30;

#[cfg(all(test, feature = "token"))]
mod tests;
