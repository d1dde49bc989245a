//! Renewed subscriptions: after a reconnect, and after a new token. A channel with a history goes on where the client was.

use std::{collections::HashMap, time::Instant};

use super::{
    Ack, Client, ClientError, Event, State,
    builder::later,
    connection::{Received, Sent},
    event::Payload,
    subscribing::add_since,
};
use crate::{error::Refusal, protocol::message::Message};

/// The longest `subscribe` value that renews subscriptions, with the ids beside it. It keeps the message's head well below
/// the server's limit (8 KiB by default, PROTOCOL.md §1). One channel has at most 255 bytes.
const RENEWAL_BYTES_MAX: usize = 2048;

/// The subscriptions that a connection has asked for and the server has not answered yet.
#[derive(Debug)]
pub(super) struct Renewal {
    /// By the token of the message that asked for them.
    asked: HashMap<String, Request>,
    /// Patterns that wait for the answers.
    patterns: Vec<String>,
    /// When the client gives the connection up because the renewal takes too long.
    deadline: Instant,
    /// The connection is new: its last answer makes it open.
    opens: bool,
    /// Nothing was asked for on this connection yet.
    is_first: bool,
    /// All must be asked for once more after the answers.
    comes_again: bool,
}

/// What a message of a renewal asks for: names, separated by spaces.
#[derive(Debug)]
pub(super) enum Request {
    Subscribe(String),
    Unsubscribe(String),
}

impl Renewal {
    /// The renewal of a new connection.
    pub(super) fn opening(deadline: Instant) -> Self {
        Self { opens: true, is_first: true, ..Self::quiet(deadline) }
    }

    /// A renewal on a connection that is open.
    pub(super) fn quiet(deadline: Instant) -> Self {
        Self {
            asked: HashMap::new(),
            patterns: Vec::new(),
            deadline,
            opens: false,
            is_first: false,
            comes_again: false,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits until then, because what the client has asked for is coming.
    pub(super) fn extend(&mut self, deadline: Instant) {
        self.deadline = self.deadline.max(deadline);
    }

    /// Waits also for the answer to a subscribe with this token, until then.
    pub(super) fn subscribes(&mut self, token: &str, names: String, deadline: Instant) {
        self.extend(deadline);
        self.asked.insert(token.to_owned(), Request::Subscribe(names));
    }

    /// The request with this token, which the server has answered.
    pub(super) fn answered(&mut self, token: &str) -> Option<Request> {
        self.asked.remove(token)
    }
}

impl Client {
    /// Asks for all subscriptions again. The client gives each channel with a history its place, so that messages come once
    /// and in order:
    /// - On an open connection the subscription may still be there, with messages in flight. So it is ended first.
    /// - Over a pattern that matches the channel, new messages would come before the old ones. So it waits.
    pub(super) fn renew_all(&mut self, deadline: Instant) -> Result<(), ClientError> {
        let Some(renewal) = &mut self.renewal else { return Ok(()) };
        if !renewal.asked.is_empty() {
            renewal.comes_again = true;
            return Ok(());
        }
        let is_first = std::mem::take(&mut renewal.is_first);
        let (mut now, mut ended) = (Vec::new(), Vec::new());
        renewal.patterns.clear();
        for name in self.subscriptions.names() {
            let is_followed = self.subscriptions.newest(name).is_some();
            match name.to_owned() {
                name if self.options.resume && self.subscriptions.overlaps(&name) => renewal.patterns.push(name),
                name if self.options.resume && is_followed && !is_first => ended.push(name),
                name => now.push(name),
            }
        }
        self.end_first(ended, deadline)?;
        self.renew_names(now, deadline)
    }

    /// Asks for names again on an open connection, after their end.
    pub(super) fn renew_ended(&mut self, names: Vec<String>, deadline: Instant) -> Result<(), ClientError> {
        self.renewal.get_or_insert_with(|| Renewal::quiet(deadline)).extend(later(self.options.timeout));
        let sent = self.end_first(names, deadline);
        self.end_renewal();
        sent
    }

    /// Ends names. Their renewal follows the answer.
    fn end_first(&mut self, names: Vec<String>, deadline: Instant) -> Result<(), ClientError> {
        for group in self.groups(names) {
            let message = Message::new("unsubscribe")?.header("unsubscribe", group.as_str())?;
            self.subscriptions.end(group.split(' '));
            self.request(message, Request::Unsubscribe(group), deadline)?;
        }
        Ok(())
    }

    fn renew_names(&mut self, names: Vec<String>, deadline: Instant) -> Result<(), ClientError> {
        self.groups(names).into_iter().try_for_each(|group| self.renew(group, deadline))
    }

    /// The names in groups, each of which fits into one message. In all channels of a group the client shows the same.
    fn groups(&self, mut names: Vec<String>) -> Vec<String> {
        names.sort_by_key(|name| self.subscriptions.info(name));
        let mut groups: Vec<String> = Vec::new();
        let (mut room, mut shown) = (0_usize, None);
        for name in names {
            let bytes = name.len() + self.since(&name).map_or(0, |id| id.len() + 1);
            let before = std::mem::replace(&mut shown, self.subscriptions.info(&name));
            match groups.last_mut() {
                Some(group) if bytes < room && before == shown => {
                    group.push(' ');
                    group.push_str(&name);
                    room -= bytes + 1;
                }
                _ => {
                    room = RENEWAL_BYTES_MAX.saturating_sub(bytes);
                    groups.push(name);
                }
            }
        }
        groups
    }

    /// Where a renewed subscription begins.
    fn since(&self, name: &str) -> Option<&str> {
        self.subscriptions.newest(name).filter(|_| self.options.resume)
    }

    fn renew(&mut self, names: String, deadline: Instant) -> Result<(), ClientError> {
        let mut message = Message::new("subscribe")?.header("subscribe", names.as_str())?;
        add_since(&mut message, names.split(' ').map(|name| self.since(name)))?;
        if let Some(info) = names.split(' ').next().and_then(|name| self.subscriptions.info(name)) {
            message.add_header("presence-info", info)?;
        }
        self.subscriptions.renew(names.split(' '));
        self.request(message, Request::Subscribe(names), deadline)
    }

    fn request(&mut self, message: Message, request: Request, deadline: Instant) -> Result<(), ClientError> {
        let token = self.tokens.next();
        let message = message.header("ack", token.as_str())?;
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match connection.send(&Payload::from(message.encode()), deadline) {
            Sent::Taken => {}
            Sent::Full => return Err(self.lost("the server does not read".to_owned())),
            Sent::Ended(why) => return Err(self.broken(why)),
        }
        if let Some(renewal) = &mut self.renewal {
            renewal.asked.insert(token, request);
        }
        Ok(())
    }

    /// The server has answered a request.
    pub(super) fn renewed(&mut self, request: Request, answer: Result<Ack, Refusal>) {
        match (request, answer) {
            (Request::Subscribe(names), Ok(ack)) => {
                let lost = self.subscriptions.answered(names.split(' '), &ack);
                self.report_lost(lost);
            }
            (Request::Subscribe(names), Err(refusal)) => self.refused(&names, refusal),
            (Request::Unsubscribe(names), _) => {
                let wanted = self.wanted(&names);
                let _ = self.renew_names(wanted, Instant::now()); // fails only if the connection is lost again
            }
        }
        self.end_renewal();
    }

    /// The server accepts or refuses a group as a whole. After a refusal the client asks for each channel alone, and gives up
    /// those that the server refuses alone.
    fn refused(&mut self, names: &str, refusal: Refusal) {
        self.subscriptions.refused(names.split(' '));
        if names.contains(' ') {
            let (wanted, now) = (self.wanted(names), Instant::now());
            // Fails only if the connection is lost again.
            let _ = wanted.into_iter().try_for_each(|channel| self.renew(channel, now));
        } else if self.subscriptions.remove(names) {
            self.inbox.push(Event::SubscriptionLost { channel: names.to_owned(), refusal });
        }
    }

    /// Those of the names that were not unsubscribed since: they are neither asked for again nor reported as lost.
    fn wanted(&self, names: &str) -> Vec<String> {
        names.split(' ').filter(|name| self.subscriptions.contains(name)).map(str::to_owned).collect()
    }

    /// After the last answer the patterns follow that waited; then a new connection counts as open.
    pub(super) fn end_renewal(&mut self) {
        let Some(renewal) = self.renewal.as_mut().filter(|renewal| renewal.asked.is_empty()) else { return };
        let patterns = std::mem::take(&mut renewal.patterns);
        let wanted: Vec<_> = patterns.into_iter().filter(|name| self.subscriptions.contains(name)).collect();
        let comes_again = wanted.is_empty() && std::mem::take(&mut renewal.comes_again);
        if !wanted.is_empty() || comes_again {
            renewal.extend(later(self.options.timeout));
            let now = Instant::now();
            // Both fail only if the connection is lost again.
            let _ = if comes_again { self.renew_all(now) } else { self.renew_names(wanted, now) };
        }
        if self.renewal.take_if(|renewal| renewal.asked.is_empty()).is_some_and(|renewal| renewal.opens) {
            self.inbox.push(Event::State(State::Open));
        }
    }

    /// Waits for the end of a renewal, if there is one.
    pub(super) fn wait_until_renewed(&mut self, deadline: Instant) -> Result<(), ClientError> {
        while self.renewal.is_some() {
            if self.inbox.is_full() {
                return Err(ClientError::InboxFull);
            }
            match self.receive(deadline) {
                Received::Payload(payload) => drop(self.sort(payload, None)),
                Received::Event | Received::Interrupted => {}
                Received::Nothing => return Err(ClientError::TimedOut),
                Received::Ended(why) => return Err(ClientError::Lost(why)),
            }
        }
        Ok(())
    }
}
