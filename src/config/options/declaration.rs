//! One option, as the table declares it.

use std::path::Path;

use super::{Config, Secret};

/// An option of a server: all that is to be known of it but its value. [`Config::OPTIONS`] has them all, so that a program
/// can have flags of its own for them:
///
/// ```
/// use lhttp::Config;
///
/// let option = Config::OPTIONS.iter().find(|option| option.name == "max-message").unwrap();
/// assert_eq!((option.section, option.value), ("limits", "SIZE"));
/// assert!(option.check("64KiB").is_ok() && option.check("64 potatoes").is_err());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Declaration {
    /// Its section of the TOML file.
    pub section: &'static str,
    /// Its name, as a flag without the dashes and outside of a section.
    pub name: &'static str,
    /// Its name inside of the section.
    pub key: &'static str,
    /// How its value is written.
    pub unit: Unit,
    /// What a help text calls its value; empty for [`Unit::Switch`].
    pub value: &'static str,
    /// What holds unless it is set.
    pub default: Preset,
    /// What a [reload](crate::Reloader::reload) does with a new value.
    pub reload: Reload,
    /// What it does, and what happens at the limit, in a line.
    pub help: &'static str,

    pub(super) read: fn(&mut Config, Unit, &[&str]) -> Result<(), String>,
    pub(super) copy: fn(&mut Config, &Config),
    pub(super) differs: fn(&Config, &Config) -> bool,
    pub(super) file: fn(&Config) -> Option<&Path>,
    pub(super) secret: fn(&Config) -> Option<&Secret>,
}

/// How the value of an option is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// A whole number.
    Number,
    /// Bytes, or such as `64KiB`: [`parse_bytes`](crate::config::parse_bytes).
    Size,
    /// Seconds, or such as `500ms`: [`parse_duration`](crate::config::parse_duration).
    Time,
    /// Microseconds, or such as `1ms`: [`parse_micros`](crate::config::parse_micros).
    Micros,
    /// On or off. Its flag takes no value.
    Switch,
    /// Any text.
    Text,
    /// A text that nobody else may see.
    Secret,
    /// The path of a file.
    File,
    /// The path of a file that nobody else may read.
    SecretFile,
    /// CPUs: [`parse_cpu_list`](crate::config::parse_cpu_list).
    Cpus,
    /// One or several of [`Listen`](crate::config::Listen).
    Address,
    /// One or several prefixes of URLs, perhaps with methods before them.
    Prefix,
}

impl Unit {
    /// Whether an option takes several values, so that its flag may be given several times.
    pub fn is_list(self) -> bool {
        matches!(self, Self::Address | Self::Prefix)
    }

    /// The values in a text that has all of them.
    pub(in crate::config) fn split(self, text: &str) -> Vec<String> {
        match self {
            Self::Address => text.split(',').map(|item| item.trim().to_owned()).collect(),
            Self::Prefix => super::super::upstream::split_allow(text),
            _ => vec![text.to_owned()],
        }
    }
}

/// The value of an option that is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preset {
    /// This value, as a flag takes it.
    Value(&'static str),
    /// Not a fixed value: these words.
    Words(&'static str),
    /// Nothing.
    Unset,
}

/// What a [reload](crate::Reloader::reload) does with a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reload {
    /// It holds at once, for connections that are open too.
    AtOnce,
    /// It waits for a restart.
    Restart,
    /// Another file waits for a restart; what is in the file is read again.
    FileReadAgain,
}

impl Declaration {
    /// The option of this name, be it the plain one or `section.key`.
    pub(in crate::config) fn find(name: &str) -> Option<&'static Self> {
        let dotted = name.split_once('.');
        Config::OPTIONS
            .iter()
            .find(|option| option.name == name || dotted.is_some_and(|place| place == (option.section, option.key)))
    }

    /// Whether this is a value of the option, or one of several; whether it fits the others is for [`Config::validate`] to
    /// say.
    ///
    /// # Errors
    /// One sentence that shows the value, unless a secret may be in it.
    pub fn check(&self, value: &str) -> Result<(), String> {
        self.read(&mut Config::empty(), &[value])
    }

    /// Sets the option of `config` to these values, of which there is one unless its unit is a list.
    pub(in crate::config) fn read(&self, config: &mut Config, values: &[&str]) -> Result<(), String> {
        (self.read)(config, self.unit, values)
    }

    /// Takes the value of another configuration.
    pub(crate) fn copy(&self, to: &mut Config, from: &Config) {
        (self.copy)(to, from);
    }

    /// Whether it has another value in `other`.
    pub(crate) fn differs(&self, one: &Config, other: &Config) -> bool {
        (self.differs)(one, other)
    }

    /// The file that the option names.
    pub(in crate::config) fn file<'a>(&self, config: &'a Config) -> Option<&'a Path> {
        (self.file)(config)
    }

    /// The secret that the option holds.
    pub(in crate::config) fn secret<'a>(&self, config: &'a Config) -> Option<&'a Secret> {
        (self.secret)(config)
    }
}
