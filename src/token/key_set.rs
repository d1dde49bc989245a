//! Keys in JSON: a JWK, or a set of them (RFC 7517; RFC 7518 §6; RFC 8037 §2).

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    KEYS_MAX,
    key::{Algorithm, Key},
};

/// The keys of a set, and why others of it are not used.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    pub(super) keys: Vec<Key>,
    /// One sentence each.
    pub(super) skipped: Vec<String>,
}

#[derive(Deserialize)]
struct Jwks<'t> {
    #[serde(borrow)]
    keys: Option<Vec<&'t RawValue>>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    k: Option<String>,
    /// The private part.
    d: Option<IgnoredAny>,
}

impl KeySet {
    /// Reads a JWK or a set of them. A set may have keys of other kinds and for other purposes: they are skipped. Keys of a
    /// set that others can read must not be secrets, so without `has_secrets` these are skipped too.
    ///
    /// # Errors
    /// It is neither, no key of it can be used, or it has more than [`KEYS_MAX`].
    pub(super) fn read(text: &str, has_secrets: bool) -> Result<Self, String> {
        let broken = |error| format!("it is not a set of keys in JSON: {error}");
        let entries = match serde_json::from_str::<Jwks<'_>>(text).map_err(broken)?.keys {
            Some(keys) => keys,
            None => vec![serde_json::from_str(text).map_err(broken)?],
        };
        let mut set = Self::default();
        for (at, entry) in entries.into_iter().enumerate() {
            match read_key(entry.get(), has_secrets) {
                Ok(_) if set.keys.len() == KEYS_MAX => return Err(format!("it has more than {KEYS_MAX} keys")),
                Ok(key) => set.keys.push(key),
                Err(flaw) => set.skipped.push(format!("key {}: {flaw}", at + 1)),
            }
        }
        match set.skipped.first() {
            Some(flaw) if set.keys.is_empty() => Err(format!("none of its keys can be used; {flaw}")),
            None if set.keys.is_empty() => Err("it has no keys".to_owned()),
            _ => Ok(set),
        }
    }
}

fn read_key(text: &str, has_secrets: bool) -> Result<Key, String> {
    let jwk: Jwk = serde_json::from_str(text).map_err(|error| format!("it is not a JWK: {error}"))?;
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return Err("its `use` is not `sig`".to_owned());
    }
    if jwk.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
        return Err("its `key_ops` do not have `verify`".to_owned());
    }
    let key = match (&*jwk.kty, jwk.crv.as_deref()) {
        ("oct", _) if !has_secrets => Err("it is a secret, and others can read this set".to_owned()),
        ("oct", _) => Key::secret(jwk.algorithm(Algorithm::Hs256, Algorithm::is_secret)?, &part("k", &jwk.k)?),
        _ if jwk.d.is_some() => Err("it is a private key: the server needs the public one only".to_owned()),
        ("RSA", _) => jwk.rsa(),
        ("EC", Some("P-256")) => jwk.point(Algorithm::Es256, 32),
        ("EC", Some("P-384")) => jwk.point(Algorithm::Es384, 48),
        ("OKP", Some("Ed25519")) => {
            let algorithm = jwk.algorithm(Algorithm::EdDsa, |algorithm| algorithm == Algorithm::EdDsa)?;
            Key::curve(algorithm, &part("x", &jwk.x)?)
        }
        _ => Err("its kind or curve cannot be used: it is neither RSA, P-256, P-384, Ed25519 nor oct".to_owned()),
    };
    Ok(key?.with_id(jwk.kid.as_deref()))
}

impl Jwk {
    /// Its `alg`, or the usual algorithm for its kind.
    fn algorithm(&self, usual: Algorithm, is_its: impl Fn(Algorithm) -> bool) -> Result<Algorithm, String> {
        let Some(alg) = &self.alg else { return Ok(usual) };
        let algorithm = Algorithm::named(alg).filter(|algorithm| is_its(*algorithm));
        algorithm.ok_or_else(|| format!("its `alg` {alg:?} is none for its kind of key"))
    }

    fn rsa(&self) -> Result<Key, String> {
        let algorithm = self.algorithm(Algorithm::Rs256, Algorithm::is_rsa)?;
        let (n, e) = (part("n", &self.n)?, part("e", &self.e)?);
        // Some issuers write a zero before a first bit of 1, as DER does.
        let number = |bytes: &[u8]| bytes.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<_>>();
        Key::rsa(algorithm, &number(&n), &number(&e))
    }

    fn point(&self, algorithm: Algorithm, length: usize) -> Result<Key, String> {
        let algorithm = self.algorithm(algorithm, |other| other == algorithm)?;
        let (x, y) = (part("x", &self.x)?, part("y", &self.y)?);
        if x.len() != length || y.len() != length {
            return Err(format!("`x` and `y` do not have {length} bytes"));
        }
        Key::curve(algorithm, &[&[4], &*x, &*y].concat())
    }
}

/// The bytes of a member.
fn part(name: &str, text: &Option<String>) -> Result<Vec<u8>, String> {
    let text = text.as_ref().ok_or_else(|| format!("it has no `{name}`"))?;
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| format!("`{name}` is not base64url"))
}
