//! Subscribing and unsubscribing.

use super::{Client, ClientError, check_all};
use crate::protocol::{channel, message::Message};

impl Client {
    /// Subscribes to channels or patterns, separated by spaces, and waits until all are live. The client renews them
    /// after each reconnect until they are unsubscribed. Names that begin with `$` or `_` are reserved for the system:
    /// the server refuses them.
    ///
    /// # Errors
    /// Every [`ClientError`]; `Lost` only from a client that does not reconnect, because others ask again. After
    /// `TimedOut`, `InboxFull` or `Lost` the answer is not known: messages may come, but the client does not renew the
    /// subscription. Subscribing again is harmless.
    pub fn subscribe(&mut self, channels: &str) -> Result<(), ClientError> {
        self.change("subscribe", channels)?;
        self.subscriptions.extend(names(channels));
        Ok(())
    }

    /// Ends subscriptions, and waits until the server has done so. Messages that came before can still be polled.
    /// Without a connection it does not wait. For a name that was never subscribed it has no effect.
    ///
    /// # Errors
    /// As [`Client::subscribe`]. Whatever the outcome, the client no longer renews the subscriptions, except after
    /// `Invalid`.
    pub fn unsubscribe(&mut self, channels: &str) -> Result<(), ClientError> {
        check_all(channels, |name| channel::check_subscribe(name).map(drop))?;
        self.subscriptions.retain(|channel| !names(channels).any(|name| name == *channel));
        if self.connection.is_none() && self.options.reconnect {
            return Ok(());
        }
        self.change("unsubscribe", channels)
    }

    /// The channels and patterns that a reconnect renews, in byte order.
    pub fn subscriptions(&self) -> impl Iterator<Item = &str> {
        self.subscriptions.iter().map(String::as_str)
    }

    /// Changes the subscriptions at the server.
    fn change(&mut self, header: &str, channels: &str) -> Result<(), ClientError> {
        check_all(channels, |name| channel::check_subscribe(name).map(drop))?;
        self.acked(Message::new(header)?.header(header, channels)?, true).map(drop)
    }
}

fn names(channels: &str) -> impl Iterator<Item = String> {
    channels.split([' ', '\t']).filter(|name| !name.is_empty()).map(str::to_owned)
}
