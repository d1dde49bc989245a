//! One option, as the table declares it.

use std::path::Path;

use super::{Config, Secret};

/// Everything about an option of a server except its value. [`Config::OPTIONS`] has all options, so that a program can
/// make its own flags for them:
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
    /// Its name, as for a flag without the dashes, or outside of a section.
    pub name: &'static str,
    /// Its name inside of the section.
    pub key: &'static str,
    /// How its value is written.
    pub unit: Unit,
    /// The name of its value in a help text; empty for [`Unit::Switch`].
    pub value: &'static str,
    /// Its value unless it is set.
    pub default: Preset,
    /// What a [reload](crate::Reloader::reload) does with a new value.
    pub reload: Reload,
    /// Its effect, and what happens at the limit, in one line.
    pub help: &'static str,

    pub(super) read: fn(&mut Config, Unit, &[&str]) -> Result<(), String>,
    pub(super) copy: fn(&mut Config, &Config),
    pub(super) differs: fn(&Config, &Config) -> bool,
    pub(super) files: fn(&Config) -> Vec<&Path>,
    pub(super) secret: fn(&Config) -> Option<&Secret>,
    pub(super) show: fn(&Config, Unit) -> Option<Vec<String>>,
}

/// How the value of an option is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// A whole number.
    Number,
    /// Bytes, or a text such as `64KiB`: [`parse_bytes`](crate::config::parse_bytes).
    Size,
    /// Seconds, or a text such as `500ms`: [`parse_duration`](crate::config::parse_duration).
    Time,
    /// Microseconds, or a text such as `1ms`: [`parse_micros`](crate::config::parse_micros).
    Micros,
    /// On or off. Its flag takes no value.
    Switch,
    /// Any text.
    Text,
    /// One or several texts.
    Texts,
    /// A text that only the owner may see.
    Secret,
    /// The path of a file.
    File,
    /// The path of a file that only the owner may read.
    SecretFile,
    /// The paths of one or several files.
    Files,
    /// The paths of one or several files that only the owner may read.
    SecretFiles,
    /// CPUs: [`parse_cpu_list`](crate::config::parse_cpu_list).
    Cpus,
    /// One or several of [`Listen`](crate::config::Listen).
    Address,
    /// One or several prefixes of URLs, each with or without methods before it.
    Prefix,
}

impl Unit {
    /// True if an option takes several values: its flag may be given several times.
    pub fn is_list(self) -> bool {
        matches!(self, Self::Texts | Self::Address | Self::Prefix | Self::Files | Self::SecretFiles)
    }

    /// Splits a text into the values that it lists.
    pub(in crate::config) fn split(self, text: &str) -> Vec<String> {
        match self {
            Self::Address | Self::Texts | Self::Files | Self::SecretFiles => {
                text.split(',').map(|item| item.trim().to_owned()).collect()
            }
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
    /// No fixed value: these words describe it.
    Words(&'static str),
    /// Nothing.
    Unset,
}

/// What a [reload](crate::Reloader::reload) does with a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reload {
    /// It takes effect at once, also for open connections.
    AtOnce,
    /// It takes effect after a restart.
    Restart,
    /// A new path takes effect after a restart; the file itself is read again.
    FileReadAgain,
}

impl Declaration {
    /// Finds an option by its plain name or by `section.key`.
    pub(in crate::config) fn find(name: &str) -> Option<&'static Self> {
        let dotted = name.split_once('.');
        Config::OPTIONS
            .iter()
            .find(|option| option.name == name || dotted.is_some_and(|place| place == (option.section, option.key)))
    }

    /// Checks a value of the option, or one of several. [`Config::validate`] checks that the options fit each other.
    ///
    /// # Errors
    /// One sentence that shows the value, unless a secret may be in it.
    pub fn check(&self, value: &str) -> Result<(), String> {
        self.read(&mut Config::empty(), &[value])
    }

    /// Its values in `config`, each as [`Declaration::check`] takes it; `None` if it has none. Of a secret only `set`.
    ///
    /// ```
    /// use lhttp::Config;
    ///
    /// let option = Config::OPTIONS.iter().find(|option| option.name == "max-message").unwrap();
    /// assert_eq!(option.show(&Config::default()), Some(vec!["64KiB".to_owned()]));
    /// ```
    pub fn show(&self, config: &Config) -> Option<Vec<String>> {
        (self.show)(config, self.unit)
    }

    /// Sets the option of `config` to these values: exactly one unless its unit is a list.
    pub(in crate::config) fn read(&self, config: &mut Config, values: &[&str]) -> Result<(), String> {
        (self.read)(config, self.unit, values)
    }

    /// Takes the value of another configuration.
    pub(crate) fn copy(&self, to: &mut Config, from: &Config) {
        (self.copy)(to, from);
    }

    /// True if its value differs between the two.
    pub(crate) fn differs(&self, one: &Config, other: &Config) -> bool {
        (self.differs)(one, other)
    }

    /// The files that the option names.
    pub(in crate::config) fn files<'a>(&self, config: &'a Config) -> Vec<&'a Path> {
        (self.files)(config)
    }

    /// The secret that the option holds.
    pub(in crate::config) fn secret<'a>(&self, config: &'a Config) -> Option<&'a Secret> {
        (self.secret)(config)
    }
}
