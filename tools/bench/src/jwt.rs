//! Tokens for lhttpd's clients: a JSON Web Token (RFC 7519) for each connection, signed with HMAC-SHA-256.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use ring::hmac::{self, HMAC_SHA256};
use serde_json::json;

use crate::failure::Failure;

/// How long a token is valid: longer than any measurement.
const VALID: Duration = Duration::from_secs(24 * 3600);

/// Makes tokens. All end at the same moment, so a connection that comes back shows the same token.
#[derive(Debug)]
pub(crate) struct Tokens {
    key: hmac::Key,
    expires: u64,
}

impl Tokens {
    /// Signs with the secret in a file. Its last line end does not count, as for lhttpd.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Failure> {
        let secret = fs::read(path).map_err(Failure::io(format!("cannot read {}", path.display())))?;
        let line = secret.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        Ok(Self::new(line.unwrap_or(&secret)))
    }

    pub(crate) fn new(secret: &[u8]) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { key: hmac::Key::new(HMAC_SHA256, secret), expires: (now + VALID).as_secs() }
    }

    /// The line of an upgrade request with the token of connection `index`: a user of its own, who may subscribe and
    /// publish everywhere.
    pub(crate) fn header(&self, index: usize) -> String {
        format!("Authorization: Bearer {}\r\n", self.token(&format!("user{index}")))
    }

    fn token(&self, user: &str) -> String {
        let part = |value: serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let claims = json!({"sub": user, "exp": self.expires, "lhttp.subscribe": [">"], "lhttp.publish": [">"]});
        let signed = format!("{}.{}", part(json!({"alg": "HS256", "typ": "JWT"})), part(claims));
        let signature = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_users_own_and_the_same_each_time() {
        let tokens = Tokens { key: hmac::Key::new(HMAC_SHA256, b"secret"), expires: 1_700_000_000 };
        assert_eq!(tokens.header(7), tokens.header(7));
        assert_ne!(tokens.header(7), tokens.header(8));
        let token = tokens.token("mike");
        let parts: Vec<&str> = token.split('.').collect();
        let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url without padding");
        let claims: serde_json::Value = serde_json::from_slice(&decoded(parts[1])).expect("JSON");
        assert_eq!((claims["sub"].as_str(), claims["exp"].as_u64()), (Some("mike"), Some(1_700_000_000)));
        let signed = format!("{}.{}", parts[0], parts[1]);
        hmac::verify(&tokens.key, signed.as_bytes(), &decoded(parts[2])).expect("the signature is right");
    }
}
