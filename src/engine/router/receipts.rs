//! Acknowledgements of messages whose channels have a history. Such an acknowledgement says the numbers of the published
//! messages, and the positions of the subscriptions. It is sent when all of them are known: other cores, or clients that
//! are behind, may have to answer first.

use std::collections::VecDeque;

use slab::Slab;
use smallvec::SmallVec;

use crate::{
    engine::{
        router::Awaited,
        slot::{ConnectionKey, Slot},
    },
    protocol::message::{ACK_BYTES_MAX, MessageId},
};

/// The most acknowledgements of one connection, and of one core, that wait.
const OF_CONNECTION_MAX: u32 = 1024;
const WAITING_MAX: usize = 64 * 1024;
/// The most that are kept to be used again: 20 KiB.
const SPARE_MAX: usize = 64;
/// The approximate memory of one beside its names and more ids than [`Waiting`] has room for, in bytes.
const RECEIPT_BYTES: usize = 320;

const _: () = assert!(size_of::<Waiting>() + 2 * size_of::<u64>() <= RECEIPT_BYTES);

/// A part of an acknowledgement that is not known yet: a number of the published messages, or a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    acknowledgement: u32,
    part: u32,
}

impl Receipt {
    /// The receipt as a number, never 0, for another core.
    pub(crate) fn number(self) -> u64 {
        (u64::from(self.acknowledgement) + 1) << 32 | u64::from(self.part)
    }

    /// The receipt of a number that [`Receipt::number`] has made.
    pub(crate) fn of(number: u64) -> Option<Self> {
        let acknowledgement = u32::try_from((number >> 32).checked_sub(1)?).ok()?;
        Some(Self { acknowledgement, part: number as u32 })
    }

    /// The receipt of the next part.
    pub(crate) fn next(self) -> Self {
        self.skip(1)
    }

    /// The receipt of a later part.
    pub(crate) fn skip(self, parts: usize) -> Self {
        Self { part: self.part + parts as u32, ..self }
    }
}

/// What is known of one part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The number of the message, or the position; `None` for a channel without a history.
    pub(crate) id: Option<MessageId>,
    /// Not all of what the client has missed is kept.
    pub(crate) is_lost: bool,
    /// The message could not be kept.
    pub(crate) has_failed: bool,
}

/// An acknowledgement that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) key: ConnectionKey,
    /// Empty if it is not to be sent.
    pub(crate) token: SmallVec<[u8; ACK_BYTES_MAX]>,
    pub(crate) expires_in: Option<u64>,
    pub(crate) awaited: Awaited,
    /// The parts: first those of the published channels, then those of the subscribed names.
    pub(crate) parts: SmallVec<[Known; 2]>,
    /// The number of published channels.
    pub(crate) published: usize,
    /// The subscribed names, separated by spaces, if one of them may be lost.
    pub(crate) names: Box<[u8]>,
    /// Parts that are not known yet, and one more until the message is carried out.
    left: usize,
}

impl Waiting {
    fn new(key: ConnectionKey) -> Self {
        Self {
            key,
            token: SmallVec::new(),
            expires_in: None,
            awaited: Awaited::default(),
            parts: SmallVec::new(),
            published: 0,
            names: Box::default(),
            left: 0,
        }
    }
}

/// The acknowledgements of one core that wait.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    waiting: Slab<Box<Waiting>>,
    /// Memory for the next ones, [`SPARE_MAX`] at most.
    #[expect(clippy::vec_box, reason = "a waiting one is never moved, only its pointer")]
    spare: Vec<Box<Waiting>>,
    /// Those of which everything is known.
    complete: VecDeque<u32>,
    /// By slot, how many of `waiting` belong to its connection. The list grows to the highest slot that ever waited.
    by_slot: Vec<u32>,
    bytes: usize,
}

impl Receipts {
    /// Begins an acknowledgement of a message that publishes to `published` channels and subscribes to `subscribed` names.
    pub(crate) fn begin(
        &mut self,
        key: ConnectionKey,
        token: &[u8],
        expires_in: Option<u64>,
        (published, subscribed): (usize, usize),
        names: Box<[u8]>,
    ) -> Receipt {
        let mut waiting = self.spare.pop().unwrap_or_else(|| Box::new(Waiting::new(key)));
        waiting.key = key;
        waiting.token.clear();
        waiting.token.extend_from_slice(token);
        waiting.expires_in = expires_in;
        waiting.awaited = Awaited::default();
        waiting.parts.clear();
        waiting.parts.resize(published + subscribed, Known::default());
        waiting.published = published;
        waiting.names = names;
        waiting.left = published + subscribed + 1;
        self.bytes += bytes(&waiting);
        let slot = key.slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, 0);
        }
        self.by_slot[slot] += 1;
        Receipt { acknowledgement: self.waiting.insert(waiting) as u32, part: 0 }
    }

    /// Notes what a part is.
    pub(crate) fn note(&mut self, receipt: Receipt, known: Known) {
        let Some(waiting) = self.waiting.get_mut(receipt.acknowledgement as usize) else { return };
        waiting.parts[receipt.part as usize] = known;
        self.one_less(receipt);
    }

    /// Notes that the message is carried out, and what its subscriptions wait for.
    pub(crate) fn carried_out(&mut self, receipt: Receipt, awaited: Awaited) {
        if let Some(waiting) = self.waiting.get_mut(receipt.acknowledgement as usize) {
            waiting.awaited = waiting.awaited.and(awaited);
            self.one_less(receipt);
        }
    }

    /// Lets an acknowledgement not be sent: the message was carried out in part only.
    pub(crate) fn silence(&mut self, receipt: Receipt) {
        if let Some(waiting) = self.waiting.get_mut(receipt.acknowledgement as usize) {
            waiting.token.clear();
        }
    }

    fn one_less(&mut self, Receipt { acknowledgement, .. }: Receipt) {
        let waiting = &mut self.waiting[acknowledgement as usize];
        waiting.left -= 1;
        if waiting.left == 0 {
            self.complete.push_back(acknowledgement);
        }
    }

    /// Whether an acknowledgement is complete.
    pub(crate) fn has_complete(&self) -> bool {
        !self.complete.is_empty()
    }

    /// Takes the acknowledgement that was completed first. [`Receipts::reuse`] takes it back.
    pub(crate) fn take_complete(&mut self) -> Option<Box<Waiting>> {
        let waiting = self.waiting.remove(self.complete.pop_front()? as usize);
        self.bytes -= bytes(&waiting);
        self.by_slot[waiting.key.slot as usize] -= 1;
        Some(waiting)
    }

    /// Keeps the memory of an acknowledgement that was sent for the next one.
    pub(crate) fn reuse(&mut self, mut waiting: Box<Waiting>) {
        if self.spare.len() < SPARE_MAX && !waiting.parts.spilled() {
            waiting.names = Box::default();
            self.spare.push(waiting);
        }
    }

    /// Whether a connection may have one more.
    pub(crate) fn has_room(&self, slot: Slot) -> bool {
        let own = self.by_slot.get(slot as usize).copied().unwrap_or(0);
        self.waiting.len() < WAITING_MAX && own < OF_CONNECTION_MAX
    }

    /// Their memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.complete.is_empty()
            && self.by_slot.iter().all(|&own| own == 0)
            && self.bytes == 0
    }
}

fn bytes(waiting: &Waiting) -> usize {
    let parts = if waiting.parts.spilled() { waiting.parts.capacity() * size_of::<Known>() } else { 0 };
    RECEIPT_BYTES + waiting.names.len() + parts
}
