//! The address of a request's client, as the proxies on its way have written it down: `X-Forwarded-For`, and `Forwarded`
//! (RFC 7239).
//!
//! Each proxy appends the address of its own peer, so the last addresses are the ones that can be believed: those of
//! trusted proxies are passed over from the right, and the next one is the client. Everything further left was written by
//! that client.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The client that an `X-Forwarded-For` names. `values` are all lines of that header, in order. None if there is none, or
/// the entry that would be the client's is not an address.
pub(crate) fn of_x_forwarded_for<'b>(
    values: impl DoubleEndedIterator<Item = &'b [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<SocketAddr> {
    // From the right, so that the entries of a client cost nothing, however many it writes.
    let mut first = None;
    for hop in values.rev().flat_map(|value| value.rsplit(|&byte| byte == b',')).map(<[u8]>::trim_ascii) {
        if hop.is_empty() {
            continue;
        }
        first = parse_node(hop);
        if first.is_none_or(|hop| !is_trusted(hop.ip())) {
            break;
        }
    }
    first
}

/// The client that a `Forwarded` names, by the `for` of its elements.
pub(crate) fn of_forwarded<'b>(
    values: impl Iterator<Item = &'b [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<SocketAddr> {
    // If a value ends inside of quotes, it is not known where the client's part ends and the proxy's begins.
    let values = values.map(|value| if ends_quoted(value) { &b"for="[..] } else { value });
    let elements =
        values.flat_map(|value| unquoted_split(value, b',')).filter(|element| !element.trim_ascii().is_empty());
    last_untrusted(elements.map(parse_element), is_trusted)
}

/// The last hop that is not a trusted proxy; the first of all if each is one. A hop that is not an address ends the search.
fn last_untrusted(
    hops: impl Iterator<Item = Option<SocketAddr>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<SocketAddr> {
    let (mut first, mut found, mut is_found) = (None, None, false);
    for (number, hop) in hops.enumerate() {
        if number == 0 {
            first = hop;
        }
        if hop.is_none_or(|hop| !is_trusted(hop.ip())) {
            (found, is_found) = (hop, true);
        }
    }
    if is_found { found } else { first }
}

/// The `for` of one element: `for=192.0.2.1;proto=https`.
fn parse_element(element: &[u8]) -> Option<SocketAddr> {
    let mut node = None;
    for pair in unquoted_split(element, b';') {
        let pair = pair.trim_ascii();
        let Some(equals) = memchr::memchr(b'=', pair) else { continue };
        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
        if name.eq_ignore_ascii_case(b"for") {
            if node.is_some() {
                return None; // RFC 7239 §4: each parameter once
            }
            let inside = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
            node = Some(parse_node(inside.unwrap_or(value)));
        }
    }
    node.flatten()
}

/// The parts of a text between these bytes, where they do not stand inside of quotes (RFC 9110 §5.6.4).
fn unquoted_split(text: &[u8], by: u8) -> impl Iterator<Item = &[u8]> {
    let mut quotes = Quotes::default();
    text.split(move |&byte| !quotes.is_inside_after(byte) && byte == by)
}

/// Whether a text ends inside of quotes.
fn ends_quoted(text: &[u8]) -> bool {
    let mut quotes = Quotes::default();
    text.iter().fold(false, |_, &byte| quotes.is_inside_after(byte))
}

/// The place of a reader among quotes.
#[derive(Default)]
struct Quotes {
    is_inside: bool,
    is_escaped: bool,
}

impl Quotes {
    /// Reads one byte. Returns whether the next one stands inside of quotes.
    fn is_inside_after(&mut self, byte: u8) -> bool {
        let was_escaped = std::mem::take(&mut self.is_escaped);
        match byte {
            b'"' if !was_escaped => self.is_inside = !self.is_inside,
            b'\\' if self.is_inside && !was_escaped => self.is_escaped = true,
            _ => {}
        }
        self.is_inside
    }
}

/// An address with or without a port; an IPv6 address with a port stands in brackets. An IPv4 address that is written as an
/// IPv6 address is an IPv4 address.
fn parse_node(node: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let bracketed = |text: &str| text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    let address = text.parse::<IpAddr>().ok().or_else(|| bracketed(text)).map(|ip| SocketAddr::new(ip, 0));
    let address = address.or_else(|| text.parse::<SocketAddr>().ok())?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests;
