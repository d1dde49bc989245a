//! The items about channels with a history: publishes for their home, and messages that clients have missed.

use super::{
    Relays,
    item::{put_history, put_long, put_short, take_array, take_long, take_short},
};
use crate::{
    engine::{slot::ConnectionKey, storing::Origin},
    protocol::message::{Epoch, MessageId},
};

const STORE: u8 = 0;
const STORED: u8 = 1;
const NUMBERED: u8 = 2;
const MISSED: u8 = 3;
const MISSED_PART: u8 = 4;
const NOT_STORED: u8 = 5;
const CREDIT: u8 = 6;

/// The most bytes of publishes that a core has handed to one home and that the home has not confirmed. Past it publishers
/// wait.
pub(super) const CREDIT_BYTES: u64 = 256 * 1024;

/// An item about a channel with a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HistoryItem<'b> {
    /// A publish for its home.
    Store(Store<'b>),
    /// From the home: the number of a publish, with the receipt of [`Store`].
    Stored { receipt: u64, id: Option<MessageId> },
    /// From the home: a publish could not be kept.
    NotStored { receipt: u64, publisher: Option<ConnectionKey> },
    /// From the home: a frame for the subscribers of a channel, except one connection.
    Numbered { name: &'b [u8], frame: &'b [u8], except: ConnectionKey },
    /// To the home: a client wants what it has missed.
    Missed { request: u32, wish: Wish, name: &'b [u8], bytes_max: u32 },
    /// From the home: a part of it.
    MissedPart(MissedPart<'b>),
    /// From the home: so many bytes of publishes in all have been taken.
    Credit(u64),
}

/// A publish for the home of its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Store<'b> {
    /// The core is not part of it: the home knows from which link it comes.
    pub(crate) origin: Origin,
    pub(crate) is_text: bool,
    pub(crate) name: &'b [u8],
    pub(crate) message: &'b [u8],
}

/// What a client wants of a channel's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) since: Since,
    /// The number of its newest messages, if `since` cannot be served.
    pub(crate) last: u16,
}

/// The last message that a client has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Since {
    /// The client does not say.
    #[default]
    None,
    /// This one.
    Message(MessageId),
    /// One that the server does not know.
    Unknown,
}

/// A part of what a client has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MissedPart<'b> {
    /// The number of the request.
    pub(crate) request: u32,
    /// The last message of the part, or the position if there is none; `None` without a history.
    pub(crate) last: Option<MessageId>,
    /// Something between the message that the client has and these is not kept.
    pub(crate) is_lost: bool,
    /// Nothing more is missing.
    pub(crate) is_end: bool,
    /// Whole frames, one behind the other.
    pub(crate) frames: &'b [u8],
}

pub(super) fn next<'b>(tag: u8, batch: &mut &'b [u8]) -> HistoryItem<'b> {
    match tag {
        STORE => {
            let receipt = take_u64(batch);
            let (publisher, except) = (take_some_key(batch), take_some_key(batch));
            let origin = Origin { core: None, publisher, except, receipt };
            let is_text = take_flag(batch);
            let name = take_short(batch);
            HistoryItem::Store(Store { origin, is_text, name, message: take_long(batch) })
        }
        STORED => {
            let receipt = take_u64(batch);
            HistoryItem::Stored { receipt, id: take_id(batch) }
        }
        NOT_STORED => {
            let receipt = take_u64(batch);
            HistoryItem::NotStored { receipt, publisher: take_some_key(batch) }
        }
        NUMBERED => {
            let except = take_key(batch);
            let name = take_short(batch);
            HistoryItem::Numbered { name, frame: take_long(batch), except }
        }
        MISSED => {
            let (request, bytes_max) = (take_u32(batch), take_u32(batch));
            let last = u16::from_le_bytes(*take_array(batch));
            let since = match (take_flag(batch), take_id(batch)) {
                (_, Some(id)) => Since::Message(id),
                (true, None) => Since::Unknown,
                (false, None) => Since::None,
            };
            HistoryItem::Missed { request, wish: Wish { since, last }, name: take_short(batch), bytes_max }
        }
        MISSED_PART => {
            let (request, last) = (take_u32(batch), take_id(batch));
            let (is_lost, is_end) = (take_flag(batch), take_flag(batch));
            HistoryItem::MissedPart(MissedPart { request, last, is_lost, is_end, frames: take_long(batch) })
        }
        _ => HistoryItem::Credit(take_u64(batch)),
    }
}

pub(super) fn take_u32(batch: &mut &[u8]) -> u32 {
    u32::from_le_bytes(*take_array(batch))
}

pub(super) fn take_u64(batch: &mut &[u8]) -> u64 {
    u64::from_le_bytes(*take_array(batch))
}

pub(super) fn take_flag(batch: &mut &[u8]) -> bool {
    take_array::<1>(batch)[0] != 0
}

pub(super) fn take_key(batch: &mut &[u8]) -> ConnectionKey {
    ConnectionKey { slot: take_u32(batch), generation: take_u32(batch) }
}

pub(super) fn take_some_bytes<'b>(batch: &mut &'b [u8]) -> Option<&'b [u8]> {
    take_flag(batch).then(|| take_long(batch))
}

pub(super) fn put_some_bytes(batch: &mut Vec<u8>, bytes: Option<&[u8]>) {
    batch.push(u8::from(bytes.is_some()));
    bytes.into_iter().for_each(|bytes| put_long(batch, bytes));
}

fn take_id(batch: &mut &[u8]) -> Option<MessageId> {
    take_flag(batch).then(|| MessageId { epoch: Epoch::of_bytes(*take_array(batch)), offset: take_u64(batch) })
}

fn take_some_key(batch: &mut &[u8]) -> Option<ConnectionKey> {
    take_flag(batch).then(|| take_key(batch))
}

fn put_some_key(batch: &mut Vec<u8>, key: Option<ConnectionKey>) {
    batch.push(u8::from(key.is_some()));
    key.into_iter().for_each(|key| put_key(batch, key));
}

pub(super) fn put_key(batch: &mut Vec<u8>, key: ConnectionKey) {
    batch.extend_from_slice(&key.slot.to_le_bytes());
    batch.extend_from_slice(&key.generation.to_le_bytes());
}

fn put_id(batch: &mut Vec<u8>, id: Option<MessageId>) {
    batch.push(u8::from(id.is_some()));
    if let Some(id) = id {
        batch.extend_from_slice(&id.epoch.bytes());
        batch.extend_from_slice(&id.offset.to_le_bytes());
    }
}

/// What a core has handed to one home, and what it owes as a home.
#[derive(Debug, Default)]
pub(super) struct Credit {
    /// The bytes of publishes that we have handed to the peer, and how many of them it has confirmed.
    handed: u64,
    confirmed: u64,
    /// The bytes of publishes that the peer has handed to us, and how many of them we have confirmed.
    taken: u64,
    told: u64,
}

impl Credit {
    /// Whether the peer must be told what was taken, because it may wait for that with this credit.
    pub(super) fn is_owed(&self, credit_bytes: u64) -> bool {
        self.taken - self.told > credit_bytes / 4
    }
}

impl Relays {
    /// Hands a publish to the home of its channel. Returns the bytes that it takes in the batch.
    pub(crate) fn store(&mut self, home: u32, store: Store<'_>) -> usize {
        let Some(peer) = &mut self.peers[home as usize] else { return 0 };
        let batch = &mut peer.batch;
        let before = batch.len();
        put_history(batch, STORE);
        batch.extend_from_slice(&store.origin.receipt.to_le_bytes());
        put_some_key(batch, store.origin.publisher);
        put_some_key(batch, store.origin.except);
        batch.push(u8::from(store.is_text));
        put_short(batch, store.name);
        put_long(batch, store.message);
        let bytes = batch.len() - before;
        peer.credit.handed += store.message.len() as u64;
        if peer.credit.handed - peer.credit.confirmed > self.credit_bytes {
            self.without_credit |= 1 << home;
        }
        bytes
    }

    /// Tells a core the number of its publish. Returns the bytes that this takes in the batch.
    pub(crate) fn stored(&mut self, peer: u32, receipt: u64, id: Option<MessageId>) -> usize {
        self.put(peer, |batch| {
            put_history(batch, STORED);
            batch.extend_from_slice(&receipt.to_le_bytes());
            put_id(batch, id);
        })
    }

    /// Tells a core that its publish could not be kept. Returns the bytes that this takes in the batch.
    pub(crate) fn not_stored(&mut self, peer: u32, receipt: u64, publisher: Option<ConnectionKey>) -> usize {
        self.put(peer, |batch| {
            put_history(batch, NOT_STORED);
            batch.extend_from_slice(&receipt.to_le_bytes());
            put_some_key(batch, publisher);
        })
    }

    /// Hands a frame to one peer for its subscribers of a channel, except one of its connections.
    pub(crate) fn publish_but(&mut self, peer: u32, name: &[u8], frame: &[u8], except: ConnectionKey) {
        self.put(peer, |batch| {
            put_history(batch, NUMBERED);
            put_key(batch, except);
            put_short(batch, name);
            put_long(batch, frame);
        });
    }

    /// Asks the home of a channel for what a client has missed.
    pub(crate) fn ask_for_missed(&mut self, home: u32, request: u32, wish: Wish, name: &[u8], bytes_max: u32) {
        self.put(home, |batch| {
            put_history(batch, MISSED);
            batch.extend_from_slice(&request.to_le_bytes());
            batch.extend_from_slice(&bytes_max.to_le_bytes());
            batch.extend_from_slice(&wish.last.to_le_bytes());
            batch.push(u8::from(wish.since != Since::None));
            put_id(batch, if let Since::Message(id) = wish.since { Some(id) } else { None });
            put_short(batch, name);
        });
    }

    /// Answers such a request. Returns the bytes that this takes in the batch.
    pub(crate) fn answer_missed(&mut self, peer: u32, part: MissedPart<'_>) -> usize {
        self.put(peer, |batch| {
            put_history(batch, MISSED_PART);
            batch.extend_from_slice(&part.request.to_le_bytes());
            put_id(batch, part.last);
            batch.extend_from_slice(&[u8::from(part.is_lost), u8::from(part.is_end)]);
            put_long(batch, part.frames);
        })
    }

    pub(super) fn put(&mut self, peer: u32, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let Some(peer) = &mut self.peers[peer as usize] else { return 0 };
        let before = peer.batch.len();
        write(&mut peer.batch);
        peer.batch.len() - before
    }

    /// Notes that a publish of a peer with a message of this length was taken. The peer is told at the end of a turn in
    /// which no link is congested: until then it cannot make our batches grow by much.
    pub(crate) fn has_stored(&mut self, peer: u32, bytes: usize) {
        if let Some(peer) = &mut self.peers[peer as usize] {
            peer.credit.taken += bytes as u64;
        }
    }

    /// Tells a peer of the publishes that were taken.
    pub(super) fn tell_credit(&mut self, peer: u32) {
        if self.congested & !self.own_bit & !self.bridge_bit != 0 {
            return;
        }
        let Some(entry) = &mut self.peers[peer as usize] else { return };
        if entry.credit.is_owed(self.credit_bytes) {
            entry.credit.told = entry.credit.taken;
            put_history(&mut entry.batch, CREDIT);
            entry.batch.extend_from_slice(&entry.credit.told.to_le_bytes());
        }
    }

    /// Notes that a home has taken so many bytes of publishes in all.
    pub(crate) fn credited(&mut self, home: u32, bytes: u64) {
        let Some(peer) = &mut self.peers[home as usize] else { return };
        peer.credit.confirmed = bytes;
        if peer.credit.handed - bytes <= self.credit_bytes {
            self.without_credit &= !(1 << home);
        }
    }
}
