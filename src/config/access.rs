//! Where clients may come from: the origins of pages, the names of hosts, and the proxies that are trusted to tell a
//! client's address (PROTOCOL.md §9).

mod network;

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use super::Config;
use crate::protocol::authority::{Host, Origin};

pub use self::network::TrustedProxy;

/// The word that allows everything.
const ANY: &str = "*";

/// A page whose requests are accepted beside those of the server's own pages: `https://example.com`, `null`, or `*` for
/// all.
///
/// ```
/// use lhttp::config::AllowedOrigin;
///
/// let origin: AllowedOrigin = "https://example.com".parse()?;
/// assert_eq!(origin.to_string(), "https://example.com");
/// assert!("example.com".parse::<AllowedOrigin>().is_err(), "an origin has a scheme");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigin(Arc<str>);

impl AllowedOrigin {
    /// Whether this entry allows a page.
    fn allows(&self, origin: Option<Origin<'_>>) -> bool {
        &*self.0 == ANY || origin.is_some_and(|origin| Origin::parse(self.0.as_bytes()) == Some(origin))
    }

    /// The value of `Access-Control-Allow-Origin`.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl FromStr for AllowedOrigin {
    type Err = String;

    /// # Errors
    /// One sentence that shows the text.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == ANY || Origin::parse(text.as_bytes()).is_some() {
            return Ok(Self(text.into()));
        }
        Err(format!("{text:?} is no origin: write for example https://example.com, without a path, or null, or *"))
    }
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host that requests may name in `Host`: a name or an address without a port, or `*` for all.
///
/// ```
/// use lhttp::config::AllowedHost;
///
/// assert!("example.com".parse::<AllowedHost>().is_ok() && "[2001:db8::1]".parse::<AllowedHost>().is_ok());
/// assert!("example.com:443".parse::<AllowedHost>().is_err(), "every port is allowed");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost(Box<str>);

impl AllowedHost {
    /// Whether this entry allows a host. A `Host` that cannot be read is allowed only by `*`.
    pub(crate) fn allows(&self, host: Option<Host<'_>>) -> bool {
        &*self.0 == ANY || host.is_some_and(|host| Host::parse(&self.0) == Some(host))
    }
}

impl FromStr for AllowedHost {
    type Err = String;

    /// # Errors
    /// One sentence that shows the text.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == ANY || Host::parse(text).is_some() {
            return Ok(Self(text.into()));
        }
        Err(format!("{text:?} is no host: write a name or an address without a port, such as example.com, or *"))
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the proxies of `trust-proxy` tell the address of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyHeader {
    /// By the header `X-Forwarded-For` of each request.
    #[default]
    XForwardedFor,
    /// By the header `Forwarded` of each request (RFC 7239).
    Forwarded,
    /// By the PROXY protocol, version 1 or 2, before the first byte of the client.
    ProxyProtocol,
}

impl ProxyHeader {
    const ALL: [(&'static str, Self); 3] = [
        ("x-forwarded-for", Self::XForwardedFor),
        ("forwarded", Self::Forwarded),
        ("proxy-protocol", Self::ProxyProtocol),
    ];
}

impl FromStr for ProxyHeader {
    type Err = String;

    /// # Errors
    /// One sentence that shows the text.
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(word, _)| *word == text).map(|(_, header)| *header);
        known.ok_or_else(|| format!("{text:?} is none of x-forwarded-for, forwarded, proxy-protocol"))
    }
}

impl fmt::Display for ProxyHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, header)| header == self).map_or("", |(word, _)| word))
    }
}

/// All of it, as the cores use it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    origins: Box<[AllowedOrigin]>,
    hosts: Box<[AllowedHost]>,
    proxies: Box<[TrustedProxy]>,
    pub(crate) proxy_header: ProxyHeader,
}

impl Access {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            origins: config.allow_origin.clone().into(),
            hosts: config.allow_host.clone().into(),
            proxies: config.trust_proxy.clone().into(),
            proxy_header: config.proxy_header,
        }
    }

    /// The entry that allows a page; a page that cannot be read is `None`.
    pub(crate) fn origin(&self, origin: Option<Origin<'_>>) -> Option<&AllowedOrigin> {
        self.origins.iter().find(|entry| entry.allows(origin))
    }

    /// Whether there is a list of hosts, which then holds on every listener.
    pub(crate) fn has_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Whether the list of hosts has this one.
    pub(crate) fn allows_host(&self, host: Option<Host<'_>>) -> bool {
        self.hosts.iter().any(|entry| entry.allows(host))
    }

    /// Whether a connection comes from a trusted proxy; one without an address comes by a unix socket.
    pub(crate) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        self.proxies.iter().any(|proxy| proxy.is(peer))
    }

    /// Whether connections of trusted proxies begin with a header of the PROXY protocol.
    pub(crate) fn has_proxy_protocol(&self) -> bool {
        !self.proxies.is_empty() && self.proxy_header == ProxyHeader::ProxyProtocol
    }
}

impl Config {
    /// Checks that the options about origins, hosts and proxies fit each other.
    pub(super) fn check_access(&self) -> Result<(), String> {
        let is_any = |text: &dyn fmt::Display| text.to_string() == ANY;
        if self.allow_origin.len() > 1 && self.allow_origin.iter().any(|origin| is_any(origin)) {
            return Err("allow-origin: * allows all origins, so it stands alone".to_owned());
        }
        if self.allow_host.len() > 1 && self.allow_host.iter().any(|host| is_any(host)) {
            return Err("allow-host: * allows all hosts, so it stands alone".to_owned());
        }
        if self.proxy_header != ProxyHeader::default() && self.trust_proxy.is_empty() {
            return Err(format!("proxy-header: {} needs trust-proxy, which says whose", self.proxy_header));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
