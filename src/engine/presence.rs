//! Who is present in the channels whose home is this core (PROTOCOL.md §11).
//!
//! A channel's room has one entry for each user and one for each connection. Each core tells the home of its connections:
//! that one is in a room, as which user, and that it has left. Telling it again changes the entry. A user is present while
//! one of its connections is, and for a grace period after the last has left, so that a reconnect shows nothing.
//!
//! The room gathers changes for its subscribers: those of a user that come and go in between cancel each other.
//!
//! In a cluster each node knows the members of the others, too: one entry for each user and core of another node. A user is
//! present while it has connections on any node.

mod cluster;
mod lists;
mod room;
mod shared;
mod tables;
mod texts;
mod user;
mod users;

use std::{num::TryFromIntError, time::Duration};

use slab::Slab;

use crate::engine::{index::Index, log_limit::LogLimit, slot::ConnectionKey, timers::Timers};

pub(crate) use self::cluster::Allowance;
use self::{cluster::Cluster, lists::Lists, room::Room};
pub(crate) use self::{lists::List, room::Info};

/// The most changes that subscribers are told of in a second, one message each.
const EVENTS_PER_SECOND: u64 = 3;
/// The bytes of changes in one message. What has no room is counted there, and not told: in a large room each client would get
/// more than it can use, and all of it once for each client.
const EVENT_BYTES_MAX: usize = 32 * 1024;
/// The bytes of one message to all users of a room, and the bytes that a message may have all the same. Without this, a rush
/// of thousands costs more to tell than a machine can send in the time, and those who still come have to wait for it.
const COPIES_BYTES_MAX: usize = 32 * 1024 * 1024;
const EVENT_BYTES_MIN: usize = 1024;
/// The memory of a room beside what it allocates, and what the allocator adds to that, in bytes.
const ROOM_BYTES: usize = size_of::<Room>() + 64;
/// Lists that are full grow by one part in so many: doubling would leave much unused.
const GROWTH_DIVISOR: usize = 8;

/// A connection, on any core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    pub(crate) core: u32,
    pub(crate) key: ConnectionKey,
}

/// A room has no place for a further user, since the names of the others take 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomIsFull;

impl From<TryFromIntError> for RoomIsFull {
    fn from(_: TryFromIntError) -> Self {
        Self
    }
}

/// The rooms of one core.
pub(crate) struct Presence {
    rooms: Slab<Room>,
    by_name: Index,
    /// `None` until there is a room.
    timers: Option<Box<Timers>>,
    lists: Lists,
    /// [`EVENT_BYTES_MAX`], or less in tests.
    event_bytes_max: usize,
    /// The memory of all rooms beside themselves, in bytes.
    rooms_bytes: usize,
    /// All memory, in bytes: each turn asks for it.
    bytes: usize,
    /// Distinguishes rooms with the same number.
    opened: u32,
    /// In milliseconds since the core's start.
    now: u64,
    /// How long a user stays present after the last connection has left, in milliseconds.
    grace: u64,
    /// The other nodes; `None` without a cluster.
    cluster: Option<Box<Cluster>>,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            rooms: Slab::new(),
            by_name: Index::new(),
            timers: None,
            lists: Lists::default(),
            event_bytes_max: EVENT_BYTES_MAX,
            rooms_bytes: 0,
            bytes: 0,
            opened: 0,
            now: 0,
            grace: 0,
            cluster: None,
        }
    }
}

impl Presence {
    /// Sets the time since the core's start.
    pub(crate) fn set_now(&mut self, now: Duration) {
        self.now = now.as_millis() as u64;
    }

    /// Sets how long a user stays present after the last connection has left.
    pub(crate) fn set_grace(&mut self, grace: Duration) {
        self.grace = grace.as_millis() as u64;
    }

    /// Notes that a connection is in a room as this user, from now on: `since` in Unix seconds.
    pub(crate) fn enter(&mut self, name: &[u8], connection: Connection, user: &str, info: Info<'_>, since: u64) {
        let id = self.find(name).unwrap_or_else(|| self.add(name));
        let mut entered = Ok(());
        self.change(id, |room, now, grace| entered = room.enter(connection, user, info, since, (now, grace)));
        if entered == Err(RoomIsFull) {
            static LIMIT: LogLimit = LogLimit::new();
            LIMIT.say(|more| log::warn!("presence: a user is not counted, since the channel has too many{more}"));
        }
    }

    /// Notes that a connection has left a room.
    pub(crate) fn leave(&mut self, name: &[u8], connection: Connection) {
        if let Some(id) = self.find(name) {
            self.change(id, |room, now, grace| room.leave(connection, (now, grace)));
        }
    }

    fn find(&self, name: &[u8]) -> Option<u32> {
        self.by_name.find(self.by_name.hash(0, name), |id| *self.rooms[id as usize].name == *name)
    }

    /// The number of rooms.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    fn add(&mut self, name: &[u8]) -> u32 {
        self.opened = self.opened.wrapping_add(1);
        grow(&mut self.rooms);
        let room = Room::new(name, self.opened, self.cluster.is_some());
        self.rooms_bytes += room.memory();
        let id = self.rooms.insert(room) as u32;
        self.by_name.insert(self.by_name.hash(0, name), id);
        id
    }

    /// Changes a room, and keeps its deadline and the sum of its memory right.
    fn change(&mut self, id: u32, change: impl FnOnce(&mut Room, u64, u64)) {
        let may_compact = !self.is_telling_state();
        let room = &mut self.rooms[id as usize];
        let before = room.memory();
        change(room, self.now, self.grace);
        if room.users.is_sparse() && may_compact {
            self.opened = self.opened.wrapping_add(1);
            room.compact(self.opened);
        }
        self.rooms_bytes = self.rooms_bytes - before + room.memory();
        self.lists.forget(id);
        self.note_shared(id);
        self.tidy(id);
        self.recount();
    }

    /// Removes a room that has nobody and nothing to tell, or schedules its next deadline.
    fn tidy(&mut self, id: u32) {
        let room = &mut self.rooms[id as usize];
        if room.is_over(self.now, EVENT_MILLIS) {
            return self.remove(id);
        }
        if let Some(at) = room.schedules(EVENT_MILLIS) {
            let (generation, now) = (room.generation, Duration::from_millis(self.now));
            let timers = self.timers.get_or_insert_with(|| Box::new(Timers::new(now)));
            timers.schedule(id, generation, Duration::from_millis(at));
        }
    }

    /// Forgets the rooms of channels that new rules give none.
    pub(crate) fn retain(&mut self, has_room: impl Fn(&[u8]) -> bool) {
        let gone: Vec<usize> = self.rooms.iter().filter(|(_, room)| !has_room(&room.name)).map(|(id, _)| id).collect();
        gone.into_iter().for_each(|id| self.remove(id as u32));
        self.share_anew();
    }

    fn remove(&mut self, id: u32) {
        let room = self.rooms.remove(id as usize);
        self.by_name.remove(self.by_name.hash(0, &room.name), id);
        self.rooms_bytes -= room.memory();
        self.lists.forget(id);
        self.unshare(&room);
        if self.rooms.is_empty() {
            (self.rooms, self.by_name) = (Slab::new(), Index::new());
        }
        self.recount();
    }

    /// The users who are in a room, in about this many bytes at most, and whether they were looked at for this. From now on
    /// subscribers know of them, and must hear when one of them leaves.
    pub(crate) fn list(&mut self, name: &[u8], bytes_max: usize) -> Option<(&List, bool)> {
        let id = self.find(name)?;
        let is_new = self.lists.encode((id, &mut self.rooms[id as usize]), bytes_max, self.now);
        self.recount();
        Some((self.lists.find(id, bytes_max)?, is_new))
    }

    /// The same, and nobody is told of it.
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "only operators ask"))]
    pub(crate) fn peek(&self, name: &[u8], bytes_max: usize) -> Option<List> {
        self.find(name).map(|id| List::of(&self.rooms[id as usize], bytes_max))
    }

    /// Makes messages about changes so long at most.
    #[cfg(test)]
    pub(crate) fn tell_at_most(&mut self, bytes: usize) {
        self.event_bytes_max = bytes;
    }

    /// Looks at the rooms whose deadline has come. Calls `tell` for each that has changes to tell, with its name and the
    /// body of the message; it returns whether subscribers are told of changes in this room at all.
    pub(crate) fn expire(&mut self, now: Duration, mut tell: impl FnMut(&[u8], Option<&[u8]>) -> bool) -> bool {
        self.set_now(now);
        if self.lists.expires_at().is_some_and(|at| at <= self.now) {
            self.lists.expire(self.now);
            self.recount();
        }
        let Some(timers) = &mut self.timers else { return false };
        let mut due = Vec::new();
        timers.expire(now, &mut due);
        for &(id, generation) in &due {
            if self.rooms.get(id as usize).is_none_or(|room| room.generation != generation) {
                continue;
            }
            let (now, event_bytes_max) = (self.now, self.event_bytes_max);
            self.change(id, |room, _, _| {
                room.is_scheduled_for = None;
                let has_events = tell(&room.name, None);
                room.end_graces(now, has_events);
                if room.is_event_due(now, EVENT_MILLIS) {
                    let share = (COPIES_BYTES_MAX / room.present.max(1) as usize).max(EVENT_BYTES_MIN);
                    let body = room.take_event(now, share.min(event_bytes_max));
                    tell(&room.name, Some(&body));
                }
            });
        }
        !due.is_empty()
    }

    /// The time of the next deadline.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let timer = self.timers.as_ref().and_then(|timers| timers.next());
        let others = self.shares_at().into_iter().chain(self.lists.expires_at());
        timer.into_iter().chain(others.map(Duration::from_millis)).min()
    }

    /// Its memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn recount(&mut self) {
        let of_rooms = self.rooms.capacity() * ROOM_BYTES + self.by_name.memory() + self.rooms_bytes;
        let of_cluster = self.cluster.as_ref().map_or(0, |cluster| cluster.memory());
        self.bytes = of_rooms + self.lists.memory() + of_cluster;
    }
}

/// Makes room in a list for one more, and for a few at once.
fn grow<T>(list: &mut Slab<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(1 + list.len() / GROWTH_DIVISOR);
    }
}

/// The least time between two messages about a room's changes.
const EVENT_MILLIS: u64 = 1000 / EVENTS_PER_SECOND + 1;

#[cfg(test)]
mod tests;
