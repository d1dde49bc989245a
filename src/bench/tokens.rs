//! Checks tokens.

use data_encoding::BASE64URL_NOPAD;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};

use crate::token::fixture::{Fixture, SECRET, sign};

const NOW: u64 = 1_800_000_000;
const CLAIMS: &str = r#"{"sub":"mike","iat":1800000000,"exp":1800003600,"iss":"https://issuer.example","aud":"chat",
    "lhttp.subscribe":["room.*","news","inbox.mike"],"lhttp.publish":["room.*"],"lhttp.info":{"name":"Mike"}}"#;

/// A core's verifier, and a token that it takes.
pub struct Tokens {
    fixture: Fixture,
    token: Vec<u8>,
}

impl Tokens {
    /// A token with a shared secret.
    pub fn hs256() -> Self {
        Self { fixture: Fixture::new(SECRET), token: sign(br#"{"alg":"HS256","typ":"JWT"}"#, CLAIMS.as_bytes()) }
    }

    /// A token with a key on the curve P-256.
    ///
    /// # Panics
    /// The system has no random numbers.
    pub fn es256() -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref(), &random).expect("a key");
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let point = pair.public_key().as_ref();
        let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
        let jwk = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);
        let signed = format!("{}.{}", encode(br#"{"alg":"ES256","typ":"JWT"}"#), encode(CLAIMS.as_bytes()));
        let signature = pair.sign(&random, signed.as_bytes()).expect("a signature");
        let token = format!("{signed}.{}", encode(signature.as_ref())).into_bytes();
        Self { fixture: Fixture::new(jwk.as_bytes()), token }
    }

    /// Checks the token as one that the core has not seen; gives the user's number of bytes.
    pub fn verify(&mut self) -> Option<usize> {
        self.fixture.forget();
        self.verify_again()
    }

    /// Checks the token as one that the core has verified before.
    pub fn verify_again(&mut self) -> Option<usize> {
        self.fixture.verify(&self.token, NOW).ok().map(|claims| claims.user.len())
    }
}
