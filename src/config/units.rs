//! The notation of sizes, times, addresses and CPU lists: flags and TOML share one parser.

use std::{fmt, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, de::Error};
use subtle::ConstantTimeEq;

use super::Listen;

/// Larger CPU numbers do not fit the kernel's `cpu_set_t`, and `core_affinity` would abort the process.
const CPU_NUMBERS: usize = 1024;

/// A key that never shows itself: `Debug` prints dots.
///
/// ```
/// use lhttp::config::Secret;
///
/// let key = Secret::from("hunter2");
/// assert!(key.matches(b"hunter2") && !key.matches(b"hunter3"));
/// assert_eq!(format!("{key:?}"), "Secret(…)");
/// ```
#[derive(Clone, Eq)]
pub struct Secret(String);

impl Secret {
    /// True if `given` is this key. A wrong key of the same length takes as long as the right one; the length itself is
    /// not secret.
    pub fn matches(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }

    /// The key itself, for the code that uses it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// True if an `Authorization` header can hold the key: visible ASCII, at least one byte.
    pub(super) fn is_header_safe(&self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_graphic())
    }
}

impl From<&str> for Secret {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

impl From<String> for Secret {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        // Serde's own error would show the value, and a key without its quotes is still a key.
        String::deserialize(source).map(Self).map_err(|_| D::Error::custom("a key is a text in quotes"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A size in bytes: `65536`, `64KiB`, `1.5 MiB`, `1GB` (which is 10⁹).
///
/// # Errors
/// One sentence that shows what was given.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>()
        .map(|size| size.0)
        .map_err(|_| format!("{text:?} is not a size: write bytes, or a number with KiB, MiB or GiB"))
}

/// A time: `25s`, `1m 30s`, `500ms`, or a plain number of seconds.
///
/// # Errors
/// One sentence that shows what was given.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a time: write seconds, or a time such as 500ms, 25s or 2m"))
}

/// A short time: `50us`, `1ms`, or a plain number of microseconds.
///
/// # Errors
/// One sentence that shows what was given.
pub fn parse_micros(text: &str) -> Result<Duration, String> {
    if let Ok(micros) = text.parse::<u64>() {
        return Ok(Duration::from_micros(micros));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a short time: write microseconds, or a time such as 50us or 1ms"))
}

/// CPU numbers and ranges of them, `0,2` or `0-3,8`, in the given order. [`Config::resolve`](super::Config::resolve)
/// checks that they exist and do not repeat.
///
/// # Errors
/// One sentence that shows what was given.
pub fn parse_cpu_list(text: &str) -> Result<Vec<usize>, String> {
    let mut cpus = Vec::new();
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last < CPU_NUMBERS => cpus.extend(first..=last),
            (Ok(first), Ok(last)) if first <= last => {
                return Err(format!("CPU {last} is out of range: numbers go up to {}", CPU_NUMBERS - 1));
            }
            _ => return Err(format!("{text:?} is not a list of CPUs: write a list such as 0,2 or 0-3")),
        }
    }
    Ok(cpus)
}

/// For serde: one place to listen on.
impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        String::deserialize(source)?.parse().map_err(D::Error::custom)
    }
}
