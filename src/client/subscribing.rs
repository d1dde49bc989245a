//! Subscribing and unsubscribing.

use std::time::Instant;

use super::{
    Ack, Client, ClientError, Event, builder::later, check_all, presence::check_info, renewal::Renewal, start::Start,
};
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
        self.subscribe_from(channels, Start::default())
    }

    /// The same, and channels with a history begin with messages of before (PROTOCOL.md §10): those after an id, or the
    /// newest ones. They come as events, oldest first, before all that is published from now on. Where `since` cannot be
    /// served, because the server does not keep all of these messages, or does not know the id, the event
    /// [`MessagesLost`](Event::MessagesLost) says so.
    ///
    /// The messages may be more than the inbox takes. Then this call returns `Ok` when the inbox is full, and the rest comes
    /// with polls; a refusal by the server is an [`Event::SubscriptionLost`].
    ///
    /// If a pattern of this client matches the channel, new messages may come over the pattern before the older ones.
    ///
    /// ```no_run
    /// use lhttp::client::{Client, ClientError, Start};
    ///
    /// # fn main() -> Result<(), ClientError> {
    /// let mut client = Client::builder("ws://127.0.0.1:8081").connect()?;
    /// client.subscribe_from("prices", Start::last(1))?;
    /// // A program that has kept the id of the last message that it has dealt with:
    /// client.subscribe_from("orders", Start::since("0c6l2v8rq1ta-42"))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::subscribe`]; [`ClientError::Invalid`] also for a number of ids that is not the number of names, for
    /// what is no id, and for a `last` that is not 1 to 1000.
    pub fn subscribe_from(&mut self, channels: &str, start: Start<'_>) -> Result<(), ClientError> {
        self.subscribe_showing(channels, start, None)
    }

    /// The same, and others see this text beside the client's user in those of the channels whose rule has presence (PROTOCOL.md
    /// §11): [`Member::info_text`](super::Member::info_text) of [`Client::presence`] and
    /// [`Event::PresenceChange`]. At most 256 bytes without control characters; a server that finds `lhttp.info` in the
    /// client's token shows that instead. The client shows the text again after each reconnect, until it
    /// unsubscribes. To show another text, subscribe again; [`Client::subscribe`] keeps the text. A user with
    /// several connections shows the newest text of them.
    ///
    /// ```no_run
    /// use lhttp::client::{Client, ClientError, Start};
    ///
    /// # fn main() -> Result<(), ClientError> {
    /// let mut client = Client::builder("ws://127.0.0.1:8081").connect()?;
    /// client.subscribe_with_info("room", "Mike, from Zürich", Start::default())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::subscribe_from`]; [`ClientError::Invalid`] also for a text that is too long or has control characters.
    pub fn subscribe_with_info(&mut self, channels: &str, info: &str, start: Start<'_>) -> Result<(), ClientError> {
        check_info(info)?;
        self.subscribe_showing(channels, start, Some(info))
    }

    fn subscribe_showing(&mut self, channels: &str, start: Start<'_>, info: Option<&str>) -> Result<(), ClientError> {
        check_all(channels, |name| channel::check_subscribe(name).map(drop))?;
        let mut names: Vec<String> = Vec::new();
        for name in split(channels) {
            // The server counts each name once.
            if !names.contains(&name) {
                names.push(name);
            }
        }
        start.check(names.len())?;
        self.subscriptions.begin(&names, start, self.options.resume);
        info.into_iter().for_each(|info| self.subscriptions.show(info));
        let result = self.subscribe_to(channels, &names, start);
        match &result {
            Ok(Some(ack)) => {
                let lost = self.subscriptions.complete(&names, ack);
                self.report_lost(lost);
            }
            Ok(None) => self.subscriptions.adopt(&names),
            Err(_) => self.subscriptions.give_up(),
        }
        result.map(drop)
    }

    /// Asks until the server answers. Without an answer the inbox is full of what comes first, and the answer comes later.
    fn subscribe_to(&mut self, channels: &str, names: &[String], start: Start<'_>) -> Result<Option<Ack>, ClientError> {
        self.until_answered(true, |client, deadline| client.subscribe_once(channels, names, start, deadline))
    }

    fn subscribe_once(
        &mut self,
        channels: &str,
        names: &[String],
        start: Start<'_>,
        deadline: Instant,
    ) -> Result<Option<Ack>, ClientError> {
        let in_flight: Vec<String> = self.subscriptions.in_flight().map(str::to_owned).collect();
        if !in_flight.is_empty() {
            // A renewal may be about to subscribe to the same.
            self.wait_until_renewed(deadline)?;
            let mut end = Message::new("unsubscribe")?.header("unsubscribe", in_flight.join(" "))?;
            self.subscriptions.end(in_flight.iter().map(String::as_str));
            self.ask(&mut end, deadline)?;
        }
        let answer = self.ask_to_subscribe(channels, names, start, deadline);
        if answer.is_err() && !in_flight.is_empty() {
            // What was subscribed before stays so. Fails only if the connection is lost, and then a reconnect does the same.
            let _ = self.renew_ended(in_flight, deadline);
        }
        answer
    }

    fn ask_to_subscribe(
        &mut self,
        channels: &str,
        names: &[String],
        start: Start<'_>,
        deadline: Instant,
    ) -> Result<Option<Ack>, ClientError> {
        let since = self.subscriptions.request(names);
        let mut message = Message::new("subscribe")?.header("subscribe", channels)?;
        add_since(&mut message, since.iter().map(Option::as_deref))?;
        if let Some(last) = start.last_value() {
            message.add_header("last", last)?;
        }
        if let Some(info) = self.subscriptions.shown() {
            message.add_header("presence-info", info)?;
        }
        match self.ask(&mut message, deadline) {
            Err(ClientError::InboxFull) if start != Start::default() => {
                let token = message.header_value("ack").unwrap_or_default();
                let renewal = self.renewal.get_or_insert_with(|| Renewal::quiet(deadline));
                renewal.subscribes(token, names.join(" "), later(self.options.timeout));
                Ok(None)
            }
            answer => answer.map(Some),
        }
    }

    /// Ends subscriptions, and waits until the server has done so. Messages that came before can still be polled.
    /// Without a connection it does not wait. For a name that was never subscribed it has no effect.
    ///
    /// # Errors
    /// As [`Client::subscribe`]. Whatever the outcome, the client no longer renews the subscriptions, except after
    /// `Invalid`.
    pub fn unsubscribe(&mut self, channels: &str) -> Result<(), ClientError> {
        check_all(channels, |name| channel::check_subscribe(name).map(drop))?;
        for name in split(channels) {
            self.subscriptions.remove(&name);
        }
        if self.connection.is_none() && self.options.reconnect {
            return Ok(());
        }
        self.acked(Message::new("unsubscribe")?.header("unsubscribe", channels)?, true).map(drop)
    }

    /// The channels and patterns that a reconnect renews, in byte order.
    pub fn subscriptions(&self) -> impl Iterator<Item = &str> {
        self.subscriptions.names()
    }

    /// The id of the newest message of a subscribed channel: that of the last message that has come, polled or not, or what
    /// the server has said when it acknowledged the subscription. `None` for a channel without a history.
    ///
    /// A program that wants to go on after its own restart keeps this id once it has dealt with all events, or the header
    /// `message-id` of the last message, and subscribes with [`Start::since`].
    pub fn position(&self, channel: &str) -> Option<&str> {
        self.subscriptions.newest(channel)
    }

    pub(super) fn report_lost(&mut self, channels: Vec<String>) {
        channels.into_iter().for_each(|channel| self.inbox.push(Event::MessagesLost { channel }));
    }
}

/// Adds the header `since`, if there is anything in it.
pub(super) fn add_since<'i>(
    message: &mut Message,
    ids: impl Iterator<Item = Option<&'i str>> + Clone,
) -> Result<(), ClientError> {
    if ids.clone().any(|id| id.is_some()) {
        let ids: Vec<_> = ids.map(|id| id.unwrap_or("-")).collect();
        message.add_header("since", ids.join(" "))?;
    }
    Ok(())
}

fn split(channels: &str) -> impl Iterator<Item = String> {
    channels.split([' ', '\t']).filter(|name| !name.is_empty()).map(str::to_owned)
}
