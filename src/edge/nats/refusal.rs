//! What the server says of permissions. It comes as an error on the connection, behind what it is about and before the
//! answer to the next `PING`.

use super::drops::Tally;

/// How much of a server's reason the log shows, in characters.
const REASON_CHARACTERS_MAX: usize = 200;

/// What a user may not do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Publish to this subject.
    Publish(String),
    /// Subscribe to something: to what stands in what was asked for.
    Subscription,
}

impl Refusal {
    /// ```text
    /// Permissions Violation for Publish to "other.x"
    /// Permissions Violation for Subscription to "other.*"
    /// ```
    pub(super) fn parse(error: &str) -> Option<Self> {
        let (what, subject) = error.strip_prefix("Permissions Violation for ")?.split_once(" to \"")?;
        match what {
            "Publish" => Some(Self::Publish(unquote(subject.strip_suffix('"')?))),
            "Subscription" => Some(Self::Subscription),
            _ => None,
        }
    }
}

/// What Go's `%q` has put a backslash before. Other escapes stay as they are: it is for the log.
fn unquote(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, chars.clone().next()) {
            ('\\', Some(next @ ('"' | '\\'))) => {
                plain.push(next);
                chars.next();
            }
            _ => plain.push(char),
        }
    }
    plain
}

/// What was refused and is still to be dealt with.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Subscriptions for which the user has no permission.
    pub(super) subscriptions: Tally,
    /// Subscriptions that are refused for another reason, and the last one.
    pub(super) limited: Tally,
    pub(super) limit: String,
    /// Messages.
    pub(super) publishes: Tally,
    /// Errors of the server about anything else, and the words of one of them.
    pub(super) others: Tally,
}

impl Refusals {
    /// The server has refused a subscription, and says why.
    pub(super) fn limited(&mut self, reason: &str, name: &str) {
        self.limit.clear();
        self.limit.extend(reason.chars().take(REASON_CHARACTERS_MAX));
        self.limited.add(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_understood() {
        let said =
            |what: &str, subject: &str| Refusal::parse(&format!("Permissions Violation for {what} to {subject}"));
        assert_eq!(said("Publish", "\"a.b\""), Some(Refusal::Publish("a.b".to_owned())));
        assert_eq!(said("Publish", r#""a\"\\b\u00a0""#), Some(Refusal::Publish(r#"a"\b\u00a0"#.to_owned())));
        assert_eq!(said("Subscription", "\"a.>\""), Some(Refusal::Subscription));
        assert_eq!((said("Publish", "a"), said("Reply", "\"a\"")), (None, None));
        assert_eq!(Refusal::parse("Unknown Protocol Operation"), None);
    }
}
