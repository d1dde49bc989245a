//! One key, its one algorithm, and the check of a signature with ring.

use std::fmt;

use ring::{
    hmac,
    signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey},
};

/// The algorithms of RFC 7518 §3.1 and RFC 8037 §3.1 that ring has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub(super) const ALL: [Self; 12] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// Its name as `alg`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm with this name. RFC 9864 §2.2 calls EdDSA with Ed25519 `Ed25519`.
    pub(super) fn named(alg: &str) -> Option<Self> {
        let is_named = |algorithm: &Self| algorithm.name() == alg;
        if alg == "Ed25519" { Some(Self::EdDsa) } else { Self::ALL.into_iter().find(is_named) }
    }

    /// The hash of an algorithm with a shared secret.
    fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Self::Hs256 => Some(hmac::HMAC_SHA256),
            Self::Hs384 => Some(hmac::HMAC_SHA384),
            Self::Hs512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    /// How ring checks an algorithm with an RSA key; keys have 2048 to 8192 bits.
    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            _ => None,
        }
    }

    /// Whether it is one with an RSA key.
    pub(super) fn is_rsa(self) -> bool {
        self.rsa().is_some()
    }

    /// Whether it is one with a shared secret.
    pub(super) fn is_secret(self) -> bool {
        self.hmac().is_some()
    }
}

/// A key with its one algorithm.
pub(super) struct Key {
    /// `kid`: a token that names another one is not checked with this key. None in PEM and in a secret file.
    pub(super) id: Option<Box<str>>,
    pub(super) algorithm: Algorithm,
    material: Material,
}

enum Material {
    Secret(hmac::Key),
    Rsa(&'static RsaParameters, RsaPublicKeyComponents<Box<[u8]>>),
    Curve(UnparsedPublicKey<Box<[u8]>>),
}

impl Key {
    /// A shared secret. RFC 7518 §3.2: it must be as long as the hash.
    ///
    /// # Errors
    /// What is wrong with the secret, without the secret.
    pub(super) fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, String> {
        let hash = algorithm.hmac().ok_or_else(|| format!("{} has no secret", algorithm.name()))?;
        let least = hash.digest_algorithm().output_len();
        if secret.len() < least {
            return Err(format!(
                "the secret has {} bytes, and {} needs {least} or more: openssl rand -hex {least}",
                secret.len(),
                algorithm.name()
            ));
        }
        Ok(Self { id: None, algorithm, material: Material::Secret(hmac::Key::new(hash, secret)) })
    }

    /// An RSA key of its modulus and exponent, both big-endian and without leading zeros.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub(super) fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Result<Self, String> {
        let parameters = algorithm.rsa().ok_or_else(|| format!("{} has no RSA key", algorithm.name()))?;
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(format!("the RSA key has {bits} bits, and 2048 to 8192 are allowed"));
        }
        // ring takes exponents from 3 to 2^33, and odd ones only.
        if !(1..=4).contains(&e.len()) || e.last().is_none_or(|last| last % 2 == 0) || *e == [1] {
            return Err("the exponent of the RSA key is not one".to_owned());
        }
        let material = Material::Rsa(parameters, RsaPublicKeyComponents { n: n.into(), e: e.into() });
        Ok(Self { id: None, algorithm, material })
    }

    /// A point on the curve of the algorithm: `04 x y` for P-256 and P-384, 32 bytes for Ed25519.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub(super) fn curve(algorithm: Algorithm, point: &[u8]) -> Result<Self, String> {
        let (verification, length): (&'static dyn signature::VerificationAlgorithm, usize) = match algorithm {
            Algorithm::Es256 => (&signature::ECDSA_P256_SHA256_FIXED, 65),
            Algorithm::Es384 => (&signature::ECDSA_P384_SHA384_FIXED, 97),
            Algorithm::EdDsa => (&signature::ED25519, 32),
            _ => return Err(format!("{} has no curve", algorithm.name())),
        };
        let is_whole = point.len() == length && (algorithm == Algorithm::EdDsa || point[0] == 4);
        if !is_whole {
            return Err(format!("the key is not an uncompressed point of {} bytes", length));
        }
        Ok(Self { id: None, algorithm, material: Material::Curve(UnparsedPublicKey::new(verification, point.into())) })
    }

    /// The same key with its `kid`.
    pub(super) fn with_id(self, id: Option<&str>) -> Self {
        Self { id: id.map(Box::from), ..self }
    }

    /// True if the signature is that of this key for these bytes. The time that it takes does not depend on the secret.
    pub(super) fn has_signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, signed, signature).is_ok(),
            Material::Rsa(parameters, key) => key.verify(parameters, signed, signature).is_ok(),
            Material::Curve(key) => key.verify(signed, signature).is_ok(),
        }
    }
}

/// Without the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
