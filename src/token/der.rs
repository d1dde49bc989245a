//! Public keys in DER: the `SubjectPublicKeyInfo` of RFC 5280 §4.1.2.7, for the kinds of keys that tokens use.

use super::key::{Algorithm, Key};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// RFC 8017 §A.1: rsaEncryption, and rsassaPss.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
/// RFC 5480 §2.1.1: ecPublicKey, and its curves secp256r1 and secp384r1.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// RFC 8410 §3: Ed25519.
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Whether these bytes are one DER sequence from their first to their last byte, as keys and certificates are.
pub(super) fn is_sequence(bytes: &[u8]) -> bool {
    let mut reader = Reader(bytes);
    bytes.len() > 32 && reader.value(SEQUENCE).is_some() && reader.0.is_empty()
}

/// The key in a `SubjectPublicKeyInfo`, for the algorithm that goes with its kind.
///
/// # Errors
/// Why it is none that can be used.
pub(super) fn public_key(der: &[u8]) -> Result<Key, String> {
    let broken = || "it has a public key that is broken".to_owned();
    let Info { kind, curve, key } = Info::read(der).ok_or_else(broken)?;
    match (kind, curve) {
        (RSA, _) => {
            let (n, e) = rsa_parts(key).ok_or_else(broken)?;
            Key::rsa(Algorithm::Rs256, n, e)
        }
        (RSA_PSS, _) => {
            Err("an RSA key for PSS only cannot be used in PEM: make a JWK of it, with its `alg`".to_owned())
        }
        (EC, Some(P256)) => Key::curve(Algorithm::Es256, key),
        (EC, Some(P384)) => Key::curve(Algorithm::Es384, key),
        (EC, _) => Err("its curve is neither P-256 nor P-384".to_owned()),
        (ED25519, None) => Key::curve(Algorithm::EdDsa, key),
        _ => Err("its key is neither RSA nor EC nor Ed25519".to_owned()),
    }
}

/// The parts of a `SubjectPublicKeyInfo`.
struct Info<'d> {
    /// The object that names the kind of key.
    kind: &'d [u8],
    /// The object that names a curve.
    curve: Option<&'d [u8]>,
    /// The bits of the key.
    key: &'d [u8],
}

impl<'d> Info<'d> {
    fn read(der: &'d [u8]) -> Option<Self> {
        let mut outer = Reader(der);
        let mut info = Reader(outer.value(SEQUENCE)?);
        let mut algorithm = Reader(info.value(SEQUENCE)?);
        let bits = info.value(BIT_STRING)?;
        let (kind, curve) = (algorithm.value(OBJECT)?, algorithm.value(OBJECT));
        // The first byte is the number of bits of the last one that do not count.
        let key = bits.strip_prefix(&[0])?;
        (outer.0.is_empty() && info.0.is_empty()).then_some(Self { kind, curve, key })
    }
}

/// Modulus and exponent (RFC 8017 §A.1.1).
fn rsa_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = Reader(der);
    let mut key = Reader(outer.value(SEQUENCE)?);
    let (n, e) = (key.value(INTEGER)?, key.value(INTEGER)?);
    (outer.0.is_empty() && key.0.is_empty()).then_some((unsigned(n)?, unsigned(e)?))
}

/// The bytes of a number that is more than 0, without the zero that stands before a first bit of 1.
fn unsigned(number: &[u8]) -> Option<&[u8]> {
    match number {
        [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => Some(rest),
        [1..=0x7f, ..] => Some(number),
        _ => None,
    }
}

/// What is left of some DER.
struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    /// Takes the next value, if it has this tag.
    fn value(&mut self, tag: u8) -> Option<&'d [u8]> {
        let rest = self.0.strip_prefix(&[tag])?;
        let (length, rest) = match rest {
            [length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
            [0x81, length @ 0x80..=0xff, rest @ ..] => (usize::from(*length), rest),
            [0x82, high @ 1..=0xff, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }
}
