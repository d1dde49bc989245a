//! Tells the server's answers from other messages.

use crate::{
    client::{
        event::{Event, Payload},
        presence,
    },
    error::Refusal,
    protocol::message::{Message, is_lhttp},
};

/// What a payload from the server means to a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// An acknowledgement with this token, or a list of users.
    Answer { token: String, message: Message },
    /// An error that ends a subscription.
    Ended { channel: String, refusal: Refusal },
    /// An error (PROTOCOL.md §6), with the token of the message that it is about, if that message had one.
    Refused { token: Option<String>, refusal: Refusal },
    /// Anything else.
    Event(Event),
}

impl From<Payload> for Incoming {
    fn from(payload: Payload) -> Self {
        // The server's own answers have no `publish` header, and every message that came through a channel has one. So
        // nobody can forge an answer by publishing it.
        let Some(message) = parse(&payload) else { return Self::Event(Event::Raw(payload)) };
        let token = message.header_value("ack").map(str::to_owned);
        match (message.command(), token) {
            _ if message.header_value("publish").is_some() => Self::Event(Event::Message(message)),
            ("ack" | "presence", Some(token)) => Self::Answer { token, message },
            ("presence-change", None) => Self::Event(presence::change(message)),
            ("error", token) => match (refusal(&message), message.header_value("channel")) {
                (Some(refusal), Some(channel)) if token.is_none() => {
                    Self::Ended { channel: channel.to_owned(), refusal }
                }
                (Some(refusal), _) => Self::Refused { token, refusal },
                (None, _) => Self::Event(Event::Message(message)),
            },
            _ => Self::Event(Event::Message(message)),
        }
    }
}

/// The message, if the payload is LHTTP and complete.
fn parse(payload: &Payload) -> Option<Message> {
    let bytes = payload.as_bytes();
    if is_lhttp(bytes) { Message::parse(bytes).ok() } else { None }
}

fn refusal(error: &Message) -> Option<Refusal> {
    let code = error.header_value("code")?.parse().ok()?;
    let reason = error.header_value("reason")?.to_owned();
    let refusal = Refusal::new(code, reason, String::from_utf8_lossy(error.body_bytes()).into_owned());
    Some(match error.header_value("retry-after").and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) => refusal.with_retry_after(seconds),
        None => refusal,
    })
}

/// Makes `ack` tokens that nobody can guess. Subscribers see a publish's token, so a counter would reveal the next one.
#[derive(Debug)]
pub(super) struct Tokens {
    /// The common prefix of all tokens of this client.
    prefix: String,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self { prefix: format!("{:08x}-", rand::random::<u32>()) }
    }

    pub(super) fn next(&self) -> String {
        format!("{}{:016x}", self.prefix, rand::random::<u64>())
    }

    /// Whether this client made the token. If no call waits for the answer, the answer is late.
    pub(super) fn is_ours(&self, token: &str) -> bool {
        token.starts_with(&self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(text: &str) -> Incoming {
        Incoming::from(Payload::Text(text.to_owned()))
    }

    #[test]
    fn a_published_message_is_never_taken_for_an_answer() {
        let ack = incoming("LHTTP/1.0 ack\r\nack:t\r\n\r\n");
        assert!(matches!(&ack, Incoming::Answer { token, .. } if token == "t"), "{ack:?}");
        let list = incoming("LHTTP/1.0 presence\r\nchannel:room\r\nack:t\r\n\r\n[]");
        assert!(matches!(&list, Incoming::Answer { token, .. } if token == "t"), "{list:?}");
        let change = "LHTTP/1.0 presence-change\r\nchannel:room\r\n\r\n{\"joined\":[],\"left\":[],\"users\":0}";
        assert!(matches!(incoming(change), Incoming::Event(Event::PresenceChange { .. })));
        let refused = incoming("LHTTP/1.0 error\r\ncode:400\r\nreason:bad-channel\r\nack:t\r\n\r\nno");
        let refusal = Refusal::new(400, "bad-channel", "no");
        assert_eq!(refused, Incoming::Refused { token: Some("t".to_owned()), refusal });
        let ended = incoming("LHTTP/1.0 error\r\ncode:403\r\nreason:forbidden\r\nchannel:room\r\n\r\nno");
        let refusal = Refusal::new(403, "forbidden", "no");
        assert_eq!(ended, Incoming::Ended { channel: "room".to_owned(), refusal });
        let refused =
            incoming("LHTTP/1.0 error\r\ncode:429\r\nreason:rate-limited\r\nretry-after:3\r\nack:t\r\n\r\nno");
        let refusal = Refusal::new(429, "rate-limited", "no").with_retry_after(3);
        assert_eq!(refused, Incoming::Refused { token: Some("t".to_owned()), refusal });
        for published in [
            "ack\r\npublish:room\r\nack:t",
            "error\r\nPublish:room\r\ncode:400\r\nreason:x\r\nack:t",
            "presence\r\npublish:room\r\nack:t\r\nchannel:room",
            "presence-change\r\nmessage-id:a-1\r\nchannel:room\r\npublish:room",
        ] {
            let text = format!("LHTTP/1.0 {published}\r\n\r\n{{\"joined\":[],\"left\":[]}}");
            assert!(matches!(incoming(&text), Incoming::Event(Event::Message(_))), "{text:?}");
        }
    }

    #[test]
    fn a_payload_that_is_not_complete_lhttp_is_kept_as_it_is() {
        for text in ["hello", "", "LHTTP/1.0", "LHTTP/1.0 broken\r\n", "LHTTP/1.0 a\r\nb\r\n\r\n"] {
            assert_eq!(incoming(text), Incoming::Event(Event::Raw(Payload::Text(text.to_owned()))));
        }
        let bytes = Payload::Binary(vec![0xff, 0]);
        assert_eq!(Incoming::from(bytes.clone()), Incoming::Event(Event::Raw(bytes)));
    }

    #[test]
    fn an_error_without_a_code_is_an_ordinary_message() {
        assert!(matches!(incoming("LHTTP/1.0 error\r\nreason:x\r\n\r\n"), Incoming::Event(Event::Message(_))));
    }

    #[test]
    fn tokens_differ_and_are_recognised() {
        let tokens = Tokens::new();
        let (first, second) = (tokens.next(), tokens.next());
        assert!(first != second && first.len() <= 64 && tokens.is_ours(&first));
        assert!(!tokens.is_ours("x") && !Tokens::new().is_ours(&first));
    }
}
