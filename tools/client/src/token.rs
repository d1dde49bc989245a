//! `token`: makes a token (PROTOCOL.md §8) for tests and scripts.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Map, Value};

use crate::{args::Token, failure::Failure};

/// The longest token that a server takes, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// Prints the token that the command line describes.
pub(crate) fn run(args: &Token) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let token = make(args, now).map_err(Failure::Usage)?;
    Ok(writeln!(io::stdout(), "{token}")?)
}

fn make(args: &Token, now: Duration) -> Result<String, String> {
    let key = Key::read(&args.key)?;
    let mut head = Map::from_iter([("alg".to_owned(), Value::from(key.algorithm())), ("typ".to_owned(), "JWT".into())]);
    if let Some(id) = &args.kid {
        head.insert("kid".to_owned(), Value::from(&**id));
    }
    let encode = |json: Map<String, Value>| BASE64URL_NOPAD.encode(Value::from(json).to_string().as_bytes());
    let signed = format!("{}.{}", encode(head), encode(claims(args, now)));
    let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes())?));
    if token.len() > TOKEN_BYTES_MAX {
        return Err(format!("the token has {} bytes, and a server takes {TOKEN_BYTES_MAX}", token.len()));
    }
    Ok(token)
}

fn claims(args: &Token, now: Duration) -> Map<String, Value> {
    let mut claims = Map::new();
    let mut add = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    add("sub", args.user.clone().into());
    add("iat", now.as_secs().into());
    add("exp", (now + args.ttl).as_secs().into());
    for (name, text) in [("iss", &args.issuer), ("aud", &args.audience)] {
        if let Some(text) = text {
            add(name, text.clone().into());
        }
    }
    for (name, channels) in [("lhttp.subscribe", &args.subscribe), ("lhttp.publish", &args.publish)] {
        if !channels.is_empty() {
            add(name, channels.iter().flat_map(|channels| channels.split_whitespace()).collect());
        }
    }
    if let Some(info) = &args.info {
        add("lhttp.info", info.clone());
    }
    claims
}

/// A key that signs.
enum Key {
    Secret(hmac::Key),
    Rsa(Box<RsaKeyPair>),
    Ec(&'static str, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    /// Reads a secret as the server reads it, or a private key in PEM.
    fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let content = fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        if content.windows(10).any(|window| window == b"-----BEGIN") {
            let key = PrivateKeyDer::from_pem_slice(&content);
            let key = key.map_err(|_| format!("{shown} has no private key: a public key cannot sign"))?;
            return Self::private(&key).map_err(|flaw| format!("{shown}: {flaw}"));
        }
        if content.trim_ascii_start().starts_with(b"{") {
            return Err(format!("{shown} is JSON: give a secret, or a private key in PEM"));
        }
        let line = content.strip_suffix(b"\n").unwrap_or(&content);
        let secret = line.strip_suffix(b"\r").filter(|_| line.len() < content.len()).unwrap_or(line);
        if secret.len() < 32 {
            return Err(format!("the secret in {shown} has {} bytes, and servers want 32 or more", secret.len()));
        }
        Ok(Self::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    fn private(key: &PrivateKeyDer<'_>) -> Result<Self, String> {
        let der = match key {
            PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der(),
            PrivateKeyDer::Pkcs1(key) => {
                let pair = RsaKeyPair::from_der(key.secret_pkcs1_der());
                return pair
                    .map(Box::new)
                    .map(Self::Rsa)
                    .map_err(|error| format!("the RSA key cannot be used: {error}"));
            }
            _ => return Err("write the key as BEGIN PRIVATE KEY: openssl pkcs8 -topk8 -nocrypt -in FILE".to_owned()),
        };
        let ec = |name, algorithm: &'static EcdsaSigningAlgorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, der, &SystemRandom::new());
            pair.map(|pair| Self::Ec(name, pair))
        };
        RsaKeyPair::from_pkcs8(der)
            .map(|pair| Self::Rsa(Box::new(pair)))
            .or_else(|_| ec("ES256", &ECDSA_P256_SHA256_FIXED_SIGNING))
            .or_else(|_| ec("ES384", &ECDSA_P384_SHA384_FIXED_SIGNING))
            .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self::Ed25519))
            .map_err(|_| "the key is neither RSA with 2048 bits or more, nor P-256, P-384 or Ed25519".to_owned())
    }

    /// The algorithm that a server takes with the public part of this key.
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Secret(_) => "HS256",
            Self::Rsa(_) => "RS256",
            Self::Ec(name, _) => name,
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, String> {
        let random = SystemRandom::new();
        let failed = |_| "the key does not sign".to_owned();
        match self {
            Self::Secret(key) => Ok(hmac::sign(key, signed).as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Self::Ec(_, pair) => Ok(pair.sign(&random, signed).map_err(failed)?.as_ref().to_vec()),
            Self::Ed25519(pair) => Ok(pair.sign(signed).as_ref().to_vec()),
        }
    }
}
