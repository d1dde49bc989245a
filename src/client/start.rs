//! Where a subscription begins (PROTOCOL.md §10).

use super::ack::is_id;
use crate::error::{Reason, Refusal};

/// The most messages that a server gives for `last`.
const LAST_MAX: u16 = 1000;
/// The id that stands for none.
const NO_ID: &str = "-";

/// Where a subscription begins in channels with a history; by default with the next message. Other channels and patterns
/// always begin with the next message. See [`Client::subscribe_from`](super::Client::subscribe_from).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start<'s> {
    since: Option<&'s str>,
    last: Option<u16>,
}

impl<'s> Start<'s> {
    /// With the messages behind those with these ids: one for each name, in their order and separated by spaces; `-` for
    /// none. An id is the header `message-id` of a message, or [`Ack::message_id`](super::Ack::message_id).
    pub const fn since(ids: &'s str) -> Self {
        Self { since: Some(ids), last: None }
    }

    /// With the newest messages of each channel: so many, 1 to 1000. `last(1)` is the last value.
    pub const fn last(messages: u16) -> Self {
        Self { since: None, last: Some(messages) }
    }

    /// The same, and [`last`](Self::last) for a name without an id, or whose messages since then are not all kept.
    ///
    /// ```
    /// use lhttp::client::Start;
    ///
    /// let start = Start::since("0c6l2v8rq1ta-42").or_last(100);
    /// assert_ne!(start, Start::since("0c6l2v8rq1ta-42"));
    /// ```
    #[must_use]
    pub const fn or_last(self, messages: u16) -> Self {
        Self { since: self.since, last: Some(messages) }
    }

    /// The value of the header `last`.
    pub(super) fn last_value(self) -> Option<String> {
        self.last.map(|last| last.to_string())
    }

    /// The ids, `None` for each name that has none.
    pub(super) fn ids(self) -> impl Iterator<Item = Option<&'s str>> {
        let ids = self.since.into_iter().flat_map(|ids| ids.split([' ', '\t'])).filter(|id| !id.is_empty());
        ids.map(|id| Some(id).filter(|id| *id != NO_ID))
    }

    /// Checks that the server takes it for so many names.
    ///
    /// # Errors
    /// `bad-header`, as the server would say.
    pub(super) fn check(self, names: usize) -> Result<(), Refusal> {
        let bad = |sentence| Err(Refusal::because(Reason::BadHeader, sentence));
        if self.last.is_some_and(|last| !(1..=LAST_MAX).contains(&last)) {
            return bad(format!("last is not a number from 1 to {LAST_MAX}"));
        }
        let ids = self.ids().count();
        if self.since.is_some() && ids != names {
            return bad(format!("since has {ids} ids for {names} names"));
        }
        match self.ids().flatten().find(|id| !is_id(id)) {
            Some(id) => bad(format!("{id:?} is no id of a message")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_would_refuse_is_not_sent() {
        for start in
            [Start::default(), Start::last(1), Start::last(1000), Start::since("a-1 -"), Start::since(" -\ta ")]
        {
            assert_eq!(start.check(2), Ok(()), "{start:?}");
        }
        for start in [
            Start::last(0),
            Start::last(1001),
            Start::since("a"),
            Start::since(""),
            Start::since("a b c"),
            Start::since("a b:c"),
            Start::since("a b").or_last(0),
        ] {
            assert_eq!(start.check(2).unwrap_err().reason(), "bad-header", "{start:?}");
        }
    }
}
