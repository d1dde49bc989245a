//! Answers as texts.

use serde::Serialize;

use crate::{engine::application::Answer, error::Refusal};

pub(super) const JSON: &str = "application/json";
/// What a browser may do with answers: nothing but show them.
const HEADERS: &[(&str, &str)] = &[("Cache-Control", "no-store"), ("Content-Security-Policy", "default-src 'none'")];

/// The most bytes of an error's sentence: a part of it may come from the request.
const SENTENCE_BYTES_MAX: usize = 400;

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    status: u16,
    content_type: &'static str,
    /// A header of this answer alone.
    header: Option<(&'static str, &'static str)>,
    body: Vec<u8>,
}

impl Said {
    /// 200 with this as JSON.
    pub(super) fn json(value: &impl Serialize) -> Self {
        Self::with(200, value)
    }

    /// 200 with a text of this type.
    pub(super) fn text(content_type: &'static str, text: String) -> Self {
        Self { status: 200, content_type, header: None, body: text.into_bytes() }
    }

    /// 400: this is wrong.
    pub(super) fn bad(message: &str) -> Self {
        Self::error(400, "bad-request", message)
    }

    /// An error with its name and a sentence.
    pub(super) fn error(status: u16, error: &str, message: &str) -> Self {
        let end = message.floor_char_boundary(SENTENCE_BYTES_MAX);
        let message = if end < message.len() { format!("{}…", &message[..end]) } else { message.to_owned() };
        Self::with(status, &serde_json::json!({ "error": error, "message": message }))
    }

    /// The error of a refusal, with the place of what it refuses.
    pub(super) fn refused(place: &str, refusal: &Refusal) -> Self {
        Self::error(refusal.code(), refusal.reason(), &format!("{place}{}", refusal.sentence()))
    }

    fn with(status: u16, value: &impl Serialize) -> Self {
        let mut body = serde_json::to_vec(value).expect("its maps have texts as keys");
        body.push(b'\n');
        Self { status, content_type: JSON, header: None, body }
    }

    /// The same answer with one more header.
    pub(super) fn header(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// Its body, in bytes.
    pub(super) fn len(&self) -> usize {
        self.body.len()
    }

    pub(crate) fn answer(&self) -> Answer<'_> {
        let Self { status, content_type, header, body } = self;
        Answer { content_type, body, last_header: *header, ..Answer::text(*status, "").headers(HEADERS) }
    }
}
