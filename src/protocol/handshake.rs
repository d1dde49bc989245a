//! The server's side of the WebSocket handshake (RFC 6455 §4.2, PROTOCOL.md §3).
//!
//! Ours instead of tungstenite's, because that one wants its own buffer and 24 allocations per client, takes no list in
//! `Upgrade`, and cannot answer 405 or 426.

use tungstenite::handshake::derive_accept_key;

use super::http::{RequestHead, list_contains, members};
use crate::error::HttpFault;

/// The headers of every 426 that this server sends (RFC 6455 §4.2.2, RFC 9110 §15.5.22).
pub(crate) const UPGRADE_REQUIRED: &[(&str, &str)] =
    &[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")];

/// The subprotocol that this server answers to.
const SUBPROTOCOL: &[u8] = b"lhttp";

const BAD_METHOD: HttpFault = HttpFault::new(405, "a WebSocket handshake is a GET");
const OLD_HTTP: HttpFault = HttpFault::new(400, "a WebSocket handshake needs HTTP/1.1; a proxy may have lowered it");
const NO_UPGRADE: HttpFault = HttpFault::new(400, "the Upgrade header does not name websocket");
const NO_CONNECTION: HttpFault = HttpFault::new(400, "the Connection header does not name upgrade");
const BAD_VERSION: HttpFault = HttpFault::new(426, "this server speaks WebSocket version 13 only");
const BAD_KEY: HttpFault = HttpFault::new(400, "Sec-WebSocket-Key is not exactly one base64 of 16 bytes");
const HAS_BODY: HttpFault = HttpFault::new(400, "a WebSocket handshake has no body");

/// A handshake that is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// `Sec-WebSocket-Accept`: 28 characters.
    accept_key: String,
    /// The client offered the subprotocol `lhttp`, so it gets it.
    lhttp: bool,
}

/// A handshake that is refused: for [`write_fault`](super::http::write_fault).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The status and the sentence.
    pub(crate) fault: HttpFault,
    /// The headers that this status must have.
    pub(crate) extra: &'static [(&'static str, &'static str)],
}

impl From<HttpFault> for Refused {
    fn from(fault: HttpFault) -> Self {
        let extra: &[_] = match fault.status {
            405 => &[("Allow", "GET")],
            426 => UPGRADE_REQUIRED,
            _ => &[],
        };
        Self { fault, extra }
    }
}

/// Whether the client wants a WebSocket, so that [`check`] has to answer: `Upgrade` names `websocket`, or there is a
/// `Sec-WebSocket-Key`. Costs nothing: the parser has seen it.
///
/// `Connection: upgrade` alone is not enough: proxies are widely set up to add it to every request that they forward,
/// and an `Upgrade` to something else, such as `h2c`, may be ignored (RFC 9110 §7.8).
pub(crate) fn is_upgrade(head: &RequestHead<'_, '_>) -> bool {
    head.names_websocket
}

/// Checks a handshake in the order of RFC 6455 §4.2.1. Subprotocols other than `lhttp` and all extensions are ignored.
/// One allocation.
///
/// A key counts as base64 of 16 bytes by its form; the 4 bits of its last character that mean nothing are not looked
/// at (RFC 4648 §3.5).
///
/// # Errors
/// What to answer before closing.
pub(crate) fn check(head: &RequestHead<'_, '_>) -> Result<Accepted, Refused> {
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

/// The value of a header that must be there once (RFC 6455 §11.3).
fn only<'b>(head: &RequestHead<'_, 'b>, name: &str) -> Option<&'b [u8]> {
    let mut values = head.header_values(name);
    values.next().filter(|_| values.next().is_none())
}

/// 16 bytes are 22 characters and two of padding, always.
fn is_base64_of_16_bytes(key: &[u8]) -> bool {
    let is_symbol = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_symbol)
}

#[cfg(test)]
mod tests;
