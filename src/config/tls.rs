//! What the options of TLS mean together.

use std::{fmt, str::FromStr};

use super::{Config, Declaration};

/// Who encrypts and decrypts the records of a TLS connection after its handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsRecords {
    /// The server's own record layer, which keeps 0.2 KB for each connection.
    #[default]
    Own,
    /// The record layer of rustls, which keeps 7.5 KB, and up to 36 KB after a large message.
    Rustls,
}

impl fmt::Display for TlsRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "own",
            Self::Rustls => "rustls",
        })
    }
}

impl FromStr for TlsRecords {
    type Err = String;

    /// # Errors
    /// One sentence that shows what was given.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "own" => Ok(Self::Own),
            "rustls" => Ok(Self::Rustls),
            _ => Err(format!("{text:?} is neither own nor rustls")),
        }
    }
}

impl Config {
    /// Checks the options of TLS against each other and against the addresses.
    pub(super) fn check_tls(&self) -> Result<(), String> {
        let Some(address) = self.listen.iter().find(|listen| listen.is_tls()) else {
            let default = Self::default();
            let of_tls = |option: &&Declaration| option.section == "tls" && option.differs(self, &default);
            return Self::OPTIONS.iter().find(of_tls).map_or(Ok(()), |option| {
                Err(format!("{}: it has no effect without an address such as tls://0.0.0.0:443 in listen", option.name))
            });
        };
        if !cfg!(feature = "tls") {
            return Err(format!("listen: this lhttpd was built without {address} (cargo feature tls)"));
        }
        match (self.tls_cert.len(), self.tls_key.len()) {
            (0, 0) => Err(format!("listen: {address} needs a certificate and its key: give tls-cert and tls-key")),
            (certificates, keys) if certificates != keys => {
                let counts = format!("there are {certificates} of tls-cert and {keys} of tls-key");
                Err(format!("tls-cert: {counts}: give each certificate its key, in the same order"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(options: &[(&str, &str)]) -> Config {
        let mut config = Config::default();
        options.iter().for_each(|(name, value)| config.set(name, value).unwrap());
        config
    }

    #[test]
    #[cfg(feature = "tls")]
    fn a_tls_address_and_its_certificates_need_each_other() {
        let refused = |options: &[(&str, &str)]| config(options).check_tls().unwrap_err();
        let tls = ("listen", "127.0.0.1:80,tls://[::1]:443");
        assert!(refused(&[tls]).starts_with("listen: tls://[::1]:443 needs a certificate"));
        for option in [("tls-cert", "/c"), ("tls-key", "/k"), ("tls-client-ca", "/a"), ("tls-records", "rustls")] {
            let sentence = refused(&[option]);
            assert!(sentence.starts_with(option.0) && sentence.contains("no effect without"), "{sentence}");
        }
        assert!(refused(&[tls, ("tls-cert", "/c")]).contains("1 of tls-cert and 0 of tls-key"));
        assert!(refused(&[tls, ("tls-cert", "/c"), ("tls-key", "/k,/l")]).contains("1 of tls-cert and 2 of tls-key"));
        assert_eq!(config(&[tls, ("tls-cert", "/c, /d"), ("tls-key", "/k,/l")]).check_tls(), Ok(()));
        assert_eq!(config(&[("tls-records", "own")]).check_tls(), Ok(()), "a default does no harm");
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn a_build_without_tls_refuses_its_address() {
        let sentence = config(&[("listen", "tls://[::1]:443")]).check_tls().unwrap_err();
        assert_eq!(sentence, "listen: this lhttpd was built without tls://[::1]:443 (cargo feature tls)");
    }

    #[test]
    fn what_makes_the_records_is_one_of_two() {
        assert_eq!(config(&[("tls-records", "rustls")]).tls_records, TlsRecords::Rustls);
        let sentence = Config::default().set("tls-records", "kernel").unwrap_err();
        assert_eq!(sentence, "tls-records: \"kernel\" is neither own nor rustls");
    }
}
