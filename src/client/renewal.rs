//! Renewed subscriptions: after a reconnect, and after a new token.

use std::{collections::HashMap, time::Instant};

use super::{Client, ClientError, Event, State, connection::Sent, event::Payload};
use crate::{error::Refusal, protocol::message::Message};

/// The longest `subscribe` value that renews subscriptions. It keeps the message's head well below the server's limit
/// (8 KiB by default, PROTOCOL.md §1). One channel has at most 255 bytes.
const RENEWAL_BYTES_MAX: usize = 2048;

/// The subscriptions that a new connection has asked for and the server has not answered yet.
#[derive(Debug)]
pub(super) struct Renewal {
    /// The channels, by the token of the message that asked for them.
    asked: HashMap<String, String>,
    /// When the client gives the connection up because the renewal takes too long.
    deadline: Instant,
    /// The connection is new: its last answer makes it open.
    opens: bool,
}

impl Renewal {
    /// The renewal of a new connection.
    pub(super) fn opening(deadline: Instant) -> Self {
        Self { opens: true, ..Self::quiet(deadline) }
    }

    /// A renewal on a connection that is open.
    pub(super) fn quiet(deadline: Instant) -> Self {
        Self { asked: HashMap::new(), deadline, opens: false }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The channels of the message with this token, which the server has answered.
    pub(super) fn answered(&mut self, token: &str) -> Option<String> {
        self.asked.remove(token)
    }
}

impl Client {
    pub(super) fn renew_all(&mut self, deadline: Instant) -> Result<(), ClientError> {
        let mut groups = vec![String::new()];
        for channel in &self.subscriptions {
            match groups.last_mut() {
                Some(group) if group.is_empty() => group.push_str(channel),
                Some(group) if group.len() + channel.len() < RENEWAL_BYTES_MAX => {
                    group.push(' ');
                    group.push_str(channel);
                }
                _ => groups.push(channel.clone()),
            }
        }
        groups.into_iter().filter(|group| !group.is_empty()).try_for_each(|group| self.renew(group, deadline))
    }

    fn renew(&mut self, channels: String, deadline: Instant) -> Result<(), ClientError> {
        let token = self.tokens.next();
        let message =
            Message::new("subscribe")?.header("subscribe", channels.as_str())?.header("ack", token.as_str())?;
        let Some(connection) = &mut self.connection else { return Ok(()) };
        match connection.send(&Payload::from(message.encode()), deadline) {
            Sent::Taken => {}
            Sent::Full => return Err(self.lost("the server does not read".to_owned())),
            Sent::Ended(why) => return Err(self.broken(why)),
        }
        if let Some(renewal) = &mut self.renewal {
            renewal.asked.insert(token, channels);
        }
        Ok(())
    }

    /// The server has answered a group. It accepts or refuses the whole group. After a refusal the client asks for each
    /// channel alone, and gives up the ones that the server refuses alone. A channel that was unsubscribed since then
    /// is neither asked for nor reported as lost.
    pub(super) fn renewed(&mut self, channels: &str, refusal: Option<Refusal>) {
        if let Some(refusal) = refusal {
            if channels.contains(' ') {
                let wanted: Vec<_> = channels.split(' ').filter(|&name| self.subscriptions.contains(name)).collect();
                let now = Instant::now();
                // Fails only if the connection is lost again.
                let _ = wanted.into_iter().try_for_each(|channel| self.renew(channel.to_owned(), now));
            } else if self.subscriptions.remove(channels) {
                self.inbox.push(Event::SubscriptionLost { channel: channels.to_owned(), refusal });
            }
        }
        self.end_renewal();
    }

    /// With the last answer a new connection counts as open.
    pub(super) fn end_renewal(&mut self) {
        if self.renewal.take_if(|renewal| renewal.asked.is_empty()).is_some_and(|renewal| renewal.opens) {
            self.inbox.push(Event::State(State::Open));
        }
    }
}
