//! What other threads have asked of a core: publishes, answers, closes.

use std::collections::VecDeque;

use crate::{
    engine::{
        core::Core,
        hub::SHARE_UNITS,
        inbox::{Letter, Options},
        pace::Pace,
    },
    protocol::channel,
};

/// Letters taken in one turn.
pub(super) const LETTERS_PER_TURN: usize = 4096;
/// Publishes that wait for a congested link, and the bytes of their payloads: then the inbox waits, too.
const HELD_MAX: usize = 1024;
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// Publishes that wait for a congested link, oldest first. Letters that are no publishes go on.
#[derive(Debug, Default)]
pub(crate) struct Held {
    publishes: VecDeque<(Box<[u8]>, Vec<u8>)>,
    bytes: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.publishes.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.publishes.len() >= HELD_MAX || self.bytes >= HELD_BYTES_MAX
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

impl Core {
    /// Takes at most so many letters, and gives how many there were.
    pub(super) fn take_letters(&mut self, most: usize) -> usize {
        self.hub.limit_work(SHARE_UNITS);
        self.publish_held();
        let mut taken = 0;
        while taken < most && self.may_take_letters() {
            let Some(letter) = self.inbox.take() else { break };
            taken += 1;
            match letter {
                Letter::Publish { channels, payload } => {
                    if self.held.is_empty() && self.hub.links_of_publish(channel::split(&channels)) == 0 {
                        self.publish(&channels, &payload);
                    } else {
                        self.held.push(channels, payload);
                    }
                }
                Letter::Send { key, is_text, payload } if self.hub.is_current(key) => {
                    let is_text = is_text && simdutf8::basic::from_utf8(&payload).is_ok();
                    self.hub.send(key.slot, is_text, &payload);
                }
                Letter::Close { key, code, reason } if self.hub.is_current(key) => {
                    self.hub.close(&mut *self.app, key.slot, code, &reason);
                }
                Letter::Send { .. } | Letter::Close { .. } => {} // the connection is gone
                Letter::Options(options, taken) => {
                    self.set_options(*options);
                    let _ = taken.try_send(()); // whoever asked may have given up waiting
                }
            }
            self.flush_if_full();
        }
        self.hub.limit_work(u64::MAX);
        taken
    }

    /// Whether letters of the inbox, or those that wait for links, can be taken now.
    pub(super) fn has_letters(&self) -> bool {
        let has_free = !self.held.is_empty() && !self.hub.is_congested();
        has_free || (!self.inbox.is_empty() && !self.held.is_full())
    }

    fn may_take_letters(&self) -> bool {
        !self.held.is_full() && !self.hub.is_at_limit() && !self.hub.must_finish_first()
    }

    /// Publishes what has waited for links that have room now.
    fn publish_held(&mut self) {
        while !self.hub.is_at_limit()
            && !self.hub.must_finish_first()
            && let Some((channels, _)) = self.held.publishes.front()
            && self.hub.links_of_publish(channel::split(channels)) == 0
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

    fn set_options(&mut self, options: Options) {
        self.hub.set_limits(options.limits);
        self.reactor.set_connections_max(options.connections_max);
        self.busy_poll = options.busy_poll;
        self.pace = Pace::new(options.coalesce);
    }
}
