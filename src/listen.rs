//! Where a server listens: TCP addresses, with or without TLS, and unix sockets.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// What stands before an address that speaks TLS.
const TLS_SCHEME: &str = "tls://";

/// The longest path that a unix socket can have, in bytes: `sun_path` has one more, for its end (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

/// One place to listen on. Written as a text it is `ADDR:PORT`, `tls://ADDR:PORT` or `unix:/path`.
///
/// ```
/// use lhttp::config::Listen;
///
/// let tcp: Listen = "[::1]:8081".parse()?;
/// let tls: Listen = "tls://0.0.0.0:443".parse()?;
/// let unix: Listen = "unix:/run/lhttpd/lhttpd.sock".parse()?;
/// assert_eq!((tcp.to_string().as_str(), tcp.tcp().is_some()), ("[::1]:8081", true));
/// assert_eq!((tls.to_string().as_str(), tls.tcp().map(|address| address.port())), ("tls://0.0.0.0:443", Some(443)));
/// assert_eq!((unix.to_string().as_str(), unix.tcp()), ("unix:/run/lhttpd/lhttpd.sock", None));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// A TCP address. Port 0 takes a free port. `[::]` takes IPv4 connections too, as the system is set up by default,
    /// unless an IPv4 address is given with the same port: then each takes its own family.
    Tcp(SocketAddr),
    /// A TCP address, as [`Listen::Tcp`], on which the server speaks only TLS: `wss://` and `https://`.
    Tls(SocketAddr),
    /// A unix socket at this absolute path. The file has mode 0660: the server's user and group may connect. A file
    /// that a dead server has left is replaced, one that somebody answers on is not. It is removed at the end.
    ///
    /// Connections have no address, see [`Context::peer_addr`](crate::Context::peer_addr).
    Unix(PathBuf),
}

impl Listen {
    /// The address, if it is TCP, with or without TLS.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Tls(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// True if every connection there begins with a TLS handshake.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether other machines cannot reach it.
    pub(crate) fn is_of_this_machine(&self) -> bool {
        self.tcp().is_none_or(|address| address.ip().to_canonical().is_loopback())
    }

    /// Whether it may be given twice: each port 0 is another port.
    pub(crate) fn is_any_port(&self) -> bool {
        self.tcp().is_some_and(|address| address.port() == 0)
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl FromStr for Listen {
    type Err = String;

    /// # Errors
    /// One sentence that shows what was given.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path).map_err(|fault| format!("{text:?} {fault}"));
        }
        let (place, address): (fn(SocketAddr) -> Self, _) = match text.strip_prefix(TLS_SCHEME) {
            Some(address) => (Self::Tls, address),
            None => (Self::Tcp, text),
        };
        address.parse().map(place).map_err(|_| {
            format!("{text:?} is not an address: write IP:PORT such as 127.0.0.1:8081, tls://IP:PORT, or unix:/path")
        })
    }
}

fn unix(path: &str) -> Result<Listen, String> {
    if !path.starts_with('/') || path.ends_with('/') {
        return Err("needs the absolute path of a file".to_owned());
    }
    if path.chars().any(char::is_control) {
        return Err("has a control character in its path".to_owned());
    }
    if path.len() > UNIX_PATH_BYTES_MAX {
        return Err(format!("has a path of more than {UNIX_PATH_BYTES_MAX} bytes"));
    }
    Ok(Listen::Unix(path.into()))
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Tls(address) => write!(f, "{TLS_SCHEME}{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for text in
            ["0.0.0.0:8081", "[::]:0", "tls://0.0.0.0:443", "tls://[::1]:0", "unix:/run/lhttpd.sock", "unix:/a b"]
        {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_place_to_listen_on_is_refused_in_a_sentence_that_shows_it() {
        let long = format!("unix:/{}", "x".repeat(UNIX_PATH_BYTES_MAX));
        for (text, said) in [
            ("", "is not an address"),
            ("localhost:8081", "is not an address"),
            ("unix", "is not an address"),
            ("unix:", "absolute path"),
            ("unix:run/x", "absolute path"),
            ("unix:/run/", "absolute path"),
            ("unix:/a\nb", "control character"),
            ("unix:/a\0", "control character"),
            (&long, "107 bytes"),
            ("tls://", "is not an address"),
            ("tls://example.com:443", "is not an address"),
            ("tls://0.0.0.0:443/", "is not an address"),
            ("TLS://0.0.0.0:443", "is not an address"),
        ] {
            let sentence = text.parse::<Listen>().unwrap_err();
            assert!(sentence.contains(said) && !sentence.contains('\n'), "{text:?}: {sentence:?}");
        }
        assert!(long[..long.len() - 1].parse::<Listen>().is_ok());
    }
}
