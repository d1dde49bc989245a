//! A core's end: it checks tokens with the newest keys, and keeps those that were valid.

use std::sync::Arc;

use super::{
    Claims, Invalid, Tally,
    cache::{Cache, Fingerprint},
    claims::Said,
    jws::{Head, PART_BYTES_MAX, Parts, decode, decode_text},
    key::{Algorithm, Key},
    shared::Shared,
};
use crate::config::memory::TOKEN_CACHE_BYTES;

/// The most keys that one token is checked with. A token without a `kid` may fit several.
const TRIES_MAX: usize = 4;

/// Checks tokens, for one core.
#[derive(Debug)]
pub(crate) struct Verifier {
    shared: Arc<Shared>,
    /// The number of the keys below, see [`Shared::generation`].
    generation: u64,
    keys: Arc<[Arc<Key>]>,
    cache: Cache,
    tally: Tally,
}

impl Verifier {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let cache = Cache::new(TOKEN_CACHE_BYTES);
        Self { shared, generation: 0, keys: Arc::new([]), cache, tally: Tally::default() }
    }

    /// What a token says, if it is valid at `now`, in Unix seconds.
    ///
    /// At worst this takes four checks of a signature, of 55 µs each with ES256. A token that this core has verified before
    /// takes 1 µs.
    ///
    /// # Errors
    /// Why the token is not valid.
    pub(crate) fn verify(&mut self, token: &[u8], now: u64) -> Result<Arc<Claims>, Invalid> {
        self.take_new_keys();
        let verdict = self.verdict(token, now);
        if let Err(invalid) = &verdict {
            self.tally.refused += 1;
            self.tally.reasons[*invalid as usize] += 1;
        }
        self.tally.cache_bytes = self.cache.bytes() as u64;
        verdict
    }

    /// What this core has done with tokens.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Looks whether the keys have changed. It takes the lock only after a change.
    fn take_new_keys(&mut self) {
        let generation = self.shared.generation();
        if generation != self.generation {
            self.keys = self.shared.keys();
            self.generation = generation;
            // A token must not outlive its key.
            self.cache.clear();
        }
    }

    fn verdict(&mut self, token: &[u8], now: u64) -> Result<Arc<Claims>, Invalid> {
        let parts = Parts::split(token)?;
        let fingerprint = Fingerprint::of(token);
        if let Some(claims) = self.cache.get(&fingerprint, now) {
            self.tally.from_cache += 1;
            return Ok(claims);
        }
        let (claims, not_before) = self.check(&parts, now)?;
        self.tally.verified += 1;
        let claims = Arc::new(claims);
        self.cache.insert(fingerprint, &claims, not_before, now);
        Ok(claims)
    }

    /// What the token says, and its `nbf`.
    fn check(&self, parts: &Parts<'_>, now: u64) -> Result<(Claims, u64), Invalid> {
        let mut buffer = [0; PART_BYTES_MAX];
        let head = Head::read(decode_text(parts.head, &mut buffer)?)?;
        let algorithm = Algorithm::named(&head.alg).ok_or(Invalid::Key)?;
        let fits = |key: &&Arc<Key>| key.algorithm == algorithm && has_id(key, head.kid.as_deref());
        let mut keys = self.keys.iter().filter(fits).take(TRIES_MAX).peekable();
        if keys.peek().is_none() {
            if head.kid.is_some() {
                self.shared.ask();
            }
            return Err(Invalid::Key);
        }
        let mut buffer = [0; PART_BYTES_MAX];
        let said = Said::read(decode_text(parts.claims, &mut buffer)?)?;
        said.check(&self.shared.expected, now)?;
        let mut buffer = [0; PART_BYTES_MAX];
        let signature = decode(parts.signature, &mut buffer)?;
        if !keys.any(|key| key.has_signed(parts.signed, signature)) {
            return Err(Invalid::Signature);
        }
        let not_before = said.not_before();
        Ok((said.into_claims()?, not_before))
    }
}

/// Whether a token with this `kid` may be checked with this key. Keys without a name are for all tokens, and a token that
/// names no key may be of any.
fn has_id(key: &Key, wanted: Option<&str>) -> bool {
    match (&key.id, wanted) {
        (Some(id), Some(wanted)) => **id == *wanted,
        _ => true,
    }
}
