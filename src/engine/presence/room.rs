//! The users of one channel.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use slab::Slab;

use super::{
    Connection,
    shared::Shared,
    user::{NEVER, User, write_text},
};

/// The most bytes of one message about changes; the next message has the others.
const EVENT_BYTES_MAX: usize = 64 * 1024;
/// The memory of a connection, in bytes.
const CONNECTION_BYTES: usize = 48;

/// What is shown of a user beside its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Info<'a> {
    /// As before.
    Same,
    /// This JSON.
    Json(&'a str),
}

/// A room.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: Box<[u8]>,
    /// Distinguishes it from earlier rooms with its number.
    pub(super) generation: u32,
    /// The time of its entry in the timers.
    pub(super) is_scheduled_for: Option<u64>,
    pub(super) users: Slab<User>,
    pub(super) by_name: HashMap<Box<str>, u32, RandomState>,
    connections: HashMap<Connection, u32, RandomState>,
    /// Users whose last connection has left, by the end of their grace.
    leaving: BTreeSet<(u64, u32)>,
    /// Users with a change that subscribers were not told of, in the order of the changes.
    changed: Vec<u32>,
    /// When subscribers were told of changes last.
    told_at: Option<u64>,
    pub(super) bytes: usize,
    /// What other nodes of a cluster tell of it, and are told; `None` without a cluster.
    pub(super) shared: Option<Box<Shared>>,
}

impl Room {
    pub(super) fn new(name: &[u8], generation: u32, is_shared: bool) -> Self {
        Self {
            name: name.into(),
            generation,
            is_scheduled_for: None,
            users: Slab::new(),
            by_name: HashMap::default(),
            connections: HashMap::default(),
            leaving: BTreeSet::new(),
            changed: Vec::new(),
            told_at: None,
            bytes: 0,
            shared: is_shared.then(Box::default),
        }
    }

    /// Notes that a connection is here as this user.
    pub(super) fn enter(
        &mut self,
        connection: Connection,
        user: &str,
        info: Info<'_>,
        since: u64,
        (now, grace): (u64, u64),
    ) {
        let before = self.connections.get(&connection).copied();
        if before.is_some_and(|id| *self.users[id as usize].name != *user) {
            self.leave(connection, (now, grace));
        }
        let is_new = !self.connections.contains_key(&connection);
        let id = self.user(user, since);
        if is_new {
            self.connections.insert(connection, id);
            self.bytes += CONNECTION_BYTES;
            self.set_connections(id, self.users[id as usize].connections + 1);
            self.stays(id);
        }
        self.set_info(id, info, since);
        if !self.users[id as usize].is_told {
            self.note_change(id);
        }
    }

    /// Ends the grace of a user.
    pub(super) fn stays(&mut self, id: u32) {
        let at = std::mem::replace(&mut self.users[id as usize].leaves_at, NEVER);
        if at != NEVER {
            self.leaving.remove(&(at, id));
        }
    }

    /// Begins the grace of a user if none of its connections is left.
    pub(super) fn leaves(&mut self, id: u32, at: u64) {
        let user = &mut self.users[id as usize];
        if user.all_connections() == 0 {
            user.leaves_at = at;
            self.leaving.insert((at, id));
        }
    }

    /// The number of a user, who may be new.
    pub(super) fn user(&mut self, name: &str, since: u64) -> u32 {
        let since = u32::try_from(since).unwrap_or(u32::MAX);
        if let Some(&id) = self.by_name.get(name) {
            let user = &mut self.users[id as usize];
            if !user.is_present() {
                user.since = since;
            }
            return id;
        }
        let user = User::new(name, since);
        self.bytes += user.bytes();
        let id = self.users.insert(user) as u32;
        self.by_name.insert(name.into(), id);
        id
    }

    fn set_info(&mut self, id: u32, info: Info<'_>, now: u64) {
        let Info::Json(info) = info else { return };
        let user = &self.users[id as usize];
        if user.info.as_deref() != Some(info) {
            self.show(id, info, (now * 1000).max(user.info_at + 1));
            self.note_unsent(id);
        }
    }

    /// Shows this of a user from now on.
    pub(super) fn show(&mut self, id: u32, info: &str, at: u64) {
        let user = &mut self.users[id as usize];
        self.bytes -= user.bytes();
        user.info = Some(info.into());
        user.info_at = at;
        self.bytes += user.bytes();
        self.note_change(id);
    }

    pub(super) fn note_change(&mut self, id: u32) {
        if !std::mem::replace(&mut self.users[id as usize].is_changed, true) {
            self.changed.push(id);
        }
    }

    /// Notes that a connection has left.
    pub(super) fn leave(&mut self, connection: Connection, (now, grace): (u64, u64)) {
        let Some(id) = self.connections.remove(&connection) else { return };
        self.bytes -= CONNECTION_BYTES;
        self.set_connections(id, self.users[id as usize].connections - 1);
        self.leaves(id, now + grace);
    }

    /// Ends the presence of users whose grace is over. If nobody is told of changes, they are settled.
    pub(super) fn end_graces(&mut self, now: u64, has_events: bool) {
        while let Some(&(at, id)) = self.leaving.first().filter(|(at, _)| *at <= now) {
            self.leaving.remove(&(at, id));
            self.users[id as usize].leaves_at = NEVER;
            self.note_change(id);
        }
        if !has_events {
            for id in std::mem::take(&mut self.changed) {
                self.settle(id);
            }
        }
    }

    /// Ends a change: the user is known, or forgotten.
    fn settle(&mut self, id: u32) {
        let user = &mut self.users[id as usize];
        (user.is_changed, user.is_told) = (false, user.is_present());
        self.forget_gone(id);
    }

    /// Forgets a user who is gone, once all know it.
    pub(super) fn forget_gone(&mut self, id: u32) {
        let user = &self.users[id as usize];
        if !user.is_present() && !user.is_changed && !user.is_unsent {
            let user = self.users.remove(id as usize);
            self.by_name.remove(&user.name);
            self.bytes -= user.bytes();
        }
    }

    /// Notes that all who are here were shown to somebody.
    pub(super) fn has_shown(&mut self) {
        for &id in &self.changed {
            let user = &mut self.users[id as usize];
            user.is_told |= user.is_present();
        }
    }

    /// Whether it is time to tell subscribers of changes.
    pub(super) fn is_event_due(&self, now: u64, interval: u64) -> bool {
        !self.changed.is_empty() && self.told_at.is_none_or(|at| at + interval <= now)
    }

    /// The body of the message about changes. Those that it has no room for come in the next one.
    pub(super) fn take_event(&mut self, now: u64) -> Vec<u8> {
        let (mut joined, mut left, mut told) = (Vec::new(), Vec::new(), 0);
        let changed = std::mem::take(&mut self.changed);
        for &id in &changed {
            if joined.len() + left.len() > EVENT_BYTES_MAX {
                break;
            }
            told += 1;
            let user = &self.users[id as usize];
            if user.is_present() {
                joined.push(b',');
                user.write(&mut joined);
            } else if user.is_told {
                left.extend_from_slice(b",{\"user\":");
                write_text(&mut left, &user.name);
                left.push(b'}');
            }
            self.settle(id);
        }
        self.changed = changed[told..].to_vec();
        self.told_at = Some(now);
        if joined.is_empty() && left.is_empty() {
            return Vec::new(); // somebody has come and gone
        }
        let list = |list: &Vec<u8>| list.get(1..).unwrap_or_default().to_vec();
        [&b"{\"joined\":["[..], &list(&joined), b"],\"left\":[", &list(&left), b"]}"].concat()
    }

    /// The time at which the room must be looked at, if the timers do not have it yet.
    pub(super) fn schedules(&mut self, interval: u64) -> Option<u64> {
        let event = (!self.changed.is_empty()).then(|| self.told_at.map_or(0, |at| at + interval));
        let leave = self.leaving.first().map(|(at, _)| *at);
        let end = self.told_at.filter(|_| self.users.is_empty()).map(|at| at + interval);
        let at = event.into_iter().chain(leave).chain(end).min()?;
        let is_earlier = self.is_scheduled_for.is_none_or(|scheduled| at < scheduled);
        is_earlier.then(|| *self.is_scheduled_for.insert(at))
    }

    /// Whether nobody is here, and nothing is left to tell. It stays for a while after it has told something: if somebody
    /// comes, the next message must not follow too soon.
    pub(super) fn is_over(&self, now: u64, interval: u64) -> bool {
        self.users.is_empty() && self.told_at.is_none_or(|at| at + interval <= now)
    }

    /// The memory of its entries, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The users who are here.
    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        let mut users: Vec<&User> = self.users.iter().map(|(_, user)| user).filter(|user| user.is_present()).collect();
        users.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Snapshot { users }
    }
}

/// The users of a room, sorted by name.
pub(crate) struct Snapshot<'a> {
    users: Vec<&'a User>,
}

impl Snapshot<'_> {
    /// The number of users.
    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    /// The users as a JSON array of about this many bytes at most, and how many of them it has.
    pub(crate) fn json(&self, bytes_max: usize) -> (Vec<u8>, usize) {
        let (mut out, mut written) = (vec![b'['], 0);
        for user in &self.users {
            if out.len() > bytes_max {
                break;
            }
            if written > 0 {
                out.push(b',');
            }
            user.write(&mut out);
            written += 1;
        }
        out.push(b']');
        (out, written)
    }
}
