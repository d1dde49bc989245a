//! A user of a room.

use super::{Connection, texts::Place};
use crate::engine::{slot::ConnectionKey, subscriptions::PEERS_MAX};

/// The memory of a user beside its texts and its places in the tables, in bytes.
pub(super) const USER_BYTES: usize = 32;
/// [`User::holder`] of a user without a connection, and of one who leaves.
const NOBODY: u8 = u8::MAX;
const LEAVES: u8 = NOBODY - 1;

const _: () = assert!(size_of::<User>() <= USER_BYTES && PEERS_MAX <= LEAVES as u32);

/// A user. Its texts are in the room's buffer.
#[derive(Debug)]
pub(super) struct User {
    pub(super) texts: Place,
    /// On this node, and on the others.
    pub(super) connections: u32,
    pub(super) elsewhere: u32,
    /// When it came, in Unix seconds.
    pub(super) since: u32,
    /// The key of one of its connections on this node, or the end of its grace; `holder` says which. It has no connection
    /// when it leaves.
    held: [u32; 2],
    /// The core of that connection, [`LEAVES`], or [`NOBODY`].
    holder: u8,
    /// Subscribers may know of it: from a message about changes, or from a list.
    pub(super) is_told: bool,
    pub(super) is_changed: bool,
    /// Other nodes were not told of its last change here.
    pub(super) is_unsent: bool,
}

impl User {
    pub(super) fn new(texts: Place, since: u32) -> Self {
        Self {
            texts,
            connections: 0,
            elsewhere: 0,
            since,
            held: [0; 2],
            holder: NOBODY,
            is_told: false,
            is_changed: false,
            is_unsent: false,
        }
    }

    /// The number of its connections on all nodes.
    pub(super) fn all_connections(&self) -> u32 {
        self.connections.saturating_add(self.elsewhere)
    }

    pub(super) fn is_present(&self) -> bool {
        self.all_connections() > 0 || self.holder == LEAVES
    }

    /// The connection that is noted here. A user with several has one at most here.
    pub(super) fn connection(&self) -> Option<Connection> {
        let [slot, generation] = self.held;
        let core = u32::from(self.holder);
        (self.holder < LEAVES).then_some(Connection { core, key: ConnectionKey { slot, generation } })
    }

    /// Notes a connection, or that there is none.
    pub(super) fn set_connection(&mut self, connection: Option<Connection>) {
        debug_assert!(self.holder != LEAVES, "a user who leaves has no connection");
        self.holder = connection.map_or(NOBODY, |connection| connection.core as u8);
        self.held = connection.map_or([0; 2], |Connection { key, .. }| [key.slot, key.generation]);
    }

    /// The end of its grace, if its last connection has left.
    pub(super) fn leaves_at(&self) -> Option<u64> {
        let [low, high] = self.held.map(u64::from);
        (self.holder == LEAVES).then_some(high << 32 | low)
    }

    /// Begins its grace, which ends at this time.
    pub(super) fn set_leaves_at(&mut self, at: u64) {
        debug_assert!(self.connection().is_none(), "it has a connection");
        (self.holder, self.held) = (LEAVES, [at as u32, (at >> 32) as u32]);
    }

    /// Ends its grace. Returns when it would have ended.
    pub(super) fn take_leaves_at(&mut self) -> Option<u64> {
        let at = self.leaves_at()?;
        self.holder = NOBODY;
        Some(at)
    }
}
