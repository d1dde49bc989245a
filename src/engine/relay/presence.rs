//! The items about who is present: moves for the home of a channel, and questions.

use super::{
    Relays,
    history::{put_key, put_some_bytes, take_key, take_some_bytes, take_u64},
    item::{put_long, put_presence, put_short, take_long, take_short},
};
use crate::engine::slot::ConnectionKey;

const ENTERED: u8 = 0;
const LEFT: u8 = 1;
const ASK: u8 = 2;
const LIST: u8 = 3;
const RECOUNT: u8 = 4;

/// An item about who is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PresenceItem<'b> {
    /// A connection of the sending core is in a channel.
    Entered { key: ConnectionKey, name: &'b [u8], user: &'b [u8], info: Option<&'b [u8]>, since: u64 },
    /// It has left.
    Left { key: ConnectionKey, name: &'b [u8] },
    /// A connection of the sending core asks who is there. The home gives `token` back.
    Ask { key: ConnectionKey, name: &'b [u8], token: &'b [u8], bytes_max: u64 },
    /// From the home: the whole answer for a connection.
    List { key: ConnectionKey, message: &'b [u8] },
    /// The sending core has new rules, and does not know who is in the channels that these count. It has ignored what it was
    /// told before.
    Recount,
}

pub(super) fn next<'b>(tag: u8, batch: &mut &'b [u8]) -> PresenceItem<'b> {
    if tag == RECOUNT {
        return PresenceItem::Recount;
    }
    let key = take_key(batch);
    match tag {
        ENTERED => {
            let (name, user) = (take_short(batch), take_short(batch));
            PresenceItem::Entered { key, name, user, info: take_some_bytes(batch), since: take_u64(batch) }
        }
        LEFT => PresenceItem::Left { key, name: take_short(batch) },
        ASK => {
            let (name, token) = (take_short(batch), take_short(batch));
            PresenceItem::Ask { key, name, token, bytes_max: take_u64(batch) }
        }
        _ => PresenceItem::List { key, message: take_long(batch) },
    }
}

impl Relays {
    /// Hands an item about who is present to a core.
    pub(crate) fn put_presence(&mut self, peer: u32, item: &PresenceItem<'_>) -> usize {
        self.put(peer, |batch| match *item {
            PresenceItem::Entered { key, name, user, info, since } => {
                put_presence(batch, ENTERED);
                put_key(batch, key);
                put_short(batch, name);
                put_short(batch, user);
                put_some_bytes(batch, info);
                batch.extend_from_slice(&since.to_le_bytes());
            }
            PresenceItem::Left { key, name } => {
                put_presence(batch, LEFT);
                put_key(batch, key);
                put_short(batch, name);
            }
            PresenceItem::Ask { key, name, token, bytes_max } => {
                put_presence(batch, ASK);
                put_key(batch, key);
                put_short(batch, name);
                put_short(batch, token);
                batch.extend_from_slice(&bytes_max.to_le_bytes());
            }
            PresenceItem::List { key, message } => {
                put_presence(batch, LIST);
                put_key(batch, key);
                put_long(batch, message);
            }
            PresenceItem::Recount => put_presence(batch, RECOUNT),
        })
    }
}
