//! The addresses of the NATS servers, and this node's login. `Debug` and errors never show a secret.

use std::{path::PathBuf, str::FromStr};

use super::{Config, Declaration, Preset, Secret};

/// The port of a URL that names none.
const PORT: u16 = 4222;

/// The longest `nats-prefix`, in bytes: with a channel's name behind it a subject stays far below a server's limit.
const PREFIX_BYTES_MAX: usize = 100;

/// One NATS server, from `[nats://|tls://][user:password@|token@]host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NatsServer {
    /// Host and port, without a secret; an IPv6 address is in brackets.
    pub(crate) address: String,
    /// The URL asks for TLS.
    pub(crate) is_tls: bool,
    pub(crate) login: Option<Login>,
}

/// How this node logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// A name and a password.
    Password(String, Secret),
    /// A token.
    Token(Secret),
    /// A name, and the file that holds the password.
    PasswordFile(String, PathBuf),
    /// A credentials file: a user JWT and its NKey seed.
    Credentials(PathBuf),
    /// A file that holds an NKey seed.
    Nkey(PathBuf),
}

impl FromStr for NatsServer {
    type Err = String;

    /// The sentence does not show the URL, because a secret may be in it.
    fn from_str(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
        let is_tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return Err("nats: a URL begins with nats:// or tls://".to_owned()),
        };
        let (login, host) = match rest.rsplit_once('@') {
            Some((login, host)) => (Some(Login::parse(login)?), host),
            None => (None, rest),
        };
        let host = host.strip_suffix('/').unwrap_or(host);
        let colon = host.rfind(':').filter(|&colon| !host[colon..].contains(']'));
        let (name, port) = colon.map_or((host, None), |colon| (&host[..colon], Some(&host[colon + 1..])));
        let port =
            port.map_or(Ok(PORT), |port| port.parse::<u16>().map_err(|_| "nats: a port is a number up to 65535"))?;
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
        let is_bracketed = name.starts_with('[') && name.ends_with(']');
        if name.is_empty() || !name.bytes().all(is_host) || (name.contains(':') && !is_bracketed) || port == 0 {
            return Err(
                "nats: a URL is [nats://][user:password@]host[:port], several are separated by commas".to_owned()
            );
        }
        Ok(Self { address: format!("{name}:{port}"), is_tls, login })
    }
}

impl Login {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.starts_with(':') {
            return Err("nats: there is no user and no token before the @ of a URL".to_owned());
        }
        Ok(match text.split_once(':') {
            Some((user, password)) => Self::Password(percent_decode(user)?, Secret::from(percent_decode(password)?)),
            None => Self::Token(Secret::from(percent_decode(text)?)),
        })
    }
}

fn is_prefix(text: &str) -> bool {
    let is_token =
        |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic() && !b"*>".contains(&byte));
    text.len() <= PREFIX_BYTES_MAX && !text.starts_with(['_', '$']) && text.split('.').all(is_token)
}

/// RFC 3986 §2.1.
fn percent_decode(text: &str) -> Result<String, String> {
    let bad = || "nats: a percent sign in a URL is followed by two hexadecimal digits".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = after.split_at_checked(2).ok_or_else(bad)?;
            let digit = |at: usize| char::from(digits[at]).to_digit(16).ok_or_else(bad);
            bytes.push((digit(0)? << 4 | digit(1)?) as u8);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

impl Config {
    /// The NATS servers, none if there is no bridge.
    ///
    /// # Errors
    /// One sentence, without any secret.
    pub(crate) fn nats_servers(&self) -> Result<Vec<NatsServer>, String> {
        let Some(urls) = &self.nats else { return Ok(Vec::new()) };
        urls.expose().split(',').map(|url| url.trim().parse()).collect()
    }

    /// How this node logs in, if it does.
    ///
    /// # Errors
    /// More than one way is configured.
    pub(crate) fn nats_login(&self) -> Result<Option<Login>, String> {
        let mut logins: Vec<Login> = self.nats_servers()?.into_iter().filter_map(|server| server.login).collect();
        logins.dedup();
        logins.extend(self.nats_creds.clone().map(Login::Credentials));
        logins.extend(self.nats_nkey.clone().map(Login::Nkey));
        match (&self.nats_user, &self.nats_password_file) {
            (Some(user), Some(file)) => logins.push(Login::PasswordFile(user.clone(), file.clone())),
            (None, None) => {}
            _ => return Err("nats-user and nats-password-file: give both or none".to_owned()),
        }
        if logins.len() > 1 {
            let sentence =
                "nats: give one way to log in: the same user in all URLs, or nats-user, nats-creds or nats-nkey";
            return Err(sentence.to_owned());
        }
        Ok(logins.pop())
    }

    /// Checks the options of the bridge against each other.
    pub(super) fn check_nats(&self) -> Result<(), String> {
        if self.nats.is_none() {
            // An option with a default, such as the buffer, does no harm.
            let default = Self::default();
            let needs_url =
                |option: &&Declaration| option.section == "nats" && !matches!(option.default, Preset::Value(_));
            let alone = Self::OPTIONS.iter().filter(needs_url).find(|option| option.differs(self, &default));
            return alone.map_or(Ok(()), |option| Err(format!("{}: it has no effect without nats", option.name)));
        }
        if !cfg!(feature = "nats") {
            return Err("nats: this lhttpd was built without its NATS bridge (cargo feature nats)".to_owned());
        }
        self.nats_login()?;
        if self.nats_tls_cert.is_some() != self.nats_tls_key.is_some() {
            return Err("nats-tls-cert and nats-tls-key: give both or none".to_owned());
        }
        if let Some(prefix) = &self.nats_prefix
            && !is_prefix(prefix)
        {
            return Err(format!(
                "nats-prefix: write tokens of visible ASCII with dots between them, at most {PREFIX_BYTES_MAX} bytes, without wildcards, and beginning with neither _ nor $"
            ));
        }
        let servers = self.nats_servers()?;
        if servers.iter().any(|server| server.is_tls != servers[0].is_tls) {
            return Err("nats: give tls:// in all URLs or in none".to_owned());
        }
        let least = Self::NATS_BUFFER_BYTES_MIN.max(2 * self.message_bytes_max);
        if self.nats_buffer_bytes < least {
            return Err(format!("nats-buffer: it must be at least {least} bytes: 512 KiB, and twice max-message"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_who() {
        let server = |url: &str| url.parse::<NatsServer>().unwrap();
        let plain = |address: &str| NatsServer { address: address.to_owned(), is_tls: false, login: None };
        assert_eq!(server("localhost"), plain("localhost:4222"));
        assert_eq!(server("nats://10.0.0.1:4223/"), plain("10.0.0.1:4223"));
        assert_eq!(server("[::1]"), plain("[::1]:4222"));
        assert_eq!(server("nats://[::1]:1"), plain("[::1]:1"));
        let login = Some(Login::Password("a".to_owned(), "p@:w".into()));
        assert_eq!(server("tls://a:p%40:w@h"), NatsServer { address: "h:4222".to_owned(), is_tls: true, login });
        assert_eq!(server("nats://t0ken@h").login, Some(Login::Token("t0ken".into())));
    }

    #[test]
    fn an_invalid_url_is_refused_and_not_shown() {
        for url in [
            "",
            "http://hunter2@h",
            "nats://u:hunter2@",
            "u:hunter2@h:99999",
            "u:hunter2%zz@h",
            "u:hunter2%+f@h",
            "nats://@h",
            "nats://:hunter2@h",
            "hunter2 x",
            "h:0",
            "a:b:c",
        ] {
            let error = url.parse::<NatsServer>().expect_err(url);
            assert!(error.starts_with("nats: ") && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    #[cfg(feature = "nats")]
    fn all_servers_speak_tls_or_none() {
        let check = |nats: &str| Config { nats: Some(nats.into()), ..Config::default() }.check_nats();
        assert_eq!((check("tls://a,tls://b"), check("nats://a,b")), (Ok(()), Ok(())));
        assert_eq!(check("tls://a,nats://b"), Err("nats: give tls:// in all URLs or in none".to_owned()));
    }

    #[test]
    #[cfg(feature = "nats")]
    fn a_certificate_has_its_key_and_a_prefix_is_a_name() {
        let config =
            |prefix: &str| Config { nats: Some("a".into()), nats_prefix: Some(prefix.to_owned()), ..Config::default() };
        for prefix in ["app", "app.test", "a-b_c$"] {
            assert_eq!(config(prefix).check_nats(), Ok(()), "{prefix}");
        }
        for prefix in ["", ".", "a.", "a..b", "a b", "*", "a.>", "$SYS", "_x", "\u{b5}", &"x".repeat(101)] {
            assert!(
                config(prefix).check_nats().is_err_and(|sentence| sentence.starts_with("nats-prefix:")),
                "{prefix}"
            );
        }
        let halved = Config { nats: Some("a".into()), nats_tls_cert: Some("c".into()), ..Config::default() };
        assert!(halved.check_nats().is_err_and(|sentence| sentence.contains("nats-tls-key")));
    }

    #[test]
    fn there_is_one_way_to_log_in() {
        let config = |nats: &str| Config { nats: Some(nats.into()), ..Config::default() };
        assert_eq!(config("nats://a,nats://b").nats_login(), Ok(None));
        assert!(config("nats://u:p@a,nats://u:p@b").nats_login().unwrap().is_some());
        assert!(config("nats://u:p@a,nats://u:q@b").nats_login().is_err());
        assert!(Config { nats_creds: Some("x".into()), ..config("nats://u:p@a") }.nats_login().is_err());
        assert!(Config { nats_user: Some("u".into()), ..config("a") }.nats_login().is_err());
        assert!(!format!("{:?}", config("nats://u:hunter2@a").nats_login()).contains("hunter2"));
    }
}
