//! What the server says of a message: its acknowledgement, or an error (PROTOCOL.md §2, §6).

use crate::error::Refusal;

/// The parts of an acknowledgement with this token. `is_offline` if publishes of other nodes do not come to one of the
/// message's subscriptions.
pub(crate) fn acknowledgement(token: &[u8], is_offline: bool) -> [&[u8]; 3] {
    let end: &[u8] = if is_offline { b"\r\ncluster:offline\r\n\r\n" } else { b"\r\n\r\n" };
    [b"LHTTP/1.0 ack\r\nack:", token, end]
}

/// Appends the error message that tells of a refusal, with the token of the message that is refused.
pub(crate) fn encode_refusal(payload: &mut Vec<u8>, refusal: &Refusal, ack: Option<&[u8]>) {
    payload.extend_from_slice(b"LHTTP/1.0 error\r\ncode:");
    payload.extend_from_slice(refusal.code().to_string().as_bytes());
    payload.extend_from_slice(b"\r\nreason:");
    payload.extend_from_slice(refusal.reason().as_bytes());
    if let Some(seconds) = refusal.retry_after() {
        payload.extend_from_slice(b"\r\nretry-after:");
        payload.extend_from_slice(seconds.to_string().as_bytes());
    }
    if let Some(token) = ack {
        payload.extend_from_slice(b"\r\nack:");
        payload.extend_from_slice(token);
    }
    payload.extend_from_slice(b"\r\n\r\n");
    payload.extend_from_slice(refusal.sentence().as_bytes());
}
