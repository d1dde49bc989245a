//! From texts to the types of the fields.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    super::{
        AllowedHost, AllowedOrigin, Listen, ProxyHeader, Secret, TlsRecords, TrustedProxy, parse_bytes, parse_cpu_list,
        parse_duration, parse_micros,
    },
    Unit,
};

/// The type of a field.
pub(super) trait Value: Sized {
    /// Reads a value from the given texts: exactly one, unless the unit is a list.
    ///
    /// # Errors
    /// One sentence that shows the text, unless it may be a secret.
    fn parse(unit: Unit, texts: &[&str]) -> Result<Self, String>;

    /// The files that the value names.
    fn files(&self) -> Vec<&Path> {
        Vec::new()
    }

    /// The value, if it is a secret.
    fn secret(&self) -> Option<&Secret> {
        None
    }

    /// The texts that [`Value::parse`] reads as this value; none if it has no value. Of a secret only that it is set.
    fn show(&self, unit: Unit) -> Option<Vec<String>>;
}

impl Value for u64 {
    fn parse(_: Unit, texts: &[&str]) -> Result<Self, String> {
        parse_bytes(one(texts)?)
    }

    fn show(&self, _: Unit) -> Option<Vec<String>> {
        Some(vec![show_bytes(*self)])
    }
}

impl Value for usize {
    fn parse(unit: Unit, texts: &[&str]) -> Result<Self, String> {
        let text = one(texts)?;
        if unit == Unit::Size {
            let bytes = parse_bytes(text)?;
            return bytes.try_into().map_err(|_| format!("{text} is more than this machine can address"));
        }
        text.parse().map_err(|_| format!("{text:?} is not a number that fits: write a number such as 2"))
    }

    fn show(&self, unit: Unit) -> Option<Vec<String>> {
        Some(vec![if unit == Unit::Size { show_bytes(*self as u64) } else { self.to_string() }])
    }
}

impl Value for Duration {
    fn parse(unit: Unit, texts: &[&str]) -> Result<Self, String> {
        let parse = if unit == Unit::Micros { parse_micros } else { parse_duration };
        parse(one(texts)?)
    }

    fn show(&self, _: Unit) -> Option<Vec<String>> {
        Some(vec![humantime::format_duration(*self).to_string()])
    }
}

impl Value for bool {
    fn parse(_: Unit, texts: &[&str]) -> Result<Self, String> {
        let text = one(texts)?;
        text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
    }

    fn show(&self, _: Unit) -> Option<Vec<String>> {
        Some(vec![self.to_string()])
    }
}

impl Value for String {
    fn parse(_: Unit, texts: &[&str]) -> Result<Self, String> {
        one(texts).map(str::to_owned)
    }

    fn show(&self, _: Unit) -> Option<Vec<String>> {
        Some(vec![self.clone()])
    }
}

impl Value for Secret {
    fn parse(_: Unit, texts: &[&str]) -> Result<Self, String> {
        one(texts).map(Self::from)
    }

    fn secret(&self) -> Option<&Secret> {
        Some(self)
    }

    fn show(&self, _: Unit) -> Option<Vec<String>> {
        Some(vec!["set".to_owned()])
    }
}

impl Value for PathBuf {
    fn parse(_: Unit, texts: &[&str]) -> Result<Self, String> {
        one(texts).map(Self::from)
    }

    fn files(&self) -> Vec<&Path> {
        vec![self]
    }

    fn show(&self, _: Unit) -> Option<Vec<String>> {
        Some(vec![self.display().to_string()])
    }
}

impl Value for TlsRecords {
    fn parse(_: Unit, texts: &[&str]) -> Result<Self, String> {
        one(texts)?.parse()
    }

    fn show(&self, _: Unit) -> Option<Vec<String>> {
        Some(vec![self.to_string()])
    }
}

impl Value for Vec<PathBuf> {
    fn parse(_: Unit, texts: &[&str]) -> Result<Self, String> {
        Ok(texts.iter().map(PathBuf::from).collect())
    }

    fn files(&self) -> Vec<&Path> {
        self.iter().map(PathBuf::as_path).collect()
    }

    fn show(&self, _: Unit) -> Option<Vec<String>> {
        listed(self.iter().map(|path| path.display().to_string()))
    }
}

impl Value for Vec<usize> {
    fn parse(_: Unit, texts: &[&str]) -> Result<Self, String> {
        parse_cpu_list(one(texts)?)
    }

    fn show(&self, _: Unit) -> Option<Vec<String>> {
        let numbers: Vec<String> = self.iter().map(usize::to_string).collect();
        Some(vec![numbers.join(",")])
    }
}

impl Value for ProxyHeader {
    fn parse(_: Unit, texts: &[&str]) -> Result<Self, String> {
        one(texts)?.parse()
    }

    fn show(&self, _: Unit) -> Option<Vec<String>> {
        Some(vec![self.to_string()])
    }
}

/// Lists of values that read themselves from texts.
macro_rules! lists {
    ($($item:ty),+) => {
        $(impl Value for Vec<$item> {
            fn parse(_: Unit, texts: &[&str]) -> Result<Self, String> {
                texts.iter().map(|text| text.parse()).collect()
            }

            fn show(&self, _: Unit) -> Option<Vec<String>> {
                listed(self.iter().map(ToString::to_string))
            }
        })+
    };
}

lists!(Listen, AllowedOrigin, AllowedHost, TrustedProxy);

impl Value for Vec<String> {
    fn parse(_: Unit, texts: &[&str]) -> Result<Self, String> {
        Ok(texts.iter().map(|&text| text.to_owned()).collect())
    }

    fn show(&self, _: Unit) -> Option<Vec<String>> {
        listed(self.iter().cloned())
    }
}

/// An option that need not have a value.
impl<T: Value> Value for Option<T> {
    fn parse(unit: Unit, texts: &[&str]) -> Result<Self, String> {
        T::parse(unit, texts).map(Some)
    }

    fn files(&self) -> Vec<&Path> {
        self.as_ref().map_or_else(Vec::new, Value::files)
    }

    fn secret(&self) -> Option<&Secret> {
        self.as_ref()?.secret()
    }

    fn show(&self, unit: Unit) -> Option<Vec<String>> {
        self.as_ref()?.show(unit)
    }
}

/// A list; nothing if it is empty.
fn listed(texts: impl Iterator<Item = String>) -> Option<Vec<String>> {
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then_some(texts)
}

/// A size in the largest unit in which it is a whole number.
fn show_bytes(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size));
    unit.map_or_else(|| bytes.to_string(), |(size, name)| format!("{}{name}", bytes / size))
}

fn one<'a>(texts: &[&'a str]) -> Result<&'a str, String> {
    match texts {
        [text] => Ok(text),
        _ => Err("it takes one value".to_owned()),
    }
}
