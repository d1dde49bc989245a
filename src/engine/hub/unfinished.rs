//! Messages that are carried out in pieces: one that names many channels with many subscribers is worth several turns.
//!
//! [`Hub::publish`] stops between two channels, or two audiences of one, when the turn is full or the piece is large
//! enough. What is left of the message, and what it asks for behind it, is kept as *steps*; each turn does some of them,
//! message by message, round robin. Until they are done the sender is not read, so its messages stay in order; the
//! messages of others go on. Nothing is copied for a message that is done in one piece, which nearly all are.

use std::collections::VecDeque;

use crate::{
    engine::{
        hub::{Hub, acks::Awaited},
        slot::{ConnectionKey, Slot},
    },
    protocol::channel::Kind,
};

/// What is left of messages.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// Steps of the message that is carried out at this moment, once it was cut.
    cut: VecDeque<Step>,
    messages: VecDeque<Message>,
    /// Those among them that came from peers, other threads, or a connection's end.
    without_sender: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Message {
    /// It is not read until this is done.
    sender: Option<ConnectionKey>,
    steps: VecDeque<Step>,
}

/// One thing that is left to do.
#[derive(Debug)]
pub(super) enum Step {
    /// Deliver a frame to the subscribers of these channels ([`crate::engine::relay::names`]), and to peers unless it came
    /// from one.
    Publish { names: Box<[u8]>, frame: Box<[u8]>, except: Option<ConnectionKey>, is_relayed: bool },
    /// Deliver a frame to the subscribers of these very names.
    Deliver { names: VecDeque<(Box<[u8]>, Kind)>, frame: Box<[u8]>, except: Option<ConnectionKey> },
    /// End a subscription.
    Unsubscribe { key: ConnectionKey, name: Box<[u8]>, kind: Kind },
    /// Acknowledge the message.
    Acknowledge { key: ConnectionKey, token: Box<[u8]>, awaited: Awaited },
    /// Send a frame to one connection.
    Send { key: ConnectionKey, frame: Box<[u8]> },
}

impl Step {
    /// The memory that it takes, in bytes.
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Publish { names, frame, .. } => names.len() + frame.len(),
                Self::Deliver { names, frame, .. } => {
                    frame.len()
                        + names.iter().map(|(name, _)| name.len() + size_of::<(Box<[u8]>, Kind)>()).sum::<usize>()
                }
                Self::Unsubscribe { name, .. } => name.len(),
                Self::Acknowledge { token, .. } => token.len(),
                Self::Send { frame, .. } => frame.len(),
            }
    }
}

impl Unfinished {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The memory that it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn is_sender(&self, key: ConnectionKey) -> bool {
        self.messages.iter().any(|message| message.sender == Some(key))
    }
}

impl Hub {
    /// Whether messages are left of which a part is carried out.
    pub(crate) fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Whether messages of peers and other threads wait for one of them that is not finished.
    pub(crate) fn must_finish_first(&self) -> bool {
        self.unfinished.without_sender > 0
    }

    /// Whether the message that is carried out was cut: what it asks for from here on is left for later.
    pub(super) fn is_cut(&self) -> bool {
        !self.unfinished.cut.is_empty()
    }

    pub(super) fn put_step(&mut self, step: Step) {
        self.unfinished.bytes += step.bytes();
        self.unfinished.cut.push_back(step);
    }

    /// Whether a piece of a message that has begun at this work is large enough.
    pub(super) fn has_done_piece(&self, begun: u64) -> bool {
        self.is_full() || self.work.done() - begun >= self.work.piece_units
    }

    /// A message was carried out, but for what is left of it if it was cut.
    #[inline]
    pub(crate) fn message_done(&mut self, sender: Option<Slot>) {
        if self.is_cut() {
            self.put_off(sender);
        }
    }

    #[inline(never)]
    fn put_off(&mut self, sender: Option<Slot>) {
        self.stats.cut += 1;
        let steps = std::mem::take(&mut self.unfinished.cut);
        let sender = sender.filter(|&slot| !self.sessions[slot as usize].is_paused).map(|slot| {
            self.sessions[slot as usize].is_paused = true;
            self.key(slot)
        });
        self.unfinished.without_sender += usize::from(sender.is_none());
        self.unfinished.messages.push_back(Message { sender, steps });
    }

    /// Goes on with the messages that were cut, until the turn is full or so many units of work are done.
    pub(super) fn finish_messages(&mut self, units: u64) {
        let until = self.work.done() + units;
        while self.work.done() < until
            && !self.is_full()
            && let Some(mut message) = self.unfinished.messages.pop_front()
        {
            if message.sender.is_none() {
                self.unfinished.without_sender -= 1;
            }
            self.do_piece(&mut message.steps);
            if !message.steps.is_empty() {
                self.unfinished.without_sender += usize::from(message.sender.is_none());
                self.unfinished.messages.push_back(message);
            } else if let Some(key) = message.sender
                && self.is_current(key)
            {
                self.paused.push_free(key);
            }
        }
    }

    /// Does steps until the piece is large enough.
    fn do_piece(&mut self, steps: &mut VecDeque<Step>) {
        let begun = self.work.done();
        while let Some(step) = steps.pop_front() {
            self.unfinished.bytes -= step.bytes();
            self.do_step(step, begun);
            // What the step itself has left comes before the others.
            while let Some(rest) = self.unfinished.cut.pop_back() {
                steps.push_front(rest);
            }
            if self.has_done_piece(begun) {
                break;
            }
        }
    }

    fn do_step(&mut self, step: Step, begun: u64) {
        match step {
            Step::Publish { names, frame, except, is_relayed } => {
                let slot = except.filter(|&key| self.is_current(key)).map(|key| key.slot);
                let rest = self.publish_frame(&names, &frame, slot, is_relayed, begun);
                if !rest.is_empty() {
                    let names = rest.into();
                    self.put_step(Step::Publish { names, frame, except, is_relayed });
                }
            }
            Step::Deliver { names, frame, except } => self.deliver_to_names(names, frame, except),
            Step::Unsubscribe { key, name, kind } if self.is_current(key) => self.unsubscribe(key.slot, &name, kind),
            Step::Acknowledge { key, token, awaited } if self.is_current(key) => {
                self.acknowledge(key.slot, &token, awaited);
            }
            Step::Send { key, frame } if self.is_current(key) && self.is_open(key.slot) => {
                self.push_frame(key.slot, |turn| turn.extend_from_slice(&frame));
            }
            Step::Unsubscribe { .. } | Step::Acknowledge { .. } | Step::Send { .. } => {} // the connection is gone
        }
    }
}
