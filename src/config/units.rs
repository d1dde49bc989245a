//! How sizes, times, addresses and CPU lists are written: one parser for flags and TOML alike.

use std::{fmt, marker::PhantomData, time::Duration};

use bytesize::ByteSize;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use subtle::ConstantTimeEq;

use super::Listen;

/// Larger CPU numbers do not fit the kernel's `cpu_set_t`, and `core_affinity` aborts the process on them.
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
    /// Whether `given` is this key. Takes as long for a wrong key as for the right one, if they are equally long: the
    /// length is not kept secret.
    pub fn matches(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }

    /// The key itself, for whom it is meant.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the key can stand in an `Authorization` header: visible ASCII, at least one byte.
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
        .map_err(|_| format!("{text:?} is not a time: write seconds, or such as 500ms, 25s or 2m"))
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
        .map_err(|_| format!("{text:?} is not a short time: write microseconds, or such as 50us or 1ms"))
}

/// CPU numbers and ranges of them, `0,2` or `0-3,8`, in the order given. Whether they exist and repeat is for
/// [`Config::resolve`](super::Config::resolve) to say.
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
            _ => return Err(format!("{text:?} is not a list of CPUs: write such as 0,2 or 0-3")),
        }
    }
    Ok(cpus)
}

/// For serde: a size, as a number or a text, that fits `T`.
pub(super) fn bytes<'de, D: Deserializer<'de>, T: TryFrom<u64>>(source: D) -> Result<T, D::Error> {
    let size = source.deserialize_any(Scalar { expecting: "a size such as 65536 or \"64KiB\"", parse: parse_bytes })?;
    T::try_from(size).map_err(|_| D::Error::custom(format_args!("{size} bytes are more than this machine can address")))
}

/// For serde: [`bytes`] for a key that has no fixed default.
pub(super) fn bytes_or_none<'de, D: Deserializer<'de>>(source: D) -> Result<Option<u64>, D::Error> {
    bytes(source).map(Some)
}

/// For serde: a time, as a number of seconds or a text.
pub(super) fn duration<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    source.deserialize_any(Scalar { expecting: "a time such as 25 or \"25s\"", parse: parse_duration })
}

/// For serde: a short time, as a number of microseconds or a text.
pub(super) fn micros<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    source.deserialize_any(Scalar { expecting: "a short time such as 50 or \"50us\"", parse: parse_micros })
}

/// For serde: one place to listen on, or a list of them.
pub(super) fn listens<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<Listen>, D::Error> {
    let parse = |text: &str| text.parse().map(|listen| vec![listen]);
    source.deserialize_any(List {
        expecting: "an address such as \"127.0.0.1:8081\" or a list of them",
        parse,
        item: PhantomData,
    })
}

/// For serde: one text, or a list of them.
pub(super) fn texts<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    let parse = |text: &str| Ok(vec![text.to_owned()]);
    source.deserialize_any(List { expecting: "a text or a list of them", parse, item: PhantomData })
}

/// For serde: CPU numbers, as a text or a list.
pub(super) fn cpu_list<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Vec<usize>>, D::Error> {
    let list = List { expecting: "CPUs such as \"0,2\" or [0, 2]", parse: parse_cpu_list, item: PhantomData };
    source.deserialize_any(list).map(Some)
}

/// A number or a text, both through the parser that flags use.
struct Scalar<T> {
    expecting: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        (self.parse)(&number.to_string()).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        (self.parse)(&number.to_string()).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

/// A text that stands for a whole list, or a list.
struct List<T, P> {
    expecting: &'static str,
    parse: P,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, P: Fn(&str) -> Result<Vec<T>, String>> Visitor<'de> for List<T, P> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        (self.parse)(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(list)
    }
}

/// For serde: one place to listen on.
impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        String::deserialize(source)?.parse().map_err(D::Error::custom)
    }
}
