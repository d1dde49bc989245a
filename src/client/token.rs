//! Tokens (PROTOCOL.md §8): where they come from, and when they run out.

use std::{
    error::Error,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use data_encoding::BASE64URL_NOPAD;

use crate::error::{Reason, Refusal};

/// The function of a program that gives a token.
type Ask = dyn FnMut() -> Result<String, Box<dyn Error + Send + Sync>> + Send;

/// Where a client gets its tokens. Its `Debug` shows none.
#[derive(Clone, Default)]
pub(super) enum TokenSource {
    #[default]
    None,
    Fixed(Token),
    /// Shared by the clients of one builder.
    Asked(Arc<Mutex<Ask>>),
}

impl TokenSource {
    pub(super) fn asking(ask: impl FnMut() -> Result<String, Box<dyn Error + Send + Sync>> + Send + 'static) -> Self {
        Self::Asked(Arc::new(Mutex::new(ask)))
    }

    /// The token for a handshake or a renewal.
    ///
    /// # Errors
    /// The program's function failed, or gave no JWT.
    pub(super) fn next(&self) -> Result<Option<Token>, Refusal> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(token) => Ok(Some(token.clone())),
            Self::Asked(ask) => {
                let mut ask = ask.lock().unwrap_or_else(PoisonError::into_inner);
                let given = ask().map_err(|why| Refusal::new(401, "no-token", format!("there is no token: {why}")))?;
                Token::new(given).map(Some)
            }
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Fixed(_) => "Fixed",
            Self::Asked(_) => "Asked",
        })
    }
}

/// A token in the form of a JWT, so that it fits into a header of either protocol. Nothing prints it.
#[derive(Clone)]
pub(super) struct Token(String);

impl Token {
    /// # Errors
    /// It does not have the form of a signed JWT: three parts of base64url with dots between them.
    pub(super) fn new(text: impl Into<String>) -> Result<Self, Refusal> {
        let text = text.into();
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if text.split('.').count() == 3 && text.split('.').all(is_part) {
            return Ok(Self(text));
        }
        Err(Refusal::because(
            Reason::Unauthorized,
            "the token is not a JWT: three parts of base64url, with dots between",
        ))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// How long it is still valid by this machine's clock; zero if it has run out, and `None` if it does not say. The
    /// signature is not checked: only the server can.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let payload = BASE64URL_NOPAD.decode(self.0.split('.').nth(1)?.as_bytes()).ok()?;
        let end = Duration::from_secs(number(&payload, b"exp")?);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(end.saturating_sub(now))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The whole part of the number behind this key of a JSON object. A library for one number would be more than the rest of
/// the client needs; a wrong answer here only makes the client ask for its next token at a wrong time.
fn number(json: &[u8], key: &[u8]) -> Option<u64> {
    let mut depth = 0_usize;
    let mut rest = json;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => {
                let text = rest;
                rest = behind_string(rest)?;
                let is_key = depth == 1 && text[..text.len() - rest.len() - 1] == *key;
                if let Some(value) = rest.trim_ascii_start().strip_prefix(b":").filter(|_| is_key) {
                    let value = value.trim_ascii_start();
                    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    return std::str::from_utf8(&value[..digits]).ok()?.parse().ok();
                }
            }
            _ => {}
        }
    }
    None
}

/// What follows a string whose opening quotation mark has been read.
fn behind_string(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        rest = match rest.split_first()? {
            (b'"', behind) => return Some(behind),
            (b'\\', behind) => behind.get(1..)?,
            (_, behind) => behind,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_claims(claims: &str) -> Token {
        Token::new(format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(claims.as_bytes()))).unwrap()
    }

    #[test]
    fn only_the_form_of_a_jwt_is_taken() {
        assert!(Token::new("aZ0.b-_.c").is_ok());
        for text in ["", "a.b", "a.b.c.d", "a..c", "a.b.c ", "a.b.c\r\nx:y", "a.b,.c", "ä.b.c"] {
            assert_eq!(Token::new(text).unwrap_err().reason(), "unauthorized", "{text:?}");
        }
    }

    #[test]
    fn the_end_is_the_claim_exp_of_the_object_itself() {
        let far = |claims: &str| with_claims(claims).remaining().map(|left| left.as_secs() > 1_000_000);
        assert_eq!(far(r#"{"exp":99999999999}"#), Some(true));
        assert_eq!(
            far("{ \"sub\" : \"a\\\"exp\\\":1\", \"list\":[{\"exp\":1}], \"exp\" :\n99999999999.5}"),
            Some(true)
        );
        assert_eq!(with_claims(r#"{"exp":12}"#).remaining(), Some(Duration::ZERO));
        for claims in
            [r#"{"sub":"exp"}"#, r#"{"exp":"12"}"#, r#"{"exp":-1}"#, r#"{"a":{"exp":12}}"#, "[]", "}}", "\"exp"]
        {
            assert_eq!(far(claims), None, "{claims}");
        }
        assert_eq!(Token::new("a.b.c").unwrap().remaining(), None);
    }

    proptest! {
        #[test]
        fn any_claims_are_read_without_a_panic(claims in ".*", broken in r#"[{}\[\]":,\\exp0-9 ]{0,40}"#) {
            let _ = (number(claims.as_bytes(), b"exp"), number(broken.as_bytes(), b"exp"));
        }

        #[test]
        fn the_end_is_found_behind_any_other_claims(sub in ".*", exp in any::<u64>()) {
            // Debug escapes quotation marks and backslashes as JSON does; the other escapes do not matter here.
            let claims = format!("{{\"sub\":{sub:?},\"exp\":{exp}}}");
            prop_assert_eq!(number(claims.as_bytes(), b"exp"), Some(exp));
        }
    }

    #[test]
    fn nothing_prints_a_token() {
        let source = TokenSource::Fixed(Token::new("aaaa.bbbb.cccc").unwrap());
        assert_eq!(format!("{source:?} {:?}", Token::new("aaaa.bbbb.cccc").unwrap()), "Fixed Token");
    }
}
