//! Why there is no connection.

use tungstenite::{
    Error,
    http::{Response, StatusCode},
};

use super::connection::sentence;
use crate::error::{Reason, Refusal};

/// The most characters of an answer's body that become a sentence.
const SENTENCE_CHARACTERS_MAX: usize = 200;

/// Why an attempt to connect has failed.
#[derive(Debug)]
pub(super) struct NoConnection {
    /// One sentence.
    pub(super) why: String,
    /// The server's refusal, if it answered the handshake with 401 or 403; or there was no token to send.
    pub(super) refusal: Option<Refusal>,
}

impl From<String> for NoConnection {
    fn from(why: String) -> Self {
        Self { why, refusal: None }
    }
}

impl From<Refusal> for NoConnection {
    fn from(refusal: Refusal) -> Self {
        Self { why: refusal.sentence().to_owned(), refusal: Some(refusal) }
    }
}

impl From<&Error> for NoConnection {
    fn from(error: &Error) -> Self {
        let refusal = match error {
            Error::Http(response) => refusal(response),
            _ => None,
        };
        let why = match &refusal {
            Some(refusal) => format!("the server refused the handshake: {refusal}"),
            None => sentence(error),
        };
        Self { why, refusal }
    }
}

fn refusal(response: &Response<Option<Vec<u8>>>) -> Option<Refusal> {
    let (reason, otherwise) = match response.status() {
        StatusCode::UNAUTHORIZED => (Reason::Unauthorized, "the server requires a valid token"),
        StatusCode::FORBIDDEN => (Reason::Forbidden, "the server does not allow this client"),
        _ => return None,
    };
    // As much of the body as came with the head; a proxy's page is no sentence.
    let body = response.body().as_deref().and_then(|body| std::str::from_utf8(body).ok()).unwrap_or("");
    let line = body.lines().next().unwrap_or("").trim();
    let said: String = line.chars().filter(|c| !c.is_control()).take(SENTENCE_CHARACTERS_MAX).collect();
    Some(match said.as_str() {
        "" => Refusal::because(reason, otherwise),
        page if page.starts_with('<') => Refusal::because(reason, otherwise),
        _ => Refusal::because(reason, said),
    })
}
