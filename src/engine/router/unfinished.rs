//! What is left of messages that are carried out in pieces: one that names many channels with many subscribers is worth
//! several turns.
//!
//! [`Router::publish`](crate::engine::router::Router::publish) stops between two channels, or two audiences of one, when
//! the turn is full or the piece is large enough. What is left of the message, and what it asks for behind it, is kept as
//! *steps*; each turn does some of them, message by message, round robin. Until they are done the sender is not read, so
//! its messages stay in order; the messages of others go on. Nothing is copied for a message that is done in one piece,
//! which nearly all are.

use std::collections::VecDeque;

use crate::{
    engine::{router::subscribing::Awaited, slot::ConnectionKey},
    protocol::channel::Kind,
};

/// What is left of messages.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    /// Steps of the message that is carried out at this moment, once it was cut.
    cut: VecDeque<Step>,
    messages: VecDeque<Message>,
    /// Those among them that came from peers, other threads, or a connection's end.
    without_sender: usize,
    bytes: usize,
}

/// The steps of one message.
#[derive(Debug)]
pub(crate) struct Message {
    /// It is not read until this is done.
    pub(crate) sender: Option<ConnectionKey>,
    pub(crate) steps: VecDeque<Step>,
}

/// One thing that is left to do.
#[derive(Debug)]
pub(crate) enum Step {
    /// Deliver a frame to the subscribers of these channels ([`crate::engine::relay::names`]), and to peers unless it came
    /// from one.
    Publish { names: Box<[u8]>, frame: Box<[u8]>, except: Option<ConnectionKey>, is_relayed: bool },
    /// Deliver a frame to the subscribers of these very names.
    Deliver { names: VecDeque<(Box<[u8]>, Kind)>, frame: Box<[u8]>, except: Option<ConnectionKey> },
    /// End a subscription.
    Unsubscribe { key: ConnectionKey, name: Box<[u8]>, kind: Kind },
    /// Acknowledge the message.
    Acknowledge { key: ConnectionKey, token: Box<[u8]>, awaited: Awaited },
    /// Send this to one connection, as it is encoded for it.
    Send { key: ConnectionKey, unit: Box<[u8]> },
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
                Self::Send { unit, .. } => unit.len(),
            }
    }
}

impl Unfinished {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether messages of peers and other threads wait for one of them that is not finished.
    pub(crate) fn is_first(&self) -> bool {
        self.without_sender > 0
    }

    /// Whether the message that is carried out was cut: what it asks for from here on is left for later.
    pub(crate) fn is_cut(&self) -> bool {
        !self.cut.is_empty()
    }

    /// Leaves a step of the message that is carried out for later.
    pub(crate) fn put(&mut self, step: Step) {
        self.bytes += step.bytes();
        self.cut.push_back(step);
    }

    /// The message that is carried out ends here: its steps are done in other turns, and `sender` is not read until then.
    pub(crate) fn put_off(&mut self, sender: Option<ConnectionKey>) {
        let steps = std::mem::take(&mut self.cut);
        self.put_back(Message { sender, steps });
    }

    /// Takes the message that has waited longest.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.without_sender -= usize::from(message.sender.is_none());
        Some(message)
    }

    /// Puts a message behind the others.
    pub(crate) fn put_back(&mut self, message: Message) {
        self.without_sender += usize::from(message.sender.is_none());
        self.messages.push_back(message);
    }

    /// Takes a message's next step.
    pub(crate) fn next_step(&mut self, message: &mut Message) -> Option<Step> {
        let step = message.steps.pop_front()?;
        self.bytes -= step.bytes();
        Some(step)
    }

    /// What a step itself has left comes before the message's others.
    pub(crate) fn put_first(&mut self, message: &mut Message) {
        while let Some(step) = self.cut.pop_back() {
            message.steps.push_front(step);
        }
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn is_sender(&self, key: ConnectionKey) -> bool {
        self.messages.iter().any(|message| message.sender == Some(key))
    }
}
