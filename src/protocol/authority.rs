//! Hosts, ports and origins as requests name them (RFC 3986 §3.2.2, RFC 6454 §6.1).
//!
//! The parser accepts what a browser sends and nothing else: no user, no path, no percent-encoding, and a last label that
//! looks like a number only in an IPv4 address of four decimal numbers. Then two texts mean the same host only if their
//! parsed forms are equal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name of a host, without the dot at its end (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// A host. Names compare without case.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Host<'b> {
    /// A name, without the dot that may stand at its end.
    Name(&'b str),
    /// An address. An IPv4 address that is written as an IPv6 address is an IPv4 address here.
    Address(IpAddr),
}

/// `host [ ":" port ]`, as in the header `Host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority<'b> {
    pub(crate) host: Host<'b>,
    pub(crate) port: Option<u16>,
}

/// The value of the header `Origin`: the page that sends a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'b> {
    /// The page has an origin that the browser does not tell: a file, or a frame in a sandbox.
    Null,
    /// Scheme, host and port.
    Page { scheme: &'b str, authority: Authority<'b> },
}

impl Host<'_> {
    /// Whether the host can only be this machine: `localhost` and the names below it (RFC 6761 §6.3), and the loopback
    /// addresses.
    pub(crate) fn is_loopback(self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(name) => {
                let top = name.rsplit('.').next().unwrap_or(name);
                top.eq_ignore_ascii_case("localhost")
            }
        }
    }
}

impl Host<'_> {
    /// Whether the host is a name of one label, and no number: the public DNS has no address for it.
    pub(crate) fn is_single_label(self) -> bool {
        matches!(self, Self::Name(name) if !name.contains('.') && name.contains(|mark: char| mark.is_ascii_alphabetic()))
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(other)) => one.eq_ignore_ascii_case(other),
            (Self::Address(one), Self::Address(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for Host<'_> {}

impl<'b> Host<'b> {
    /// Reads a host without a port; an IPv6 address stands in brackets.
    pub(crate) fn parse(text: &'b str) -> Option<Self> {
        if let Some(inside) = text.strip_prefix('[') {
            let address: Ipv6Addr = inside.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) {
            return None;
        }
        let last = name.rsplit('.').next().unwrap_or(name);
        // Resolvers take such a name for an address in many forms: 127.1, 0x7f.1, 2130706433.
        if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X") {
            return name.parse::<Ipv4Addr>().ok().map(|address| Self::Address(address.into()));
        }
        Some(Self::Name(name))
    }
}

impl<'b> Authority<'b> {
    /// Reads the value of a `Host`.
    pub(crate) fn parse(value: &'b [u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        // A colon inside of brackets belongs to the address.
        let colon = text.rfind(':').filter(|&colon| !text[colon..].contains(']'));
        let (host, port) = match colon {
            Some(colon) => (&text[..colon], Some(parse_port(&text[colon + 1..])?)),
            None => (text, None),
        };
        Some(Self { host: Host::parse(host)?, port })
    }
}

/// Only digits: `str::parse` would accept a leading `+`.
fn parse_port(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

impl<'b> Origin<'b> {
    /// Reads the value of an `Origin`.
    pub(crate) fn parse(value: &'b [u8]) -> Option<Self> {
        if value == b"null" {
            return Some(Self::Null);
        }
        let (scheme, rest) = std::str::from_utf8(value).ok()?.split_once("://")?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
            return None;
        }
        Some(Self::Page { scheme, authority: Authority::parse(rest.as_bytes())? })
    }

    /// Whether the page comes from this host by HTTP or HTTPS, from whatever port: a site's pages and its WebSockets are
    /// often served by two programs.
    pub(crate) fn is_of(self, own: Host<'_>) -> bool {
        matches!(self, Self::Page { scheme, authority } if default_port(scheme).is_some() && authority.host == own)
    }
}

impl PartialEq for Origin<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Page { scheme, authority }, Self::Page { scheme: other_scheme, authority: other }) => {
                let port = |authority: &Authority<'_>| authority.port.or(default_port(scheme));
                scheme.eq_ignore_ascii_case(other_scheme)
                    && authority.host == other.host
                    && port(authority) == port(other)
            }
            _ => false,
        }
    }
}

impl Eq for Origin<'_> {}

/// The port of a URL of a page that writes none.
fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
