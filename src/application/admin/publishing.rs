//! `POST /api/publish` and `/api/batch`: messages of backends. All of a request is checked before any of it is published.

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    engine::{hub::Hub, inbox::Letter},
    error::{PublishError, Reason, Refusal},
    extension::publish::{check_publish_size, too_many_channels},
    protocol::{
        channel,
        message::{Head, Message, numbered::without_own_lines},
    },
};

use super::{
    Admin, Said,
    few::{Few, Pairs},
    remembered::Known,
};

/// The command of a message that names none.
const COMMAND: &str = "chat";
/// The longest idempotency key.
const KEY_BYTES_MAX: usize = 128;
/// Headers that a message cannot have: the channels stand beside them, and a token would be for nobody.
const NOT_HERE: [&str; 2] = ["publish", "token"];

/// A message as a backend writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    channels: Few<String>,
    command: Option<String>,
    headers: Option<Pairs>,
    body: Option<String>,
    body_base64: Option<String>,
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'b> {
    #[serde(borrow)]
    messages: Few<&'b RawValue>,
    idempotency_key: Option<String>,
}

/// A checked message.
struct Ready {
    /// Its channels, each once, joined by spaces.
    channels: Box<[u8]>,
    /// Their number.
    count: usize,
    payload: Vec<u8>,
}

impl Admin {
    /// Publishes what a body says, and gives the answer.
    pub(super) fn publish(&mut self, hub: &mut Hub, is_batch: bool, body: &[u8]) -> Said {
        self.try_publish(hub, is_batch, body).unwrap_or_else(|refused| refused)
    }

    /// # Errors
    /// The answer if nothing is published.
    fn try_publish(&mut self, hub: &mut Hub, is_batch: bool, body: &[u8]) -> Result<Said, Said> {
        let (messages, key) = if is_batch {
            let Batch { messages, idempotency_key } = read(body).map_err(|refusal| Said::refused("", &refusal))?;
            (messages.0, idempotency_key)
        } else {
            let whole: &RawValue = read(body).map_err(|refusal| Said::refused("", &refusal))?;
            let Written { idempotency_key, .. } =
                of_raw(whole).map_err(|refusal| Said::refused("the body: ", &refusal))?;
            (vec![whole], idempotency_key)
        };
        if let Some(key) = &key {
            check_key(key)?;
            match self.remembered.find(hub.ran(), key, (is_batch, body)) {
                Known::Nothing => {}
                Known::Answered(said) => return Ok(said),
                Known::OfAnother => {
                    return Err(Said::error(409, "conflict", "another request has had this idempotency_key"));
                }
            }
        }
        if hub.is_silent() {
            return Err(draining());
        }
        let (mut head, mut all, mut channels) = (Head::default(), Vec::with_capacity(messages.len()), 0);
        for (index, message) in messages.iter().enumerate() {
            let ready = of_raw(message).and_then(|written| ready(hub, &mut head, written, is_batch));
            let Ready { channels: names, count, payload } = ready.map_err(|refusal| {
                hub.count_refusal(&refusal);
                Said::refused(&if is_batch { format!("messages[{index}]: ") } else { String::new() }, &refusal)
            })?;
            channels += count;
            all.push((names, payload));
        }
        let answer = if is_batch {
            Said::json(&serde_json::json!({ "messages": all.len(), "channels": channels }))
        } else {
            Said::json(&serde_json::json!({ "channels": channels }))
        };
        // It waits there for links that are congested. Another core would take it no sooner.
        self.mailboxes[self.own as usize].post(Letter::PublishAll(all)).map_err(|error| match error {
            PublishError::Stopped => draining(),
            _ => Said::error(503, "busy", "the server is behind: send the request again").header("Retry-After", "1"),
        })?;
        if let Some(key) = &key {
            self.remembered.keep(hub.ran(), key, (is_batch, body), answer.clone());
        }
        Ok(answer)
    }
}

fn draining() -> Said {
    Said::error(503, "draining", "the server stops").header("Retry-After", "1")
}

fn bad(sentence: impl Into<String>) -> Refusal {
    Refusal::new(400, "bad-request", sentence.into())
}

fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| bad(format!("the body: {error}")))
}

fn of_raw(message: &RawValue) -> Result<Written, Refusal> {
    serde_json::from_str(message.get()).map_err(|error| bad(error.to_string()))
}

fn check_key(key: &str) -> Result<(), Said> {
    let is_key = (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_key { Ok(()) } else { Err(Said::bad("idempotency_key has 1 to 128 visible ASCII characters")) }
}

/// Checks a message as one of a client, but for the rules for channels, and encodes it.
///
/// # Errors
/// `bad-request`, `bad-channel`, `bad-header`, `bad-start-line`, `forbidden`, `head-too-big`, `history-unavailable`,
/// `message-too-big`, `too-many-channels`.
fn ready(hub: &Hub, head: &mut Head, written: Written, is_batch: bool) -> Result<Ready, Refusal> {
    if is_batch && written.idempotency_key.is_some() {
        return Err(bad("idempotency_key stands beside messages, not in one of them"));
    }
    let body = match (written.body, written.body_base64) {
        (Some(_), Some(_)) => return Err(bad("give body or body_base64, not both")),
        (_, Some(base64)) => {
            let decoded = BASE64.decode(base64.as_bytes());
            decoded.map_err(|_| bad("body_base64 is not base64 with its padding (RFC 4648 §4)"))?
        }
        (body, None) => body.unwrap_or_default().into_bytes(),
    };
    let (names, keeps) = checked_channels(hub, &written.channels.0)?;
    let channels = names.join(" ");
    let mut message = Message::new(written.command.as_deref().unwrap_or(COMMAND))?.header("publish", &*channels)?;
    let mut pairs = written.headers.unwrap_or_default().0;
    if pairs.len() >= hub.limits.head.headers_max {
        let sentence = format!("the head has more than {} headers", hub.limits.head.headers_max);
        return Err(Refusal::because(Reason::HeadTooBig, sentence));
    }
    for (name, value) in pairs.drain(..) {
        if NOT_HERE.iter().any(|not_here| name.eq_ignore_ascii_case(not_here)) {
            return Err(bad(format!("headers: {name} cannot be given; the channels stand in channels")));
        }
        if message.header_value(&name).is_some() {
            return Err(bad(format!("headers: {name:?} is there twice")));
        }
        message.add_header(name, value)?;
    }
    message.set_body(body);
    let mut payload = message.encode();
    if payload.len() > hub.limits.message_bytes_max {
        let (len, most) = (payload.len(), hub.limits.message_bytes_max);
        let sentence = format!("the message has {len} bytes, at most {most} are allowed");
        return Err(Refusal::because(Reason::MessageTooBig, sentence));
    }
    check_publish_size(payload.len(), hub.limits.publish_bytes())?;
    head.parse(&payload, true, hub.limits.head)?;
    if keeps && let Some(clean) = without_own_lines(&payload) {
        payload = clean;
    }
    Ok(Ready { channels: channels.into_bytes().into(), count: names.len(), payload })
}

/// The channels, each once, and whether one of them has a history.
fn checked_channels<'c>(hub: &Hub, channels: &'c [String]) -> Result<(Vec<&'c str>, bool), Refusal> {
    let (most, mut names, mut keeps) = (hub.limits.publish_channels_max, Vec::new(), false);
    for name in channels.iter().map(String::as_str) {
        if names.contains(&name) {
            continue;
        }
        if names.len() == most {
            return Err(too_many_channels(most));
        }
        channel::check_publish(name.as_bytes())?;
        channel::check_client(name.as_bytes())?;
        keeps |= hub.has_history() && hub.may_keep(name.as_bytes())?;
        names.push(name);
    }
    if names.is_empty() {
        return Err(Refusal::because(Reason::BadChannel, "channels: name the channels to publish to"));
    }
    Ok((names, keeps))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        application::admin::figures::Nothing,
        config::Config,
        engine::{
            inbox::{Inbox, inbox_of},
            limits::Limits,
            wake::Wake,
        },
    };

    fn admin() -> (Admin, Hub, Inbox) {
        let (mailbox, inbox) = inbox_of(1, Arc::new(Wake::silent()));
        let hub = Hub::new(0, 1, Limits::new(&Config::default(), 1 << 30, 1));
        (Admin::new(0, vec![mailbox], Arc::new(Nothing)), hub, inbox)
    }

    #[test]
    fn a_core_that_is_behind_is_busy_and_the_key_of_that_request_stays_free() {
        let (mut admin, mut hub, inbox) = admin();
        let body = |key: &str| format!(r#"{{"channels":["room"],"idempotency_key":{key:?}}}"#);
        assert_eq!(admin.publish(&mut hub, false, body("1").as_bytes()).answer().status, 200);
        let said = admin.publish(&mut hub, false, body("2").as_bytes());
        let answer = said.answer();
        assert_eq!((answer.status, answer.last_header), (503, Some(("Retry-After", "1"))));
        assert_eq!(admin.publish(&mut hub, false, body("1").as_bytes()).answer().status, 200, "it is known");
        assert!(matches!(inbox.take(), Some(Letter::PublishAll(all)) if all.len() == 1));
        assert!(inbox.take().is_none());
        assert_eq!(admin.publish(&mut hub, false, body("2").as_bytes()).answer().status, 200);
        assert!(inbox.take().is_some());
    }
}
