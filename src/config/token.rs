//! The options of tokens (PROTOCOL.md §8).

use super::Config;

impl Config {
    /// Whether clients can have tokens.
    pub(crate) fn has_tokens(&self) -> bool {
        self.token_key.is_some() || self.token_jwks.is_some()
    }

    /// Checks the options of tokens against each other.
    pub(super) fn check_token(&self) -> Result<(), String> {
        let texts = [("token-issuer", &self.token_issuer), ("token-audience", &self.token_audience)];
        if let Some((name, _)) = texts.iter().find(|(_, text)| text.as_ref().is_some_and(String::is_empty)) {
            return Err(format!("{name}: it is empty"));
        }
        if !self.has_tokens() {
            let set = texts.iter().find(|(_, text)| text.is_some());
            let useless = |name| Err(format!("{name}: it has no effect without token-key or token-jwks"));
            return set.map_or(Ok(()), |(name, _)| useless(name));
        }
        if !cfg!(feature = "token") {
            let name = if self.token_key.is_some() { "token-key" } else { "token-jwks" };
            return Err(format!("{name}: this lhttpd was built without tokens (cargo feature token)"));
        }
        #[cfg(feature = "token")]
        if let Some(url) = &self.token_jwks {
            check_url(url).map_err(|flaw| format!("token-jwks: {url:?} {flaw}"))?;
        }
        Ok(())
    }
}

/// Keys that come without TLS could be anybody's.
#[cfg(feature = "token")]
fn check_url(url: &str) -> Result<(), &'static str> {
    use ureq::http::Uri;
    let uri: Uri = url.parse().map_err(|_| "is not a URL")?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("is not a URL: write https://host/path");
    };
    if authority.as_str().contains('@') {
        return Err("has a user or a password, which is not supported");
    }
    match scheme {
        "https" if cfg!(feature = "tls") => Ok(()),
        "https" => Err("needs TLS, and this lhttpd was built without it (cargo feature tls)"),
        "http" if is_loopback(authority.host()) => Ok(()),
        "http" => Err("must be https: anybody on the way could put in keys of its own"),
        _ => Err("is neither https nor http"),
    }
}

#[cfg(feature = "token")]
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(all(test, feature = "token"))]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        for url in ["http://127.0.0.1:9000/keys", "http://[::1]/keys", "http://localhost:1/", "http://127.9.9.9/k?a=b"]
        {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        assert_eq!(check_url("https://issuer/keys").is_ok(), cfg!(feature = "tls"));
        for url in [
            "",
            "issuer",
            "/keys",
            "issuer:443",
            "http://issuer/keys",
            "http://127.0.0.1.issuer/",
            "http://localhost.issuer/",
            "http://u@127.0.0.1/",
            "https://u:p@issuer/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "https://",
            "https://a b/",
        ] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }
}
