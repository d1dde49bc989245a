//! The gate: a listener on loopback that async-nats connects to, and the login behind it.
//!
//! The client gives itself a secret token as its name, which proves that it is this process's client. No other program on
//! this machine gets through to the server, which may know this node by its certificate.

use std::{io, sync::Arc, time::Duration};

use async_nats::ServerInfo;
use serde_json::json;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use super::{
    access::Access,
    candidates::Choice,
    dial::{Dialed, Failures, dial},
    random::random,
    server_lines::ServerLine,
};

/// The time limit for the client's login, and for the server's answer.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(3);
/// The most bytes of the client's login, which may hold a JWT.
const CONNECT_BYTES_MAX: usize = 64 * 1024;
/// Bytes that a socket between the client and the bridge holds: all of it is lost with the connection.
const SOCKET_BYTES: usize = 256 * 1024;
/// The name that servers know this node by.
const NAME: &str = "lhttpd";

/// The listener.
pub(super) struct Gate {
    listener: TcpListener,
    token: Arc<str>,
}

impl Gate {
    /// # Errors
    /// The system gives no port.
    pub(super) async fn open() -> io::Result<Self> {
        let token = format!("{NAME}-{:016x}{:016x}", random(), random()).into();
        Ok(Self { listener: TcpListener::bind("127.0.0.1:0").await?, token })
    }

    /// The address that the client connects to.
    ///
    /// # Errors
    /// The system does not report it.
    pub(super) fn url(&self) -> io::Result<String> {
        Ok(format!("nats://{}", self.listener.local_addr()?))
    }

    /// The client's name.
    pub(super) fn token(&self) -> &Arc<str> {
        &self.token
    }

    /// The next connection, of the client or of a stranger.
    ///
    /// # Errors
    /// The system refuses it.
    pub(super) async fn accept(&self) -> io::Result<TcpStream> {
        let (client, _) = self.listener.accept().await?;
        let _ = client.set_nodelay(true);
        let socket = SockRef::from(&client);
        let _ = (socket.set_recv_buffer_size(SOCKET_BYTES), socket.set_send_buffer_size(SOCKET_BYTES));
        Ok(client)
    }
}

/// The end of a login.
pub(super) struct Login {
    pub(super) outcome: LoginOutcome,
    /// Servers that have failed.
    pub(super) failures: Failures,
    /// Other servers, as the one that was dialed advertises them.
    pub(super) advertised: Vec<String>,
}

/// The outcome of a login.
pub(super) enum LoginOutcome {
    /// The server has let the client in. The client still waits for its `PONG`.
    In(Box<Dialed>, TcpStream),
    /// Another program has connected to the gate.
    Stranger,
    /// No server let the client in, for this reason.
    Failed(String),
}

/// Dials a server, unless one is dialed already, and has the client log in there.
pub(super) async fn log_in(
    access: Arc<Access>,
    choice: Choice,
    dialed: Option<Box<Dialed>>,
    token: Arc<str>,
    client: TcpStream,
) -> Login {
    let (mut failures, mut advertised) = (Vec::new(), Vec::new());
    let dialed = match dialed {
        Some(dialed) => Ok(dialed),
        None => dial(&access, &choice, &mut failures).await,
    };
    let outcome = match dialed {
        Err(reasons) => LoginOutcome::Failed(reasons),
        Ok(dialed) => {
            let url = dialed.url.clone();
            advertised.clone_from(&dialed.info.connect_urls);
            let error = match timeout(LOGIN_TIMEOUT, pass_login(dialed, client, &token, &mut advertised)).await {
                Ok(Ok(outcome)) => return Login { outcome, failures, advertised },
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the server does not accept the login in time".to_owned(),
            };
            let reason = choice.reason(&url, &error);
            failures.push((url, Instant::now()));
            LoginOutcome::Failed(reason)
        }
    };
    Login { outcome, failures, advertised }
}

async fn pass_login(
    mut dialed: Box<Dialed>,
    mut client: TcpStream,
    token: &str,
    advertised: &mut Vec<String>,
) -> io::Result<LoginOutcome> {
    let info = &dialed.info;
    let shown = json!({
        "server_id": info.server_id, "version": info.version, "proto": 1, "headers": true,
        "max_payload": info.max_payload, "nonce": info.nonce, "auth_required": info.auth_required,
    });
    client.write_all(format!("INFO {shown}\r\n").as_bytes()).await?;
    let mut sent = Vec::new();
    while !sent.contains(&b'\n') {
        if sent.len() > CONNECT_BYTES_MAX || client.read_buf(&mut sent).await? == 0 {
            return Ok(LoginOutcome::Stranger);
        }
    }
    let line_end = sent.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let rest = sent.split_off(line_end);
    let name = format!("\"name\":\"{token}\"");
    let Some(line) = String::from_utf8(sent).ok().filter(|line| line.starts_with("CONNECT {") && line.contains(&name))
    else {
        return Ok(LoginOutcome::Stranger);
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
    wait_for_pong(&mut dialed, advertised).await?;
    Ok(LoginOutcome::In(dialed, client))
}

/// Waits for the server's answer to the login.
async fn wait_for_pong(dialed: &mut Dialed, advertised: &mut Vec<String>) -> io::Result<()> {
    loop {
        match dialed.lines.next(0).map_err(|_| io::Error::other("it does not speak NATS"))? {
            Some(ServerLine::Pong) => return Ok(()),
            Some(ServerLine::Error(text)) => {
                let text = String::from_utf8_lossy(text).to_lowercase();
                return Err(io::Error::other(text.escape_debug().to_string()));
            }
            Some(ServerLine::Info(json)) => {
                let info = serde_json::from_slice::<ServerInfo>(json).ok();
                if let Some(info) = info.filter(|info| !info.connect_urls.is_empty()) {
                    *advertised = info.connect_urls;
                }
            }
            Some(_) => {}
            None => {
                let len = dialed.stream.read(dialed.lines.space()).await?;
                if len == 0 {
                    return Err(io::Error::other("the server has closed the connection"));
                }
                dialed.lines.filled(len);
            }
        }
    }
}
