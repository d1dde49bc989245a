//! A core's end: it checks tokens with the newest keys.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Claims, Invalid,
    claims::Said,
    jws::{Head, PART_BYTES_MAX, Parts, decode, decode_text},
    key::{Algorithm, Key},
    keys::{Shared, lock},
};

/// The most keys that one token is checked with. A token without a `kid` may fit several.
const TRIES_MAX: usize = 4;

/// Checks tokens, for one core.
#[derive(Debug)]
pub(crate) struct Verifier {
    shared: Arc<Shared>,
    /// The number of the keys below, see [`Shared::generation`].
    generation: u64,
    keys: Arc<[Arc<Key>]>,
}

impl Verifier {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, generation: 0, keys: Arc::new([]) }
    }

    /// What a token says, if it is valid at `now`, in Unix seconds. At worst this takes four checks of a signature, of
    /// 55 µs each with ES256.
    ///
    /// # Errors
    /// Why the token is not valid.
    pub(crate) fn verify(&mut self, token: &[u8], now: u64) -> Result<Arc<Claims>, Invalid> {
        self.take_new_keys();
        self.check(token, now).map(Arc::new)
    }

    /// Looks whether the keys have changed. It takes the lock only after a change.
    fn take_new_keys(&mut self) {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.keys = Arc::clone(&lock(&self.shared.keys));
            self.generation = generation;
        }
    }

    fn check(&self, token: &[u8], now: u64) -> Result<Claims, Invalid> {
        let parts = Parts::split(token)?;
        let mut head_buffer = [0; PART_BYTES_MAX];
        let head = Head::read(decode_text(parts.head, &mut head_buffer)?)?;
        let algorithm = Algorithm::named(&head.alg).ok_or(Invalid::Key)?;
        let fits = |key: &&Arc<Key>| key.algorithm == algorithm && has_id(key, head.kid.as_deref());
        let mut keys = self.keys.iter().filter(fits).take(TRIES_MAX).peekable();
        if keys.peek().is_none() {
            return Err(Invalid::Key);
        }
        let mut claims_buffer = [0; PART_BYTES_MAX];
        let said = Said::read(decode_text(parts.claims, &mut claims_buffer)?)?;
        said.check(&self.shared.expected, now)?;
        let mut signature_buffer = [0; PART_BYTES_MAX];
        let signature = decode(parts.signature, &mut signature_buffer)?;
        if !keys.any(|key| key.has_signed(parts.signed, signature)) {
            return Err(Invalid::Signature);
        }
        said.into_claims()
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
