//! Who is in a channel (PROTOCOL.md §11).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Client, ClientError, Event};
use crate::{
    error::{Reason, Refusal},
    protocol::{channel, message::Message},
};

/// The longest text that a server shows of a client, in bytes.
const INFO_BYTES_MAX: usize = 256;

/// The users who are in a channel. [`Client::presence`] gives this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presence {
    /// The users, sorted by name.
    pub members: Vec<Member>,
    /// How many further users there are: the server cuts a list that is too long for one message.
    pub more: u64,
}

impl Presence {
    /// How many users are there, listed or not.
    pub fn users(&self) -> u64 {
        self.members.len() as u64 + self.more
    }
}

/// A user who is in a channel. The texts come from the server and other clients as they are: escape them before you show
/// them in a terminal or a page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The user of the connections' token. Without a token each connection is a user of its own: `~` and 12 random letters
    /// and digits.
    pub user: String,
    /// How many connections of this user are in the channel. 0 for one whose last connection has just left: the server
    /// waits a while for a reconnect.
    pub connections: u32,
    /// When the user came, in Unix time: seconds since 1970.
    pub since: u64,
    /// What the user shows, as JSON: the claim `lhttp.info` of the token, or a text, from
    /// [`Client::subscribe_with_info`]. `None` if the user shows nothing.
    pub info: Option<String>,
}

impl Member {
    /// The `info`, if it is a text: without quotation marks and escapes.
    ///
    /// ```no_run
    /// use lhttp::client::{Client, ClientError};
    ///
    /// # fn main() -> Result<(), ClientError> {
    /// let mut client = Client::builder("ws://127.0.0.1:8081").connect()?;
    /// for member in client.presence("room")?.members {
    ///     println!("{:?}: {:?}", member.user, member.info_text().unwrap_or_default());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn info_text(&self) -> Option<String> {
        serde_json::from_str(self.info.as_deref()?).ok()
    }

    /// Its memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.user.len() + self.info.as_ref().map_or(0, String::len)
    }
}

/// A user as the server writes it. The `info` stays as it is: no depth and no number in it can make a list unreadable.
#[derive(Deserialize)]
struct Listed {
    user: String,
    connections: u32,
    since: u64,
    info: Option<Box<RawValue>>,
}

impl From<Listed> for Member {
    fn from(Listed { user, connections, since, info }: Listed) -> Self {
        Self { user, connections, since, info: info.map(|info| info.get().to_owned()) }
    }
}

/// The body of a message about changes.
#[derive(Deserialize)]
struct Change {
    joined: Vec<Listed>,
    left: Vec<Gone>,
    users: u64,
    #[serde(default)]
    more: u64,
}

#[derive(Deserialize)]
struct Gone {
    user: String,
}

impl Client {
    /// Asks who is subscribed to a channel (PROTOCOL.md §11), and waits for the answer. The client itself need not be
    /// subscribed. Patterns do not count: their subscribers are not listed, and nobody can ask about one.
    ///
    /// A program that shows the users all the time subscribes first, asks then, and applies each
    /// [`Event::PresenceChange`] to this list: it sets the users in `joined` and removes those in `left`. Changes that came
    /// before the answer are polled after it, and do no harm there. After each [`State::Open`](super::State::Open) it asks
    /// again: nobody tells it what has changed while there was no connection.
    ///
    /// In a large room the list may leave users out, and an event may leave changes out: each has a number of these, `more`.
    /// The number of all users is right in both. After such an event a program that needs the names may ask again, if the
    /// last list was whole; after some seconds, and not all programs at the same time.
    ///
    /// ```no_run
    /// use std::{collections::BTreeMap, time::Duration};
    /// use lhttp::client::{Client, ClientError, Event, State};
    ///
    /// # fn main() -> Result<(), ClientError> {
    /// let mut client = Client::builder("ws://127.0.0.1:8081").connect()?;
    /// client.subscribe("room")?;
    /// let (mut members, mut count) = (BTreeMap::new(), 0);
    /// let mut is_known = false;
    /// loop {
    ///     if !is_known {
    ///         let list = client.presence("room")?;
    ///         count = list.users();
    ///         members = list.members.into_iter().map(|member| (member.user.clone(), member)).collect();
    ///         is_known = true;
    ///     }
    ///     match client.poll(Duration::MAX)? {
    ///         Some(Event::PresenceChange { joined, left, users, .. }) => {
    ///             members.extend(joined.into_iter().map(|member| (member.user.clone(), member)));
    ///             left.iter().for_each(|user| drop(members.remove(user)));
    ///             count = users;
    ///         }
    ///         Some(Event::State(State::Open)) => is_known = false,
    ///         _ => {}
    ///     }
    ///     println!("{count} users, {} of them by name", members.len());
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the code 403 if this client may not subscribe to the channel, and 404 `no-presence` if
    /// the server does not know who is in it; [`ClientError::Invalid`] with 400 `bad-channel` for a pattern and for what is
    /// no channel; [`ClientError::BadAnswer`]. Otherwise as [`Client::subscribe`]: a question that is lost with the
    /// connection is asked again. After `TimedOut` the answer may still come, as an [`Event::Message`] with the command
    /// `presence`.
    pub fn presence(&mut self, channel: &str) -> Result<Presence, ClientError> {
        channel::check_publish(channel.as_bytes()).map_err(ClientError::Invalid)?;
        let mut message = Message::new("presence")?.header("presence", channel)?;
        let answer = self.until_answered(true, |client, deadline| client.ask_for_any(&mut message, deadline))?;
        list(&answer)
    }
}

/// The list in an answer.
fn list(answer: &Message) -> Result<Presence, ClientError> {
    if answer.command() != "presence" {
        // On a server without presence the question is a message without an effect.
        let sentence = "the server does not know who is in a channel";
        return Err(ClientError::Refused(Refusal::new(404, "no-presence", sentence)));
    }
    // The words of serde_json's errors may be the server's.
    let listed: Vec<Listed> = serde_json::from_slice(answer.body_bytes())
        .map_err(|error| bad_answer(&format!("wrong at line {}, column {}", error.line(), error.column())))?;
    let more = answer.header_value("more").map_or(Ok(0), str::parse);
    let more = more.map_err(|_| bad_answer("with a \"more\" that is no number"))?;
    Ok(Presence { members: listed.into_iter().map(Member::from).collect(), more })
}

fn bad_answer(flaw: &str) -> ClientError {
    ClientError::BadAnswer(format!("the server's list of users is {flaw}"))
}

/// The event of a message about changes; the message itself if it is none.
pub(super) fn change(message: Message) -> Event {
    let Some(channel) = message.header_value("channel") else { return Event::Message(message) };
    let Ok(Change { joined, left, users, more }) = serde_json::from_slice(message.body_bytes()) else {
        return Event::Message(message);
    };
    Event::PresenceChange {
        channel: channel.to_owned(),
        joined: joined.into_iter().map(Member::from).collect(),
        left: left.into_iter().map(|gone| gone.user).collect(),
        users,
        more,
    }
}

/// Checks what a client wants to show.
///
/// # Errors
/// `bad-header`, as the server would say.
pub(super) fn check_info(info: &str) -> Result<(), Refusal> {
    if info.len() <= INFO_BYTES_MAX {
        return Ok(());
    }
    let sentence = format!("presence-info has more than {INFO_BYTES_MAX} bytes");
    Err(Refusal::because(Reason::BadHeader, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(more: &str, body: &str) -> Message {
        let text = format!("LHTTP/1.0 presence\r\nchannel:room\r\nack:t\r\n{more}\r\n{body}");
        Message::parse(text.as_bytes()).unwrap()
    }

    fn member(user: &str, info: Option<&str>) -> Member {
        Member { user: user.to_owned(), connections: 2, since: 7, info: info.map(str::to_owned) }
    }

    #[test]
    fn a_list_is_read_whatever_its_users_show() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        for (info, text) in [
            ("\"a \\\"b\\\" \\u00e4\"", Some("a \"b\" ä")),
            ("{\"face\": \":-)\"}", None),
            ("1e999", None),
            ("\"\\ud800\"", None),
            (&deep, None),
        ] {
            let body = format!("[{{\"user\":\"a\\n\",\"connections\":2,\"since\":7,\"info\":{info},\"new\":[]}}]");
            let presence = list(&answer("more:3\r\n", &body)).unwrap();
            assert_eq!(presence.users(), 4);
            assert_eq!(presence, Presence { members: vec![member("a\n", Some(info))], more: 3 });
            assert_eq!(presence.members[0].info_text().as_deref(), text);
        }
        let body = "[{\"user\":\"a\",\"connections\":2,\"since\":7},{\"user\":\"b\",\"connections\":2,\"since\":7}]";
        let both = vec![member("a", None), member("b", None)];
        assert_eq!(list(&answer("", body)), Ok(Presence { members: both, more: 0 }));
        assert_eq!(list(&answer("", "[]")), Ok(Presence::default()));
        assert_eq!(member("a", None).info_text(), None);
    }

    #[test]
    fn what_is_no_list_is_an_error_and_not_an_empty_list() {
        for body in [
            "",
            "{}",
            "[{\"user\":\"a\"}]",
            "[{\"user\":1,\"connections\":2,\"since\":7}]",
            "[{\"user\":\"a\",\"connections\":-1,\"since\":7}]",
            "[{\"user\":\"a\",\"connections\":4294967296,\"since\":7}]",
            "[{\"user\":\"a\",\"user\":\"b\",\"connections\":1,\"since\":7}]",
            "[] []",
        ] {
            assert!(matches!(list(&answer("", body)), Err(ClientError::BadAnswer(_))), "{body}");
        }
        assert!(matches!(list(&answer("more:-1\r\n", "[]")), Err(ClientError::BadAnswer(_))));
        let ack = Message::parse(b"LHTTP/1.0 ack\r\nack:t\r\n\r\n").unwrap();
        assert_eq!(list(&ack).map_err(|error| error.code()), Err(Some(404)));
    }

    #[test]
    fn a_change_without_its_form_stays_a_message() {
        let message = |headers: &str, body: &str| {
            let text = format!("LHTTP/1.0 presence-change\r\n{headers}\r\n{body}");
            Message::parse(text.as_bytes()).unwrap()
        };
        let lists =
            "{\"joined\":[{\"user\":\"a\",\"connections\":2,\"since\":7,\"info\":{}}],\"left\":[{\"user\":\"b\"}]";
        for (numbers, more) in [(",\"users\":9}", 0), (",\"users\":9,\"more\":5,\"new\":[]}", 5)] {
            let (joined, left) = (vec![member("a", Some("{}"))], vec!["b".to_owned()]);
            let expected = Event::PresenceChange { channel: "room".to_owned(), joined, left, users: 9, more };
            assert_eq!(change(message("channel:room\r\n", &format!("{lists}{numbers}"))), expected);
        }
        let (body, none, wrong) =
            (format!("{lists},\"users\":9}}"), format!("{lists}}}"), format!("{lists},\"users\":9,\"more\":-1}}"));
        for (headers, body) in [
            ("", &*body),
            ("channel:room\r\n", "{}"),
            ("channel:room\r\n", "[]"),
            ("channel:room\r\n", &none),
            ("channel:room\r\n", &wrong),
        ] {
            let message = message(headers, body);
            assert_eq!(change(message.clone()), Event::Message(message));
        }
    }

    #[test]
    fn what_a_server_would_not_show_is_not_sent() {
        assert_eq!(check_info(&"ä".repeat(128)), Ok(()));
        assert_eq!(check_info(&"x".repeat(257)).map_err(|refusal| refusal.code()), Err(400));
    }
}
