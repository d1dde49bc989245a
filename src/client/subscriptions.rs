//! The subscriptions of a client: its place in each channel with a history (PROTOCOL.md §10), and what it shows there to others
//! (§11).
//!
//! The client keeps the id of the newest message of each channel. It compares ids only for equality: what they are made of
//! is the server's own business.

use std::collections::BTreeMap;

use super::{
    ack::{Ack, is_id},
    start::Start,
};
use crate::protocol::{
    channel::{self, Kind},
    message::Message,
};

/// The client's place in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    /// The id of the newest message that has come; `None` without a history.
    newest: Option<String>,
    /// Requests for the channel that the server has not answered.
    requests: u32,
    /// A message has come since the last one.
    has_come: bool,
    /// The client has ended the subscription, to begin it again.
    is_ending: bool,
    /// What the client shows to others in the channel.
    info: Option<Box<str>>,
}

impl Place {
    /// The client asks for the channel.
    fn request(&mut self) {
        (self.has_come, self.is_ending) = (false, false);
        self.requests += 1;
    }

    /// The server has answered. With several channels in one message the answer may come behind new messages.
    fn answer(&mut self, position: Option<&str>) {
        self.requests = self.requests.saturating_sub(1);
        match position {
            // A later request or the end has cut this one short, so its answer says nothing.
            _ if self.is_ending || self.requests > 0 => {}
            Some(_) if self.has_come => {}
            position => self.newest = position.map(str::to_owned),
        }
    }

    /// A message has come. False if it has come before.
    fn take(&mut self, id: &str) -> bool {
        // Without a history these headers are the publisher's own.
        if self.requests == 0 && self.newest.is_none() {
            return true;
        }
        self.has_come = true;
        let is_new = self.newest.as_deref() != Some(id);
        if is_new {
            self.newest = Some(id.to_owned());
        }
        is_new
    }
}

/// A channel that a call subscribes to.
#[derive(Debug)]
struct Asked {
    place: Place,
    /// The program's `since`.
    wish: Option<String>,
    /// The program names no start: a subscription that the client has goes on where it is.
    goes_on: bool,
    /// Messages of this channel may come over another subscription, so they do not say how far this one is.
    is_mixed: bool,
}

/// What a message is to the subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is the next one, or has no number that concerns them.
    Next,
    /// It is the next one of a channel whose request the server has not answered yet.
    Awaited,
    /// It has come before.
    Repeated,
}

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Those that the server has acknowledged; a reconnect renews them.
    made: BTreeMap<String, Place>,
    /// Those of a call that waits for its answer.
    asked: BTreeMap<String, Asked>,
}

impl Subscriptions {
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.made.keys().map(String::as_str)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.made.contains_key(name)
    }

    /// Ends a subscription. True if there was one.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.made.remove(name).is_some()
    }

    /// The id of the newest message of a subscribed channel with a history.
    pub(super) fn newest(&self, name: &str) -> Option<&str> {
        self.made.get(name)?.newest.as_deref()
    }

    /// What the client shows in a subscribed channel.
    pub(super) fn info(&self, name: &str) -> Option<&str> {
        self.made.get(name)?.info.as_deref()
    }

    /// Whether a pattern matches a channel whose place the client keeps.
    pub(super) fn overlaps(&self, pattern: &str) -> bool {
        let is_pattern = channel::kind(pattern.as_bytes()) == Kind::Pattern;
        let mut followed = self.made.iter().filter(|(_, place)| place.newest.is_some());
        is_pattern && followed.any(|(name, _)| channel::matches(pattern.as_bytes(), name.as_bytes()))
    }

    /// A call begins to subscribe to these names. With `resumes`, what it does not say otherwise goes on where it is.
    pub(super) fn begin(&mut self, names: &[String], start: Start<'_>, resumes: bool) {
        let mut wishes = start.ids();
        for name in names {
            let asked = Asked {
                place: Place { info: self.info(name).map(Into::into), ..Place::default() },
                wish: wishes.next().flatten().map(str::to_owned),
                goes_on: resumes && start == Start::default(),
                is_mixed: self.contains(name) || self.is_matched(name),
            };
            self.asked.insert(name.clone(), asked);
        }
    }

    /// The call says what the client shows in all of its channels. Otherwise this stays as it is.
    pub(super) fn show(&mut self, info: &str) {
        self.asked.values_mut().for_each(|asked| asked.place.info = Some(info.into()));
    }

    /// What the call's request shows, in each of its channels. If it differs among them, the request does not say it: the
    /// server goes on with what it knows.
    pub(super) fn shown(&self) -> Option<&str> {
        let mut all = self.asked.values().map(|asked| asked.place.info.as_deref());
        let first = all.next()?;
        first.filter(|_| all.all(|info| info == first))
    }

    fn is_matched(&self, name: &str) -> bool {
        self.made.keys().any(|pattern| pattern != name && channel::matches(pattern.as_bytes(), name.as_bytes()))
    }

    /// The channels of the call that must end first: their messages in flight would come a second time.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &str> {
        let ends =
            |(name, asked): &(&String, &Asked)| (asked.goes_on || asked.wish.is_some()) && self.newest(name).is_some();
        self.asked.iter().filter(ends).map(|(name, _)| name.as_str())
    }

    /// The client ends these names, to begin them again.
    pub(super) fn end<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        for name in names {
            if let Some(place) = self.made.get_mut(name) {
                place.is_ending = true;
            }
        }
    }

    /// The client sends the call's request: where each of these names begins.
    pub(super) fn request(&mut self, names: &[String]) -> Vec<Option<String>> {
        let since = names.iter().map(|name| self.since(name)).collect();
        self.asked.values_mut().for_each(|asked| asked.place.request());
        since
    }

    fn since(&self, name: &str) -> Option<String> {
        let asked = self.asked.get(name)?;
        let seen = asked.place.newest.clone().filter(|_| !asked.is_mixed);
        seen.or_else(|| asked.wish.clone()).or_else(|| self.newest(name).filter(|_| asked.goes_on).map(str::to_owned))
    }

    /// The server has answered the call. Returns the channels that have lost messages.
    pub(super) fn complete(&mut self, names: &[String], ack: &Ack) -> Vec<String> {
        self.adopt(names);
        self.answered(names.iter().map(String::as_str), ack)
    }

    /// The call does not wait any longer, and its subscriptions are made.
    pub(super) fn adopt(&mut self, names: &[String]) {
        for name in names {
            let since = self.since(name);
            if let Some(Asked { mut place, .. }) = self.asked.remove(name) {
                place.newest = place.newest.or(since);
                self.made.insert(name.clone(), place);
            }
        }
        self.asked.clear();
    }

    /// The connection has ended, and nothing is answered any more.
    pub(super) fn disconnect(&mut self) {
        let asked = self.asked.values_mut().map(|asked| &mut asked.place);
        self.made.values_mut().chain(asked).for_each(|place| place.requests = 0);
    }

    /// The call has failed.
    pub(super) fn give_up(&mut self) {
        self.asked.clear();
    }

    /// The client asks for these names once more.
    pub(super) fn renew<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        for name in names {
            if let Some(place) = self.made.get_mut(name) {
                place.request();
            }
        }
    }

    /// The server has acknowledged these names, in this order. Returns the channels that have lost messages.
    pub(super) fn answered<'n>(&mut self, names: impl Iterator<Item = &'n str>, ack: &Ack) -> Vec<String> {
        let mut positions = ack.positions();
        for name in names {
            let position = positions.next().flatten();
            if let Some(place) = self.made.get_mut(name) {
                place.answer(position);
            }
        }
        ack.lost().filter(|name| self.contains(name)).map(str::to_owned).collect()
    }

    /// The server has refused a request for these names.
    pub(super) fn refused<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        for name in names {
            if let Some(place) = self.made.get_mut(name) {
                place.requests = place.requests.saturating_sub(1);
            }
        }
    }

    /// A message has come.
    pub(super) fn take(&mut self, message: &Message) -> Arrival {
        let Some(id) = message.header_value("message-id").filter(|id| is_id(id)) else { return Arrival::Next };
        let Some(channel) = message.header_value("channel") else { return Arrival::Next };
        // A publisher can write both headers on another channel, but its message says where it went.
        let mut channels = message.channels().peekable();
        if channels.peek().is_some() && !channels.any(|name| name == channel) {
            return Arrival::Next;
        }
        let made = self.made.get_mut(channel).map(|place| (place.take(id), place.requests > 0));
        let asked = self.asked.get_mut(channel).map(|asked| (asked.place.take(id), asked.place.requests > 0));
        match asked.or(made) {
            Some((false, _)) => Arrival::Repeated,
            Some((true, true)) => Arrival::Awaited,
            Some((true, false)) | None => Arrival::Next,
        }
    }
}

#[cfg(test)]
mod tests;
