//! The server's side of the WebSocket handshake (RFC 6455 §4.2, PROTOCOL.md §3).
//!
//! We do not use tungstenite's handshake: it wants its own buffer and 24 allocations per client, accepts no list in
//! `Upgrade`, and cannot answer 405 or 426.

use tungstenite::handshake::derive_accept_key;

use super::http::{RequestHead, list_contains, members};
use crate::error::HttpFault;

/// The headers of every 426 that this server sends (RFC 6455 §4.2.2, RFC 9110 §15.5.22).
pub(crate) const UPGRADE_REQUIRED: &[(&str, &str)] =
    &[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")];

/// The only subprotocol that this server accepts.
const SUBPROTOCOL: &[u8] = b"lhttp";

/// The begin of an offered subprotocol that brings a token.
const TOKEN_SUBPROTOCOL: &[u8] = b"lhttp.token.";

const BAD_METHOD: HttpFault = HttpFault::new(405, "a WebSocket handshake is a GET");
const OLD_HTTP: HttpFault = HttpFault::new(400, "a WebSocket handshake needs HTTP/1.1; a proxy may have lowered it");
const NO_UPGRADE: HttpFault = HttpFault::new(400, "the Upgrade header does not name websocket");
const NO_CONNECTION: HttpFault = HttpFault::new(400, "the Connection header does not name upgrade");
const BAD_VERSION: HttpFault = HttpFault::new(426, "this server speaks WebSocket version 13 only");
const BAD_KEY: HttpFault = HttpFault::new(400, "Sec-WebSocket-Key is not exactly one base64 of 16 bytes");
const HAS_BODY: HttpFault = HttpFault::new(400, "a WebSocket handshake has no body");

/// An accepted handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// `Sec-WebSocket-Accept`: 28 characters.
    accept_key: String,
    /// The client offered the subprotocol `lhttp`, so the response selects it.
    lhttp: bool,
}

/// A rejected handshake, for [`write_fault`](super::http::write_fault).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// The status and the sentence.
    pub(crate) fault: HttpFault,
    /// The headers that this status must have.
    pub(crate) extra: &'static [(&'static str, &'static str)],
}

impl From<HttpFault> for Rejected {
    fn from(fault: HttpFault) -> Self {
        let extra: &[_] = match fault.status {
            405 => &[("Allow", "GET")],
            426 => UPGRADE_REQUIRED,
            _ => &[],
        };
        Self { fault, extra }
    }
}

/// Whether the client asks for a WebSocket, so that [`check`] must answer: `Upgrade` names `websocket`, or there is a
/// `Sec-WebSocket-Key`. This costs nothing: the parser has noted it.
///
/// `Connection: upgrade` alone is not enough, because many proxies add it to every request that they forward. An
/// `Upgrade` to another protocol, such as `h2c`, may be ignored (RFC 9110 §7.8).
pub(crate) fn is_upgrade(head: &RequestHead<'_, '_>) -> bool {
    head.names_websocket
}

/// The token of a subprotocol `lhttp.token.TOKEN` that the client offers: browsers can send nothing else
/// (PROTOCOL.md §8). The answer never selects it.
pub(crate) fn offered_token<'b>(head: &RequestHead<'_, 'b>) -> Option<&'b [u8]> {
    let mut offers = head.header_values("sec-websocket-protocol").flat_map(members);
    offers.find_map(|offer| offer.strip_prefix(TOKEN_SUBPROTOCOL))
}

/// Checks a handshake in the order of RFC 6455 §4.2.1. Subprotocols other than `lhttp` and all extensions are ignored.
/// One allocation.
///
/// The form of the key decides whether it is base64 of 16 bytes. The 4 unused bits of its last character are not
/// checked (RFC 4648 §3.5).
///
/// # Errors
/// The response to send before the connection is closed.
pub(crate) fn check(head: &RequestHead<'_, '_>) -> Result<Accepted, Rejected> {
    if head.method != "GET" {
        return Err(BAD_METHOD.into());
    }
    if head.minor_version == 0 {
        return Err(OLD_HTTP.into());
    }
    if !head.header_values("upgrade").any(|value| list_contains(value, b"websocket")) {
        return Err(NO_UPGRADE.into());
    }
    if !head.header_values("connection").any(|value| list_contains(value, b"upgrade")) {
        return Err(NO_CONNECTION.into());
    }
    if only(head, "sec-websocket-version") != Some(b"13") {
        return Err(BAD_VERSION.into());
    }
    let key = only(head, "sec-websocket-key").filter(|key| is_base64_of_16_bytes(key)).ok_or(BAD_KEY)?;
    if head.has_body() {
        return Err(HAS_BODY.into());
    }
    let lhttp = head.header_values("sec-websocket-protocol").flat_map(members).any(|offer| offer == SUBPROTOCOL);
    Ok(Accepted { accept_key: derive_accept_key(key), lhttp })
}

/// Appends the 101 (RFC 6455 §4.2.2); WebSocket frames follow it.
pub(crate) fn write_accepted(out: &mut Vec<u8>, accepted: &Accepted) {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    out.extend_from_slice(b"Sec-WebSocket-Accept: ");
    out.extend_from_slice(accepted.accept_key.as_bytes());
    if accepted.lhttp {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(SUBPROTOCOL);
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// The value of a header that must occur exactly once (RFC 6455 §11.3).
fn only<'b>(head: &RequestHead<'_, 'b>, name: &str) -> Option<&'b [u8]> {
    let mut values = head.header_values(name);
    values.next().filter(|_| values.next().is_none())
}

/// The base64 of 16 bytes is always 22 characters and two of padding.
fn is_base64_of_16_bytes(key: &[u8]) -> bool {
    let is_symbol = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_symbol)
}

#[cfg(test)]
mod tests;
