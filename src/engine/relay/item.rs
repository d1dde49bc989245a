//! Writing and reading the items of a batch.

use super::{
    cluster::{self, ClusterItem},
    history::{self, HistoryItem},
    members::{self, MemberItem},
    presence::{self, PresenceItem},
};
use crate::protocol::{channel::Kind, frame};

pub(super) const PUBLISH: u8 = 0;
pub(super) const INTEREST: u8 = 1;
pub(super) const NO_INTEREST: u8 = 2;
const ANSWERED: u8 = 3;
const DELIVERY: u8 = 4;
const ABSENT: u8 = 5;
pub(super) const STOPPING: u8 = 6;
const REFUSED: u8 = 7;
const ACCEPTED: u8 = 8;
const WIDE: u8 = 9;
pub(super) const CAUGHT_UP: u8 = 10;
/// The tags from here on are those of [`history`], then those of [`presence`], of [`cluster`], and of [`members`].
const HISTORY: u8 = 16;
const PRESENCE: u8 = 32;
const CLUSTER: u8 = 48;
const MEMBERS: u8 = 64;

/// One message of a core to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item<'b> {
    /// A frame for the peer's subscribers of these channels.
    Publish {
        /// The channels, for [`names`].
        channels: &'b [u8],
        /// A whole server frame.
        frame: &'b [u8],
    },
    /// The sender has its first subscriber of this name, or its last one has left.
    Interest {
        /// The channel or pattern.
        name: &'b [u8],
        /// Which of the two it is.
        kind: Kind,
        /// Whether it has subscribers now.
        interested: bool,
    },
    /// The peer's replica has this many of our `Interest`s (those with `interested`): all up to this number.
    Answered(u64),
    /// From the bridge: a frame for the subscribers of exactly this name. Another node's publish comes once for each
    /// name of this node that it matches.
    Delivery {
        /// The channel or pattern.
        name: &'b [u8],
        /// Which of the two it is.
        kind: Kind,
        /// A whole server frame.
        frame: &'b [u8],
    },
    /// From the bridge: a frame for the subscribers of this channel and of the patterns that match it. It came through
    /// a wider subscription, which replaces many others.
    Wide {
        /// The channel.
        name: &'b [u8],
        /// Whether patterns that begin with a wildcard get it, too. Otherwise they have subscriptions of their own.
        is_all: bool,
        /// A whole server frame.
        frame: &'b [u8],
    },
    /// From the bridge: NATS does not let this node subscribe to this name. The interest will be answered nevertheless.
    /// `Absent` ends the refusal.
    Refused {
        /// The channel or pattern.
        name: &'b [u8],
        /// Which of the two it is.
        kind: Kind,
    },
    /// From the bridge: this name is no longer refused.
    Accepted {
        /// The channel or pattern.
        name: &'b [u8],
        /// Which of the two it is.
        kind: Kind,
    },
    /// The peer cannot answer for now, and nothing waits for it: the bridge has lost the other nodes. Its next
    /// `Answered` ends this.
    Absent,
    /// The peer is stopping, and has carried out what other threads asked of it before.
    CaughtUp,
    /// The peer is stopping, and publishes nothing any more.
    Stopping,
    /// About a channel with a history.
    History(HistoryItem<'b>),
    /// About who is present in a channel.
    Presence(PresenceItem<'b>),
    /// About a channel that the nodes of a cluster share.
    Cluster(ClusterItem<'b>),
    /// About who is present on the nodes of a cluster.
    Members(MemberItem<'b>),
}

/// Takes the next item off a batch.
///
/// # Panics
/// If [`Relays`](super::Relays) has not written the batch. Batches never come from outside the process.
pub(crate) fn next<'b>(batch: &mut &'b [u8]) -> Option<Item<'b>> {
    let tag = *batch.split_off_first()?;
    Some(match tag {
        MEMBERS.. => Item::Members(members::next(tag - MEMBERS, batch)),
        CLUSTER.. => Item::Cluster(cluster::next(tag - CLUSTER, batch)),
        PRESENCE.. => Item::Presence(presence::next(tag - PRESENCE, batch)),
        HISTORY.. => Item::History(history::next(tag - HISTORY, batch)),
        PUBLISH => {
            let channels = take_long(batch);
            Item::Publish { channels, frame: take_long(batch) }
        }
        ANSWERED => Item::Answered(u64::from_le_bytes(*take_array(batch))),
        ABSENT => Item::Absent,
        REFUSED => {
            let kind = take_kind(batch);
            Item::Refused { name: take_short(batch), kind }
        }
        ACCEPTED => {
            let kind = take_kind(batch);
            Item::Accepted { name: take_short(batch), kind }
        }
        STOPPING => Item::Stopping,
        CAUGHT_UP => Item::CaughtUp,
        WIDE => {
            let is_all = take_array::<1>(batch)[0] != 0;
            let name = take_short(batch);
            Item::Wide { name, is_all, frame: take_long(batch) }
        }
        DELIVERY => {
            let kind = take_kind(batch);
            let name = take_short(batch);
            Item::Delivery { name, kind, frame: take_long(batch) }
        }
        tag => {
            let kind = take_kind(batch);
            Item::Interest { name: take_short(batch), kind, interested: tag == INTEREST }
        }
    })
}

/// The number of messages in a batch for the bridge: one for each channel of each publish.
pub(crate) fn messages(mut batch: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(item) = next(&mut batch) {
        if let Item::Publish { channels, .. } = item {
            count += names(channels).count() as u64;
        }
    }
    count
}

/// Appends an [`Item::Answered`].
pub(crate) fn put_answered(batch: &mut Vec<u8>, count: u64) {
    batch.push(ANSWERED);
    batch.extend_from_slice(&count.to_le_bytes());
}

/// Changes the count that [`put_answered`] has written.
pub(super) fn set_answered(item: &mut [u8], count: u64) {
    item[1..9].copy_from_slice(&count.to_le_bytes());
}

/// Appends an [`Item::Absent`].
#[cfg_attr(not(feature = "nats"), allow(dead_code))] // only the bridge uses it
pub(crate) fn put_absent(batch: &mut Vec<u8>) {
    batch.push(ABSENT);
}

/// Appends an [`Item::Refused`].
#[cfg_attr(not(feature = "nats"), allow(dead_code))] // only the bridge uses it
pub(crate) fn put_refused(batch: &mut Vec<u8>, name: &[u8], kind: Kind) {
    put_interest(batch, REFUSED, name, kind);
}

/// Appends an [`Item::Accepted`].
#[cfg_attr(not(feature = "nats"), allow(dead_code))] // only the bridge uses it
pub(crate) fn put_accepted(batch: &mut Vec<u8>, name: &[u8], kind: Kind) {
    put_interest(batch, ACCEPTED, name, kind);
}

/// Appends an [`Item::Delivery`] of this payload.
#[cfg_attr(not(feature = "nats"), allow(dead_code))] // only the bridge uses it
pub(crate) fn put_delivery(batch: &mut Vec<u8>, name: &[u8], kind: Kind, is_text: bool, payload: &[u8]) {
    batch.extend_from_slice(&[DELIVERY, u8::from(kind == Kind::Pattern)]);
    put_message(batch, name, is_text, payload);
}

/// Appends an [`Item::Wide`] of this payload.
#[cfg_attr(not(feature = "nats"), allow(dead_code))] // only the bridge uses it
pub(crate) fn put_wide(batch: &mut Vec<u8>, name: &[u8], is_all: bool, is_text: bool, payload: &[u8]) {
    batch.extend_from_slice(&[WIDE, u8::from(is_all)]);
    put_message(batch, name, is_text, payload);
}

fn put_message(batch: &mut Vec<u8>, name: &[u8], is_text: bool, payload: &[u8]) {
    put_short(batch, name);
    let at = batch.len();
    batch.extend_from_slice(&[0; 4]);
    frame::encode(batch, frame::data(is_text), payload);
    let len = (batch.len() - at - 4) as u32;
    batch[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

/// The channels of an [`Item::Publish`].
pub(crate) fn names(mut channels: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || take_name(&mut channels))
}

/// Takes the next of the channels of an [`Item::Publish`].
pub(crate) fn take_name<'b>(channels: &mut &'b [u8]) -> Option<&'b [u8]> {
    (!channels.is_empty()).then(|| take_short(channels))
}

pub(super) fn take_array<'b, const N: usize>(batch: &mut &'b [u8]) -> &'b [u8; N] {
    batch.split_off(..N).and_then(<[u8]>::first_chunk).expect("a batch ends at an item's end")
}

fn take_kind(batch: &mut &[u8]) -> Kind {
    if take_array::<1>(batch)[0] == 0 { Kind::Exact } else { Kind::Pattern }
}

pub(super) fn take_short<'b>(batch: &mut &'b [u8]) -> &'b [u8] {
    let len = usize::from(take_array::<1>(batch)[0]);
    batch.split_off(..len).expect("a batch ends at an item's end")
}

pub(super) fn take_long<'b>(batch: &mut &'b [u8]) -> &'b [u8] {
    let len = u32::from_le_bytes(*take_array(batch)) as usize;
    batch.split_off(..len).expect("a batch ends at an item's end")
}

/// The bytes of an [`Item::Interest`].
pub(super) fn interest_len(name: &[u8]) -> usize {
    3 + name.len()
}

pub(super) fn put_interest(batch: &mut Vec<u8>, tag: u8, name: &[u8], kind: Kind) {
    batch.extend_from_slice(&[tag, u8::from(kind == Kind::Pattern)]);
    put_short(batch, name);
}

/// Begins an item of [`history`].
pub(super) fn put_history(batch: &mut Vec<u8>, tag: u8) {
    batch.push(HISTORY + tag);
}

/// Begins an item of [`presence`].
pub(super) fn put_presence(batch: &mut Vec<u8>, tag: u8) {
    batch.push(PRESENCE + tag);
}

/// Begins an item of [`cluster`].
pub(super) fn put_cluster(batch: &mut Vec<u8>, tag: u8) {
    batch.push(CLUSTER + tag);
}

/// Begins an item of [`members`].
pub(super) fn put_members(batch: &mut Vec<u8>, tag: u8) {
    batch.push(MEMBERS + tag);
}

/// Appends bytes, for [`take_long`].
pub(super) fn put_long(batch: &mut Vec<u8>, bytes: &[u8]) {
    batch.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    batch.extend_from_slice(bytes);
}

/// Appends a name, for [`take_name`].
pub(crate) fn put_short(batch: &mut Vec<u8>, bytes: &[u8]) {
    batch.push(bytes.len() as u8);
    batch.extend_from_slice(bytes);
}
