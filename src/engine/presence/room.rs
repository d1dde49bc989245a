//! The users of one channel, and what must be told of them.

use std::{collections::BTreeSet, mem};

use super::{Connection, RoomIsFull, shared::Shared, user::User, users::Users};

/// The memory of a user in [`Room::leaving`], in bytes: nodes of the tree are half empty at most.
const LEAVING_BYTES: usize = 40;

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
    /// Distinguishes it from earlier rooms with its number, and from itself before its users got other numbers.
    pub(super) generation: u32,
    /// The number of users who are present.
    pub(super) present: u32,
    /// The time of its entry in the timers.
    pub(super) is_scheduled_for: Option<u64>,
    pub(super) users: Users,
    /// Users whose last connection has left, by the end of their grace.
    leaving: BTreeSet<(u64, u32)>,
    /// Users with a change that subscribers were not told of, in the order of the changes.
    changed: Vec<u32>,
    /// When subscribers were told of changes last.
    told_at: Option<u64>,
    /// What other nodes of a cluster tell of it, and are told; `None` without a cluster.
    pub(super) shared: Option<Box<Shared>>,
}

impl Room {
    pub(super) fn new(name: &[u8], generation: u32, is_shared: bool) -> Self {
        Self {
            name: name.into(),
            generation,
            present: 0,
            is_scheduled_for: None,
            users: Users::default(),
            leaving: BTreeSet::new(),
            changed: Vec::new(),
            told_at: None,
            shared: is_shared.then(Box::default),
        }
    }

    /// Notes that a connection is here as this user.
    ///
    /// # Errors
    /// The room is full. The connection is not here then.
    pub(super) fn enter(
        &mut self,
        connection: Connection,
        user: &str,
        info: Info<'_>,
        since: u64,
        (now, grace): (u64, u64),
    ) -> Result<(), RoomIsFull> {
        let before = self.users.find_connection(connection);
        let is_same = before.is_some_and(|id| self.users.name(&self.users[id]) == user);
        if before.is_some() && !is_same {
            self.leave(connection, (now, grace));
        }
        let id = self.user(user, since)?;
        if !is_same {
            self.stays(id);
            self.users.connect(connection, id);
            self.set_connections(id, self.users[id].connections + 1);
        }
        self.set_info(id, info, since);
        if !self.users[id].is_told {
            self.note_change(id);
        }
        Ok(())
    }

    /// The number of a user, who may be new, and is here from now on: the caller gives it a connection.
    ///
    /// # Errors
    /// The room is full.
    pub(super) fn user(&mut self, name: &str, since: u64) -> Result<u32, RoomIsFull> {
        let since = u32::try_from(since).unwrap_or(u32::MAX);
        let id = match self.users.find(name) {
            Some(id) => id,
            None => self.users.add(name, since)?,
        };
        if !self.users[id].is_present() {
            self.users[id].since = since;
            self.present += 1;
        }
        Ok(id)
    }

    /// Ends the grace of a user.
    pub(super) fn stays(&mut self, id: u32) {
        if let Some(at) = self.users[id].take_leaves_at() {
            self.leaving.remove(&(at, id));
        }
    }

    /// Begins the grace of a user if none of its connections is left.
    pub(super) fn leaves(&mut self, id: u32, at: u64) {
        let user = &mut self.users[id];
        if user.all_connections() == 0 {
            user.set_leaves_at(at);
            self.leaving.insert((at, id));
        }
    }

    fn set_info(&mut self, id: u32, info: Info<'_>, now: u64) {
        let Info::Json(info) = info else { return };
        let (shown, at) = self.users.info(&self.users[id]).unzip();
        if shown != Some(info) {
            self.show(id, info, (now * 1000).max(at.map_or(0, |at| at + 1)));
            self.note_unsent(id);
        }
    }

    /// Shows this of a user from now on, unless the room is full.
    pub(super) fn show(&mut self, id: u32, info: &str, at: u64) {
        if self.users.show(id, info, at).is_ok() {
            self.note_change(id);
        }
    }

    pub(super) fn note_change(&mut self, id: u32) {
        if !mem::replace(&mut self.users[id].is_changed, true) {
            self.changed.push(id);
        }
    }

    /// Notes that a connection has left.
    pub(super) fn leave(&mut self, connection: Connection, (now, grace): (u64, u64)) {
        let Some(id) = self.users.disconnect(connection) else { return };
        self.set_connections(id, self.users[id].connections - 1);
        self.leaves(id, now + grace);
    }

    /// Ends the presence of users whose grace is over. If nobody is told of changes, they are settled.
    pub(super) fn end_graces(&mut self, now: u64, has_events: bool) {
        while let Some(&(at, id)) = self.leaving.first().filter(|(at, _)| *at <= now) {
            self.leaving.remove(&(at, id));
            self.users[id].take_leaves_at();
            self.present -= 1;
            self.note_change(id);
        }
        if !has_events {
            for id in mem::take(&mut self.changed) {
                self.settle(id);
            }
        }
    }

    /// Ends a change: the user is known, or forgotten.
    fn settle(&mut self, id: u32) {
        let user = &mut self.users[id];
        (user.is_changed, user.is_told) = (false, user.is_present());
        self.forget_gone(id);
    }

    /// Forgets a user who is gone, once all know it.
    pub(super) fn forget_gone(&mut self, id: u32) {
        let user = &self.users[id];
        if !user.is_present() && !user.is_changed && !user.is_unsent {
            self.users.remove(id);
        }
    }

    /// Notes that all who are here were shown to somebody.
    pub(super) fn has_shown(&mut self) {
        for &id in &self.changed {
            let user = &mut self.users[id];
            user.is_told |= user.is_present();
        }
    }

    /// Whether it is time to tell subscribers of changes.
    pub(super) fn is_event_due(&self, now: u64, interval: u64) -> bool {
        !self.changed.is_empty() && self.told_at.is_none_or(|at| at + interval <= now)
    }

    /// The body of the message about changes. Those that it has no room for are only counted: nobody is told of them later.
    /// Empty without changes to tell.
    pub(super) fn take_event(&mut self, now: u64, bytes_max: usize) -> Vec<u8> {
        let (mut joined, mut left, mut more) = (Vec::new(), Vec::new(), 0_u64);
        for id in mem::take(&mut self.changed) {
            let user = &self.users[id];
            let has_room = joined.len() + left.len() < bytes_max;
            match (user.is_present(), user.is_told) {
                (false, false) => {} // it has come and gone
                (true, _) if has_room => self.write(user, &mut joined),
                (false, true) if has_room => self.write_gone(user, &mut left),
                _ => more += 1,
            }
            self.settle(id);
        }
        self.told_at = Some(now);
        if joined.is_empty() && left.is_empty() {
            return Vec::new();
        }
        let more = if more > 0 { format!(",\"more\":{more}") } else { String::new() };
        let counts = format!("],\"users\":{}{more}}}", self.present);
        let list = |list: &'_ [u8]| list.get(1..).unwrap_or_default().to_vec();
        [&b"{\"joined\":["[..], &list(&joined), b"],\"left\":[", &list(&left), counts.as_bytes()].concat()
    }

    /// Appends a comma, and a user as JSON.
    pub(super) fn write(&self, user: &User, out: &mut Vec<u8>) {
        out.extend_from_slice(b",{\"user\":");
        write_text(out, self.users.name(user));
        out.extend_from_slice(b",\"connections\":");
        out.extend_from_slice(itoa::Buffer::new().format(user.all_connections()).as_bytes());
        out.extend_from_slice(b",\"since\":");
        out.extend_from_slice(itoa::Buffer::new().format(user.since).as_bytes());
        if let Some((info, _)) = self.users.info(user) {
            out.extend_from_slice(b",\"info\":");
            out.extend_from_slice(info.as_bytes());
        }
        out.push(b'}');
    }

    fn write_gone(&self, user: &User, out: &mut Vec<u8>) {
        out.extend_from_slice(b",{\"user\":");
        write_text(out, self.users.name(user));
        out.push(b'}');
    }

    /// The time at which the room must be looked at, if the timers do not have it yet.
    pub(super) fn schedules(&mut self, interval: u64) -> Option<u64> {
        let event = (!self.changed.is_empty()).then(|| self.told_at.map_or(0, |at| at + interval));
        let leave = self.leaving.first().map(|(at, _)| *at);
        let end = self.told_at.filter(|_| self.users.len() == 0).map(|at| at + interval);
        let at = event.into_iter().chain(leave).chain(end).min()?;
        let is_earlier = self.is_scheduled_for.is_none_or(|scheduled| at < scheduled);
        is_earlier.then(|| *self.is_scheduled_for.insert(at))
    }

    /// Whether nobody is here, and nothing is left to tell. It stays for a while after it has told something: if somebody
    /// comes, the next message must not follow too soon.
    pub(super) fn is_over(&self, now: u64, interval: u64) -> bool {
        self.users.len() == 0 && self.told_at.is_none_or(|at| at + interval <= now)
    }

    /// Frees memory after most users have left. Users have other numbers then, and the room is one of this generation.
    pub(super) fn compact(&mut self, generation: u32) {
        let moved = self.users.compact();
        let now = |id: u32| moved.get(&id).copied().unwrap_or(id);
        self.changed = self.changed.iter().map(|&id| now(id)).collect();
        self.leaving = self.leaving.iter().map(|&(at, id)| (at, now(id))).collect();
        (self.generation, self.is_scheduled_for) = (generation, None);
        self.renumber(now);
    }

    /// Its memory beside itself, in bytes.
    pub(super) fn memory(&self) -> usize {
        let lists = self.leaving.len() * LEAVING_BYTES + self.changed.capacity() * size_of::<u32>();
        let shared = self.shared.as_ref().map_or(0, |shared| shared.memory());
        self.name.len() + self.users.memory() + lists + shared
    }
}

/// Appends a text as JSON.
fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a text is JSON, and a buffer takes it");
}
