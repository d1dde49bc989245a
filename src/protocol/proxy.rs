//! The PROXY protocol, versions 1 and 2: the address of a connection's client, told by the proxy in front of the server
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most bytes of a header. Version 1 has at most 107 bytes. Version 2 may have 64 KiB of further facts, of which
/// proxies send a few hundred bytes.
pub(crate) const HEADER_BYTES_MAX: usize = 2048;

/// The most bytes of a line of version 1, with its CRLF.
const LINE_BYTES_MAX: usize = 107;
/// The beginning of version 1.
const LINE_START: &[u8] = b"PROXY ";
/// The beginning of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The bytes of version 2 before the addresses: the signature, version and command, family, length.
const FIXED_BYTES: usize = 16;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProxyHeader {
    /// Its length. The client's own bytes begin behind it.
    pub(crate) bytes: usize,
    /// The client. None if the proxy speaks for itself, as in its health checks, or does not know an address.
    pub(crate) client: Option<SocketAddr>,
}

/// The bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoHeader;

/// Reads the header at the start of `bytes`. `None`: more bytes are needed. It reads no byte behind the header. Once some
/// bytes are no header, more of them never change that.
///
/// # Errors
/// The bytes are not the beginning of a header, or the header is too long.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoHeader> {
    let begins = |start: &[u8]| {
        let len = start.len().min(bytes.len());
        bytes[..len] == start[..len]
    };
    if begins(LINE_START) {
        parse_line(bytes)
    } else if begins(SIGNATURE) {
        parse_binary(bytes)
    } else {
        Err(NoHeader)
    }
}

fn parse_line(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoHeader> {
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if bytes.len() < LINE_BYTES_MAX { Ok(None) } else { Err(NoHeader) };
    };
    let line = window[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok()).ok_or(NoHeader)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Some(ProxyHeader { bytes: end + 1, client: None })); // the rest of the line says nothing
    }
    let [Some(source), Some(target), Some(source_port), Some(target_port), None] =
        [words.next(), words.next(), words.next(), words.next(), words.next()]
    else {
        return Err(NoHeader);
    };
    let read = |address: &str| -> Option<IpAddr> {
        match family {
            Some("TCP4") => address.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            Some("TCP6") => address.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            _ => None,
        }
    };
    let (source, _) = (read(source).ok_or(NoHeader)?, read(target).ok_or(NoHeader)?);
    let (port, _) = (parse_port(source_port).ok_or(NoHeader)?, parse_port(target_port).ok_or(NoHeader)?);
    Ok(Some(ProxyHeader { bytes: end + 1, client: Some(SocketAddr::new(source, port)) }))
}

/// A decimal number without leading zeros.
fn parse_port(text: &str) -> Option<u16> {
    let is_number = text == "0" || !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn parse_binary(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoHeader> {
    // Each fixed byte is checked as soon as it is there, so that a wrong one is not waited on.
    let is_local = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(NoHeader),
    };
    let Some(&family) = bytes.get(13) else { return Ok(None) };
    let address_bytes = match (is_local, family) {
        (true, _) | (_, 0x00) => 0, // the addresses, if there are any, say nothing
        (_, 0x11) => 12,
        (_, 0x21) => 36,
        (_, 0x31) => 216, // the paths of unix sockets
        _ => return Err(NoHeader),
    };
    let Some(length) = bytes.get(14..FIXED_BYTES) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    let header_bytes = FIXED_BYTES + length;
    if length < address_bytes || header_bytes > HEADER_BYTES_MAX {
        return Err(NoHeader);
    }
    let Some(rest) = bytes.get(FIXED_BYTES..header_bytes) else { return Ok(None) };
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let client = match address_bytes {
        12 => rest.first_chunk::<4>().map(|ip| SocketAddr::new(Ipv4Addr::from(*ip).into(), port(8))),
        36 => rest.first_chunk::<16>().map(|ip| SocketAddr::new(Ipv6Addr::from(*ip).into(), port(32))),
        _ => None,
    };
    Ok(Some(ProxyHeader { bytes: header_bytes, client }))
}

#[cfg(test)]
mod tests;
