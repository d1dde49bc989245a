//! The server that a client connects to.

use std::time::Instant;

use tungstenite::http::{HeaderName, HeaderValue, Uri};

#[cfg(feature = "tls")]
use super::tls::Trust;
use super::{
    builder::ClientOptions,
    stream::{Socket, Stream},
    wait::Wait,
};

/// Where to connect, parsed and checked once.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) uri: Uri,
    host: String,
    port: u16,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    #[cfg(feature = "tls")]
    trust: Option<Trust>,
}

impl Target {
    pub(super) fn new(url: &str, options: &ClientOptions) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| format!("{url:?} is not a URL"))?;
        let secure = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(format!("{url:?} is not a URL that starts with ws:// or wss://")),
        };
        if secure && cfg!(not(feature = "tls")) {
            return Err("wss:// needs the feature tls, which this program was built without".to_owned());
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| format!("{url:?} names no host"))?;
        let port = port(&uri, host).ok_or_else(|| format!("{url:?} has a port that is none"))?;
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let headers = options.headers.iter().map(|(name, value)| {
            let wrong = || format!("{name:?} cannot be a header of the handshake with this value");
            let name = name.parse::<HeaderName>().map_err(|_| wrong())?;
            Ok((name, value.parse::<HeaderValue>().map_err(|_| wrong())?))
        });
        let headers = headers.collect::<Result<_, String>>()?;
        #[cfg(feature = "tls")]
        let trust = if secure { Some(Trust::new(options.ca_file.as_deref())?) } else { None };
        Ok(Self {
            uri,
            host,
            port,
            headers,
            #[cfg(feature = "tls")]
            trust,
        })
    }

    /// Opens a stream to the server before the deadline, with TLS if the URL says so.
    pub(super) fn stream(&self, wait: &Wait, deadline: Instant) -> Result<Stream, String> {
        let socket = Socket::connect(&self.host, self.port, wait, deadline)?;
        #[cfg(feature = "tls")]
        if let Some(trust) = &self.trust {
            return trust.wrap(&self.host, socket);
        }
        Ok(Stream::Plain(socket))
    }
}

/// The port behind the host: `Some(None)` if there is none, and `None` if the text there is not a port. `Uri::port_u16`
/// does not tell these two apart.
fn port(uri: &Uri, host: &str) -> Option<Option<u16>> {
    let authority = uri.authority()?.as_str();
    let behind_user = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    match behind_user.strip_prefix(host)? {
        "" => Some(None),
        rest => {
            let digits = rest.strip_prefix(':')?;
            // A number may begin with a sign, but a port must not.
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?.map(Some)
        }
    }
}
