//! What the server says of a message: its acknowledgement, or an error (PROTOCOL.md §2, §6).

use crate::error::Refusal;

/// The parts of an acknowledgement with this ack token. `is_offline` if publishes of other nodes do not come to one of the
/// message's subscriptions.
pub(crate) fn acknowledgement(token: &[u8], is_offline: bool) -> [&[u8]; 3] {
    let end: &[u8] = if is_offline { b"\r\ncluster:offline\r\n\r\n" } else { b"\r\n\r\n" };
    [b"LHTTP/1.0 ack\r\nack:", token, end]
}

/// The message that says who is in a channel (PROTOCOL.md §11): `list` is JSON, and leaves `more` users out.
pub(crate) fn presence_list(channel: &[u8], token: &[u8], more: usize, list: &[u8]) -> Vec<u8> {
    let mut message = [b"LHTTP/1.0 presence\r\nchannel:", channel].concat();
    if !token.is_empty() {
        message.extend_from_slice(b"\r\nack:");
        message.extend_from_slice(token);
    }
    if more > 0 {
        message.extend_from_slice(format!("\r\nmore:{more}").as_bytes());
    }
    message.extend_from_slice(b"\r\n\r\n");
    message.extend_from_slice(list);
    message
}

/// The message that says who has come to a channel and who has gone (PROTOCOL.md §11).
pub(crate) fn presence_change(channel: &[u8], body: &[u8]) -> Vec<u8> {
    [b"LHTTP/1.0 presence-change\r\nchannel:", channel, b"\r\n\r\n", body].concat()
}

/// Appends the error message that tells of a refusal, with the token of the message that is refused.
pub(crate) fn encode_refusal(payload: &mut Vec<u8>, refusal: &Refusal, ack: Option<&[u8]>) {
    encode_error(payload, refusal, ack.map(|token| (&b"ack"[..], token)));
}

/// Appends the error message that tells of the end of a subscription to this channel or pattern (PROTOCOL.md §9).
pub(crate) fn encode_ended_subscription(payload: &mut Vec<u8>, refusal: &Refusal, name: &[u8]) {
    encode_error(payload, refusal, Some((b"channel", name)));
}

fn encode_error(payload: &mut Vec<u8>, refusal: &Refusal, header: Option<(&[u8], &[u8])>) {
    payload.extend_from_slice(b"LHTTP/1.0 error\r\ncode:");
    payload.extend_from_slice(refusal.code().to_string().as_bytes());
    payload.extend_from_slice(b"\r\nreason:");
    payload.extend_from_slice(refusal.reason().as_bytes());
    if let Some(seconds) = refusal.retry_after() {
        payload.extend_from_slice(b"\r\nretry-after:");
        payload.extend_from_slice(seconds.to_string().as_bytes());
    }
    if let Some((name, value)) = header {
        payload.extend_from_slice(b"\r\n");
        payload.extend_from_slice(name);
        payload.push(b':');
        payload.extend_from_slice(value);
    }
    payload.extend_from_slice(b"\r\n\r\n");
    payload.extend_from_slice(refusal.sentence().as_bytes());
}
