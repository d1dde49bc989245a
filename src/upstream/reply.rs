//! The message that the sender of an `upstream` header gets back.

use crate::{error::Refusal, protocol::message::encode_refusal};

use super::{
    fetch::Fetch,
    http_client::{Answer, failed},
};

/// The answer, if the sender wants a reply, or the error; none if the request succeeded and no reply is wanted.
pub(super) fn outcome(fetch: &Fetch, result: Result<Answer, Refusal>) -> Option<Vec<u8>> {
    let ack = fetch.ack.as_deref();
    let refusal = match result {
        Ok(answer) if fetch.wants_reply => return Some(reply(fetch, &answer)),
        Ok(answer) if answer.status.as_u16() < 400 => return None,
        Ok(answer) => failed(format!("the upstream answered {}", answer.status)),
        Err(refusal) => refusal,
    };
    let mut payload = Vec::new();
    encode_refusal(&mut payload, &refusal, ack);
    Some(payload)
}

fn reply(fetch: &Fetch, answer: &Answer) -> Vec<u8> {
    let status = answer.status.as_str().as_bytes();
    let mut payload = [b"LHTTP/1.0 ", &*fetch.command, b"\r\nupstream-status:", status].concat();
    if let Some(content_type) = &answer.content_type {
        payload.extend_from_slice(b"\r\ncontent-type:");
        payload.extend_from_slice(content_type.as_bytes());
    }
    if let Some(token) = &fetch.ack {
        payload.extend_from_slice(b"\r\nack:");
        payload.extend_from_slice(token);
    }
    payload.extend_from_slice(b"\r\n\r\n");
    payload.extend_from_slice(&answer.body);
    payload
}
