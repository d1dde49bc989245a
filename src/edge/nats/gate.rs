//! Where async-nats connects to: a listener of our own on loopback, which opens the way to a server.
//!
//! The client shows by a token, in the name that it gives itself, that it is this process's: nobody else on this machine is
//! let through to the server, where this node may be known by its certificate.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::json;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    task::JoinSet,
    time::timeout,
};

use super::{Shared, dial::Dialed, link, said::Said, server::Server};

/// Connections that have not shown that they are ours, at once.
const STRANGERS_MAX: usize = 8;
/// How long the client has to say who it is, and the server to take that.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(3);
/// What the client says to log in is no longer than this, in bytes: it holds a JWT.
const CONNECT_BYTES_MAX: usize = 64 * 1024;
/// What a socket between the client and us holds, in bytes: all of it is lost with the connection.
const SOCKET_BYTES: usize = 256 * 1024;
/// A pause after the system has refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The name that servers know this node by.
const NAME: &str = "lhttpd";

/// The listener.
pub(super) struct Gate {
    listener: TcpListener,
    token: String,
}

impl Gate {
    /// # Errors
    /// The system gives no port.
    pub(super) async fn open() -> io::Result<Self> {
        let token = format!("{NAME}-{:016x}{:016x}", link::random(), link::random());
        Ok(Self { listener: TcpListener::bind("127.0.0.1:0").await?, token })
    }

    /// Where the client is to connect to.
    ///
    /// # Errors
    /// The system does not tell.
    pub(super) fn url(&self) -> io::Result<String> {
        Ok(format!("nats://{}", self.listener.local_addr()?))
    }

    /// The name that the client is to give itself.
    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

/// Lets the client through, connection after connection.
pub(super) async fn run(shared: Arc<Shared>, gate: Gate) {
    let token: Arc<str> = gate.token.as_str().into();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match gate.listener.accept().await {
            Ok((client, _)) if connections.len() < STRANGERS_MAX => {
                connections.spawn(serve(Arc::clone(&shared), Arc::clone(&token), client));
            }
            Ok(_) => {}
            Err(error) => {
                log::warn!("NATS: the bridge cannot accept its own client: {error}");
                let _ = timeout(ACCEPT_PAUSE, std::future::pending::<()>()).await;
            }
        }
    }
}

/// One connection of the client, from its beginning to its end.
async fn serve(shared: Arc<Shared>, token: Arc<str>, client: TcpStream) {
    let _ = client.set_nodelay(true);
    let socket = SockRef::from(&client);
    let _ = (socket.set_recv_buffer_size(SOCKET_BYTES), socket.set_send_buffer_size(SOCKET_BYTES));
    let dialed = match shared.dialer.dial(&shared.options, None).await {
        Ok(dialed) => dialed,
        Err(reasons) => return shared.link.failed(reasons),
    };
    let url = dialed.url.clone();
    match timeout(LOGIN_TIMEOUT, log_in(&shared, dialed, client, &token)).await {
        Ok(Ok(Some((dialed, client)))) => pass(&shared, dialed, client).await,
        Ok(Ok(None)) => {} // a stranger
        Ok(Err(error)) => {
            shared.dialer.has_failed(&url);
            shared.link.failed(shared.dialer.reason(&url, &error.to_string()));
        }
        Err(_) => {
            shared.dialer.has_failed(&url);
            shared.link.failed(shared.dialer.reason(&url, "the server does not let this node in in time"));
        }
    }
}

/// Has the client log in. None if it is a stranger.
async fn log_in(
    shared: &Shared,
    mut dialed: Dialed,
    mut client: TcpStream,
    token: &str,
) -> io::Result<Option<(Dialed, TcpStream)>> {
    let info = &dialed.info;
    let shown = json!({
        "server_id": info.server_id, "version": info.version, "proto": 1, "headers": true,
        "max_payload": info.max_payload, "nonce": info.nonce, "auth_required": info.auth_required,
    });
    client.write_all(format!("INFO {shown}\r\n").as_bytes()).await?;
    let mut said = Vec::new();
    while !said.contains(&b'\n') {
        if said.len() > CONNECT_BYTES_MAX || client.read_buf(&mut said).await? == 0 {
            return Ok(None);
        }
    }
    let line_end = said.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let rest = said.split_off(line_end);
    let name = format!("\"name\":\"{token}\"");
    let Some(line) = String::from_utf8(said).ok().filter(|line| line.starts_with("CONNECT {") && line.contains(&name))
    else {
        return Ok(None);
    };
    let line = line.replacen(&name, &format!("\"name\":\"{NAME}\""), 1);
    dialed.stream.write_all(line.as_bytes()).await?;
    dialed.stream.write_all(&rest).await?;
    if rest.is_empty() {
        let mut ping = [0; 6];
        client.read_exact(&mut ping).await?;
        dialed.stream.write_all(&ping).await?;
    }
    dialed.stream.flush().await?;
    loop {
        match dialed.listener.next(0).map_err(|_| io::Error::other("it does not speak NATS"))? {
            Some(Said::Pong) => break,
            Some(Said::Error(text)) => {
                let text = String::from_utf8_lossy(text).to_lowercase();
                return Err(io::Error::other(text.escape_debug().to_string()));
            }
            Some(Said::Info(json)) => shared.dialer.learn(json),
            Some(_) => {}
            None => {
                let len = dialed.stream.read(dialed.listener.space()).await?;
                if len == 0 {
                    return Err(io::Error::other("the server has closed the connection"));
                }
                dialed.listener.filled(len);
            }
        }
    }
    client.write_all(b"PONG\r\n").await?;
    Ok(Some((dialed, client)))
}

/// Lets both speak with each other until one of them ends.
async fn pass(shared: &Shared, dialed: Dialed, client: TcpStream) {
    let server = Arc::new(Server::new(dialed.url.clone(), shared.link.taken_at_cut()));
    shared.established(&server, &dialed);
    let (from_server, to_server) = tokio::io::split(dialed.stream);
    let (from_client, to_client): (OwnedReadHalf, _) = client.into_split();
    let ended = tokio::select! {
        ended = server.speak(from_client, to_server) => ended,
        ended = server.listen(shared, dialed.listener, from_server, to_client) => ended,
        () = server.ended.notified() => Ok(()),
        () = wait_for_client_to_leave(shared, &server) => Ok(()),
    };
    if let Err(error) = &ended {
        shared.dialer.has_failed(&server.url);
        log::debug!("NATS: the connection to {} ends: {error}", server.url);
    }
    shared.has_ended(&server, ended.err().map(|error| error.to_string()));
}

/// While the server takes nothing, nobody reads what the client says, nor sees that it has closed its end.
async fn wait_for_client_to_leave(shared: &Shared, server: &Server) {
    loop {
        shared.link.outage.notified().await;
        if !server.is_leaving.load(Ordering::Relaxed) {
            return;
        }
    }
}
