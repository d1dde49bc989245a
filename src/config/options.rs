//! Every option, declared once: the tables of the sections are in the modules below, one file each.
//!
//! They generate the struct [`Config`] with its documentation, its `Default`, TOML, [`Config::set`], the flags and
//! `--help` of lhttpd, what a reload does, the C interface and docs/OPTIONS.md. An entry is
//!
//! ```text
//! /// The option and its bounds; an empty line; what happens at the limit, and what it costs.
//! field: Type {
//!     name: "max-message",         // everywhere except in its section
//!     key: "max-message",          // in its section: the name without the section's name
//!     unit: Size,                  // how a value is written: `Unit`
//!     value: "SIZE",               // the name of its value in --help
//!     default: Value("64KiB"),     // `Preset`
//!     reload: Restart,             // `Reload`
//!     help: "What --help says, without the default",
//! }
//! ```
//!
//! Each section's macro passes all entries so far to the next one's, and the last passes them to `declare`.

#[macro_use]
mod server;
#[macro_use]
mod limits;
#[macro_use]
mod history;
#[macro_use]
mod timeouts;
#[macro_use]
mod http;
#[macro_use]
mod tls;
#[macro_use]
mod token;
#[macro_use]
mod access;
#[macro_use]
mod admin;
#[macro_use]
mod rates;
#[macro_use]
mod nats;
#[macro_use]
mod upstream;

mod declaration;
#[cfg(test)]
mod page;
mod value;

use std::{path::PathBuf, time::Duration};

pub use self::declaration::{Declaration, Preset, Reload, Unit};
use self::value::Value;

use super::{AllowedHost, AllowedOrigin, ChannelRule, Listen, ProxyHeader, Secret, TlsRecords, TrustedProxy};

/// Generates from the table everything that the module's documentation lists.
macro_rules! declare {
    ([] $(section $section:literal { $(
        $(#[doc = $doc:literal])+
        $field:ident: $type:ty {
            name: $name:literal, key: $key:literal, unit: $unit:ident, value: $value:literal,
            default: $preset:ident $(($default:literal))?, reload: $reload:ident, help: $help:literal,
        }
    )+ })+) => {
        /// What a server may use, and where its limits are. The [module](crate::config) says how to make one.
        ///
        /// In TOML, sizes are bytes or texts such as `"64KiB"`, times are seconds or texts such as `"1m 30s"`. A time
        /// that is not zero is at least 1 ms, except for `busy-poll` and `coalesce`. An unknown key is an error.
        /// docs/OPTIONS.md is the same for people who run lhttpd.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $($(
                #[doc = concat!(" `", $name, "`:")]
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!(" Default: ", said!($preset $($default)?), ". In TOML also `", $key, "` in `[", $section, "]`.")]
                pub $field: $type,
            )+)+

            /// `[[channel]]` in TOML: rules for channels. The first rule that matches a channel counts. Default: none.
            ///
            /// They say who may subscribe and publish where (PROTOCOL.md §9). A reload takes them at once, also for
            /// subscriptions of open connections. At most 256 ([`Config::CHANNEL_RULES_CEILING`]).
            pub channels: Vec<ChannelRule>,
        }

        impl Config {
            /// All options, section by section.
            pub const OPTIONS: &[Declaration] = &[$($(Declaration {
                section: $section,
                name: $name,
                key: $key,
                unit: Unit::$unit,
                value: $value,
                default: Preset::$preset $(($default))?,
                reload: Reload::$reload,
                help: $help,
                read: |config, unit, values| Value::parse(unit, values).map(|value| config.$field = value),
                copy: |to, from| to.$field.clone_from(&from.$field),
                differs: |one, other| one.$field != other.$field,
                files: |config| config.$field.files(),
                secret: |config| config.$field.secret(),
                show: |config, unit| config.$field.show(unit),
            },)+)+];

            /// The names of all options, as flags and flat TOML spell them, in the order of the fields.
            pub const NAMES: [&str; Self::OPTIONS.len()] = [$($($name,)+)+];

            /// A configuration in which each field has its type's default.
            fn empty() -> Self {
                Self { $($($field: Default::default(),)+)+ channels: Vec::new() }
            }
        }

        /// The documentation of each option, line by line.
        #[cfg(test)]
        const DOCS: [&[&str]; Config::OPTIONS.len()] = [$($(&[$($doc),+],)+)+];
    };
}

/// A preset in words.
macro_rules! said {
    (Unset) => {
        "not set"
    };
    (Value $text:literal) => {
        concat!("`", $text, "`")
    };
    (Words $text:literal) => {
        $text
    };
}

server_options! {
    [limits_options history_options timeouts_options http_options tls_options token_options access_options rates_options
        admin_options nats_options upstream_options declare]
}

impl Default for Config {
    /// # Panics
    /// If a default in the table is not a valid value of its option, which a test excludes.
    fn default() -> Self {
        let mut config = Self::empty();
        for option in Self::OPTIONS {
            if let Preset::Value(text) = option.default {
                (option.read)(&mut config, option.unit, &[text]).expect("a default in the table is a value");
            }
        }
        config
    }
}

#[cfg(test)]
mod tests;
