//! A verifier without files, for fuzzing and benchmarks.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;

use super::{
    Claims, Invalid, Verifier,
    claims::Expected,
    key_file,
    shared::{Shared, Source},
};

/// The secret of [`sign`].
pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A verifier with the keys of a file.
pub(crate) struct Fixture(Verifier);

impl Fixture {
    /// # Panics
    /// There is no key in the file's content.
    pub(crate) fn new(content: &[u8]) -> Self {
        let shared = Arc::new(Shared::new(Expected::default()));
        shared.take(Source::File, content, || key_file::read(content)).expect("keys");
        Self(Verifier::new(shared))
    }

    /// As [`Verifier::verify`].
    pub(crate) fn verify(&mut self, token: &[u8], now: u64) -> Result<Arc<Claims>, Invalid> {
        self.0.verify(token, now)
    }

    /// Forgets the tokens that were verified.
    pub(crate) fn forget(&mut self) {
        self.0.forget();
    }
}

/// A token with this head and these claims that [`SECRET`] has signed.
pub(crate) fn sign(head: &[u8], claims: &[u8]) -> Vec<u8> {
    let signed = format!("{}.{}", BASE64URL_NOPAD.encode(head), BASE64URL_NOPAD.encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref())).into_bytes()
}

/// Reads a file with keys.
///
/// # Panics
/// What begins as PEM became a secret.
pub(crate) fn read_keys(content: &[u8]) {
    if let Ok(set) = key_file::read(content) {
        let has_secret = set.keys.iter().any(|key| key.algorithm.is_secret());
        let is_json = content.trim_ascii_start().starts_with(b"{");
        assert!(!has_secret || is_json || memchr::memmem::find(content, b"-----BEGIN").is_none());
    }
}
