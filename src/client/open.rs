//! Opening a connection: attempts, and the wait for an acknowledgement.

use std::{io, time::Instant};

use super::{
    Ack, Client, ClientError, Event, State,
    answer::Incoming,
    builder::later,
    connection::{Connection, Received, Sent},
    event::Payload,
    outbox_bytes,
    refused::NoConnection,
    renewal::Renewal,
    subscriptions::Arrival,
};
use crate::{error::Refusal, protocol::message::Message};

/// Whether it is time for the next attempt to connect.
#[derive(Debug)]
pub(super) enum Retry {
    Due,
    /// Not before the deadline of the call.
    Later,
    /// A signal came, or the client was woken.
    Interrupted,
}

impl Client {
    /// The first connection, which must succeed.
    pub(super) fn first_connect(&mut self, deadline: Instant) -> Result<(), ClientError> {
        self.connect(deadline).map_err(|NoConnection { why, refusal }| match refusal {
            Some(refusal) => ClientError::Refused(refusal),
            None => ClientError::NotConnected(why),
        })
    }

    /// One attempt, with a token if there is a source of them.
    fn connect(&mut self, deadline: Instant) -> Result<(), NoConnection> {
        let token = self.options.token.next()?;
        let connection = Connection::connect(&self.target, &self.options, token.as_ref(), &self.wait, deadline)?;
        self.connection = Some(connection);
        self.credentials.restart(token.as_ref());
        Ok(())
    }

    /// Sends a message with a token, and waits for the answer; see [`Client::until_answered`].
    pub(super) fn acked(&mut self, mut message: Message, again: bool) -> Result<Ack, ClientError> {
        self.until_answered(again, |client, deadline| client.ask(&mut message, deadline))
    }

    /// Asks the server once there is a connection. With `again`, it asks once more if the connection is lost in between;
    /// this is for messages that do no harm twice.
    pub(super) fn until_answered<T>(
        &mut self,
        again: bool,
        mut ask: impl FnMut(&mut Self, Instant) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let deadline = later(self.options.timeout);
        loop {
            if self.inbox.is_full() {
                return Err(ClientError::InboxFull);
            }
            self.wait_for_open(deadline)?;
            match ask(self, deadline) {
                Err(ClientError::Lost(_)) if again && self.options.reconnect => {}
                result => return result,
            }
        }
    }

    /// Sends a message over the current connection, and waits for its acknowledgement.
    pub(super) fn ask(&mut self, message: &mut Message, deadline: Instant) -> Result<Ack, ClientError> {
        let mut answer = self.ask_for_any(message, deadline)?;
        // The program's own message asks who is in a channel, too. The list may be all of the answer (PROTOCOL.md §11).
        let is_acked = ["subscribe", "publish"].iter().any(|name| message.header_value(name).is_some());
        while answer.command() != "ack" {
            self.inbox.push(Event::Message(answer));
            if !is_acked {
                return Ok(Ack::default());
            }
            if self.inbox.is_full() {
                return Err(ClientError::InboxFull);
            }
            answer = self.wait_for_answer(message.header_value("ack").unwrap_or_default(), deadline)?;
        }
        Ok(Ack::from(&answer))
    }

    /// The same for any answer: an acknowledgement, or a list of users.
    pub(super) fn ask_for_any(&mut self, message: &mut Message, deadline: Instant) -> Result<Message, ClientError> {
        // The server carries out this message with the new token.
        self.renew_token();
        let token = self.tokens.next();
        message.set_header("ack", token.as_str())?;
        self.send_outbox(deadline)?;
        let payload = Payload::from(message.encode());
        self.check_size(&payload)?;
        let Some(connection) = self.connection.as_mut().filter(|_| self.outbox.is_empty()) else {
            return Err(ClientError::OutboxFull);
        };
        match connection.send(&payload, deadline) {
            Sent::Taken => self.wait_for_answer(&token, deadline),
            Sent::Full => Err(ClientError::OutboxFull),
            Sent::Ended(why) => Err(self.broken(why)),
        }
    }

    fn wait_for_answer(&mut self, token: &str, deadline: Instant) -> Result<Message, ClientError> {
        loop {
            match self.receive(deadline) {
                Received::Payload(payload) => match self.sort(payload, Some(token)) {
                    Some(answer) => return answer.map_err(ClientError::Refused),
                    None if self.inbox.is_full() => return Err(ClientError::InboxFull),
                    None => {}
                },
                Received::Nothing => return Err(ClientError::TimedOut),
                Received::Event | Received::Interrupted => {}
                Received::Ended(why) => return Err(ClientError::Lost(why)),
            }
        }
    }

    /// Waits for a message until the deadline. If the connection ends, this function also records that.
    pub(super) fn receive(&mut self, deadline: Instant) -> Received {
        let received = loop {
            if self.renew_token() {
                break Received::Event;
            }
            let Some(connection) = &mut self.connection else { return Received::Ended(self.why.clone()) };
            let renewal_deadline = self.renewal.as_ref().map(Renewal::deadline);
            let wake = [renewal_deadline, self.credentials.due()].into_iter().flatten().fold(deadline, Instant::min);
            match connection.receive(wake) {
                Received::Nothing if renewal_deadline.is_some_and(|renewal| renewal <= Instant::now()) => {
                    break Received::Ended("the server did not renew the subscriptions in time".to_owned());
                }
                // It is time for a new token.
                Received::Nothing if wake < deadline => {}
                received => break received,
            }
        };
        if let Received::Ended(why) = &received {
            self.lost(why.clone());
        }
        received
    }

    /// Returns the answer to the awaited token. Everything else goes into the inbox, except acknowledgements that come
    /// too late for their call.
    pub(super) fn sort(&mut self, payload: Payload, awaited: Option<&str>) -> Option<Result<Message, Refusal>> {
        let (token, answer) = match Incoming::from(payload) {
            Incoming::Event(event) => {
                self.take(event);
                return None;
            }
            Incoming::Answer { token, message } if self.token_acknowledged(&token, &Ack::from(&message)) => {
                return None;
            }
            Incoming::Refused { token, refusal } if self.token_refused(token.as_deref(), &refusal) => return None,
            Incoming::Ended { channel, refusal } => {
                self.subscriptions.remove(&channel);
                self.inbox.push(Event::SubscriptionLost { channel, refusal });
                return None;
            }
            Incoming::Answer { token, message } => (Some(token), Ok(message)),
            Incoming::Refused { token, refusal } => (token, Err(refusal)),
        };
        if awaited.is_some() && awaited == token.as_deref() {
            return Some(answer);
        }
        let renewed = token.as_ref().and_then(|token| self.renewal.as_mut()?.answered(token));
        match (renewed, answer, token) {
            (Some(request), answer, _) => self.renewed(request, answer.map(|message| Ack::from(&message))),
            (None, Err(refusal), _) => self.inbox.push(Event::Refused(refusal)),
            // The program has set this token itself and waits for the answer itself; or it is a list behind the
            // acknowledgement of the same message.
            (None, Ok(message), Some(token)) if message.command() != "ack" || !self.tokens.is_ours(&token) => {
                self.inbox.push(Event::Message(message));
            }
            (None, Ok(_), _) => {}
        }
        None
    }

    /// Keeps an event to be polled, unless it is a message that has come before.
    fn take(&mut self, event: Event) {
        let arrival = match &event {
            Event::Message(message) => self.subscriptions.take(message),
            _ => Arrival::Next,
        };
        match arrival {
            Arrival::Repeated if self.options.resume => return,
            Arrival::Awaited => {
                let deadline = later(self.options.timeout);
                self.renewal.iter_mut().for_each(|renewal| renewal.extend(deadline));
            }
            Arrival::Next | Arrival::Repeated => {}
        }
        self.inbox.push(event);
    }

    /// Makes attempts until there is a connection.
    pub(super) fn wait_for_open(&mut self, deadline: Instant) -> Result<(), ClientError> {
        while self.connection.is_none() {
            // An attempt without any time would only replace the reason by "timed out".
            match self.wait_for_retry(deadline)? {
                Retry::Due if Instant::now() < deadline => {
                    self.attempt(deadline.min(later(self.options.connect_timeout)));
                }
                Retry::Interrupted => {}
                Retry::Due | Retry::Later => return Err(ClientError::NotConnected(self.why.clone())),
            }
        }
        Ok(())
    }

    /// Waits until the next attempt is due.
    pub(super) fn wait_for_retry(&mut self, deadline: Instant) -> Result<Retry, ClientError> {
        if !self.options.reconnect {
            return Err(ClientError::Closed(self.why.clone()));
        }
        let end = self.retry_at.min(deadline);
        while Instant::now() < end {
            match self.wait.until(end) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Retry::Interrupted),
                result => result.map_err(|error| ClientError::NotConnected(error.to_string()))?,
            }
        }
        Ok(if self.retry_at <= deadline { Retry::Due } else { Retry::Later })
    }

    /// Tries to connect. Then sends the renewals of the subscriptions, and behind them the outbox.
    pub(super) fn attempt(&mut self, deadline: Instant) {
        if let Err(NoConnection { why, refusal }) = self.connect(deadline) {
            return self.wait_again(why, refusal);
        }
        self.renewal = Some(Renewal::opening(later(self.options.timeout)));
        // Both fail only if the connection is lost again; then the next attempt starts anew.
        let _ = self.renew_all(deadline).and_then(|()| self.send_outbox(Instant::now()));
        self.end_renewal();
    }

    /// Sends the outbox, as far as the connection takes it before the deadline.
    pub(super) fn send_outbox(&mut self, deadline: Instant) -> Result<(), ClientError> {
        while let (Some(connection), Some(payload)) = (&mut self.connection, self.outbox.front()) {
            match connection.send(payload, deadline) {
                Sent::Taken => {}
                Sent::Full => return Ok(()),
                Sent::Ended(why) => return Err(self.broken(why)),
            }
            if let Some(sent) = self.outbox.pop_front() {
                self.outbox_bytes -= outbox_bytes(&sent);
            }
        }
        Ok(())
    }

    /// A write has shown that the connection has ended. What came before can still be read; often that includes a close
    /// frame that says more.
    pub(super) fn broken(&mut self, why: String) -> ClientError {
        while let Some(connection) = &mut self.connection {
            match connection.receive(Instant::now()) {
                Received::Payload(payload) => drop(self.sort(payload, None)),
                Received::Ended(better) => return self.lost(better),
                Received::Event | Received::Nothing | Received::Interrupted => break,
            }
        }
        self.lost(why)
    }

    /// The connection has ended.
    pub(super) fn lost(&mut self, why: String) -> ClientError {
        if let Some(connection) = self.connection.take() {
            self.renewal = None;
            self.subscriptions.disconnect();
            self.credentials.restart(None);
            self.backoff.ended(connection.opened(), connection.told());
            self.wait_again(why.clone(), None);
        }
        ClientError::Lost(why)
    }

    /// There is no connection: reports when the next attempt is due.
    fn wait_again(&mut self, why: String, refusal: Option<Refusal>) {
        self.why.clone_from(&why);
        if !self.options.reconnect {
            return self.inbox.push(Event::State(State::Closed { why }));
        }
        let retry_in = self.backoff.next_delay(refusal.is_some());
        self.retry_at = later(retry_in);
        self.inbox.push(Event::State(State::Waiting { retry_in, why, refusal }));
    }
}
