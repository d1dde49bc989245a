//! Which options hold secrets, so that a program can check who may read the files that they are in.

use std::path::Path;

use super::Config;

impl Config {
    /// The options of this configuration whose value is a secret: `publish-key`, and `nats` if a URL has a password or a
    /// token. A file that sets them must not be readable by others.
    pub fn secrets(&self) -> Vec<&'static str> {
        let has_login = self.nats.as_ref().is_some_and(|urls| urls.expose().contains('@'));
        [("publish-key", self.publish_key.is_some()), ("nats", has_login)]
            .into_iter()
            .filter_map(|(name, is_secret)| is_secret.then_some(name))
            .collect()
    }

    /// The files that hold secrets, by the option that names each.
    pub fn secret_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let files = [
            ("nats-creds", &self.nats_creds),
            ("nats-nkey", &self.nats_nkey),
            ("nats-password-file", &self.nats_password_file),
            ("nats-tls-key", &self.nats_tls_key),
        ];
        files.into_iter().filter_map(|(name, file)| Some((name, file.as_deref()?)))
    }
}
