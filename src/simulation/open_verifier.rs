//! Tokens that everyone can write: their signature is not the subject here.

use std::sync::Arc;

use crate::{
    application::Verify,
    token::{Claims, Invalid},
};

/// Reads tokens that are their claims: `user/expires/subscribe/publish`, the lists with commas. All parts are separated by `/`.
pub(crate) struct OpenVerifier;

impl Verify for OpenVerifier {
    fn verify(&mut self, token: &[u8], now: u64) -> Result<Arc<Claims>, Invalid> {
        let text = std::str::from_utf8(token).map_err(|_| Invalid::Malformed)?;
        let parts: Vec<&str> = text.split('/').collect();
        let [user, expires, subscribe, publish] = parts[..] else { return Err(Invalid::Malformed) };
        let expires = expires.parse().map_err(|_| Invalid::Malformed)?;
        if now > expires {
            return Err(Invalid::Expired);
        }
        let list = |names: &str| names.split(',').filter(|name| !name.is_empty()).map(Box::from).collect();
        Ok(Arc::new(Claims {
            user: user.into(),
            subscribe: list(subscribe),
            publish: list(publish),
            info: None,
            expires,
        }))
    }
}
