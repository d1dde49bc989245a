//! Which URLs may be fetched. The comparison is by meaning (WHATWG URL), and the server fetches the canonical form, so
//! that nothing depends on the spelling.

use std::str::FromStr;

use percent_encoding::percent_decode;
use url::{Host, Url};

/// A longer host and port are invalid: a name has at most 253 bytes (RFC 1035 §2.3.4). The time to parse a name that is
/// not ASCII grows with the square of its length.
const AUTHORITY_BYTES_MAX: usize = 320;
/// A path that is escaped more often than this hides something. Each time costs one more pass over the path.
const ESCAPED_TIMES_MAX: usize = 8;

/// An `http` or `https` URL in its canonical form, without a fragment; `None` if the text is no such URL, or if it names
/// a user.
pub(crate) fn parse_url(text: &str) -> Option<Url> {
    if authority(text).len() > AUTHORITY_BYTES_MAX {
        return None;
    }
    let mut url = Url::parse(text).ok()?;
    url.set_fragment(None);
    // A URL that is not ASCII is longer in its canonical form, which the server requests.
    if authority(url.as_str()).len() > AUTHORITY_BYTES_MAX {
        return None;
    }
    let is_plain = url.username().is_empty() && url.password().is_none() && !text_names_user(text);
    (matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain).then_some(url)
}

/// The parsed URL does not show an empty user, as in `http://@host/`.
fn text_names_user(text: &str) -> bool {
    authority(text).contains('@')
}

/// The part between the scheme and the path, with any number of slashes before it.
fn authority(text: &str) -> &str {
    let rest = text.split_once(':').map_or(text, |(_, rest)| rest).trim_start_matches(['/', '\\']);
    rest.split(['/', '\\', '?', '#']).next().unwrap_or_default()
}

/// One `upstream-allow`: a scheme, a host, a port, and the segments that a path begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    scheme: String,
    host: Host<String>,
    port: Option<u16>,
    segments: Vec<String>,
}

impl Prefix {
    /// True if the scheme is `https`.
    #[cfg(feature = "tls")]
    pub(crate) fn is_secure(&self) -> bool {
        self.scheme == "https"
    }

    /// True if scheme, host and port equal those of another.
    pub(crate) fn has_server_of(&self, other: &Self) -> bool {
        (&self.scheme, &self.host, self.port) == (&other.scheme, &other.host, other.port)
    }

    /// True if a URL of [`parse_url`] is below this prefix, however its server reads the path.
    pub(crate) fn allows(&self, url: &Url) -> bool {
        url.scheme() == self.scheme
            && url.host().is_some_and(|host| host.to_owned() == self.host)
            && url.port_or_known_default() == self.port
            && url.path_segments().is_some_and(|segments| starts_with(segments, &self.segments))
            && !hides_parent(url.path())
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_whole = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
        let url = parse_url(text).filter(|url| is_whole && url.query().is_none() && !text.contains(['#', ' ']));
        let Some(url) = url.filter(|url| !hides_parent(url.path())) else {
            return Err(format!(
                "upstream-allow: {text:?} is not a URL prefix: write http://host:port/path, without a user, a query or .."
            ));
        };
        if url.scheme() == "https" && cfg!(not(feature = "tls")) {
            return Err("upstream-allow: this lhttpd was built without https:// (cargo feature tls)".to_owned());
        }
        let segments = url.path_segments().into_iter().flatten().map(str::to_owned);
        let mut segments: Vec<String> = segments.collect();
        // A slash at the end adds nothing: segments are compared as a whole anyway.
        while segments.last().is_some_and(String::is_empty) {
            segments.pop();
        }
        let host = url.host().map(|host| host.to_owned()).ok_or("upstream-allow: a prefix names a host")?;
        Ok(Self { scheme: url.scheme().to_owned(), host, port: url.port_or_known_default(), segments })
    }
}

fn starts_with<'a>(mut segments: impl Iterator<Item = &'a str>, prefix: &[String]) -> bool {
    prefix.iter().all(|wanted| segments.next() == Some(wanted))
}

/// True if some server could find a segment `..` in this path: a server that decodes percent signs once too often, takes
/// a backslash for a slash, or cuts a segment at a semicolon. Plain `..` segments are resolved already. A path that is
/// escaped too often counts as hiding something.
fn hides_parent(path: &str) -> bool {
    let is_parent = |segment: &[u8]| {
        let name = segment.split(|&byte| byte == b';').next().unwrap_or_default();
        name.trim_ascii() == b".."
    };
    // These bytes begin overlong forms of ASCII. Some decoders take such a form for a dot or a slash.
    let is_overlong = |byte: &u8| matches!(byte, 0xc0 | 0xc1);
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..=ESCAPED_TIMES_MAX {
        if bytes.iter().any(is_overlong) || bytes.split(|byte| b"/\\".contains(byte)).any(is_parent) {
            return true;
        }
        let decoded: Vec<u8> = percent_decode(&bytes).collect();
        if decoded.len() == bytes.len() {
            return false;
        }
        bytes = decoded;
    }
    true
}

#[cfg(test)]
mod tests;
