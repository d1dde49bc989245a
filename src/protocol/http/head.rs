//! Request heads: httparse reads the lines, `fields` checks them together.

use std::mem::MaybeUninit;

use httparse::{Error, Header, Request, Status};

use super::fields::Fields;
use crate::error::HttpFault;

/// The most header lines of a request; one more is answered with 431.
pub(crate) const HEADER_LINES_MAX: usize = 128;

const HEAD_TOO_BIG: HttpFault = HttpFault::new(431, "the request's head is over the limit");
const TOO_MANY_LINES: HttpFault = HttpFault::new(431, "the request has more than 128 header lines");
const UNKNOWN_VERSION: HttpFault = HttpFault::new(505, "this server speaks HTTP/1.1 and HTTP/1.0");
const BAD_REQUEST_LINE: HttpFault = HttpFault::new(400, "the first line is not: METHOD TARGET HTTP/1.1");
const BAD_HEADER: HttpFault = HttpFault::new(400, "a header line is malformed");
const BAD_LINE_END: HttpFault = HttpFault::new(400, "a line of the head does not end in CRLF");
const BAD_TARGET: HttpFault = HttpFault::new(400, "the request target is neither a path nor a URL");

/// Room for the header lines of one head: 4 KiB of stack that is never initialised, so making one costs nothing.
pub(crate) struct HeaderSlots<'b>([MaybeUninit<Header<'b>>; HEADER_LINES_MAX]);

impl HeaderSlots<'_> {
    /// Empty room. The same room can serve one head after the other.
    pub(crate) const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; HEADER_LINES_MAX])
    }
}

/// A request without its body, borrowed from the buffer that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestHead<'h, 'b> {
    /// The method as sent: methods compare exactly.
    pub(crate) method: &'b str,
    /// The request target as sent.
    pub(crate) target: &'b str,
    /// The target's path without its query: `/publish` of `/publish?x=1` and of `http://host/publish`. It is not
    /// percent-decoded. For `OPTIONS *` it is `*`, for `CONNECT` the whole target.
    pub(crate) path: &'b str,
    /// The header lines in order; values without the blanks around them.
    pub(crate) headers: &'h [Header<'b>],
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub(crate) minor_version: u8,
    /// The kind of body that follows the head.
    pub(crate) body: Body,
    /// Whether another request may follow, and how the response says so.
    pub(crate) persistence: Persistence,
    /// The client waits for [`CONTINUE`](super::CONTINUE) before it sends the body. Never set when no body follows, nor
    /// with HTTP/1.0 (RFC 9110 §10.1.1).
    pub(crate) expect_continue: bool,
    /// The request asks for a WebSocket, correctly or not:
    /// [`handshake::is_upgrade`](crate::protocol::handshake::is_upgrade).
    pub(crate) names_websocket: bool,
}

/// The body that follows a request's head (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Neither a length nor chunks were announced, so no body follows. A method that needs a body is answered with 411.
    None,
    /// This many bytes (`Content-Length`), 0 included. Not yet checked against any limit.
    Length(u64),
    /// Chunks, for [`ChunkedBody`](super::ChunkedBody).
    Chunked,
}

/// Whether the connection stays open after a response (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// The connection is closed, and the response says so.
    Close,
    /// The connection stays open, as is the default of HTTP/1.1.
    Keep,
    /// The connection stays open, and the response says so because an HTTP/1.0 client does not expect it.
    KeepSaid,
}

impl<'b> RequestHead<'_, 'b> {
    /// Whether a body of at least one byte, or chunks, follow it.
    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.body, Body::None | Body::Length(0))
    }

    /// The first value of this header; names compare without case.
    #[cfg(test)]
    pub(crate) fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.header_values(name).next()
    }

    /// The values of this header, line by line; names compare without case.
    pub(crate) fn header_values(&self, name: &str) -> impl DoubleEndedIterator<Item = &'b [u8]> {
        self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }
}

/// Parses the request head at the start of `bytes`, and returns it with its length in bytes. `None`: more bytes are
/// needed. Empty lines before the head count as part of it (RFC 9112 §2.2).
///
/// The parser reads no byte behind the head, however much is pipelined there, and allocates nothing. An incomplete head
/// is parsed from its start each time; [`HeadProgress`](super::HeadProgress) decides when that is worth it. Once a
/// prefix is an error, more bytes never change that error.
///
/// # Errors
/// 400 for input that RFC 9112 forbids, and for everything that two readers may understand as two different requests
/// (see `fields`; also whitespace before a colon, folded lines, a bare CR or LF). 417 for an unknown expectation, 431
/// for more than `head_bytes_max` or [`HEADER_LINES_MAX`], 505 for another version of HTTP. The caller must close the
/// connection.
pub(crate) fn parse_head<'h, 'b>(
    bytes: &'b [u8],
    head_bytes_max: usize,
    slots: &'h mut HeaderSlots<'b>,
) -> Result<Option<(RequestHead<'h, 'b>, usize)>, HttpFault> {
    let window = &bytes[..bytes.len().min(head_bytes_max)];
    let mut request = Request::new(&mut []);
    let head_bytes = match request.parse_with_uninit_headers(window, &mut slots.0) {
        Ok(Status::Complete(head_bytes)) => head_bytes,
        Ok(Status::Partial) if bytes.len() < head_bytes_max => return Ok(None),
        Ok(Status::Partial) => return Err(HEAD_TOO_BIG),
        Err(error) => return Err(syntax_fault(error, window)),
    };
    if !lines_end_in_crlf(&window[..head_bytes]) {
        return Err(BAD_LINE_END);
    }
    let (Some(method), Some(target), Some(minor_version)) = (request.method, request.path, request.version) else {
        return Err(BAD_REQUEST_LINE);
    };
    let path = path_of(method, target).ok_or(BAD_TARGET)?;
    let headers: &'h [Header<'b>] = request.headers;
    let fields = Fields::gather(headers)?;
    let body = fields.body(minor_version)?;
    let head = RequestHead {
        method,
        target,
        path,
        headers,
        minor_version,
        body,
        persistence: fields.persistence(minor_version),
        expect_continue: fields.expects_continue && minor_version == 1 && !matches!(body, Body::None | Body::Length(0)),
        names_websocket: fields.names_websocket,
    };
    Ok(Some((head, head_bytes)))
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750 §2.1); the scheme ignores case. None if the header is missing,
/// repeated, empty or of another scheme. Compare the token in constant time.
pub(crate) fn bearer_token<'b>(head: &RequestHead<'_, 'b>) -> Option<&'b [u8]> {
    let mut values = head.header_values("authorization");
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, rest) = value.split_at_checked(b"Bearer".len())?;
    let token = rest.trim_ascii_start();
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer") && rest.starts_with(b" ") && !token.is_empty();
    is_bearer.then_some(token)
}

fn syntax_fault(error: Error, window: &[u8]) -> HttpFault {
    match error {
        Error::TooManyHeaders => TOO_MANY_LINES,
        // httparse returns `Version` for any other word too. Only a word in the form of an HTTP version is an unknown
        // version.
        Error::Version => {
            match window.split(|byte| *byte == b' ').nth(2).and_then(|word| word.strip_prefix(b"HTTP/")) {
                Some([b'0'..=b'9', ..]) => UNKNOWN_VERSION,
                _ => BAD_REQUEST_LINE,
            }
        }
        Error::HeaderName | Error::HeaderValue => BAD_HEADER,
        Error::NewLine => BAD_LINE_END,
        Error::Token | Error::Status => BAD_REQUEST_LINE,
    }
}

/// httparse accepts a bare LF as the end of a line. Other readers take it as part of the line, and so see another
/// request. httparse rejects a bare CR, so each CR has its LF; if the numbers of CR and LF are equal, each LF has its
/// CR too. Counting costs less than looking at the byte before each LF.
fn lines_end_in_crlf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).count() == memchr::memchr_iter(b'\r', head).count()
}

/// The path of a target in the four forms of RFC 9112 §3.2, or None if the target has none of these forms.
fn path_of<'b>(method: &str, target: &'b str) -> Option<&'b str> {
    if target.starts_with('/') {
        return Some(without_query(target));
    }
    if method == "CONNECT" || (method == "OPTIONS" && target == "*") {
        return Some(target);
    }
    let (scheme, rest) = target.split_once("://")?;
    let authority_bytes = memchr::memchr3(b'/', b'?', b'#', rest.as_bytes()).unwrap_or(rest.len());
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
        return None;
    }
    match &rest[authority_bytes..] {
        _ if authority_bytes == 0 => None,
        path if path.starts_with('/') => Some(without_query(path)),
        _ => Some("/"),
    }
}

fn without_query(path: &str) -> &str {
    // Most paths are so short that the set-up of a vector search would cost more.
    path.bytes().position(|byte| matches!(byte, b'?' | b'#')).map_or(path, |end| &path[..end])
}

#[cfg(test)]
mod tests;
