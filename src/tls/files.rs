//! The files that the options name, and their contents.

use std::path::{Path, PathBuf};

use crate::config::{Config, read_file};

/// The files of a server that speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    /// Each certificate, with its key.
    pairs: Vec<(PathBuf, PathBuf)>,
    client_ca: Option<PathBuf>,
}

impl Files {
    /// The files that these options name, if they have an address that speaks TLS.
    pub(super) fn of(config: &Config) -> Option<Self> {
        config.listen.iter().any(|listen| listen.is_tls()).then(|| Self {
            pairs: config.tls_cert.iter().cloned().zip(config.tls_key.iter().cloned()).collect(),
            client_ca: config.tls_client_ca.clone(),
        })
    }

    /// # Errors
    /// One sentence that names the option and the file.
    pub(super) fn read(&self) -> Result<Contents, String> {
        let pair = |(certificate, key): &(PathBuf, PathBuf)| {
            Ok((Content::read("tls-cert", certificate)?, Content::read("tls-key", key)?))
        };
        Ok(Contents {
            pairs: self.pairs.iter().map(pair).collect::<Result<_, String>>()?,
            client_ca: self.client_ca.as_deref().map(|path| Content::read("tls-client-ca", path)).transpose()?,
        })
    }
}

/// The contents of all files.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) pairs: Vec<(Content, Content)>,
    pub(super) client_ca: Option<Content>,
}

impl Contents {
    /// The options whose files have other contents, or are other files.
    pub(super) fn changed(&self, before: &Self) -> Vec<&'static str> {
        let differ =
            |one: fn(&(Content, Content)) -> &Content| !self.pairs.iter().map(one).eq(before.pairs.iter().map(one));
        let options = [
            ("tls-cert", differ(|(certificate, _)| certificate)),
            ("tls-key", differ(|(_, key)| key)),
            ("tls-client-ca", self.client_ca != before.client_ca),
        ];
        options.into_iter().filter(|(_, differs)| *differs).map(|(option, _)| option).collect()
    }
}

/// A file's path and contents, which may be a key: it has no `Debug`.
#[derive(PartialEq, Eq)]
pub(super) struct Content {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

impl Content {
    fn read(option: &str, path: &Path) -> Result<Self, String> {
        let bytes = read_file(path).map_err(|error| format!("{option}: cannot read {}: {error}", path.display()))?;
        Ok(Self { path: path.to_owned(), bytes })
    }
}
