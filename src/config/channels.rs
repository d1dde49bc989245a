//! Rules for channels, `[[channel]]` in TOML.

mod read;

use std::{fmt, str::FromStr, time::Duration};

pub(super) use self::read::Rules;
use super::{Config, nearest::hint};
use crate::protocol::channel::{begins_with_wildcard, check_subscribe, is_system, tokens};

/// The token of a rule's pattern that stands for the user.
pub(crate) const RULE_USER: &[u8] = b"{user}";

/// The clients that a rule allows something (PROTOCOL.md §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Every client.
    Anyone,
    /// Every client with a valid token.
    User,
    /// The clients whose token names the channel in its list.
    Token,
    /// No client.
    Nobody,
}

impl Who {
    /// The words of TOML, in the order of the variants.
    const WORDS: [(&'static str, Self); 4] =
        [("anyone", Self::Anyone), ("user", Self::User), ("token", Self::Token), ("nobody", Self::Nobody)];
}

/// Its word in TOML.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, who)| who == self).map_or("", |(word, _)| word);
        f.write_str(word)
    }
}

impl FromStr for Who {
    type Err = String;

    /// # Errors
    /// One sentence that shows the word.
    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, who)| *who).ok_or_else(|| {
            let hint = hint(word, &Self::WORDS.map(|(known, _)| known));
            format!("{word:?} is none of anyone, user, token and nobody{hint}")
        })
    }
}

/// Who learns who is subscribed to a channel (PROTOCOL.md §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Those who ask and may subscribe.
    Ask,
    /// In addition all subscribers, whenever somebody comes or goes.
    Events,
}

/// A rule for the channels that its pattern matches (PROTOCOL.md §9); a name without wildcards is a pattern that matches only
/// itself, and a token `{user}` stands for the name of the user who asks. The first rule that matches a channel counts. A
/// program makes a rule from a pattern, and TOML has a table for it:
///
/// ```
/// use lhttp::{Config, config::{ChannelRule, Who}};
///
/// let rule: ChannelRule = "room.*".parse()?;
/// let rule = rule.subscribe(Who::Anyone).publish(Who::Nobody);
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
    pub(crate) subscribe: Option<Who>,
    pub(crate) publish: Option<Who>,
    pub(crate) stamp: bool,
    /// Messages of a channel that are kept; `None` for none.
    pub(crate) history: Option<u32>,
    pub(crate) presence: Option<Presence>,
    /// How long they are kept; `None` for [`ChannelRule::HISTORY_AGE`].
    pub(crate) history_age: Option<Duration>,
}

impl ChannelRule {
    /// How long messages are kept unless the rule says otherwise: a day.
    pub const HISTORY_AGE: Duration = Duration::from_secs(24 * 60 * 60);
    /// The most messages that a rule keeps of each channel.
    pub const HISTORY_CEILING: u32 = 100_000;

    /// The key of the rules in TOML, and their name in the outcome of a reload.
    pub(crate) const KEY: &str = "channel";

    /// The channel or pattern of the rule.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The same rule with the clients that may subscribe. A rule without them allows [`Who::Anyone`] on a server without token
    /// keys, and [`Who::Token`] on one with them.
    pub fn subscribe(self, who: Who) -> Self {
        Self { subscribe: Some(who), ..self }
    }

    /// The same rule with the clients that may publish; without them as in [`ChannelRule::subscribe`].
    pub fn publish(self, who: Who) -> Self {
        Self { publish: Some(who), ..self }
    }

    /// The same rule; if `stamp`, messages that clients publish carry the header `from-user` with the name of their user, and
    /// never one that a client has written. Default: false.
    pub fn stamp(self, stamp: bool) -> Self {
        Self { stamp, ..self }
    }

    /// The same rule; the server keeps the newest `messages` of each of its channels (PROTOCOL.md §10), 1 to
    /// [`ChannelRule::HISTORY_CEILING`] of them. They count in `history-budget`, each with 16 bytes, and up to 60 and the
    /// channel's name, beside its own length. Default: none is kept, and none has a number.
    pub fn history(self, messages: u32) -> Self {
        Self { history: Some(messages), ..self }
    }

    /// The same rule; messages are kept for so long, at least a second. A channel that nobody has used for this time is
    /// forgotten. Default: [`ChannelRule::HISTORY_AGE`]. Without [`ChannelRule::history`] this is an error.
    pub fn history_age(self, age: Duration) -> Self {
        Self { history_age: Some(age), ..self }
    }

    /// The same rule; the server knows who is subscribed to each of its channels (PROTOCOL.md §11), and tells those who ask
    /// or, with [`Presence::Events`], all subscribers. A user costs about 64 bytes and its name and information, and so does
    /// each of its connections; in a cluster also each core of another node that has connections of the user. Default:
    /// nobody knows.
    pub fn presence(self, presence: Presence) -> Self {
        Self { presence: Some(presence), ..self }
    }

    /// True if the rule says who may subscribe or publish. One that only keeps messages changes nothing about that.
    pub fn says_who(&self) -> bool {
        self.subscribe.is_some() || self.publish.is_some()
    }

    /// True if the rule has no meaning on a server that takes no tokens.
    fn needs_tokens(&self) -> bool {
        let names_users = |who: Option<Who>| matches!(who, Some(Who::User | Who::Token));
        let has_user = tokens(self.pattern.as_bytes()).any(|token| token == RULE_USER);
        has_user || names_users(self.subscribe) || names_users(self.publish) || self.stamp
    }

    fn check_history(&self) -> Result<(), String> {
        let ceiling = Self::HISTORY_CEILING;
        match (self.history, self.history_age) {
            (Some(messages), _) if !(1..=ceiling).contains(&messages) => {
                Err(format!("history: {messages} is not a number from 1 to {ceiling}"))
            }
            (None, Some(_)) => Err("history-age: without history nothing is kept".to_owned()),
            (_, Some(age)) if age < Duration::from_secs(1) => Err("history-age: at least 1s".to_owned()),
            _ => Ok(()),
        }
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

/// The keys and values of the rule, as in TOML.
impl fmt::Display for ChannelRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "match = {:?}", self.pattern)?;
        for (key, who) in [("subscribe", self.subscribe), ("publish", self.publish)] {
            who.map_or(Ok(()), |who| write!(f, ", {key} = \"{who}\""))?;
        }
        if self.stamp {
            f.write_str(", stamp = true")?;
        }
        self.history.map_or(Ok(()), |messages| write!(f, ", history = {messages}"))?;
        let age = self.history_age.map(humantime::format_duration);
        age.map_or(Ok(()), |age| write!(f, ", history-age = \"{age}\""))?;
        match self.presence {
            None => Ok(()),
            Some(Presence::Ask) => f.write_str(", presence = true"),
            Some(Presence::Events) => f.write_str(", presence = \"events\""),
        }
    }
}

impl FromStr for ChannelRule {
    type Err = String;

    /// # Errors
    /// One sentence that shows the pattern.
    fn from_str(pattern: &str) -> Result<Self, String> {
        check_subscribe(pattern.as_bytes()).map_err(|refusal| refusal.sentence().to_owned())?;
        Ok(Self {
            pattern: pattern.to_owned(),
            subscribe: None,
            publish: None,
            stamp: false,
            history: None,
            history_age: None,
            presence: None,
        })
    }
}

impl Config {
    /// The most rules for channels. A subscription to a pattern is compared with all of them.
    pub const CHANNEL_RULES_CEILING: usize = 256;

    /// Checks that each rule for channels can be the first that matches, and that it can be met.
    pub(super) fn check_channels(&self) -> Result<(), String> {
        if self.channels.len() > Self::CHANNEL_RULES_CEILING {
            let (given, ceiling) = (self.channels.len(), Self::CHANNEL_RULES_CEILING);
            return Err(format!("channel: {given} rules are more than {ceiling}"));
        }
        if self.history_file.is_some() && self.channels.iter().all(|rule| rule.history.is_none()) {
            return Err("history-file: no rule for channels keeps a history, such as history = 100".to_owned());
        }
        if self.history_file.is_some() && self.nats.is_some() {
            return Err("history-file: with nats the history is in JetStream, which all nodes share".to_owned());
        }
        if self.history_file.is_some() && !cfg!(feature = "sqlite") {
            return Err("history-file: this lhttpd was built without SQLite (cargo feature sqlite)".to_owned());
        }
        for (index, rule) in self.channels.iter().enumerate() {
            rule.check_history()
                .map_err(|error| format!("channel: rule {}, {:?}: {error}", index + 1, rule.pattern()))?;
        }
        let without_tokens = self.channels.iter().position(|rule| !self.has_tokens() && rule.needs_tokens());
        if let Some(index) = without_tokens {
            let (number, pattern) = (index + 1, self.channels[index].pattern());
            return Err(format!(
                "channel: rule {number}, {pattern:?}, is about users, and without token-key or token-jwks there are none"
            ));
        }
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
