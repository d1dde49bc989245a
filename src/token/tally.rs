//! What was done with tokens and keys, in numbers.

use super::Invalid;

/// What one core has done with tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tokens whose signature was checked and that were valid.
    pub(crate) verified: u64,
    /// Tokens that this core had verified before.
    pub(crate) from_cache: u64,
    /// Tokens that were not valid.
    pub(crate) refused: u64,
    /// Those of them by reason, in the order of [`Invalid::ALL`].
    pub(crate) reasons: [u64; Invalid::ALL.len()],
    /// Bytes that verified tokens take now.
    pub(crate) cache_bytes: u64,
}

/// What is known of the server's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyNumbers {
    /// Keys now.
    pub(crate) keys: u64,
    /// Times that `token-jwks` was fetched.
    pub(crate) fetches: u64,
    /// Those of them that failed.
    pub(crate) failures: u64,
}
