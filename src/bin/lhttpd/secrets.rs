//! Secrets that others on this machine can read: the server warns of each, and starts.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use lhttp::config::Config;

/// The bit of a file's mode that lets everybody read it.
const READABLE_BY_OTHERS: u32 = 0o004;

/// The warning about the configuration file at `path`, which holds `config`.
pub(crate) fn in_file(path: &Path, config: &Config) -> Option<String> {
    let secrets = config.secrets();
    (!secrets.is_empty() && is_readable_by_others(path)).then(|| {
        let path = path.display();
        format!("everybody on this machine can read {path}, which has {}: chmod o= {path}", secrets.join(" and "))
    })
}

/// The warnings about the files that options name.
pub(crate) fn in_named_files(config: &Config, exposed: &mut Vec<String>) {
    for (name, path) in config.secret_files().filter(|(_, path)| is_readable_by_others(path)) {
        let path = path.display();
        exposed.push(format!("{name}: everybody on this machine can read {path}: chmod o= {path}"));
    }
}

fn is_readable_by_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & READABLE_BY_OTHERS != 0)
}
