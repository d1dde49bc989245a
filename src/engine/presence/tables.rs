//! Hash tables of a room's users. They have numbers of users; names and connections are at the users.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;

use super::{Connection, texts::Texts, user::User};

/// Below this capacity a table is not worth shrinking.
const KEPT_ENTRIES: usize = 64;

/// The tables. Their hash has another seed in each room, so nobody can choose names that collide.
#[derive(Debug, Default)]
pub(super) struct Tables {
    hasher: RandomState,
    by_name: HashTable<u32>,
    /// By the connection that is noted at the user.
    by_connection: HashTable<u32>,
    /// Further connections of users.
    further: HashTable<(Connection, u32)>,
}

impl Tables {
    /// Tables of these users, with the connections that are noted there.
    pub(super) fn of(list: &Slab<User>, texts: &Texts) -> Self {
        let mut tables = Self::default();
        for (id, user) in list {
            tables.add_name(id as u32, list, texts);
            if user.connection().is_some() {
                tables.add_connection(id as u32, list);
            }
        }
        tables
    }

    pub(super) fn find(&self, name: &str, list: &Slab<User>, texts: &Texts) -> Option<u32> {
        let is_it = |id: &u32| texts.name(list[*id as usize].texts) == name;
        self.by_name.find(self.hasher.hash_one(name), is_it).copied()
    }

    pub(super) fn find_connection(&self, connection: Connection, list: &Slab<User>) -> Option<u32> {
        let hash = self.hasher.hash_one(connection);
        let noted = self.by_connection.find(hash, |id| list[*id as usize].connection() == Some(connection));
        let further = || self.further.find(hash, |(one, _)| *one == connection).map(|(_, id)| id);
        noted.or_else(further).copied()
    }

    pub(super) fn add_name(&mut self, id: u32, list: &Slab<User>, texts: &Texts) {
        let Self { hasher, by_name, .. } = self;
        let hash = |id: &u32| hasher.hash_one(texts.name(list[*id as usize].texts));
        by_name.insert_unique(hash(&id), id, hash);
    }

    pub(super) fn remove_name(&mut self, id: u32, list: &Slab<User>, texts: &Texts) {
        let Self { hasher, by_name, .. } = self;
        let hash = |id: &u32| hasher.hash_one(texts.name(list[*id as usize].texts));
        remove(by_name, hash(&id), |&one| one == id, hash);
    }

    /// Adds the connection that is noted at a user.
    pub(super) fn add_connection(&mut self, id: u32, list: &Slab<User>) {
        let Self { hasher, by_connection, .. } = self;
        let hash = |id: &u32| hasher.hash_one(noted(&list[*id as usize]));
        by_connection.insert_unique(hash(&id), id, hash);
    }

    /// Removes the connection that is noted at a user.
    pub(super) fn remove_connection(&mut self, id: u32, list: &Slab<User>) {
        let Self { hasher, by_connection, .. } = self;
        let hash = |id: &u32| hasher.hash_one(noted(&list[*id as usize]));
        remove(by_connection, hash(&id), |&one| one == id, hash);
    }

    pub(super) fn further(&self) -> impl Iterator<Item = (Connection, u32)> {
        self.further.iter().copied()
    }

    pub(super) fn has_further(&self) -> bool {
        !self.further.is_empty()
    }

    pub(super) fn add_further(&mut self, connection: Connection, id: u32) {
        let Self { hasher, further, .. } = self;
        further.insert_unique(hasher.hash_one(connection), (connection, id), |(one, _)| hasher.hash_one(one));
    }

    pub(super) fn remove_further(&mut self, connection: Connection) {
        let Self { hasher, further, .. } = self;
        let hash = |(one, _): &(Connection, u32)| hasher.hash_one(one);
        remove(further, hasher.hash_one(connection), |(one, _)| *one == connection, hash);
    }

    /// Their memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        let names = self.by_name.allocation_size() + self.by_connection.allocation_size();
        size_of::<Self>() + names + self.further.allocation_size()
    }
}

fn noted(user: &User) -> Connection {
    user.connection().expect("each user in this table has a connection")
}

/// Removes an entry. If the table has become rather empty, this frees memory, once in many removals.
fn remove<T>(table: &mut HashTable<T>, hash: u64, is_it: impl Fn(&T) -> bool, hash_of: impl Fn(&T) -> u64) {
    let found = table.find_entry(hash, is_it);
    debug_assert!(found.is_ok(), "it is not in the table");
    if let Ok(entry) = found {
        entry.remove();
    }
    let (len, capacity) = (table.len(), table.capacity());
    if capacity > KEPT_ENTRIES && len < capacity / 8 {
        table.shrink_to(2 * len, hash_of);
    }
}
