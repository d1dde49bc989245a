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
//! A client has no thread of its own: everything it does, it does inside its calls. So it must be polled: a server closes
//! a connection that answers no ping (lhttpd after 60 s) or does not read what it is sent. A program that has other things
//! to do gives the client a thread. A signal ends [`Client::poll`] early, with nothing, and so does another thread with a
//! [`Waker`].
//!
//! # When the connection ends
//!
//! A client that connected once reconnects, with exponential back-off and full jitter, inside the calls that need the
//! connection; an attempt may make [`Client::poll`] take as much longer as
//! [`connect_timeout`](Builder::connect_timeout) says. After it, the subscriptions are sent anew before anything else; when
//! the server has confirmed them, [`State::Open`] is polled, and each that it refuses is an [`Event::SubscriptionLost`]. With
//! several cores messages may come before `Open`. What was published in between is missed: the server keeps nothing for those
//! who are away.
//!
//! # What a call's failure tells
//!
//! [`Client::publish`] and the others that wait for an acknowledgement say what has become of the message: `Ok` is that
//! all its effects hold, and each [`ClientError`] is either "nothing has happened" or "not known". Subscribing and
//! unsubscribing can be repeated without harm, and are, when a connection is lost in the middle and is to be made again; a
//! publish is not, since it might arrive twice.

mod answer;
mod backoff;
mod builder;
mod error;
mod event;
mod inbox;
mod link;
mod open;
mod stream;
mod target;
#[cfg(feature = "tls")]
mod tls;
mod wait;

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

pub(crate) use self::builder::{RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN};
use self::{
    answer::Tokens,
    backoff::Backoff,
    builder::{Options, later},
    inbox::Inbox,
    link::{Link, Received, Sent},
    open::{Renewal, Retry},
    target::Target,
    wait::Wait,
};
pub use self::{
    builder::Builder,
    error::ClientError,
    event::{Event, Payload, State},
    wait::Waker,
};
use crate::{
    error::{Reason, Refusal},
    protocol::{channel, message::Message},
};

/// A connection to an LHTTP server that is made again when it ends. See the [module](self).
#[derive(Debug)]
pub struct Client {
    target: Target,
    options: Options,
    link: Option<Link>,
    wait: Wait,
    backoff: Backoff,
    /// When the next attempt is due; means nothing while there is a link.
    retry_at: Instant,
    /// Why there is no link.
    why: String,
    /// What the server has acknowledged and is to be renewed.
    subscriptions: BTreeSet<String>,
    inbox: Inbox,
    /// What waits for a connection, or for room in that of the link; at most `outbox_bytes_max`.
    outbox: VecDeque<Payload>,
    /// The sum of [`outbox_bytes`] of all of it.
    outbox_bytes: usize,
    tokens: Tokens,
    renewal: Option<Renewal>,
}

impl Client {
    /// The options of a client of the server at this URL: `ws://HOST[:PORT][/PATH]`, or `wss://` with the feature `tls`.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    fn new(target: Target, options: Options, wait: Wait) -> Self {
        Self {
            target,
            link: None,
            wait,
            backoff: Backoff::new(options.reconnect_delay_min, options.reconnect_delay_max),
            retry_at: Instant::now(),
            why: String::new(),
            subscriptions: BTreeSet::new(),
            inbox: Inbox::new(options.inbox_messages_max, options.inbox_bytes_max),
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            tokens: Tokens::new(),
            renewal: None,
            options,
        }
    }

    /// Subscribes to channels or patterns, separated by spaces, and waits until all are live. They are renewed after each
    /// reconnect until they are unsubscribed. Those that begin with `$` or `_` are the system's: the server refuses them.
    ///
    /// # Errors
    /// Every [`ClientError`]; `Lost` only from a client that does not reconnect, for others ask again. When the answer is
    /// not known (`TimedOut`, `InboxFull`, `Lost`), messages may come, but the subscription is not renewed; subscribing again
    /// is harmless.
    pub fn subscribe(&mut self, channels: &str) -> Result<(), ClientError> {
        self.change("subscribe", channels)?;
        self.subscriptions.extend(names(channels));
        Ok(())
    }

    /// Ends subscriptions, and waits until the server has done it; messages that came before can still be polled. Without
    /// a connection there is nothing to wait for. Of what was never subscribed: no effect.
    ///
    /// # Errors
    /// As [`Client::subscribe`]. They are not renewed after a reconnect, whatever the outcome, except after `Invalid`.
    pub fn unsubscribe(&mut self, channels: &str) -> Result<(), ClientError> {
        check_all(channels, |name| channel::check_subscribe(name).map(drop))?;
        self.subscriptions.retain(|channel| !names(channels).any(|name| name == *channel));
        if self.link.is_none() && self.options.reconnect {
            return Ok(());
        }
        self.change("unsubscribe", channels)
    }

    /// Publishes to channels, separated by spaces, and waits until the server has taken it: it is queued for all
    /// subscribers then. A server takes 32 channels in one message unless it is told otherwise, each counted once. A `publish`
    /// or `ack` header of the message is replaced. With the header `no-echo:true` this client itself does not receive it.
    ///
    /// # Errors
    /// Every [`ClientError`]. After `Lost`, `TimedOut`, and `InboxFull` in the middle of the call, it is
    /// not known whether it was published.
    pub fn publish(&mut self, channels: &str, message: Message) -> Result<(), ClientError> {
        self.send_acked(addressed(channels, message)?)
    }

    /// Publishes without waiting for anything: what the socket does not take at once, or there is no connection for, waits
    /// in the outbox, and goes out with the calls and polls that follow. If the server refuses it, [`Event::Refused`] is
    /// polled later. What had been sent when a connection ends may be lost.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::OutboxFull`], [`ClientError::Closed`]: it was not taken. When the outbox is
    /// full, poll, which sends on, and try again.
    pub fn publish_unacked(&mut self, channels: &str, message: Message) -> Result<(), ClientError> {
        self.send(&addressed(channels, message)?)
    }

    /// Sends any message as it is, without waiting for an answer; see [`Client::publish_unacked`]. Its control headers
    /// have their effects, but a subscription made so is not renewed.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] (longer than the outbox), [`ClientError::OutboxFull`], [`ClientError::Closed`]: it was not
    /// taken.
    pub fn send(&mut self, message: &Message) -> Result<(), ClientError> {
        self.send_payload(Payload::from(message.encode()))
    }

    /// Sends a WebSocket message as it is, LHTTP or not; otherwise as [`Client::send`].
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn send_payload(&mut self, payload: Payload) -> Result<(), ClientError> {
        self.check_size(&payload)?;
        // Fails only when the connection is lost; then this one is put away behind the others.
        let now = Instant::now();
        let _ = self.send_outbox(now);
        let Some(link) = self.link.as_mut().filter(|_| self.outbox.is_empty()) else { return self.queue(payload) };
        match link.send(&payload, now) {
            Sent::Taken => Ok(()),
            Sent::Full => Err(ClientError::OutboxFull),
            Sent::Ended(why) => {
                self.broken(why);
                self.queue(payload)
            }
        }
    }

    /// Sends a message and waits until all its effects hold. Its `ack` header is set, replacing one that it has.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub fn send_acked(&mut self, message: Message) -> Result<(), ClientError> {
        self.acked(message, false)
    }

    /// Waits until something has happened, or until the timeout, and gives it; zero only takes what has come.
    ///
    /// Without a connection it waits for the next attempt to be due and makes it. It gives nothing early when a signal comes,
    /// or when a [`Waker`] has woken the client.
    ///
    /// # Errors
    /// [`ClientError::Closed`] when the connection has ended and the client was told not to reconnect, after all that had
    /// come was given.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<Event>, ClientError> {
        let deadline = later(timeout);
        loop {
            if let Some(event) = self.inbox.pop() {
                return Ok(Some(event));
            }
            if self.wait.was_woken() {
                return Ok(None);
            }
            if self.link.is_none() {
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
                Received::Ended(_) => {}
            }
        }
    }

    /// What ends a poll from another thread.
    pub fn waker(&self) -> Waker {
        self.wait.waker()
    }

    /// Whether there is a connection, as far as the last call could see.
    pub fn is_open(&self) -> bool {
        self.link.is_some()
    }

    /// The channels and patterns that are renewed after a reconnect, in order of their bytes.
    pub fn subscriptions(&self) -> impl Iterator<Item = &str> {
        self.subscriptions.iter().map(String::as_str)
    }

    /// Sends what waits to be sent, and ends the connection in order, within the timeout of [`Builder::timeout`]. A client
    /// that is dropped instead ends it at once.
    ///
    /// # Errors
    /// [`ClientError::NotConnected`] or [`ClientError::Lost`] when something that was taken to be sent could not be sent.
    pub fn close(mut self) -> Result<(), ClientError> {
        let deadline = later(self.options.timeout);
        // If the connection is lost, what was not sent is told of below.
        let _ = self.send_outbox(deadline);
        let closed = self.link.take().map(|link| link.close(deadline).map_err(ClientError::Lost));
        let unsent = |why: &str| format!("{why}; messages that were not sent: {}", self.outbox.len());
        match closed {
            Some(closed) if self.outbox.is_empty() => closed,
            Some(_) => Err(ClientError::Lost(unsent("the server did not read all in time"))),
            None if self.outbox.is_empty() => Ok(()),
            None => Err(ClientError::NotConnected(unsent(&self.why))),
        }
    }

    /// Changes the subscriptions at the server.
    fn change(&mut self, header: &str, channels: &str) -> Result<(), ClientError> {
        check_all(channels, |name| channel::check_subscribe(name).map(drop))?;
        self.acked(Message::new(header)?.header(header, channels)?, true)
    }

    /// Ends a poll for whoever has woken the client: the next one is not for that any more.
    fn interrupted(&mut self) -> Result<Option<Event>, ClientError> {
        self.wait.was_woken();
        Ok(None)
    }

    /// Refuses what could never be taken.
    fn check_size(&self, payload: &Payload) -> Result<(), ClientError> {
        let (len, max) = (payload.as_bytes().len(), Link::payload_bytes_max(&self.options));
        if len <= max {
            return Ok(());
        }
        let sentence = format!("a message of {len} bytes does not fit into the outbox, which takes {max}");
        Err(ClientError::Invalid(Refusal::because(Reason::MessageTooBig, sentence)))
    }

    /// Puts a payload away until there is a connection.
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

/// What a payload takes in the outbox: its place there, too, so that empty ones have a limit.
fn outbox_bytes(payload: &Payload) -> usize {
    size_of::<Payload>() + payload.as_bytes().len()
}

/// The message with its `publish` header.
fn addressed(channels: &str, mut message: Message) -> Result<Message, ClientError> {
    check_all(channels, channel::check_publish)?;
    message.set_header("publish", channels)?;
    Ok(message)
}

/// Checks every name, and that there is one.
fn check_all(channels: &str, check: impl Fn(&[u8]) -> Result<(), Refusal>) -> Result<(), ClientError> {
    // The empty name is refused with a sentence that says so.
    let none = channel::split(channels.as_bytes()).next().is_none().then_some(&b""[..]);
    channel::split(channels.as_bytes()).chain(none).try_for_each(check).map_err(ClientError::Invalid)
}

fn names(channels: &str) -> impl Iterator<Item = String> {
    channels.split([' ', '\t']).filter(|name| !name.is_empty()).map(str::to_owned)
}
