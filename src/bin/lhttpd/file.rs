//! The configuration file: a [`Config`], with the daemon's own log and demo.

use std::{fs, net::SocketAddr, path::Path};

use clap::ValueEnum;
use lhttp::config::Config;
use log::LevelFilter;

use super::logger::Format;

/// The contents of a file; options that it does not set have their defaults.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) config: Config,
    pub(crate) log: Option<LevelFilter>,
    pub(crate) log_format: Option<Format>,
    pub(crate) demo: Option<SocketAddr>,
}

/// Reads the file at `path`.
///
/// # Errors
/// One sentence that names the file, and the line or the key at fault.
pub(crate) fn read(path: &Path) -> Result<File, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(text: &str) -> Result<File, String> {
    let mut table: toml::Table = toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .map_or(1, |span| text.as_bytes()[..span.start.min(text.len())].split(|&byte| byte == b'\n').count());
        format!("line {line}: {}", one_line(error.message()))
    })?;
    // Take these out first: the library must know every other key.
    let log = table.remove("log").map(|value| level(&value)).transpose()?;
    let log_format = table.remove("log-format").map(|value| format(&value)).transpose()?;
    let demo = table.remove("demo").map(|value| address(&value)).transpose()?;
    let config = table.try_into().map_err(|error| sentence(&error))?;
    Ok(File { config, log, log_format, demo })
}

fn level(value: &toml::Value) -> Result<LevelFilter, String> {
    let parsed = value.as_str().and_then(|word| word.parse().ok());
    parsed.ok_or_else(|| "log: this is not a level, write off, error, warn, info, debug or trace".to_owned())
}

fn format(value: &toml::Value) -> Result<Format, String> {
    let parsed = value.as_str().and_then(|word| Format::from_str(word, false).ok());
    parsed.ok_or_else(|| "log-format: this is not a format, write text or json".to_owned())
}

fn address(value: &toml::Value) -> Result<SocketAddr, String> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| "demo: this is not an address such as \"127.0.0.1:9090\"".to_owned())
}

/// The error with its key in front. toml writes the key on a line behind the error.
fn sentence(error: &toml::de::Error) -> String {
    let text = error.to_string();
    match text.trim_end().rsplit_once("\nin `") {
        Some((said, key)) => format!("{}: {}", key.trim_end_matches('`'), one_line(said)),
        None => one_line(&text),
    }
}

/// The error with its lines joined: a log keeps one line together.
fn one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_the_config_the_log_and_the_demo() {
        let file = parse("cores = 1\nlog = \"debug\"\nlog-format = \"json\"\ndemo = \"127.0.0.1:9090\"\n").unwrap();
        assert_eq!(file.demo, Some(SocketAddr::from(([127, 0, 0, 1], 9090))));
        assert_eq!((file.config.cores, file.log), (Some(1), Some(LevelFilter::Debug)));
        assert_eq!(file.log_format, Some(Format::Json));
        let empty = parse("").unwrap();
        assert_eq!((empty.log, empty.log_format), (None, None));
    }

    #[test]
    fn an_error_names_the_line_or_the_key_and_is_one_line() {
        for (text, shown) in [
            ("cores = 1\ncores = 2", "line 2: "),
            ("\n\nlisten =", "line 3: "),
            ("cors = 1", "cors"),
            ("max-head = \"much\"", "max-head"),
            ("listen = [\"127.0.0.1:1\", \"x\"]", "listen"),
            ("listen = \"unix:here\"", "listen"),
            ("log = \"loud\"", "log: "),
            ("log = 3", "log: "),
            ("log-format = \"xml\"", "log-format: "),
            ("log-format = \"JSON\"", "log-format: "),
            ("log-format = true", "log-format: "),
            ("demo = \"localhost\"", "demo: "),
            ("demo = 9090", "demo: "),
            ("[tls]\nkey = 1", "tls"),
            ("cores = \"x\"", "cores: invalid type: string \"x\", expected a number such as 2"),
            ("[limits]\nmax-head = \"much\"", "limits.max-head: \"much\" is not a size"),
            ("[nats]\ncred = 1", "nats: cred: there is no such option in [nats]; did you mean creds?"),
            ("[[channel]]\nmatch = \"a..b\"", "channel: rule 1: channel \"a..b\" has an empty token"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(shown) && !error.contains('\n') && !error.ends_with('`'), "{text}: {error}");
        }
    }
}
