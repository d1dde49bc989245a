//! A blocking client: subscribes, publishes, reconnects.
//!
//! ```no_run
//! use std::time::Duration;
//! use lhttp::{Message, client::{Client, ClientError, Event}};
//!
//! fn main() -> Result<(), ClientError> {
//!     let mut client = Client::builder("ws://127.0.0.1:8081").connect()?;
//!     client.subscribe("room.>")?;
//!     client.publish("room.kitchen", Message::new("chat")?.body("dinner is ready"))?;
//!     loop {
//!         if let Some(Event::Message(message)) = client.poll(Duration::from_secs(5))? {
//!             println!("{}", String::from_utf8_lossy(message.body_bytes()));
//!         }
//!     }
//! }
//! ```
//!
//! # One thread
//!
//! A client has no thread of its own: it works only inside its calls. So the program must poll it: a server closes a
//! connection that answers no ping (lhttpd after 60 s) or does not read what it is sent. A program with other work
//! gives the client a thread. A signal ends [`Client::poll`] early and without an event, and so does another thread
//! with a [`Waker`].
//!
//! # When the connection ends
//!
//! A client that connected once reconnects, with exponential back-off and full jitter, inside the calls that need the
//! connection; after a random part of the time that a server names that restarts (PROTOCOL.md §6). An attempt may prolong [`Client::poll`] by [`connect_timeout`](Builder::connect_timeout). After the
//! attempt the client first renews the subscriptions. [`State::Open`] is polled once the server has confirmed them;
//! each subscription that the server refuses is an [`Event::SubscriptionLost`]. Messages may come before `Open`.
//!
//! # What was published in between
//!
//! A server may keep the newest messages of a channel (PROTOCOL.md §10). On such a channel the client resumes: it knows the
//! newest message that has come, and asks for those after it. So each message comes once and in order, over any number of
//! connections. If the server does not keep all of them any more, [`Event::MessagesLost`] names the channel, and the client
//! goes on with the next message. [`Builder::resume`] switches this off. A message of such a channel comes once, also if
//! several subscriptions of the client match it.
//!
//! On other channels, and over patterns, the messages of this time are missed. [`Client::subscribe_from`] begins with
//! messages of before.
//!
//! # Presence
//!
//! A server may know who is subscribed to a channel (PROTOCOL.md §11). [`Client::presence`] asks for the list, and
//! [`Event::PresenceChange`] says who comes and goes. [`Client::subscribe_with_info`] says what others see of this client.
//! Both hold for one connection: after a reconnect the client shows itself as before, and the program asks for the list again.
//!
//! # Tokens
//!
//! A server may ask who its clients are. [`Builder::token`] and [`Builder::token_source`] give the client a token, a JWT,
//! which it sends as `Authorization: Bearer` in each handshake (PROTOCOL.md §8). A function is asked before each attempt to
//! connect and before the running connection's token runs out. A program with a fixed token polls [`Event::TokenEnding`]
//! then, and calls [`Client::set_token`].
//! A refused handshake is [`ClientError::Refused`] with the code 401 or 403 from [`Builder::connect`], and later the
//! `refusal` of [`State::Waiting`]. What the token does not allow is `Refused` from the call that asked for it.
//!
//! # What a failed call means
//!
//! [`Client::publish`] and the other calls that wait for an acknowledgement report the fate of the message: `Ok` means
//! that all its effects hold, and each [`ClientError`] means either "nothing has happened" or "not known". Subscribing
//! and unsubscribing can be repeated without harm, so a client that reconnects repeats them when the connection is lost
//! in the middle. It does not repeat a publish, which might then arrive twice.

mod ack;
mod answer;
mod backoff;
mod builder;
mod connection;
mod credentials;
mod error;
mod event;
mod inbox;
mod open;
mod presence;
mod refused;
mod renewal;
mod start;
mod stream;
mod subscribing;
mod subscriptions;
mod target;
#[cfg(feature = "tls")]
mod tls;
mod token;
mod wait;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub(crate) use self::builder::{RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN};
pub use self::{
    ack::Ack,
    builder::Builder,
    error::ClientError,
    event::{Event, Payload, State},
    presence::{Member, Presence},
    start::Start,
    wait::Waker,
};
use self::{
    answer::Tokens,
    backoff::Backoff,
    builder::{ClientOptions, later},
    connection::{Connection, Received, Sent},
    credentials::Credentials,
    inbox::Inbox,
    open::Retry,
    renewal::Renewal,
    subscriptions::Subscriptions,
    target::Target,
    wait::Wait,
};
use crate::{
    error::{Reason, Refusal},
    protocol::{channel, message::Message},
};

/// A connection to an LHTTP server that reconnects when it ends. See the [module](self).
#[derive(Debug)]
pub struct Client {
    target: Target,
    options: ClientOptions,
    connection: Option<Connection>,
    wait: Wait,
    backoff: Backoff,
    /// When the next attempt is due; has no meaning while there is a connection.
    retry_at: Instant,
    /// Why there is no connection.
    why: String,
    subscriptions: Subscriptions,
    inbox: Inbox,
    /// Payloads that wait for a connection, or for room in its buffer; at most `outbox_bytes_max`.
    outbox: VecDeque<Payload>,
    /// The sum of [`outbox_bytes`] of all payloads in the outbox.
    outbox_bytes: usize,
    tokens: Tokens,
    renewal: Option<Renewal>,
    credentials: Credentials,
}

impl Client {
    /// Options for a client of the server at this URL: `ws://HOST[:PORT][/PATH]`, or `wss://` with the feature `tls`.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    fn new(target: Target, options: ClientOptions, wait: Wait) -> Self {
        let backoff = || Backoff::new(options.reconnect_delay_min, options.reconnect_delay_max);
        Self {
            target,
            connection: None,
            wait,
            backoff: backoff(),
            credentials: Credentials::new(backoff()),
            retry_at: Instant::now(),
            why: String::new(),
            subscriptions: Subscriptions::default(),
            inbox: Inbox::new(options.inbox_messages_max, options.inbox_bytes_max),
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            tokens: Tokens::new(),
            renewal: None,
            options,
        }
    }

    /// Publishes to channels, separated by spaces, and waits until the server has queued the message for all
    /// subscribers. By default a server accepts 32 channels in one message, each counted once. A `publish` or `ack`
    /// header of the message is replaced. With the header `no-echo:true` this client itself does not receive the
    /// message. The answer has the message's id on each channel that has a history.
    ///
    /// # Errors
    /// Every [`ClientError`]. After `Lost`, after `TimedOut`, and after `InboxFull` in the middle of the call, it is
    /// not known whether the message was published.
    pub fn publish(&mut self, channels: &str, message: Message) -> Result<Ack, ClientError> {
        self.send_acked(addressed(channels, message)?)
    }

    /// Publishes without waiting. If the socket does not take the message at once, or there is no connection, the
    /// message waits in the outbox and goes out with later calls and polls. If the server refuses it,
    /// [`Event::Refused`] is polled later. A message that was sent shortly before a connection ends may be lost.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::OutboxFull`], [`ClientError::Closed`]: the message was not accepted.
    /// When the outbox is full, poll, which sends on, and try again.
    pub fn publish_unacked(&mut self, channels: &str, message: Message) -> Result<(), ClientError> {
        self.send(&addressed(channels, message)?)
    }

    /// Sends any message as it is, without waiting for an answer; see [`Client::publish_unacked`]. Its control headers
    /// take effect, but the client does not renew a subscription that was made this way.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] (longer than the outbox), [`ClientError::OutboxFull`], [`ClientError::Closed`]: the
    /// message was not accepted.
    pub fn send(&mut self, message: &Message) -> Result<(), ClientError> {
        self.send_payload(Payload::from(message.encode()))
    }

    /// Sends a WebSocket message as it is, LHTTP or not. The rest is as for [`Client::send`].
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn send_payload(&mut self, payload: Payload) -> Result<(), ClientError> {
        self.check_size(&payload)?;
        self.renew_token();
        // Fails only if the connection is lost; then this payload is queued behind the others.
        let now = Instant::now();
        let _ = self.send_outbox(now);
        let Some(connection) = self.connection.as_mut().filter(|_| self.outbox.is_empty()) else {
            return self.queue(payload);
        };
        match connection.send(&payload, now) {
            Sent::Taken => Ok(()),
            Sent::Full => Err(ClientError::OutboxFull),
            Sent::Ended(why) => {
                self.broken(why);
                self.queue(payload)
            }
        }
    }

    /// Sends a message and waits until all its effects hold. Sets its `ack` header, which replaces an earlier one.
    /// If the message asks for a list of users with the header `presence`, the list is polled as an [`Event::Message`];
    /// [`Client::presence`] returns one.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub fn send_acked(&mut self, message: Message) -> Result<Ack, ClientError> {
        self.acked(message, false)
    }

    /// Waits for an event until the timeout, and returns it. A timeout of zero only takes events that have come.
    ///
    /// Without a connection it waits until the next attempt is due and makes the attempt. It returns early and without
    /// an event when a signal comes, or when a [`Waker`] has woken the client.
    ///
    /// # Errors
    /// [`ClientError::Closed`] when the connection has ended and the client was told not to reconnect. All events that
    /// had come are returned first.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<Event>, ClientError> {
        let deadline = later(timeout);
        loop {
            if let Some(event) = self.inbox.pop() {
                return Ok(Some(event));
            }
            if self.wait.was_woken() {
                return Ok(None);
            }
            if self.connection.is_none() {
                match self.wait_for_retry(deadline)? {
                    Retry::Due => self.attempt(later(self.options.connect_timeout)),
                    Retry::Later => return Ok(None),
                    Retry::Interrupted => return self.interrupted(),
                }
                continue;
            }
            // A failure is an event by now.
            let _ = self.send_outbox(Instant::now());
            match self.receive(deadline) {
                Received::Payload(payload) => drop(self.sort(payload, None)),
                Received::Nothing => return Ok(None),
                Received::Interrupted => return self.interrupted(),
                Received::Event | Received::Ended(_) => {}
            }
        }
    }

    /// A handle that ends a poll from another thread.
    pub fn waker(&self) -> Waker {
        self.wait.waker()
    }

    /// Whether there was a connection at the last call.
    pub fn is_open(&self) -> bool {
        self.connection.is_some()
    }

    /// Sends the queued messages and closes the connection in order, within [`Builder::timeout`]. A client that is
    /// dropped instead closes it at once.
    ///
    /// # Errors
    /// [`ClientError::NotConnected`] or [`ClientError::Lost`] when an accepted message could not be sent.
    pub fn close(mut self) -> Result<(), ClientError> {
        let deadline = later(self.options.timeout);
        // If the connection is lost, the code below reports the unsent messages.
        let _ = self.send_outbox(deadline);
        let closed = self.connection.take().map(|connection| connection.close(deadline).map_err(ClientError::Lost));
        let unsent = |why: &str| format!("{why}; messages that were not sent: {}", self.outbox.len());
        match closed {
            Some(closed) if self.outbox.is_empty() => closed,
            Some(_) => Err(ClientError::Lost(unsent("the server did not read all in time"))),
            None if self.outbox.is_empty() => Ok(()),
            None => Err(ClientError::NotConnected(unsent(&self.why))),
        }
    }

    /// Ends a poll because the client was woken, and clears the wake, so that the next poll does not end for it.
    fn interrupted(&mut self) -> Result<Option<Event>, ClientError> {
        self.wait.was_woken();
        Ok(None)
    }

    /// Refuses a payload that the outbox could never hold.
    fn check_size(&self, payload: &Payload) -> Result<(), ClientError> {
        let (len, max) = (payload.as_bytes().len(), Connection::payload_bytes_max(&self.options));
        if len <= max {
            return Ok(());
        }
        let sentence = format!("a message of {len} bytes does not fit into the outbox, which takes {max}");
        Err(ClientError::Invalid(Refusal::because(Reason::MessageTooBig, sentence)))
    }

    /// Queues a payload until there is a connection.
    fn queue(&mut self, payload: Payload) -> Result<(), ClientError> {
        if !self.options.reconnect {
            return Err(ClientError::Closed(self.why.clone()));
        }
        let bytes = self.outbox_bytes + outbox_bytes(&payload);
        if bytes > self.options.outbox_bytes_max {
            return Err(ClientError::OutboxFull);
        }
        self.outbox_bytes = bytes;
        self.outbox.push_back(payload);
        Ok(())
    }
}

/// The bytes that a payload counts in the outbox. They include its place in the queue, so that empty payloads are
/// bounded too.
fn outbox_bytes(payload: &Payload) -> usize {
    size_of::<Payload>() + payload.as_bytes().len()
}

/// The message with its `publish` header.
fn addressed(channels: &str, mut message: Message) -> Result<Message, ClientError> {
    check_all(channels, channel::check_publish)?;
    message.set_header("publish", channels)?;
    Ok(message)
}

/// Checks every name, and that there is at least one.
fn check_all(channels: &str, check: impl Fn(&[u8]) -> Result<(), Refusal>) -> Result<(), ClientError> {
    // The check refuses the empty name with a sentence that says so.
    let none = channel::split(channels.as_bytes()).next().is_none().then_some(&b""[..]);
    channel::split(channels.as_bytes()).chain(none).try_for_each(check).map_err(ClientError::Invalid)
}
