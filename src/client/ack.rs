//! What the server says in an acknowledgement (PROTOCOL.md §2, §10).

use std::time::Duration;

use crate::protocol::message::Message;

/// The value for a channel without a history.
const NO_ID: &str = "-";
/// The longest id that a server takes back.
const ID_BYTES_MAX: usize = 64;

/// The server's acknowledgement of a message.
///
/// ```no_run
/// use lhttp::{Message, client::{Client, ClientError}};
///
/// # fn main() -> Result<(), ClientError> {
/// let mut client = Client::builder("ws://127.0.0.1:8081").connect()?;
/// let ack = client.publish("news", Message::new("chat")?.body("hi"))?;
/// if let Some(id) = ack.message_id() {
///     println!("the server keeps it as {id}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// The header `message-id`.
    message_ids: Option<String>,
    /// The header `position`.
    positions: Option<String>,
    /// The header `lost`.
    lost: Option<String>,
    /// How long the new token of the message is valid.
    pub(super) expires_in: Option<Duration>,
}

impl Ack {
    /// The id of the published message on its first channel with a history (PROTOCOL.md §10). The server keeps the message.
    /// `None` if no channel has a history.
    pub fn message_id(&self) -> Option<&str> {
        self.message_ids().flatten().next()
    }

    /// The ids of the published message, in the order of its channels, of which each counts once; `None` for a channel
    /// without a history. Empty if no channel has one.
    pub fn message_ids(&self) -> impl Iterator<Item = Option<&str>> {
        ids(self.message_ids.as_deref())
    }

    /// The newest message of each name that was subscribed to, in their order; `None` without a history.
    pub(super) fn positions(&self) -> impl Iterator<Item = Option<&str>> {
        ids(self.positions.as_deref())
    }

    /// The names of which messages are lost.
    pub(super) fn lost(&self) -> impl Iterator<Item = &str> {
        self.lost.as_deref().unwrap_or_default().split(' ').filter(|name| !name.is_empty())
    }
}

impl From<&Message> for Ack {
    fn from(message: &Message) -> Self {
        let value = |name| message.header_value(name).map(str::to_owned);
        let seconds = message.header_value("expires-in").and_then(|seconds| seconds.parse().ok());
        Self {
            message_ids: value("message-id"),
            positions: value("position"),
            lost: value("lost"),
            expires_in: seconds.map(Duration::from_secs),
        }
    }
}

/// The ids of a header, `None` for each that is none.
fn ids(value: Option<&str>) -> impl Iterator<Item = Option<&str>> {
    value.into_iter().flat_map(|value| value.split(' ')).map(|id| Some(id).filter(|id| is_id(id)))
}

/// Whether the server takes this back as an id. What it is made of is the server's own business.
pub(super) fn is_id(id: &str) -> bool {
    id != NO_ID
        && (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(headers: &str) -> Ack {
        Ack::from(&Message::parse(format!("LHTTP/1.0 ack\r\nack:t\r\n{headers}\r\n").as_bytes()).unwrap())
    }

    #[test]
    fn the_ids_stand_in_the_order_of_the_channels() {
        assert_eq!((ack("").message_id(), ack("").message_ids().count()), (None, 0));
        let mixed = ack("message-id:- a-1 b-2\r\n");
        assert_eq!(mixed.message_id(), Some("a-1"));
        assert_eq!(mixed.message_ids().collect::<Vec<_>>(), [None, Some("a-1"), Some("b-2")]);
        assert_eq!(ack("expires-in:9\r\n").expires_in, Some(Duration::from_secs(9)));
    }

    #[test]
    fn what_no_server_would_take_back_is_no_id() {
        assert!(is_id("0c6l2v8rq1ta-42") && is_id(&"x".repeat(64)));
        for other in ["", "-", "a b", "a:b", "ä", "a\tb", &"x".repeat(65)] {
            assert!(!is_id(other), "{other:?}");
        }
    }
}
