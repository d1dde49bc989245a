//! Events that wait to be polled.

use std::collections::VecDeque;

use super::{
    event::{Event, State},
    presence::Member,
};

/// A bounded queue. A caller checks [`Inbox::is_full`] before it adds events, and waits or fails. An event that is
/// added all the same is kept, so nothing is ever lost here.
#[derive(Debug)]
pub(super) struct Inbox {
    events: VecDeque<Event>,
    /// The sum of [`bytes`] of all events.
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

impl Inbox {
    pub(super) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, messages_max, bytes_max }
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= self.messages_max || self.bytes >= self.bytes_max
    }

    pub(super) fn push(&mut self, event: Event) {
        // Of several waits in a row only the last one matters: a program that does not poll while its server is away
        // finds one event, not one for every attempt. The same is true of renewals that fail.
        if let (Event::State(State::Waiting { .. }), Some(last @ Event::State(State::Waiting { .. })))
        | (Event::TokenNotRenewed(_), Some(last @ Event::TokenNotRenewed(_))) = (&event, self.events.back_mut())
        {
            *last = event;
            return;
        }
        self.bytes += bytes(&event);
        self.events.push_back(event);
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.bytes -= bytes(&event);
        Some(event)
    }
}

/// The approximate memory of an event: the bytes that came over the wire, or what they have become.
fn bytes(event: &Event) -> usize {
    match event {
        Event::Message(message) => message.encoded_len(),
        Event::Raw(payload) => payload.as_bytes().len(),
        Event::PresenceChange { joined, left, .. } => {
            let left = left.iter().map(|user| size_of::<String>() + user.len());
            joined.iter().map(Member::bytes).chain(left).sum()
        }
        Event::Refused(_)
        | Event::TokenEnding
        | Event::TokenNotRenewed(_)
        | Event::SubscriptionLost { .. }
        | Event::MessagesLost { .. }
        | Event::State(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::Payload;

    fn raw(text: &str) -> Event {
        Event::Raw(Payload::Text(text.to_owned()))
    }

    #[test]
    fn it_is_full_at_either_limit_and_empties_in_order() {
        let mut inbox = Inbox::new(3, 10);
        inbox.push(raw("12345"));
        inbox.push(raw("1234"));
        assert!(!inbox.is_full());
        inbox.push(raw("1"));
        assert!(inbox.is_full());
        assert_eq!(inbox.pop(), Some(raw("12345")));
        assert!(!inbox.is_full());
        inbox.push(raw("123456"));
        assert!(inbox.is_full());
        assert_eq!([inbox.pop(), inbox.pop(), inbox.pop()], [Some(raw("1234")), Some(raw("1")), Some(raw("123456"))]);
        assert_eq!((inbox.pop(), inbox.bytes), (None, 0));
    }

    #[test]
    fn users_who_come_and_go_count_like_messages() {
        let change = || {
            let joined = vec![Member { user: "a".to_owned(), connections: 1, since: 2, info: Some("{}".to_owned()) }];
            Event::PresenceChange { channel: "room".to_owned(), joined, left: vec!["bc".to_owned()], users: 7, more: 0 }
        };
        let mut inbox = Inbox::new(9, size_of::<Member>() + 3 + size_of::<String>() + 2);
        inbox.push(change());
        assert!(inbox.is_full());
        assert_eq!((inbox.pop(), inbox.bytes), (Some(change()), 0));
    }

    #[test]
    fn waits_that_follow_each_other_are_one_event() {
        let waiting =
            |why: &str| Event::State(State::Waiting { retry_in: Duration::ZERO, why: why.to_owned(), refusal: None });
        let mut inbox = Inbox::new(9, 9);
        inbox.push(waiting("first"));
        inbox.push(waiting("second"));
        inbox.push(Event::State(State::Open));
        inbox.push(waiting("third"));
        let all: Vec<_> = std::iter::from_fn(|| inbox.pop()).collect();
        assert_eq!(all, [waiting("second"), Event::State(State::Open), waiting("third")]);
    }
}
