//! How much of a channel is kept.

use crate::config::ChannelRule;

/// How much of a channel is kept: so many messages, for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    /// At least 1.
    pub(crate) messages: u32,
    /// In seconds, at least 1.
    pub(crate) age: u32,
}

impl Retention {
    /// What a rule says; `None` without a history.
    pub(crate) fn of(rule: &ChannelRule) -> Option<Self> {
        let messages = rule.history?;
        let age =
            u32::try_from(rule.history_age.unwrap_or(ChannelRule::HISTORY_AGE).as_secs()).unwrap_or(u32::MAX).max(1);
        Some(Self { messages, age })
    }

    /// As much as both of them.
    pub(crate) fn wider(self, other: Self) -> Self {
        Self { messages: self.messages.max(other.messages), age: self.age.max(other.age) }
    }
}
