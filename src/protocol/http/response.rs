//! Responses, appended to the connection's output.

use super::Persistence;
use crate::error::HttpFault;

/// The interim answer to `Expect: 100-continue`: the client may send the body (RFC 9110 §15.2.1).
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The content type of error sentences.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// The most bytes of the head of a usual response, so that `out` grows once for all of it.
const RESPONSE_HEAD_BYTES: usize = 200;

/// Appends a whole response: [`write_response_head`], then the body.
///
/// Allocates only what `out` needs to grow.
pub(crate) fn write_response(
    out: &mut Vec<u8>,
    status: u16,
    extra: &[(&str, &str)],
    content_type: &str,
    body: &[u8],
    persistence: Persistence,
) {
    out.reserve(RESPONSE_HEAD_BYTES + body.len());
    write_response_head(out, status, extra, content_type, body.len(), persistence);
    out.extend_from_slice(body);
}

/// Appends a response without its body. With the length that the body would have, it is the answer to `HEAD`: its
/// client would take a body for the next response (RFC 9110 §9.3.2).
///
/// `extra` headers are written as given, so a caller must check any text from a peer before. A 204 has neither a
/// `Content-Type` nor a `Content-Length`, whatever is given; this function cannot write a 1xx or 304 (RFC 9110 §8.6).
pub(crate) fn write_response_head(
    out: &mut Vec<u8>,
    status: u16,
    extra: &[(&str, &str)],
    content_type: &str,
    content_bytes: usize,
    persistence: Persistence,
) {
    debug_assert!((200..=599).contains(&status) && status != 304, "{status} has no Content-Length");
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n"); // nearly all answers: one copy in place of five
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        append_decimal(out, u64::from(status));
        append_line(out, " ", reason_phrase(status));
    }
    // A browser that guesses the type could treat a message, or a sentence with a stranger's words, as one of our
    // pages.
    if status == 204 {
        out.extend_from_slice(b"X-Content-Type-Options: nosniff\r\n");
    } else {
        append_line(out, "Content-Type: ", content_type);
        out.extend_from_slice(b"X-Content-Type-Options: nosniff\r\nContent-Length: ");
        append_decimal(out, content_bytes as u64);
        out.extend_from_slice(b"\r\n");
    }
    match persistence {
        Persistence::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Persistence::Keep => {}
        Persistence::KeepSaid => out.extend_from_slice(b"Connection: keep-alive\r\n"),
    }
    for (name, value) in extra {
        out.extend_from_slice(name.as_bytes());
        append_line(out, ": ", value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the answer to a request that cannot be served. It always announces the close, because after a fault the
/// start of the next request is unknown.
pub(crate) fn write_fault(out: &mut Vec<u8>, fault: HttpFault, extra: &[(&str, &str)]) {
    write_response(out, fault.status, extra, TEXT, fault.sentence.as_bytes(), Persistence::Close);
}

/// Writes the text and the end of a line.
fn append_line(out: &mut Vec<u8>, before: &str, text: &str) {
    debug_assert!(!text.bytes().any(|byte| byte.is_ascii_control()), "{text:?} would break the line");
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `write!` uses the formatting machinery, which costs more than all the rest of a response.
fn append_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// The phrases of RFC 9110 §15 and RFC 6585 for the statuses that this server sends. Other statuses get an empty
/// phrase, which is allowed.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A response as httparse reads it: status, phrase, headers, body.
    type Parsed = (u16, String, Vec<(String, String)>, Vec<u8>);

    fn parsed(bytes: &[u8]) -> Parsed {
        let mut slots = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut slots);
        let head_bytes = response.parse(bytes).expect("well-formed").unwrap();
        assert_eq!(response.version, Some(1));
        let headers = response.headers.iter();
        let headers =
            headers.map(|h| (h.name.to_owned(), String::from_utf8(h.value.to_vec()).expect("ours"))).collect();
        (
            response.code.expect("complete"),
            response.reason.expect("complete").to_owned(),
            headers,
            bytes[head_bytes..].to_vec(),
        )
    }

    fn written(status: u16, extra: &[(&str, &str)], body: &[u8], persistence: Persistence) -> Vec<u8> {
        let mut out = Vec::new();
        write_response(&mut out, status, extra, "application/json", body, persistence);
        out
    }

    #[test]
    fn a_response_is_exactly_these_bytes() {
        let bytes = written(200, &[], b"{\"channels\":1}", Persistence::Keep);
        let expected = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Length: 14\r\n\r\n{\"channels\":1}";
        assert_eq!(bytes, expected.as_bytes());
    }

    #[test]
    fn a_response_says_close_and_tells_an_http_1_0_client_when_it_may_stay() {
        let connection = |persistence| {
            let (_, _, headers, _) = parsed(&written(200, &[], b"", persistence));
            headers.into_iter().find(|(name, _)| name == "Connection").map(|(_, value)| value)
        };
        assert_eq!(connection(Persistence::Close).as_deref(), Some("close"));
        assert_eq!(connection(Persistence::Keep), None);
        assert_eq!(connection(Persistence::KeepSaid).as_deref(), Some("keep-alive"));
    }

    #[test]
    fn a_response_is_appended_to_the_output_and_carries_the_extra_headers_in_order() {
        let mut out = b"before".to_vec();
        write_response(&mut out, 405, &[("Allow", "POST"), ("Retry-After", "1")], TEXT, b"no", Persistence::Close);
        assert!(out.starts_with(b"before"));
        let (status, phrase, headers, body) = parsed(&out[6..]);
        assert_eq!((status, phrase.as_str(), body.as_slice()), (405, "Method Not Allowed", &b"no"[..]));
        let tail: Vec<_> = headers[headers.len() - 2..].iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(tail, [("Allow", "POST"), ("Retry-After", "1")]);
    }

    #[test]
    fn the_answer_to_head_announces_the_length_and_has_no_body() {
        let mut out = Vec::new();
        write_response_head(&mut out, 200, &[], TEXT, 2, Persistence::Keep);
        let (_, _, headers, body) = parsed(&out);
        assert!(headers.contains(&("Content-Length".into(), "2".into())) && body.is_empty());
    }

    #[test]
    fn a_fault_is_its_status_its_sentence_and_the_close() {
        let mut out = Vec::new();
        write_fault(&mut out, HttpFault::new(431, "too big"), &[("X-Limit", "8")]);
        let (status, phrase, headers, body) = parsed(&out);
        assert_eq!((status, phrase.as_str()), (431, "Request Header Fields Too Large"));
        assert_eq!(body, b"too big");
        for line in [("Content-Type", TEXT), ("Connection", "close"), ("X-Limit", "8")] {
            assert!(headers.contains(&(line.0.into(), line.1.into())), "{line:?} is missing in {headers:?}");
        }
    }

    #[test]
    fn every_status_that_the_server_sends_has_its_phrase() {
        for status in [200, 400, 401, 403, 404, 405, 408, 411, 413, 415, 417, 426, 429, 431, 500, 503, 505] {
            assert!(!reason_phrase(status).is_empty(), "{status}");
        }
    }

    #[test]
    fn continue_is_an_interim_response_without_headers() {
        let (status, phrase, headers, body) = parsed(CONTINUE);
        assert_eq!((status, phrase.as_str(), headers.len(), body.len()), (100, "Continue", 0, 0));
    }

    proptest! {
        #[test]
        fn any_response_reads_back_as_it_was_written(
            status in (200_u16..600).prop_filter("carries a length", |s| *s != 204 && *s != 304),
            body in prop::collection::vec(any::<u8>(), 0..2000),
            value in "[!-~]([ -~]{0,20}[!-~])?",
        ) {
            let bytes = written(status, &[("X-Extra", &value)], &body, Persistence::Keep);
            let (code, _, headers, rest) = parsed(&bytes);
            prop_assert_eq!(code, status);
            prop_assert_eq!(&rest, &body);
            prop_assert_eq!(&headers[2], &("Content-Length".to_owned(), body.len().to_string()));
            prop_assert_eq!(&headers[3], &("X-Extra".to_owned(), value));
        }

        #[test]
        fn decimals_are_what_the_standard_library_prints(number: u64) {
            let mut out = Vec::new();
            append_decimal(&mut out, number);
            prop_assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
