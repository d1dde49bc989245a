//! The messages that are kept of a channel, as JSON.

use std::collections::HashMap;

use data_encoding::BASE64;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    engine::survey::Kept,
    protocol::{
        frame,
        message::{Message, MessageId, numbered::is_own_name},
    },
};

/// The lines that the server has put behind the start line.
const OWN_LINES: usize = 2;

/// An answer with messages.
#[derive(Serialize)]
pub(super) struct Page {
    messages: Vec<Box<RawValue>>,
    /// What the next page is before.
    next: Option<String>,
}

#[derive(Serialize)]
struct Shown<'m> {
    id: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'m str>,
    headers: Headers<'m>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Headers in the order of their first lines, each with all of its values.
#[derive(Default)]
struct Headers<'m>(Vec<(&'m str, Vec<&'m str>)>);

impl Page {
    /// A page of about this many bytes at most; at least one message.
    pub(super) fn new(kept: &Kept, bytes_max: usize) -> Self {
        let (mut messages, mut bytes, mut last) = (Vec::new(), 0, None);
        for (id, frame) in &kept.frames {
            let (id, shown) = shown(*id, frame::payload(frame));
            bytes += shown.get().len();
            if bytes > bytes_max && last.is_some() {
                break;
            }
            messages.push(shown);
            last = Some(id);
        }
        let has_more = kept.has_more || messages.len() < kept.frames.len();
        Self { messages, next: last.filter(|_| has_more) }
    }
}

/// A message and its id.
fn shown(id: MessageId, payload: &[u8]) -> (String, Box<RawValue>) {
    let mut text = Vec::new();
    id.write(&mut text);
    let id = String::from_utf8_lossy(&text).into_owned();
    let parsed = Message::parse(payload).ok(); // another program may have put something else into the stream
    let body = parsed.as_ref().map_or(payload, |message| message.body_bytes());
    let text = std::str::from_utf8(body).ok();
    let shown = Shown {
        id: &id,
        command: parsed.as_ref().map(|message| message.command()),
        headers: parsed.as_ref().map_or_else(Headers::default, headers),
        body: text,
        body_base64: text.is_none().then(|| BASE64.encode(body)),
    };
    let shown = to_raw_value(&shown).expect("its maps have texts as keys");
    (id, shown)
}

fn headers(message: &Message) -> Headers<'_> {
    let (mut all, mut places) = (Headers::default(), HashMap::new());
    for (index, (name, value)) in message.headers().enumerate() {
        if index < OWN_LINES && is_own_name(name.as_bytes()) {
            continue;
        }
        let place = *places.entry(name.to_ascii_lowercase()).or_insert(all.0.len());
        match all.0.get_mut(place) {
            Some((_, values)) => values.push(value),
            None => all.0.push((name, vec![value])),
        }
    }
    all
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Values<'v> {
            One(&'v str),
            Many(&'v [&'v str]),
        }
        serializer.collect_map(self.0.iter().map(|(name, values)| match values[..] {
            [value] => (name, Values::One(value)),
            _ => (name, Values::Many(values)),
        }))
    }
}
