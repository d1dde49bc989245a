//! What the server says of permissions. It comes as an error on the connection, behind what it is about and before the
//! answer to the next barrier.

use super::{drops::Tally, watch::BARRIER};

/// What a user may not do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Publish a barrier, which is as good an answer as another. Its number.
    Barrier(u64),
    /// Publish to this subject.
    Publish(String),
    /// Subscribe to this name.
    Subscription(String),
}

impl Refusal {
    /// ```text
    /// Permissions Violation for Publish to "_lhttp..barrier.17"
    /// Permissions Violation for Subscription to "other.*"
    /// ```
    pub(super) fn parse(error: &str) -> Option<Self> {
        let (what, subject) = error.strip_prefix("Permissions Violation for ")?.split_once(" to \"")?;
        let subject = unquote(subject.strip_suffix('"')?);
        match what {
            "Publish" => Some(match subject.strip_prefix(BARRIER).map(str::parse) {
                Some(Ok(number)) => Self::Barrier(number),
                _ => Self::Publish(subject),
            }),
            "Subscription" => Some(Self::Subscription(subject)),
            _ => None,
        }
    }
}

/// What Go's `%q` has put a backslash before; it leaves what can be printed as it is.
fn unquote(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        plain.push(if char == '\\' { chars.next().unwrap_or(char) } else { char });
    }
    plain
}

/// What was refused and is still to be dealt with.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Names that this node may not subscribe to: the bridge asks for a few at a time.
    pub(super) names: Vec<String>,
    /// Subscriptions, for the log.
    pub(super) subscriptions: Tally,
    /// Messages.
    pub(super) publishes: Tally,
    /// Errors of the server about anything else, and the words of one of them.
    pub(super) others: Tally,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_understood() {
        let said =
            |what: &str, subject: &str| Refusal::parse(&format!("Permissions Violation for {what} to {subject}"));
        assert_eq!(said("Publish", "\"_lhttp..barrier.17\""), Some(Refusal::Barrier(17)));
        assert_eq!(said("Publish", "\"a.b\""), Some(Refusal::Publish("a.b".to_owned())));
        assert_eq!(said("Subscription", "\"a.>\""), Some(Refusal::Subscription("a.>".to_owned())));
        assert_eq!(said("Subscription", r#""a\"\\b""#), Some(Refusal::Subscription(r#"a"\b"#.to_owned())));
        assert_eq!((said("Publish", "a"), said("Reply", "\"a\"")), (None, None));
        assert_eq!(Refusal::parse("Unknown Protocol Operation"), None);
    }
}
