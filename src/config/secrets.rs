//! Which options hold secrets: a program can then check who may read the files with them.

use std::path::Path;

use super::{Config, Declaration, Unit};

impl Config {
    /// The options of this configuration whose value is a secret: `publish-key`, `admin-key`, and `nats` if a URL has a password or a
    /// token. A file that sets them must not be readable by others.
    pub fn secrets(&self) -> Vec<&'static str> {
        let holds = |option: &&Declaration| {
            let secret = option.secret(self);
            // A NATS URL without a login is no secret.
            secret.is_some_and(|secret| option.name != "nats" || secret.expose().contains('@'))
        };
        Self::OPTIONS.iter().filter(holds).map(|option| option.name).collect()
    }

    /// The files that hold secrets, each with the option that names it.
    pub fn secret_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let files = Self::OPTIONS.iter().filter(|option| matches!(option.unit, Unit::SecretFile | Unit::SecretFiles));
        files.flat_map(|option| option.files(self).into_iter().map(|path| (option.name, path)))
    }
}
