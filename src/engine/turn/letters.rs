//! Letters from other threads: publishes, answers, closes.

use std::collections::VecDeque;

use crate::{
    engine::{
        inbox::Letter,
        stats::Why,
        turn::{Links, Sockets, Turn},
    },
    protocol::channel,
};

/// The most bytes of payloads that wait for a congested link, except for the letter that reaches it. At this limit the inbox
/// waits, too.
const HELD_BYTES_MAX: usize = 1024 * 1024;
/// Work for a byte of another node's message, which is JSON.
const NODE_BYTE_UNITS: u64 = 4;

/// Publishes that wait for a congested link, or for the next turn, oldest first. Other letters go on.
#[derive(Debug, Default)]
pub(crate) struct Held {
    publishes: VecDeque<(Box<[u8]>, Vec<u8>)>,
    bytes: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.publishes.is_empty()
    }

    fn is_full(&self, publishes_max: usize) -> bool {
        self.publishes.len() >= publishes_max || self.bytes >= HELD_BYTES_MAX
    }

    fn push(&mut self, channels: Box<[u8]>, payload: Vec<u8>) {
        self.bytes += payload.len();
        self.publishes.push_back((channels, payload));
    }

    fn pop(&mut self) -> Option<(Box<[u8]>, Vec<u8>)> {
        let (channels, payload) = self.publishes.pop_front()?;
        self.bytes -= payload.len();
        Some((channels, payload))
    }
}

impl<S: Sockets, L: Links> Turn<S, L> {
    /// Takes at most `most` letters. Returns how many it took.
    pub(super) fn take_letters(&mut self, most: usize) -> usize {
        self.hub.router.work.limit(self.sizes.share_units);
        self.publish_held();
        let mut taken = 0;
        while taken < most && self.may_take_letters() {
            let Some(letter) = self.inbox.take() else { break };
            taken += 1;
            match letter {
                Letter::Publish { channels, payload } => {
                    if self.held.is_empty() && self.hub.router.links_of_publish(channel::split(&channels)) == 0 {
                        self.publish(&channels, &payload);
                    } else {
                        self.held.push(channels, payload);
                    }
                }
                Letter::PublishAll(all) => {
                    all.into_iter().for_each(|(channels, payload)| self.held.push(channels, payload));
                    self.publish_held();
                }
                Letter::Send { key, is_text, payload } if self.hub.sessions.is_current(key) => {
                    let is_text = is_text && simdutf8::basic::from_utf8(&payload).is_ok();
                    self.hub.send(key.slot, is_text, &payload);
                }
                Letter::Close { key, code, reason } if self.hub.sessions.is_current(key) => {
                    self.hub.close(&mut *self.app, key.slot, (code, &reason), Why::Server);
                }
                Letter::Send { .. } | Letter::Close { .. } => {} // the connection is gone
                Letter::Ask { id, question, asker } => {
                    self.surveys.ask(self.hub.router.own(), id, question, asker);
                }
                Letter::Told { id, core, answer } => self.app.on_told(&mut self.hub, id, core, *answer),
                Letter::OfNode(message) => {
                    self.hub.router.work.add(NODE_BYTE_UNITS * message.len() as u64);
                    self.app.on_node(&mut self.hub, &message);
                }
                Letter::Options(options, taken) => {
                    self.hub.set_limits(options.limits.clone());
                    self.sockets.set_limits(&self.hub.limits);
                    self.places.set_connections_max(options.connections_max);
                    self.options.push((*options, taken));
                }
            }
            self.flush_if_full();
        }
        self.hub.router.work.limit(u64::MAX);
        taken
    }

    /// Whether letters of the inbox, or publishes that wait for links, can be taken now.
    pub(super) fn has_letters(&self) -> bool {
        let has_free = !self.held.is_empty() && !self.hub.router.is_congested();
        has_free || (!self.inbox.is_empty() && !self.held.is_full(self.sizes.held_max))
    }

    fn may_take_letters(&self) -> bool {
        !self.held.is_full(self.sizes.held_max)
            && !self.hub.router.work.is_at_limit()
            && !self.hub.router.unfinished.is_first()
    }

    /// Publishes the waiting letters whose links have room now.
    fn publish_held(&mut self) {
        while !self.hub.router.work.is_at_limit()
            && !self.hub.router.unfinished.is_first()
            && let Some((channels, _)) = self.held.publishes.front()
            && self.hub.router.links_of_publish(channel::split(channels)) == 0
            && let Some((channels, payload)) = self.held.pop()
        {
            self.publish(&channels, &payload);
            self.flush_if_full();
        }
    }

    fn publish(&mut self, channels: &[u8], payload: &[u8]) {
        let is_text = simdutf8::basic::from_utf8(payload).is_ok();
        self.hub.publish(channel::split(channels), is_text, payload, None);
        self.hub.message_done(None);
    }
}
