//! Every option of a client.

use std::{
    error::Error,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    Client, ClientError,
    target::Target,
    token::{Token, TokenSource},
    wait::Wait,
};

/// The ceiling before the first attempt to reconnect; see [`Builder::reconnect_delay`].
pub(crate) const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(250);
/// The ceiling before any attempt to reconnect.
pub(crate) const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(30);

/// The options, with their defaults. Their docs are on the [`Builder`]'s methods.
#[derive(Clone, Debug)]
pub(super) struct ClientOptions {
    pub(super) headers: Vec<(String, String)>,
    pub(super) token: TokenSource,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) reconnect: bool,
    pub(super) resume: bool,
    pub(super) reconnect_delay_min: Duration,
    pub(super) reconnect_delay_max: Duration,
    pub(super) ping_interval: Duration,
    pub(super) pong_timeout: Duration,
    pub(super) message_bytes_max: usize,
    pub(super) inbox_messages_max: usize,
    pub(super) inbox_bytes_max: usize,
    pub(super) outbox_bytes_max: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            token: TokenSource::None,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            reconnect: true,
            resume: true,
            reconnect_delay_min: RECONNECT_DELAY_MIN,
            reconnect_delay_max: RECONNECT_DELAY_MAX,
            ping_interval: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(10),
            message_bytes_max: 16 << 20,
            inbox_messages_max: 10_000,
            inbox_bytes_max: 16 << 20,
            outbox_bytes_max: 1 << 20,
        }
    }
}

/// How a client connects, and its limits. Every option has a default that suits a client on the same network as the
/// server.
///
/// ```no_run
/// use std::time::Duration;
/// use lhttp::client::Client;
///
/// # fn main() -> Result<(), lhttp::client::ClientError> {
/// let client = Client::builder("ws://127.0.0.1:8081").timeout(Duration::from_secs(2)).connect()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens before connect"]
pub struct Builder {
    url: String,
    options: ClientOptions,
    /// An option that cannot be used.
    flaw: Option<String>,
}

impl Builder {
    pub(super) fn new(url: String) -> Self {
        Self { url, options: ClientOptions::default(), flaw: None }
    }

    /// Adds a header, such as `authorization`, to the handshake's HTTP request. May be called several times.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.headers.push((name.into(), value.into()));
        self
    }

    /// The token (a JWT) that says who this client is; default none. Each handshake sends it as `Authorization: Bearer`,
    /// which replaces a header of that name. Without TLS everybody on the way can read it. Some time before it runs out
    /// [`Event::TokenEnding`](super::Event::TokenEnding) is polled; then call [`Client::set_token`]. After that time the
    /// server refuses messages with 401.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        match Token::new(token) {
            Ok(token) => self.options.token = TokenSource::Fixed(token),
            Err(refusal) => self.flaw = Some(refusal.sentence().to_owned()),
        }
        self
    }

    /// A function that gives the token, instead of a fixed one. The client calls it inside its own calls, on their thread:
    /// before each attempt to connect, before the token of the running connection runs out (after 75 to 90 % of the time
    /// that is left, 10 s at the earliest), and when the server answers 401 (at most every 10 s). So the function should
    /// return soon. If it fails, the attempt has failed; or the running connection keeps its token,
    /// [`Event::TokenNotRenewed`](super::Event::TokenNotRenewed) is polled, and the client asks again after a wait.
    ///
    /// ```no_run
    /// use lhttp::client::Client;
    ///
    /// # fn main() -> Result<(), lhttp::client::ClientError> {
    /// // Another program keeps the file up to date.
    /// let token = || Ok(std::fs::read_to_string("/run/chat/token")?.trim().to_owned());
    /// let client = Client::builder("wss://example.com").token_source(token).connect()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn token_source<F>(mut self, source: F) -> Self
    where
        F: FnMut() -> Result<String, Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        self.options.token = TokenSource::asking(source);
        self
    }

    /// For `wss://`: trusts only the certificates in this PEM file. Default: the system's certificates. Without the
    /// feature `tls` it has no effect, because there is no `wss://`.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.ca_file = Some(path.into());
        self
    }

    /// How long one attempt to connect may take, handshakes included; default 10 s. The addresses of a host share this
    /// time: the client gives each up in time for the next. Resolving a host name takes as long as the system allows.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// How long [`Client::subscribe`], [`Client::unsubscribe`], [`Client::publish`] and [`Client::send_acked`] wait for
    /// their answer, reconnecting included; default 10 s. It also bounds [`Client::close`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// Whether the client reconnects; default true. If not, the events in the inbox can still be polled, and then every
    /// call fails with [`ClientError::Closed`].
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.options.reconnect = reconnect;
        self
    }

    /// Whether a client that reconnects gets what was published in between on channels with a history (PROTOCOL.md §10);
    /// default true. If not, these channels go on with the next message, as all others do. It costs the id of one message
    /// for each channel, and nothing on the wire without a history.
    pub fn resume(mut self, resume: bool) -> Self {
        self.options.resume = resume;
        self
    }

    /// Before an attempt to reconnect the client waits a random time below a ceiling: `min` before the first attempt
    /// (250 ms by default), twice as long before each further one, at most `max` (30 s by default). After a connection
    /// that lasted 5 s the ceiling is `min` again.
    pub fn reconnect_delay(mut self, min: Duration, max: Duration) -> Self {
        self.options.reconnect_delay_min = min;
        self.options.reconnect_delay_max = max;
        self
    }

    /// The client pings a server that has been silent for this long; default 20 s, 0 disables pings. If no answer comes
    /// within the [`pong_timeout`](Self::pong_timeout), the client gives up the connection. Both happen only inside a
    /// call.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.options.ping_interval = interval;
        self
    }

    /// How long a server may stay silent after a ping; default 10 s.
    pub fn pong_timeout(mut self, timeout: Duration) -> Self {
        self.options.pong_timeout = timeout;
        self
    }

    /// The longest message that the client accepts from the server, in bytes; default 16 MiB. A longer one ends the
    /// connection with 1009.
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.options.message_bytes_max = bytes;
        self
    }

    /// How many events may wait to be polled while other calls wait for their answers; default 10,000. At the limit
    /// those calls fail with [`ClientError::InboxFull`] until the program has polled some; nothing is dropped.
    pub fn inbox_messages_max(mut self, messages: usize) -> Self {
        self.options.inbox_messages_max = messages;
        self
    }

    /// The same limit in bytes of bodies and heads; default 16 MiB. The message that reaches the limit is still kept.
    pub fn inbox_bytes_max(mut self, bytes: usize) -> Self {
        self.options.inbox_bytes_max = bytes;
        self
    }

    /// How many bytes may wait to be sent because there is no connection or the socket is full; default 1 MiB. Each
    /// message that waits for a connection counts 32 bytes more. At the limit a send fails with
    /// [`ClientError::OutboxFull`], and the message is not accepted. A message that is longer than this limit plus the
    /// 16 KiB of the connection's own buffer is [`ClientError::Invalid`].
    pub fn outbox_bytes_max(mut self, bytes: usize) -> Self {
        self.options.outbox_bytes_max = bytes;
        self
    }

    /// Connects, and waits for the connection.
    ///
    /// # Errors
    /// [`ClientError::Config`] when the URL, a header, the token or the CA file cannot be used; [`ClientError::Refused`]
    /// when the server answers 401 or 403, and, with the reason `no-token`, when the function of
    /// [`Builder::token_source`] fails; [`ClientError::NotConnected`] when the server cannot be reached or does not
    /// complete the handshake. A client that connected once reconnects on its own.
    pub fn connect(self) -> Result<Client, ClientError> {
        if let Some(flaw) = self.flaw {
            return Err(ClientError::Config(flaw));
        }
        let target = Target::new(&self.url, &self.options).map_err(ClientError::Config)?;
        let deadline = later(self.options.connect_timeout);
        let wait = Wait::new().map_err(|error| ClientError::NotConnected(error.to_string()))?;
        let mut client = Client::new(target, self.options, wait);
        client.first_connect(deadline)?;
        Ok(client)
    }
}

/// `timeout` from now, or a century if no clock can represent that time.
pub(super) fn later(timeout: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + CENTURY)
}
