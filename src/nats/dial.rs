//! Connects to a server and reads its first line. A server that does not answer holds up the next one only for a moment.

use std::{
    io,
    pin::Pin,
    sync::Arc,
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
    access::Access,
    candidates::Choice,
    server_lines::{ServerLine, ServerLines},
};

/// After this time without an answer the bridge also tries the next server.
const STAGGER: Duration = Duration::from_millis(250);
/// The longest time that one address may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest time until a server's first line, with TLS.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// A server that has sent its first line.
#[derive(Debug)]
pub(super) struct Dialed {
    pub(super) url: String,
    pub(super) info: ServerInfo,
    pub(super) stream: Stream,
    /// The server's bytes after its first line.
    pub(super) lines: ServerLines,
}

/// The servers that have failed, and when.
pub(super) type Failures = Vec<(String, Instant)>;

/// Connects to the first server that answers. Notes those that fail before.
///
/// # Errors
/// The reasons of all servers, for the log.
pub(super) async fn dial(
    access: &Arc<Access>,
    choice: &Choice,
    failures: &mut Failures,
) -> Result<Box<Dialed>, String> {
    let mut rest = choice.servers.iter().cloned();
    let mut next = rest.next();
    let (mut attempts, mut reasons) = (JoinSet::new(), Vec::new());
    loop {
        if let Some(server) = next.take() {
            let access = Arc::clone(access);
            attempts.spawn(async move { attempt(&access, server.url, &server.address).await });
            next = rest.next();
        }
        let ended = match &next {
            Some(_) => timeout(STAGGER, attempts.join_next()).await,
            None => Ok(attempts.join_next().await),
        };
        match ended {
            Ok(Some(Ok(Ok(dialed)))) => return Ok(Box::new(dialed)),
            Ok(Some(Ok(Err((url, error))))) => {
                reasons.push(choice.reason(&url, &error.to_string()));
                failures.push((url, Instant::now()));
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

async fn attempt(access: &Access, url: String, address: &str) -> Result<Dialed, (String, io::Error)> {
    let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "timed out");
    match timeout(DIAL_TIMEOUT, connect(access, address)).await.unwrap_or_else(|_| Err(timed_out())) {
        Ok((info, stream, lines)) => Ok(Dialed { url, info, stream, lines }),
        Err(error) => Err((url, error)),
    }
}

async fn connect(access: &Access, address: &str) -> io::Result<(ServerInfo, Stream, ServerLines)> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address_of_it in lookup_host(address).await? {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address_of_it)).await {
            Ok(Ok(stream)) => return greet(access, address, stream).await,
            Ok(Err(failure)) => error = failure,
            Err(_) => error = io::Error::new(io::ErrorKind::TimedOut, "timed out"),
        }
    }
    Err(error)
}

async fn greet(access: &Access, address: &str, stream: TcpStream) -> io::Result<(ServerInfo, Stream, ServerLines)> {
    stream.set_nodelay(true)?;
    // Reset the connection at its end: its unsent messages must not reach the server after messages of the next
    // connection.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    let mut stream = Stream::Plain(stream);
    if access.tls.is_first {
        stream = stream.secure(access, address).await?;
    }
    let mut lines = ServerLines::default();
    let info = loop {
        match lines.next(0).map_err(|_| io::Error::other("it does not speak NATS"))? {
            Some(ServerLine::Info(json)) => {
                break serde_json::from_slice::<ServerInfo>(json).map_err(io::Error::other)?;
            }
            Some(ServerLine::Error(text)) => {
                let text = String::from_utf8_lossy(text).to_lowercase();
                return Err(io::Error::other(text.escape_debug().to_string()));
            }
            Some(_) => return Err(io::Error::other("it does not speak NATS")),
            None => {}
        }
        let len = stream.read(lines.space()).await?;
        if len == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has closed the connection"));
        }
        lines.filled(len);
    };
    if matches!(stream, Stream::Plain(_)) && (access.tls.is_required || info.tls_required) {
        // The bytes after the first line were not encrypted, so anybody may have sent them.
        lines = ServerLines::default();
        stream = stream.secure(access, address).await?;
    }
    Ok((info, stream, lines))
}

/// A connection to a server, with or without TLS.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl Stream {
    async fn secure(self, access: &Access, address: &str) -> io::Result<Self> {
        let Self::Plain(stream) = self else { return Ok(self) };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let connector = TlsConnector::from(access.tls.client().map_err(io::Error::other)?);
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
