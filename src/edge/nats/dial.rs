//! Which server to connect to, and connecting to it.
//!
//! Those that are configured come first, in an order of this node's own, so that nodes spread over them; then those that
//! the servers tell of, a few at a time. Who failed lately comes behind the others of its kind. One that does not answer
//! holds up the next one for a moment only.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use async_nats::ServerInfo;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};

use super::{
    link::random,
    lock,
    options::Options,
    said::{Listener, Said},
};

/// After this time without an answer the next server is tried, too.
const STAGGER: Duration = Duration::from_millis(250);
/// How long one address may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a server may take to say who it is, with TLS.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Who has failed is not the first choice for so long.
const SHUNNED_FOR: Duration = Duration::from_secs(30);
/// Servers that others tell of, at most.
const ADVERTISED_MAX: usize = 32;

/// How many of them are tried before those that are configured have their turn again.
const ADVERTISED_AT_ONCE: usize = 4;

/// A server that has said who it is.
#[derive(Debug)]
pub(super) struct Dialed {
    pub(super) url: String,
    pub(super) info: ServerInfo,
    pub(super) stream: Stream,
    /// What it has said behind that.
    pub(super) listener: Listener,
}

/// All servers that there may be.
#[derive(Debug)]
pub(super) struct Dialer {
    candidates: Mutex<Vec<Candidate>>,
    /// The next connection, made before it is wanted.
    prepared: Mutex<Option<Dialed>>,
    scheme: &'static str,
}

#[derive(Clone, Debug)]
struct Candidate {
    /// Host and port.
    address: String,
    is_configured: bool,
    failed_at: Option<Instant>,
}

impl Dialer {
    pub(super) fn new(addresses: &[String], is_tls: bool) -> Self {
        let mut addresses = addresses.to_vec();
        for last in (1..addresses.len()).rev() {
            addresses.swap(last, (random() % (last as u64 + 1)) as usize);
        }
        let candidate = |address| Candidate { address, is_configured: true, failed_at: None };
        let candidates = addresses.into_iter().map(candidate).collect();
        let scheme = if is_tls { "tls" } else { "nats" };
        Self { candidates: Mutex::new(candidates), prepared: Mutex::default(), scheme }
    }

    fn url(&self, address: &str) -> String {
        format!("{}://{address}", self.scheme)
    }

    /// A reason with the server that it is about, where there is more than one.
    pub(super) fn reason(&self, url: &str, reason: &str) -> String {
        if lock(&self.candidates).len() == 1 { reason.to_owned() } else { format!("{url}: {reason}") }
    }

    /// Takes in what a server says of itself and others.
    pub(super) fn learn(&self, json: &[u8]) {
        if let Ok(info) = serde_json::from_slice::<ServerInfo>(json) {
            self.learn_of(&info.connect_urls);
        }
    }

    /// Takes in where a server says that others are.
    pub(super) fn learn_of(&self, urls: &[String]) {
        if urls.is_empty() {
            return; // it does not tell
        }
        let mut candidates = lock(&self.candidates);
        let is_new = |candidates: &[Candidate], url: &String| candidates.iter().all(|known| known.address != *url);
        candidates.retain(|candidate| candidate.is_configured || urls.contains(&candidate.address));
        for url in urls.iter().filter(|url| is_address(url)).take(ADVERTISED_MAX) {
            if is_new(&candidates, url) {
                candidates.push(Candidate { address: url.clone(), is_configured: false, failed_at: None });
            }
        }
    }

    /// A server has failed.
    pub(super) fn has_failed(&self, url: &str) {
        let mut candidates = lock(&self.candidates);
        let of_url = candidates.iter_mut().find(|candidate| url.ends_with(&format!("//{}", candidate.address)));
        if let Some(candidate) = of_url {
            candidate.failed_at = Some(Instant::now());
        }
    }

    fn in_order(&self) -> Vec<String> {
        let mut candidates = lock(&self.candidates).clone();
        let shunned_since = |candidate: &Candidate| candidate.failed_at.filter(|at| at.elapsed() < SHUNNED_FOR);
        candidates.sort_by_key(|candidate| (!candidate.is_configured, shunned_since(candidate)));
        let configured = candidates.iter().filter(|candidate| candidate.is_configured).count();
        candidates.truncate(configured + ADVERTISED_AT_ONCE);
        candidates.into_iter().map(|candidate| candidate.address).collect()
    }

    /// Connects to another server than this one, for the next [`Dialer::dial`].
    ///
    /// # Errors
    /// Why no server can be had.
    pub(super) async fn prepare(&self, options: &Arc<Options>, except: Option<&str>) -> Result<(), String> {
        if let Some(url) = except {
            self.has_failed(url);
        }
        let dialed = self.dial(options, except).await?;
        *lock(&self.prepared) = Some(dialed);
        Ok(())
    }

    /// Connects to the first server that answers.
    ///
    /// # Errors
    /// Why none of them does.
    pub(super) async fn dial(&self, options: &Arc<Options>, except: Option<&str>) -> Result<Dialed, String> {
        if let Some(prepared) = lock(&self.prepared).take() {
            return Ok(prepared);
        }
        let mut rest = self.in_order().into_iter().filter(|address| except != Some(&*self.url(address)));
        let mut next = rest.next();
        let (mut attempts, mut reasons) = (JoinSet::new(), Vec::new());
        loop {
            if let Some(address) = next.take() {
                let (options, url) = (Arc::clone(options), self.url(&address));
                attempts.spawn(async move { attempt(&options, url, &address).await });
                next = rest.next();
            }
            let ended = match &next {
                Some(_) => timeout(STAGGER, attempts.join_next()).await,
                None => Ok(attempts.join_next().await),
            };
            match ended {
                Ok(Some(Ok(Ok(dialed)))) => {
                    self.learn_of(&dialed.info.connect_urls);
                    return Ok(dialed);
                }
                Ok(Some(Ok(Err((url, error))))) => {
                    self.has_failed(&url);
                    reasons.push(self.reason(&url, &error.to_string()));
                }
                Ok(Some(Err(_))) | Err(_) => {}
                Ok(None) if next.is_none() => break,
                Ok(None) => {}
            }
        }
        if reasons.is_empty() {
            reasons.push("there is no other".to_owned());
        }
        reasons.sort();
        Err(reasons.join(", "))
    }
}

/// What a server says is not trusted to be an address.
fn is_address(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    text.len() <= 255 && text.bytes().all(is_plain) && text.rsplit_once(':').is_some()
}

async fn attempt(options: &Options, url: String, address: &str) -> Result<Dialed, (String, io::Error)> {
    let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "timed out");
    match timeout(DIAL_TIMEOUT, connect(options, address)).await.unwrap_or_else(|_| Err(timed_out())) {
        Ok((info, stream, listener)) => Ok(Dialed { url, info, stream, listener }),
        Err(error) => Err((url, error)),
    }
}

async fn connect(options: &Options, address: &str) -> io::Result<(ServerInfo, Stream, Listener)> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address_of_it in lookup_host(address).await? {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address_of_it)).await {
            Ok(Ok(stream)) => return greet(options, address, stream).await,
            Ok(Err(failure)) => error = failure,
            Err(_) => error = io::Error::new(io::ErrorKind::TimedOut, "timed out"),
        }
    }
    Err(error)
}

async fn greet(options: &Options, address: &str, stream: TcpStream) -> io::Result<(ServerInfo, Stream, Listener)> {
    stream.set_nodelay(true)?;
    // What a broken connection holds must not reach the server behind what the next one brings: it is reset at its end.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    let mut stream = Stream::Plain(stream);
    if options.tls.is_first {
        stream = stream.secure(options, address).await?;
    }
    let mut listener = Listener::default();
    let info = loop {
        match listener.next(0).map_err(|_| io::Error::other("it does not speak NATS"))? {
            Some(Said::Info(json)) => break serde_json::from_slice::<ServerInfo>(json).map_err(io::Error::other)?,
            Some(Said::Error(text)) => {
                let text = String::from_utf8_lossy(text).to_lowercase();
                return Err(io::Error::other(text.escape_debug().to_string()));
            }
            Some(_) => return Err(io::Error::other("it does not speak NATS")),
            None => {}
        }
        let len = stream.read(listener.space()).await?;
        if len == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has closed the connection"));
        }
        listener.filled(len);
    };
    if matches!(stream, Stream::Plain(_)) && (options.tls.is_required || info.tls_required) {
        // What came behind the first line was in the clear, and from anybody.
        listener = Listener::default();
        stream = stream.secure(options, address).await?;
    }
    Ok((info, stream, listener))
}

/// The bytes to and from a server.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl Stream {
    async fn secure(self, options: &Options, address: &str) -> io::Result<Self> {
        let Self::Plain(stream) = self else { return Ok(self) };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let connector = TlsConnector::from(options.tls.client().map_err(io::Error::other)?);
        Ok(Self::Secure(Box::new(connector.connect(name, stream).await?)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_servers_come_first_and_the_others_take_turns() {
        let dialer = Dialer::new(&["own:1".to_owned()], false);
        dialer.learn_of(&(0..ADVERTISED_MAX).map(|number| format!("far:{number}")).collect::<Vec<_>>());
        dialer.has_failed("nats://own:1");
        let mut seen = std::collections::HashSet::new();
        for _ in 0..ADVERTISED_MAX / ADVERTISED_AT_ONCE {
            let order = dialer.in_order();
            assert_eq!((order[0].as_str(), order.len()), ("own:1", 1 + ADVERTISED_AT_ONCE));
            for address in &order[1..] {
                dialer.has_failed(&format!("nats://{address}"));
                seen.insert(address.clone());
            }
        }
        assert_eq!(seen.len(), ADVERTISED_MAX, "all have been tried");
        assert_eq!(dialer.in_order()[1], "far:0", "the one that failed first");
    }
}
