//! Rules for channels from TOML, or from another format through serde.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use super::{ChannelRule, Presence};
use crate::config::{nearest::hint, units::parse_duration};

/// The keys of a rule.
const KEYS: [&str; 7] = ["match", "subscribe", "publish", "stamp", "history", "history-age", "presence"];

/// The rules of a file, in its order.
pub(in crate::config) struct Rules(pub(in crate::config) Vec<ChannelRule>);

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
        let (mut pattern, mut subscribe, mut publish, mut stamp) = (None, None, None, None);
        let (mut history, mut history_age, mut presence) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            let is_repeated = match key.as_str() {
                "match" => pattern.replace(map.next_value::<String>()?).is_some(),
                "subscribe" => subscribe.replace(map.next_value::<String>()?).is_some(),
                "publish" => publish.replace(map.next_value::<String>()?).is_some(),
                "stamp" => stamp.replace(map.next_value::<bool>()?).is_some(),
                "history" => history.replace(map.next_value::<u32>()?).is_some(),
                "history-age" => history_age.replace(map.next_value::<Time>()?).is_some(),
                "presence" => presence.replace(map.next_value::<PresenceText>()?).is_some(),
                _ => {
                    let hint = hint(&key, &KEYS);
                    return Err(A::Error::custom(format_args!("{key}: there is no such key in a rule{hint}")));
                }
            };
            if is_repeated {
                return Err(A::Error::custom(format_args!("{key} is given twice")));
            }
        }
        let pattern = pattern.ok_or_else(|| A::Error::custom("it needs match = \"PATTERN\""))?;
        let rule: ChannelRule = pattern.parse().map_err(A::Error::custom)?;
        let who = |key: &str, word: Option<String>| {
            let who = word.map(|word| word.parse()).transpose();
            who.map_err(|error: String| A::Error::custom(format_args!("{key}: {error}")))
        };
        Ok(ChannelRule {
            subscribe: who("subscribe", subscribe)?,
            publish: who("publish", publish)?,
            stamp: stamp.unwrap_or_default(),
            history,
            history_age: history_age.map(|Time(age)| age),
            presence: presence.and_then(|PresenceText(presence)| presence),
            ..rule
        })
    }
}

/// A time, as the options have it: seconds, or a text.
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(TimeText)
    }
}

struct TimeText;

impl Visitor<'_> for TimeText {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as 60 or \"24h\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
        parse_duration(text).map(Time).map_err(|error| E::custom(format_args!("history-age: {error}")))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Time, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Time, E> {
        self.visit_str(&number.to_string())
    }
}

/// `true`, `false` or `"events"`.
struct PresenceText(Option<Presence>);

impl<'de> Deserialize<'de> for PresenceText {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(PresenceVisitor)
    }
}

struct PresenceVisitor;

impl Visitor<'_> for PresenceVisitor {
    type Value = PresenceText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false or \"events\" for presence")
    }

    fn visit_bool<E: Error>(self, is_on: bool) -> Result<PresenceText, E> {
        Ok(PresenceText(is_on.then_some(Presence::Ask)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<PresenceText, E> {
        match text {
            "events" => Ok(PresenceText(Some(Presence::Events))),
            _ => Err(E::custom(format_args!("presence: {text:?} is none of true, false and \"events\""))),
        }
    }
}
