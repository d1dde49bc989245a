//! Refusals of the server: permissions and limits. A refusal is an error line between the command that it is about and the
//! answer to the next `PING`.

use super::tally::Tally;

/// The most characters of a server's reason that the log shows.
const REASON_CHARACTERS_MAX: usize = 200;

/// A permission that the user lacks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Publish to this subject.
    Publish(String),
    /// Subscribe to the requested subject.
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

/// Undoes the backslashes of Go's `%q`. Other escapes stay, since the text is for the log.
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

/// Counts refusals, for the log.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Subscriptions that the user has no permission for.
    pub(super) subscriptions: Tally,
    /// Subscriptions that were refused for another reason.
    pub(super) limited: Tally,
    /// The last such reason.
    pub(super) limit: String,
    /// Messages that the user has no permission to publish.
    pub(super) publishes: Tally,
    /// Other errors of the server.
    pub(super) others: Tally,
}

impl Refusals {
    /// The server has refused a subscription for this reason.
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
    fn the_servers_refusals_are_parsed() {
        let said =
            |what: &str, subject: &str| Refusal::parse(&format!("Permissions Violation for {what} to {subject}"));
        assert_eq!(said("Publish", "\"a.b\""), Some(Refusal::Publish("a.b".to_owned())));
        assert_eq!(said("Publish", r#""a\"\\b\u00a0""#), Some(Refusal::Publish(r#"a"\b\u00a0"#.to_owned())));
        assert_eq!(said("Subscription", "\"a.>\""), Some(Refusal::Subscription));
        assert_eq!((said("Publish", "a"), said("Reply", "\"a\"")), (None, None));
        assert_eq!(Refusal::parse("Unknown Protocol Operation"), None);
    }
}
