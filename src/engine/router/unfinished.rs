//! The rests of messages that are carried out in pieces: a message that names many channels with many subscribers takes
//! several turns.
//!
//! [`Router::publish`](crate::engine::router::Router::publish) stops between two channels, or two audiences of one,
//! when the turn is full or the piece is large enough. The rest of the message, and its further requests, are kept as
//! *steps*. Each turn carries out some of them, message by message, round robin. Until they are done the sender is not
//! read, so its messages stay in order; the messages of others go on. A message that is done in one piece is not
//! copied, and nearly all are.

use std::collections::VecDeque;

use crate::{
    engine::{
        router::{Receipt, subscribing::Awaited},
        slot::ConnectionKey,
    },
    protocol::channel::Kind,
};

/// The messages that are not finished.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    /// Steps of the current message, after it was cut.
    cut: VecDeque<Step>,
    messages: VecDeque<Message>,
    /// The number of messages that came from peers, other threads, or a connection's end.
    without_sender: usize,
    bytes: usize,
}

/// The steps of one message.
#[derive(Debug)]
pub(crate) struct Message {
    /// The connection that is not read until the message is done.
    pub(crate) sender: Option<ConnectionKey>,
    pub(crate) steps: VecDeque<Step>,
}

/// One action that is left to do.
#[derive(Debug)]
pub(crate) enum Step {
    /// Deliver a frame to the subscribers of these channels ([`crate::engine::relay::names`]); if this core publishes it,
    /// also to peers and to the history.
    Publish { names: Box<[u8]>, frame: Box<[u8]>, except: Option<ConnectionKey>, own: Option<OwnPublish> },
    /// Deliver a frame to the subscribers of exactly these names.
    Deliver { names: VecDeque<(Box<[u8]>, Kind)>, frame: Box<[u8]>, except: Option<ConnectionKey> },
    /// End a subscription.
    Unsubscribe { key: ConnectionKey, name: Box<[u8]>, kind: Kind },
    /// Acknowledge the message.
    Acknowledge { key: ConnectionKey, token: Box<[u8]>, awaited: Awaited },
    /// Note that the message is carried out: its acknowledgement has a receipt.
    Carried { receipt: Receipt, awaited: Awaited },
    /// Send this encoded message to one connection.
    Send { key: ConnectionKey, unit: Box<[u8]> },
}

/// A publish of this core's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnPublish {
    /// The connection that is told if the message cannot be kept.
    pub(crate) publisher: Option<ConnectionKey>,
    /// The receipt of the next channel.
    pub(crate) receipt: Option<Receipt>,
}

impl OwnPublish {
    /// Takes the receipt of the next channel.
    pub(crate) fn take_receipt(&mut self) -> Option<Receipt> {
        let receipt = self.receipt;
        self.receipt = receipt.map(Receipt::next);
        receipt
    }
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
                Self::Carried { .. } => 0,
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

    /// Whether messages from peers and other threads must wait for an unfinished one among them.
    pub(crate) fn is_first(&self) -> bool {
        self.without_sender > 0
    }

    /// Whether the current message was cut. Its further requests are then kept for later.
    pub(crate) fn is_cut(&self) -> bool {
        !self.cut.is_empty()
    }

    /// Keeps a step of the current message for later.
    pub(crate) fn put(&mut self, step: Step) {
        self.bytes += step.bytes();
        self.cut.push_back(step);
    }

    /// Ends the current message for now: other turns carry out its steps, and `sender` is not read until then.
    pub(crate) fn put_off(&mut self, sender: Option<ConnectionKey>) {
        let steps = std::mem::take(&mut self.cut);
        self.put_back(Message { sender, steps });
    }

    /// Takes the longest waiting message.
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

    /// Puts the rest of a step before the message's other steps.
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
