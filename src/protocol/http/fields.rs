//! Checks the header lines that control the connection together: host, length, persistence, expectation (RFC 9110 §7,
//! §10.1.1; RFC 9112 §3.2, §6, §9.3).
//!
//! A request is refused wherever a proxy in front of us might read another length than we do. Otherwise the two would
//! disagree about where the next request starts, and the author of the body could have written that next request.

use httparse::Header;

use super::{Body, Persistence};
use crate::error::HttpFault;

const NO_HOST: HttpFault = HttpFault::new(400, "an HTTP/1.1 request needs a Host header");
const MANY_HOSTS: HttpFault = HttpFault::new(400, "the Host header is repeated");
const BAD_HOST: HttpFault = HttpFault::new(400, "the Host header is not a host and port");
const MANY_LENGTHS: HttpFault = HttpFault::new(400, "the Content-Length header is repeated");
const BAD_LENGTH: HttpFault = HttpFault::new(400, "the Content-Length header is not one decimal number of 64 bits");
const MANY_CODINGS: HttpFault = HttpFault::new(400, "the Transfer-Encoding header is repeated");
const BAD_CODING: HttpFault = HttpFault::new(400, "the only Transfer-Encoding is chunked");
const OLD_CODING: HttpFault = HttpFault::new(400, "HTTP/1.0 has no Transfer-Encoding");
const TWO_LENGTHS: HttpFault = HttpFault::new(400, "Content-Length and Transfer-Encoding exclude each other");
const BAD_EXPECTATION: HttpFault = HttpFault::new(417, "the only expectation that can be met is 100-continue");

/// The headers of one head that control the connection, gathered in one pass.
#[derive(Debug, Default)]
pub(super) struct Fields {
    has_host: bool,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) names_websocket: bool,
}

impl Fields {
    /// Reads all lines.
    ///
    /// # Errors
    /// 400 and 417, for a line that is wrong on its own.
    pub(super) fn gather(headers: &[Header<'_>]) -> Result<Self, HttpFault> {
        let mut fields = Self::default();
        for header in headers {
            fields.read(header)?;
        }
        Ok(fields)
    }

    /// The kind of body that follows the head (RFC 9112 §6.3). Also checks that an HTTP/1.1 request has its Host.
    ///
    /// # Errors
    /// 400: lines that contradict each other or the version.
    pub(super) fn body(&self, minor_version: u8) -> Result<Body, HttpFault> {
        if minor_version == 1 && !self.has_host {
            return Err(NO_HOST);
        }
        match (self.length, self.chunked) {
            (Some(_), true) => Err(TWO_LENGTHS),
            (None, true) if minor_version == 0 => Err(OLD_CODING),
            (None, true) => Ok(Body::Chunked),
            (Some(length), false) => Ok(Body::Length(length)),
            (None, false) => Ok(Body::None),
        }
    }

    /// RFC 9112 §9.3: `close` wins; HTTP/1.1 stays open unless told otherwise, HTTP/1.0 only if asked to.
    pub(super) fn persistence(&self, minor_version: u8) -> Persistence {
        match (self.close, minor_version, self.keep_alive) {
            (true, ..) => Persistence::Close,
            (_, 1, _) => Persistence::Keep,
            (_, _, true) => Persistence::KeepSaid,
            _ => Persistence::Close,
        }
    }

    /// Most lines are none of these, and the length of a name shows that without a comparison.
    fn read(&mut self, header: &Header<'_>) -> Result<(), HttpFault> {
        let (name, value) = (header.name, header.value);
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => self.read_host(value)?,
            6 if name.eq_ignore_ascii_case("expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(BAD_EXPECTATION);
                }
                self.expects_continue = true;
            }
            7 if name.eq_ignore_ascii_case("upgrade") => {
                self.names_websocket |= list_contains(value, b"websocket");
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                self.close |= list_contains(value, b"close");
                self.keep_alive |= list_contains(value, b"keep-alive");
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                let length = decimal(value).ok_or(BAD_LENGTH)?;
                if self.length.replace(length).is_some() {
                    return Err(MANY_LENGTHS);
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(BAD_CODING);
                }
                if std::mem::replace(&mut self.chunked, true) {
                    return Err(MANY_CODINGS);
                }
            }
            17 if name.eq_ignore_ascii_case("sec-websocket-key") => self.names_websocket = true,
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112 §3.2: a repeated or invalid Host is 400 in every version. An empty one is valid.
    fn read_host(&mut self, value: &[u8]) -> Result<(), HttpFault> {
        if std::mem::replace(&mut self.has_host, true) {
            return Err(MANY_HOSTS);
        }
        if !value.iter().all(|byte| IS_HOST[usize::from(*byte)]) {
            return Err(BAD_HOST);
        }
        Ok(())
    }
}

/// Whether a comma list (RFC 9110 §5.6.1) has this member, without case.
pub(crate) fn list_contains(list: &[u8], member: &[u8]) -> bool {
    members(list).any(|found| found.eq_ignore_ascii_case(member))
}

/// The members of a comma list without the blanks around them.
pub(crate) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Only digits: `str::parse` would accept a leading `+`.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The bytes of `uri-host [ ":" port ]` (RFC 3986 §3.2.2), as a table: every request has a Host.
const IS_HOST: [bool; 256] = {
    let marks = *b"-._~%!$&'()*+,;=:[]";
    let mut table = [false; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
};
