//! The options of tokens (PROTOCOL.md §8).

use super::Config;

impl Config {
    /// Whether clients can have tokens.
    pub(crate) fn has_tokens(&self) -> bool {
        self.token_key.is_some()
    }

    /// Checks the options of tokens against each other.
    pub(super) fn check_token(&self) -> Result<(), String> {
        let needs_key = [("token-issuer", &self.token_issuer), ("token-audience", &self.token_audience)];
        if let Some((name, _)) = needs_key.iter().find(|(_, value)| value.as_ref().is_some_and(String::is_empty)) {
            return Err(format!("{name}: it is empty"));
        }
        if !self.has_tokens() {
            let set = needs_key.iter().find(|(_, value)| value.is_some());
            return set.map_or(Ok(()), |(name, _)| Err(format!("{name}: it has no effect without token-key")));
        }
        if !cfg!(feature = "token") {
            return Err("token-key: this lhttpd was built without tokens (cargo feature token)".to_owned());
        }
        Ok(())
    }
}
