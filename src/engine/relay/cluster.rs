//! The items between a home and the bridge about channels that the nodes of a cluster share.

use super::{
    Relays,
    history::{put_key, take_flag, take_key, take_u32, take_u64},
    item::{put_cluster, put_long, put_short, take_array, take_long, take_short},
};
use crate::{
    engine::{
        history::{Load, Retention},
        slot::ConnectionKey,
    },
    protocol::message::Epoch,
};

const MESSAGE: u8 = 0;
const LOADED: u8 = 1;
const FAILED: u8 = 2;
const THERE: u8 = 3;
const MISSED: u8 = 4;
const LOAD: u8 = 5;
const KEEP: u8 = 6;

/// An item about a channel that the nodes of a cluster share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClusterItem<'b> {
    /// From the bridge: a message of the stream.
    Message(StreamMessage<'b>),
    /// From the bridge: a load has brought everything after `dropped`. A channel without messages is at `position`.
    Loaded { name: &'b [u8], load: u32, dropped: u64, position: u64 },
    /// From the bridge: a load has failed.
    Failed { name: &'b [u8], load: u32 },
    /// From the bridge: the stream is there, or there again, and its numbers are of this epoch. `is_anew`: it has lost
    /// messages, and gives their numbers to others.
    There { epoch: Epoch, is_anew: bool },
    /// From the bridge: messages of this channel may not have come.
    Missed { name: &'b [u8] },
    /// To the bridge: messages of a channel are wanted.
    Load { name: &'b [u8], retention: Retention, load: Load },
    /// To the bridge: new rules keep at most so much of a channel.
    Keep { retention: Retention },
}

/// A message of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamMessage<'b> {
    pub(crate) name: &'b [u8],
    pub(crate) number: u64,
    pub(crate) way: Way,
    pub(crate) is_text: bool,
    /// The connection of a core that does not get it, if it comes from this node.
    pub(crate) except: Option<(u32, ConnectionKey)>,
    pub(crate) message: &'b [u8],
}

/// How a message of the stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It was just stored. `before` is the number of the channel's message before it.
    Live { before: u64 },
    /// A load brings it. It was stored so many seconds ago.
    Loaded { load: u32, age: u32 },
}

pub(super) fn next<'b>(tag: u8, batch: &mut &'b [u8]) -> ClusterItem<'b> {
    match tag {
        MESSAGE => {
            let (number, is_live) = (take_u64(batch), take_flag(batch));
            let way = match is_live {
                true => Way::Live { before: take_u64(batch) },
                false => Way::Loaded { load: take_u32(batch), age: take_u32(batch) },
            };
            let is_text = take_flag(batch);
            let except = take_flag(batch).then(|| (take_u32(batch), take_key(batch)));
            let name = take_short(batch);
            ClusterItem::Message(StreamMessage { name, number, way, is_text, except, message: take_long(batch) })
        }
        LOADED => {
            let (load, dropped, position) = (take_u32(batch), take_u64(batch), take_u64(batch));
            ClusterItem::Loaded { name: take_short(batch), load, dropped, position }
        }
        FAILED => {
            let load = take_u32(batch);
            ClusterItem::Failed { name: take_short(batch), load }
        }
        THERE => ClusterItem::There { epoch: Epoch::of_bytes(*take_array(batch)), is_anew: take_flag(batch) },
        MISSED => ClusterItem::Missed { name: take_short(batch) },
        LOAD => {
            let load = Load { id: take_u32(batch), after: take_u64(batch) };
            let retention = take_retention(batch);
            ClusterItem::Load { name: take_short(batch), retention, load }
        }
        _ => ClusterItem::Keep { retention: take_retention(batch) },
    }
}

/// Appends an item for a home.
#[cfg_attr(not(feature = "nats"), allow(dead_code))] // only the bridge uses it
pub(crate) fn put(batch: &mut Vec<u8>, item: &ClusterItem<'_>) {
    match *item {
        ClusterItem::Message(StreamMessage { name, number, way, is_text, except, message }) => {
            put_cluster(batch, MESSAGE);
            batch.extend_from_slice(&number.to_le_bytes());
            match way {
                Way::Live { before } => {
                    batch.push(1);
                    batch.extend_from_slice(&before.to_le_bytes());
                }
                Way::Loaded { load, age } => {
                    batch.push(0);
                    put_u32s(batch, &[load, age]);
                }
            }
            batch.extend_from_slice(&[u8::from(is_text), u8::from(except.is_some())]);
            if let Some((core, key)) = except {
                put_u32s(batch, &[core]);
                put_key(batch, key);
            }
            put_short(batch, name);
            put_long(batch, message);
        }
        ClusterItem::Loaded { name, load, dropped, position } => {
            put_cluster(batch, LOADED);
            put_u32s(batch, &[load]);
            batch.extend_from_slice(&dropped.to_le_bytes());
            batch.extend_from_slice(&position.to_le_bytes());
            put_short(batch, name);
        }
        ClusterItem::Failed { name, load } => {
            put_cluster(batch, FAILED);
            put_u32s(batch, &[load]);
            put_short(batch, name);
        }
        ClusterItem::There { epoch, is_anew } => {
            put_cluster(batch, THERE);
            batch.extend_from_slice(&epoch.bytes());
            batch.push(u8::from(is_anew));
        }
        ClusterItem::Missed { name } => {
            put_cluster(batch, MISSED);
            put_short(batch, name);
        }
        ClusterItem::Load { name, retention, load } => {
            put_cluster(batch, LOAD);
            put_u32s(batch, &[load.id]);
            batch.extend_from_slice(&load.after.to_le_bytes());
            put_u32s(batch, &[retention.messages, retention.age]);
            put_short(batch, name);
        }
        ClusterItem::Keep { retention } => {
            put_cluster(batch, KEEP);
            put_u32s(batch, &[retention.messages, retention.age]);
        }
    }
}

fn take_retention(batch: &mut &[u8]) -> Retention {
    Retention { messages: take_u32(batch), age: take_u32(batch) }
}

fn put_u32s(batch: &mut Vec<u8>, numbers: &[u32]) {
    numbers.iter().for_each(|number| batch.extend_from_slice(&number.to_le_bytes()));
}

impl Relays {
    /// Asks the bridge for the messages of a channel. It takes the question behind all interest of before.
    pub(crate) fn load(&mut self, name: &[u8], retention: Retention, load: Load) {
        if let Some(bridge) = &mut self.bridge {
            put(&mut bridge.interest, &ClusterItem::Load { name, retention, load });
        }
    }

    /// Tells the bridge how much new rules keep of a channel.
    pub(crate) fn keep(&mut self, retention: Retention) {
        if let Some(bridge) = &mut self.bridge {
            put(&mut bridge.interest, &ClusterItem::Keep { retention });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::relay::{self, Item};

    #[test]
    fn items_are_read_as_they_were_written() {
        let (name, epoch) = (&b"room"[..], Epoch::new(7));
        let key = ConnectionKey { slot: 3, generation: 9 };
        let message = StreamMessage {
            name,
            number: 12,
            way: Way::Live { before: 5 },
            is_text: true,
            except: Some((1, key)),
            message: b"hello",
        };
        let items = [
            ClusterItem::Message(message),
            ClusterItem::Message(StreamMessage { way: Way::Loaded { load: 7, age: 60 }, except: None, ..message }),
            ClusterItem::Loaded { name, load: 7, dropped: 3, position: 4 },
            ClusterItem::Failed { name, load: 7 },
            ClusterItem::There { epoch, is_anew: true },
            ClusterItem::Missed { name },
            ClusterItem::Load { name, retention: Retention { messages: 100, age: 60 }, load: Load { id: 7, after: 8 } },
            ClusterItem::Keep { retention: Retention { messages: 100, age: 60 } },
        ];
        let mut batch = Vec::new();
        items.iter().for_each(|item| put(&mut batch, item));
        let mut rest = &batch[..];
        let read: Vec<_> = std::iter::from_fn(|| relay::next(&mut rest)).collect();
        assert_eq!(read, items.map(Item::Cluster));
    }
}
