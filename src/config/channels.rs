//! Rules for channels, `[[channel]]` in TOML.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use super::{Config, nearest::hint};
use crate::protocol::channel::{begins_with_wildcard, check_subscribe, is_system, tokens};

/// The keys of a rule.
const KEYS: [&str; 1] = ["match"];

/// A rule for the channels that its pattern matches (PROTOCOL.md §2, "Channels"); a name without wildcards is a pattern
/// that matches only itself. A program makes a rule from a pattern, and TOML has a table for it:
///
/// ```
/// use lhttp::{Config, config::ChannelRule};
///
/// let rule: ChannelRule = "room.*".parse()?;
/// assert_eq!(rule.pattern(), "room.*");
/// assert!("room..lobby".parse::<ChannelRule>().is_err());
///
/// // The first rule that matches counts, so the second of these would never count.
/// let config = Config { channels: vec![rule, "room.lobby".parse()?], ..Config::default() };
/// assert!(config.validate().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRule {
    pattern: String,
}

impl ChannelRule {
    /// The key of the rules in TOML, and their name in the outcome of a reload.
    pub(crate) const KEY: &str = "channel";

    /// The channel or pattern of the rule.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// True if this rule's pattern matches each channel that the other's matches.
    fn covers(&self, other: &Self) -> bool {
        let (own, others) = (self.pattern.as_bytes(), other.pattern.as_bytes());
        // A wildcard in a first token does not match the system's channels.
        if begins_with_wildcard(own) && is_system(others) {
            return false;
        }
        let mut others = tokens(others);
        for own in tokens(own) {
            match (own, others.next()) {
                (b">", Some(_)) => return true,
                (b"*", Some(other)) if other != b">" => {}
                (own, Some(other)) if own == other => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }
}

impl FromStr for ChannelRule {
    type Err = String;

    /// # Errors
    /// One sentence that shows the pattern.
    fn from_str(pattern: &str) -> Result<Self, String> {
        check_subscribe(pattern.as_bytes()).map_err(|refusal| refusal.sentence().to_owned())?;
        Ok(Self { pattern: pattern.to_owned() })
    }
}

/// The rules of a file, in its order.
pub(super) struct Rules(pub(super) Vec<ChannelRule>);

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_seq(List).map(Self)
    }
}

struct List;

impl<'de> Visitor<'de> for List {
    type Value = Vec<ChannelRule>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rules, each below a line [[channel]]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<ChannelRule>, A::Error> {
        let mut rules = Vec::new();
        let numbered = |number: usize| move |error: A::Error| A::Error::custom(format_args!("rule {number}: {error}"));
        while let Some(rule) = items.next_element().map_err(numbered(rules.len() + 1))? {
            rules.push(rule);
        }
        Ok(rules)
    }
}

impl<'de> Deserialize<'de> for ChannelRule {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(Rule)
    }
}

struct Rule;

impl<'de> Visitor<'de> for Rule {
    type Value = ChannelRule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule such as match = \"room.*\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ChannelRule, A::Error> {
        let mut pattern = None;
        while let Some(key) = map.next_key::<String>()? {
            if !KEYS.contains(&key.as_str()) {
                let hint = hint(&key, &KEYS);
                return Err(A::Error::custom(format_args!("{key}: there is no such key in a rule{hint}")));
            }
            if pattern.replace(map.next_value::<String>()?).is_some() {
                return Err(A::Error::custom(format_args!("{key} is given twice")));
            }
        }
        let pattern = pattern.ok_or_else(|| A::Error::custom("it needs match = \"PATTERN\""))?;
        pattern.parse().map_err(A::Error::custom)
    }
}

impl Config {
    /// Checks that each rule for channels can be the first that matches.
    pub(super) fn check_channels(&self) -> Result<(), String> {
        for (index, rule) in self.channels.iter().enumerate() {
            let Some(before) = self.channels[..index].iter().position(|before| before.covers(rule)) else { continue };
            let (number, first) = (index + 1, before + 1);
            let (pattern, wider) = (rule.pattern(), self.channels[before].pattern());
            return Err(if pattern == wider {
                format!("channel: rules {first} and {number} have the same match, {pattern:?}")
            } else {
                format!(
                    "channel: rule {number}, {pattern:?}, is never reached: rule {first}, {wider:?}, matches all of it"
                )
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
