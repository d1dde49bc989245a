//! The flags. Each is optional: a missing value comes from the file, or else from the defaults.
//!
//! The server's flags come from the library's table; the daemon's own few flags are here.

use std::{fmt, net::SocketAddr, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, Parser, error::Error, parser::ValueSource};
use lhttp::config::{Config, Declaration, Preset, Unit};
use log::LevelFilter;

use super::logger::Format;

// clap's help text is these comments: each gives the flag's effect, its unit, and its default.

/// A publish/subscribe server for LHTTP over WebSocket, with one event loop per core.
///
/// A size is a number of bytes, or a text such as 64KiB. A time is a number of seconds, or a text such as 500ms, 25s or
/// 2m.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "lhttpd",
    version,
    after_help = "Each flag except those of one run (--config, --check, --health) is also a key of the TOML file,\n\
        without the dashes in front (listen = \"127.0.0.1:8081\"), or a shorter one in the section that its\n\
        heading names ([timeouts] idle = \"2m\"): docs/OPTIONS.md lists them all.\n\
        A flag overrides LHTTP_PUBLISH_KEY and LHTTP_ADMIN_KEY, a variable overrides the file, and the file\n\
        overrides the default.\n\
        SIGTERM and SIGINT stop the server gracefully; a second one ends it at once. SIGHUP reads the file\n\
        again, and applies changed options; the log names those that need a restart."
)]
pub(crate) struct Args {
    /// Read options from this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Check the options, say what they mean on this machine, and exit
    #[arg(long)]
    pub(crate) check: bool,

    /// Ask a running server at this URL, such as http://127.0.0.1:8081/healthz, and exit with 0 if it answers 200, else
    /// with 1; takes at most 3 s; for the health check of a container
    #[arg(long, value_name = "URL", exclusive = true)]
    pub(crate) health: Option<String>,

    /// Serve a chat room on this address, IP:PORT, to try the server out with a browser; port 0 takes a free one; the last
    /// 100 messages of its rooms, the channels chat.*, are kept [default: no chat room]
    #[arg(long, value_name = "ADDR")]
    pub(crate) demo: Option<SocketAddr>,

    /// Log to stderr from this level up: off, error, warn, info, debug, trace; lines that stderr does not take in time
    /// are dropped and counted [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<LevelFilter>,

    /// Write each line of the log as text or as a JSON object, with the members time, level, target, message and, where a
    /// line has numbers, counters [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<Format>,

    #[command(flatten)]
    pub(crate) options: Options,
}

/// The given options of a server, with their values as texts.
#[derive(Clone, Default)]
pub(crate) struct Options(Vec<(&'static Declaration, Vec<String>)>);

impl Options {
    /// Applies the given options to `config`.
    ///
    /// # Errors
    /// One sentence that names the option.
    pub(crate) fn lay_over(&self, config: &mut Config) -> Result<(), String> {
        // `--cores` and `--cpu-list` set the same thing, so either one replaces both options of the file.
        if self.0.iter().any(|(option, _)| ["cores", "cpu-list"].contains(&option.name)) {
            (config.cores, config.cpu_list) = (None, None);
        }
        self.0.iter().try_for_each(|(option, values)| config.set_all(option.name, values))
    }
}

/// Shows only the names: a value may be a secret.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(option, _)| option.name)).finish()
    }
}

impl clap::Args for Options {
    fn augment_args(command: Command) -> Command {
        let command = Config::OPTIONS.iter().fold(command, |command, option| command.arg(flag(option)));
        command.mut_arg("cpu-list", |flag| flag.conflicts_with("cores"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Options {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |option: &&Declaration| matches.value_source(option.name) == Some(ValueSource::CommandLine);
        let values = |option: &'static Declaration| match option.unit {
            Unit::Switch => vec![matches.get_flag(option.name).to_string()],
            _ => matches.get_many::<String>(option.name).into_iter().flatten().cloned().collect(),
        };
        Ok(Self(Config::OPTIONS.iter().filter(given).map(|option| (option, values(option))).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flag of an option.
fn flag(option: &'static Declaration) -> Arg {
    let default = match option.default {
        Preset::Value(text) | Preset::Words(text) => format!(" [default: {text}]"),
        _ => String::new(),
    };
    let flag = Arg::new(option.name).long(option.name).help(format!("{}{default}", option.help));
    let flag = flag.help_heading(option.section);
    match option.unit {
        Unit::Switch => flag.action(ArgAction::SetTrue),
        unit => flag
            .value_name(option.value)
            .action(if unit.is_list() { ArgAction::Append } else { ArgAction::Set })
            .value_parser(move |text: &str| option.check(text).map(|()| text.to_owned())),
    }
}

#[cfg(test)]
mod tests;
