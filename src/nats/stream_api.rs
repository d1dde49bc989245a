//! The cluster's stream in JetStream, as it is spoken to: subjects, requests and answers (NATS ADR-1, ADR-10, ADR-28).
//!
//! ```text
//! _LHTTP.history.<channel>   a publish: the stream keeps it, and answers with its number
//! _LHTTP.live.<channel>      the same message, as the stream publishes it again behind its number
//! _INBOX.<node>.<request>    answers to this node
//! ```
//! No client of lhttp can name these subjects as channels. With `nats-prefix` the first two begin with it.

use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::engine::history::Retention;

/// The number of the subscription to answers.
pub(super) const INBOX_SID: u64 = 1 << 51;
/// A subscription to a name has this many more as its twin, which brings the name's live messages of the stream.
pub(super) const LIVE_SIDS: u64 = 1 << 50;

const HISTORY: &str = "_LHTTP.history.";
const LIVE: &str = "_LHTTP.live.";
/// Copies of the stream, if the cluster has so many servers.
pub(super) const REPLICAS: u32 = 3;
/// Within this time JetStream knows a publish that was sent twice.
const DUPLICATES: Duration = Duration::from_secs(120);

/// No stream has so many messages: cores can count on from a message's number.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// The codes of JetStream's errors that matter here.
pub(super) const NOT_FOUND: u64 = 10_059;
pub(super) const NO_MESSAGE: u64 = 10_037;
pub(super) const NOT_ENABLED: u64 = 10_076;
pub(super) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10_039;
pub(super) const NO_PEERS: u64 = 10_005;
pub(super) const NOT_CLUSTERED: u64 = 10_074;
pub(super) const NAME_IN_USE: u64 = 10_058;
pub(super) const UNAVAILABLE: u64 = 10_008;

/// The subjects and names of a node.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) stream: String,
    prefix: String,
    node: String,
}

impl Names {
    /// The names with this `nats-prefix`, which ends with a dot. `node` is different for each node and start.
    pub(super) fn new(prefix: Option<&str>, node: u64) -> Self {
        let prefix = prefix.unwrap_or_default().to_owned();
        let suffix = prefix.trim_end_matches('.').replace('.', "_");
        let stream = if suffix.is_empty() { "LHTTP".to_owned() } else { format!("LHTTP_{suffix}") };
        Self { stream, prefix, node: format!("{node:016x}") }
    }

    /// The subject at which the stream takes a channel's messages.
    pub(super) fn history(&self, channel: &str) -> String {
        format!("{}{HISTORY}{channel}", self.prefix)
    }

    /// The channel of such a subject.
    pub(super) fn channel_of_history<'s>(&self, subject: &'s str) -> Option<&'s str> {
        subject.strip_prefix(&*self.prefix)?.strip_prefix(HISTORY)
    }

    /// The subject at which the stream publishes them again.
    pub(super) fn live(&self, name: &str) -> String {
        format!("{}{LIVE}{name}", self.prefix)
    }

    /// The channel of such a subject.
    pub(super) fn channel_of_live<'s>(&self, subject: &'s [u8]) -> Option<&'s [u8]> {
        subject.strip_prefix(self.prefix.as_bytes())?.strip_prefix(LIVE.as_bytes())
    }

    /// The subject of the node's subscription to answers.
    pub(super) fn inbox(&self) -> String {
        format!("_INBOX.{}.*", self.node)
    }

    /// The request that an answer is for.
    pub(super) fn request_of(&self, subject: &[u8]) -> Option<u64> {
        let rest = subject.strip_prefix(b"_INBOX.")?.strip_prefix(self.node.as_bytes())?.strip_prefix(b".")?;
        std::str::from_utf8(rest).ok()?.parse().ok()
    }

    /// The number of the publish that this node has sent with this `Nats-Msg-Id`.
    pub(super) fn publish_of(&self, message_id: &[u8]) -> Option<u64> {
        let rest = message_id.strip_prefix(self.node.as_bytes())?.strip_prefix(b"-")?;
        std::str::from_utf8(rest).ok()?.parse().ok()
    }

    /// The bytes of a request to the API of JetStream.
    pub(super) fn request(&self, verb: &str, request: u64, body: &Value) -> Vec<u8> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (stream, node) = (&self.stream, &self.node);
        format!("PUB $JS.API.STREAM.{verb}.{stream} _INBOX.{node}.{request} {}\r\n{body}\r\n", body.len()).into_bytes()
    }

    /// The bytes of a publish to the stream.
    pub(super) fn publish(&self, number: u64, request: u64, channel: &str, message: &[u8]) -> Vec<u8> {
        let headers = format!("NATS/1.0\r\nNats-Msg-Id: {}-{number}\r\n\r\n", self.node);
        let (subject, node) = (self.history(channel), &self.node);
        let (before, all) = (headers.len(), headers.len() + message.len());
        let mut bytes = format!("HPUB {subject} _INBOX.{node}.{request} {before} {all}\r\n{headers}").into_bytes();
        bytes.extend_from_slice(message);
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// The configuration of a new stream.
    pub(super) fn config(&self, wanted: Retention, replicas: u32) -> Value {
        let age = Duration::from_secs(wanted.age.into());
        json!({
            "name": self.stream,
            "description": "The history of lhttp's channels",
            "subjects": [self.history(">")],
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "max_msgs_per_subject": messages_per_channel(wanted),
            "max_age": age.as_nanos() as u64,
            "duplicate_window": DUPLICATES.min(age).as_nanos() as u64,
            "num_replicas": replicas,
            "republish": { "src": self.history(">"), "dest": self.live(">") },
        })
    }

    /// The configuration that this stream needs so that it is enough for this node, too; `None` if it is enough.
    ///
    /// # Errors
    /// It is a stream of somebody else.
    pub(super) fn widened(&self, config: &Value, wanted: Retention) -> Result<Option<Value>, String> {
        let own = self.config(wanted, REPLICAS);
        if ["subjects", "republish", "retention", "discard"].iter().any(|key| !contains(&config[key], &own[key])) {
            return Err(format!("the stream {} is not one of lhttp's with this nats-prefix", self.stream));
        }
        if config["no_ack"] == true {
            return Err(format!("the stream {} acknowledges nothing (no_ack)", self.stream));
        }
        let mut next = config.clone();
        for key in ["max_msgs_per_subject", "max_age"] {
            let (has, wants) = (config[key].as_i64().unwrap_or(0), own[key].as_i64().unwrap_or(0));
            if has > 0 && has < wants {
                next[key] = wants.into();
            }
        }
        Ok((next != *config).then_some(next))
    }
}

/// The messages of a channel that the stream keeps: one more than clients get, so that a client that has just missed all of
/// them is not told that something is lost.
fn messages_per_channel(wanted: Retention) -> i64 {
    i64::from(wanted.messages) + 1
}

/// Whether a value has all members of another one.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|whole| contains(whole, value)))
        }
        _ => whole == part,
    }
}

/// An answer of JetStream.
#[derive(Debug)]
pub(super) enum Reply {
    /// Nobody has taken the request.
    NoResponders,
    /// Its code and its text.
    Error(u64, String),
    /// It is no JSON, or misses something.
    Odd,
    Value(Value),
}

impl Reply {
    pub(super) fn parse(headers: &[u8], payload: &[u8]) -> Self {
        if headers.starts_with(b"NATS/1.0 503") {
            return Self::NoResponders;
        }
        let Ok(value) = serde_json::from_slice::<Value>(payload) else { return Self::Odd };
        match value.get("error") {
            Some(error) => Self::Error(
                error["err_code"].as_u64().unwrap_or(0),
                error["description"].as_str().unwrap_or("no reason").to_owned(),
            ),
            None => Self::Value(value),
        }
    }
}

/// A message's number. Others are not JetStream's.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().filter(|number| *number <= NUMBER_MAX)
}

/// A message of the stream, as `MSG.GET` answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) number: u64,
    /// Its age in seconds.
    pub(super) age: u32,
    pub(super) publish: Option<u64>,
    pub(super) message: Vec<u8>,
}

impl Kept {
    pub(super) fn parse(value: &Value, names: &Names, now: SystemTime) -> Option<Self> {
        let message = &value["message"];
        let decode = |key: &str| BASE64.decode(message[key].as_str().unwrap_or_default().as_bytes()).ok();
        let headers = decode("hdrs")?;
        let time = humantime::parse_rfc3339(message["time"].as_str()?).ok()?;
        let age = now.duration_since(time).unwrap_or_default().as_secs();
        Some(Self {
            number: number(&message["seq"]).filter(|number| *number > 0)?,
            age: u32::try_from(age).unwrap_or(u32::MAX),
            publish: header(&headers, b"Nats-Msg-Id").and_then(|id| names.publish_of(id)),
            message: decode("data")?,
        })
    }
}

/// The place of a message in the stream, from the headers of its live copy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LivePlace {
    pub(super) number: u64,
    /// The number of the channel's message before it.
    pub(super) before: u64,
    pub(super) publish: Option<u64>,
}

impl LivePlace {
    pub(super) fn parse(headers: &[u8], names: &Names) -> Option<Self> {
        let number = |name: &[u8]| {
            let number = std::str::from_utf8(header(headers, name)?).ok()?.parse().ok()?;
            (number <= NUMBER_MAX).then_some(number)
        };
        if header(headers, b"Nats-Stream")? != names.stream.as_bytes() {
            return None;
        }
        let (number, before) = (number(b"Nats-Sequence")?, number(b"Nats-Last-Sequence")?);
        (before < number).then_some(Self {
            number,
            before,
            publish: header(headers, b"Nats-Msg-Id").and_then(|id| names.publish_of(id)),
        })
    }
}

/// The value of a header of NATS.
fn header<'h>(headers: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    headers.split(|byte| *byte == b'\n').find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(b":")?;
        Some(value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_publishes_are_nats_commands_with_an_inbox_of_this_node() {
        let names = Names::new(Some("app.one."), 0xabc);
        assert_eq!(names.stream, "LHTTP_app_one");
        let get = names.request("MSG.GET", 7, &json!({ "seq": 1 }));
        assert_eq!(
            String::from_utf8_lossy(&get),
            "PUB $JS.API.STREAM.MSG.GET.LHTTP_app_one _INBOX.0000000000000abc.7 9\r\n{\"seq\":1}\r\n"
        );
        let publish = names.publish(5, 8, "room.a", b"hello");
        assert_eq!(
            String::from_utf8_lossy(&publish),
            "HPUB app.one._LHTTP.history.room.a _INBOX.0000000000000abc.8 45 50\r\n\
             NATS/1.0\r\nNats-Msg-Id: 0000000000000abc-5\r\n\r\nhello\r\n"
        );
        assert_eq!(names.request_of(b"_INBOX.0000000000000abc.7"), Some(7));
        assert_eq!(names.request_of(b"_INBOX.0000000000000abd.7"), None);
        assert_eq!(names.channel_of_live(b"app.one._LHTTP.live.room.a"), Some(&b"room.a"[..]));
        assert_eq!(names.channel_of_live(b"app.one.room.a"), None);
        assert_eq!(names.channel_of_history("app.one._LHTTP.history.room.a"), Some("room.a"));
        assert_eq!(names.channel_of_history("app.one.room.a"), None);
    }

    #[test]
    fn the_place_of_a_live_message_is_in_its_headers_if_our_stream_has_sent_it() {
        let names = Names::new(None, 1);
        let headers = b"NATS/1.0\r\nNats-Msg-Id: 0000000000000001-9\r\nNats-Stream: LHTTP\r\n\
            Nats-Sequence: 12\r\nNats-Last-Sequence: 4\r\n\r\n";
        let place = LivePlace { number: 12, before: 4, publish: Some(9) };
        assert_eq!(LivePlace::parse(headers, &names), Some(place));
        assert_eq!(LivePlace::parse(headers, &Names::new(Some("other."), 1)), None);
        assert_eq!(LivePlace::parse(b"NATS/1.0\r\nNats-Stream: LHTTP\r\n\r\n", &names), None);
        for (number, before) in [(u64::MAX, 4), (u64::MAX, u64::MAX), (12, u64::MAX), (12, 12), (0, 0)] {
            let numbers = format!("Nats-Sequence: {number}\r\nNats-Last-Sequence: {before}\r\n\r\n");
            let forged = format!("NATS/1.0\r\nNats-Stream: LHTTP\r\n{numbers}");
            assert_eq!(LivePlace::parse(forged.as_bytes(), &names), None, "{number} after {before}");
        }
    }

    #[test]
    fn a_stream_is_widened_for_other_rules_and_that_of_others_is_left_alone() {
        let names = Names::new(None, 1);
        let of = |messages, age| Retention { messages, age };
        let mut config = names.config(of(100, 60), 1);
        config["more"] = json!(true);
        assert_eq!(names.widened(&config, of(50, 30)), Ok(None));
        let widened = names.widened(&config, of(200, 30)).expect("it is ours").expect("it is too narrow");
        assert_eq!((&widened["max_msgs_per_subject"], &widened["max_age"]), (&json!(201), &config["max_age"]));
        assert_eq!(widened["more"], json!(true));
        config["max_age"] = json!(0); // without a limit
        assert_eq!(names.widened(&config, of(50, 90)), Ok(None));
        config["no_ack"] = json!(true);
        assert!(names.widened(&config, of(50, 30)).is_err(), "nobody would know what is kept");
        config["no_ack"] = json!(false);
        config["subjects"] = json!(["orders.>"]);
        assert!(names.widened(&config, of(50, 30)).is_err());
    }

    #[test]
    fn answers_are_told_apart() {
        assert!(matches!(Reply::parse(b"NATS/1.0 503\r\n\r\n", b""), Reply::NoResponders));
        assert!(matches!(Reply::parse(b"", b"{"), Reply::Odd));
        let error = br#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        assert!(matches!(Reply::parse(b"", error), Reply::Error(NOT_FOUND, text) if text == "stream not found"));
        let kept = br#"{"message":{"seq":3,"hdrs":"TkFUUy8xLjANCk5hdHMtTXNnLUlkOiAwMDAwMDAwMDAwMDAwMDAxLTkNCg0K",
            "data":"aGk=","time":"2026-11-30T10:00:00Z"}}"#;
        let value: Value = serde_json::from_slice(kept).expect("JSON");
        let now = humantime::parse_rfc3339("2026-11-30T10:01:00Z").expect("a time");
        for number in [json!(0), json!(u64::MAX), json!(-1), json!("3")] {
            let mut forged = value.clone();
            forged["message"]["seq"] = number;
            assert_eq!(Kept::parse(&forged, &Names::new(None, 1), now), None);
        }
        let expected = Kept { number: 3, age: 60, publish: Some(9), message: b"hi".to_vec() };
        assert_eq!(Kept::parse(&value, &Names::new(None, 1), now), Some(expected));
    }
}
