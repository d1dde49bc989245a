//! Who is in a room, as clients are told that ask.

use super::{room::Room, user::User};

/// So many lists are kept: the oldest one goes.
const KEPT_MAX: usize = 8;
/// How long a list is kept at most, in milliseconds.
const KEPT_MILLIS: u64 = 1000;

/// A list of users, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    /// The users, sorted by name, as a JSON array.
    pub(crate) json: Vec<u8>,
    /// How many users it has, and how many it leaves out.
    pub(crate) listed: usize,
    pub(crate) more: usize,
}

impl List {
    /// The users of a room in about this many bytes at most.
    pub(super) fn of(room: &Room, bytes_max: usize) -> Self {
        let (mut json, mut listed) = (Vec::new(), 0);
        for user in sorted(room) {
            if json.len() > bytes_max {
                break;
            }
            room.write(user, &mut json);
            listed += 1;
        }
        match json.first_mut() {
            Some(comma) => *comma = b'[',
            None => json.push(b'['),
        }
        json.push(b']');
        json.shrink_to_fit();
        Self { json, listed, more: room.present as usize - listed }
    }
}

/// The users who are present, sorted by name.
fn sorted(room: &Room) -> impl Iterator<Item = &User> {
    let name = |user| room.users.name(user);
    let present = room.users.iter().map(|(_, user)| user).filter(|user| user.is_present());
    // Most names differ in their first bytes, so the sort looks at few of them.
    let mut users: Vec<(u64, &User)> = present.map(|user| (prefix(name(user)), user)).collect();
    users.sort_unstable_by(|(one, a), (other, b)| one.cmp(other).then_with(|| name(a).cmp(name(b))));
    users.into_iter().map(|(_, user)| user)
}

/// The first bytes of a name, as a number that sorts as they do.
fn prefix(name: &str) -> u64 {
    let (mut first, len) = ([0; 8], name.len().min(8));
    first[..len].copy_from_slice(&name.as_bytes()[..len]);
    u64::from_be_bytes(first)
}

/// The lists that were asked for last. Each is kept for a moment, and while its room does not change, so that of many clients
/// that ask at once one alone lets it be encoded.
#[derive(Debug, Default)]
pub(super) struct Lists {
    kept: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    room: u32,
    bytes_max: usize,
    until: u64,
    list: List,
}

impl Lists {
    /// Encodes the list of a room, if it is not kept. Returns whether it was not.
    pub(super) fn encode(&mut self, (id, room): (u32, &mut Room), bytes_max: usize, now: u64) -> bool {
        if self.find(id, bytes_max).is_some() {
            return false;
        }
        if self.kept.len() == KEPT_MAX {
            self.kept.remove(0);
        }
        let list = List::of(room, bytes_max);
        room.has_shown();
        self.kept.push(Kept { room: id, bytes_max, until: now + KEPT_MILLIS, list });
        true
    }

    /// The list of a room, if it is kept.
    pub(super) fn find(&self, room: u32, bytes_max: usize) -> Option<&List> {
        let found = self.kept.iter().find(|kept| kept.room == room && kept.bytes_max == bytes_max);
        found.map(|kept| &kept.list)
    }

    /// Forgets the list of a room: it has changed.
    pub(super) fn forget(&mut self, room: u32) {
        self.kept.retain(|kept| kept.room != room);
    }

    /// Forgets lists that were kept long enough.
    pub(super) fn expire(&mut self, now: u64) {
        self.kept.retain(|kept| kept.until > now);
    }

    /// When [`Lists::expire`] has something to do.
    pub(super) fn expires_at(&self) -> Option<u64> {
        self.kept.first().map(|kept| kept.until)
    }

    /// Their memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.kept.iter().map(|kept| size_of::<Kept>() + kept.list.json.capacity()).sum()
    }
}
