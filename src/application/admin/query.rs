//! The query of a request's target.

use percent_encoding::percent_decode_str;

use super::said::Said;

/// The pairs of a query (`a=1&b=2`), decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// The query of a target, whose names must be among `known`.
    ///
    /// # Errors
    /// 400 for a text that is not UTF-8, and for another name: it may be a typing error.
    pub(super) fn of(target: &str, known: &[&str]) -> Result<Self, Said> {
        let Some((_, query)) = target.split_once('?') else { return Ok(Self::default()) };
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(&name.replace('+', " "))?, decoded(&value.replace('+', " "))?);
            if !known.contains(&&*name) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Said::bad(&format!("there is no parameter {name:?} here: {known}")));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The value of a name; the first one counts.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    /// `limit`: 1 to 1000, else 100.
    ///
    /// # Errors
    /// 400 for another value.
    pub(super) fn limit(&self) -> Result<usize, Said> {
        self.count("limit", 100)
    }

    /// A number from 1 to 1000.
    ///
    /// # Errors
    /// 400 for another value.
    pub(super) fn count(&self, name: &str, default: usize) -> Result<usize, Said> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let count = text.parse().ok().filter(|count| (1..=1000).contains(count));
        count.ok_or_else(|| Said::bad(&format!("{name} is a number from 1 to 1000")))
    }
}

/// A percent-encoded text.
///
/// # Errors
/// 400 if it is not UTF-8.
pub(super) fn decoded(text: &str) -> Result<String, Said> {
    let bytes = percent_decode_str(text).decode_utf8();
    bytes.map(String::from).map_err(|_| Said::bad("the target is not UTF-8"))
}
