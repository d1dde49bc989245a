//! Every option and limit of a server: its unit, its default, its cost in memory, and what happens at its limit.
//!
//! A [`Config`] is plain data. It comes from [`Config::default`], from texts with [`Config::set`], from TOML or another
//! format through serde (the keys are the daemon's flags without the dashes in front, or shorter ones in sections; the TOML
//! parser is the program's own), or from a struct literal:
//!
//! ```
//! use lhttp::config::Config;
//!
//! let config = Config { message_bytes_max: 16 * 1024, ..Config::default() };
//! assert!(config.validate().is_ok());
//! ```
//!
//! [`Config::resolve`] applies it to this machine and gives the [`Plan`]: which CPUs, how many connections, how many
//! bytes.

mod access;
mod ceilings;
mod channels;
#[cfg(any(feature = "nats", feature = "tls", feature = "token"))]
mod files;
mod machine;
pub(crate) mod memory;
mod nats;
mod nearest;
mod options;
mod plan;
mod read;
mod secrets;
mod set;
mod tls;
mod token;
mod units;
mod upstream;
mod validate;

pub(crate) use self::access::Access;
pub(crate) use self::channels::RULE_USER;
#[cfg(any(feature = "nats", feature = "tls", feature = "token"))]
pub(crate) use self::files::read_file;
#[cfg(feature = "nats")]
pub(crate) use self::nats::Login;
pub(crate) use self::plan::{
    ADMIN_CONNECTIONS_MAX, ADMIN_RESERVED, GREETINGS_MAX, PAGES_CONNECTIONS_MAX, PAGES_RESERVED, RESERVED_PER_CORE,
};
pub(crate) use self::upstream::is_method;
#[cfg(feature = "upstream")]
pub(crate) use self::upstream::{Allow, Denied, parse_url};
pub use self::{
    access::{AllowedHost, AllowedOrigin, ProxyHeader, TrustedProxy},
    channels::{ChannelRule, Presence, Who},
    machine::raise_fd_limit,
    memory::WorstCase,
    options::{Config, Declaration, Preset, Reload, Unit},
    plan::Plan,
    tls::TlsRecords,
    units::{Secret, parse_bytes, parse_cpu_list, parse_duration, parse_micros},
};
pub use crate::listen::Listen;

/// The default port.
pub const PORT: u16 = 8081;

/// The most cores that one server can have: a set of peers is one machine word, and one bit is for a bridge.
pub const CORES_MAX: usize = 63;

#[cfg(test)]
mod tests;
