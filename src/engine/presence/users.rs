//! The users of a room, by number, by name, and by connection.

use std::{
    collections::HashMap,
    ops::{Index, IndexMut},
};

use slab::Slab;

use super::{
    Connection, RoomIsFull, grow,
    tables::Tables,
    texts::Texts,
    user::{USER_BYTES, User},
};

/// With more users than this, and with users who have several connections, a room has tables.
const SCANNED_MAX: usize = 8;
/// Below this capacity the list is not worth shrinking.
const KEPT_ENTRIES: usize = 64;

/// The users.
#[derive(Debug, Default)]
pub(super) struct Users {
    list: Slab<User>,
    texts: Texts,
    /// `None` while there are so few that each can be looked at.
    tables: Option<Box<Tables>>,
}

impl Index<u32> for Users {
    type Output = User;

    fn index(&self, id: u32) -> &User {
        &self.list[id as usize]
    }
}

impl IndexMut<u32> for Users {
    fn index_mut(&mut self, id: u32) -> &mut User {
        &mut self.list[id as usize]
    }
}

impl Users {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Numbers of users are below this.
    pub(super) fn numbers(&self) -> usize {
        self.list.capacity()
    }

    pub(super) fn get(&self, id: u32) -> Option<&User> {
        self.list.get(id as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &User)> {
        self.list.iter().map(|(id, user)| (id as u32, user))
    }

    pub(super) fn name(&self, user: &User) -> &str {
        self.texts.name(user.texts)
    }

    /// What is shown of a user, as JSON, and when that was set, in Unix milliseconds.
    pub(super) fn info(&self, user: &User) -> Option<(&str, u64)> {
        self.texts.info(user.texts)
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        match &self.tables {
            Some(tables) => tables.find(name, &self.list, &self.texts),
            None => self.iter().find(|(_, user)| self.name(user) == name).map(|(id, _)| id),
        }
    }

    pub(super) fn find_connection(&self, connection: Connection) -> Option<u32> {
        match &self.tables {
            Some(tables) => tables.find_connection(connection, &self.list),
            None => self.iter().find(|(_, user)| user.connection() == Some(connection)).map(|(id, _)| id),
        }
    }

    /// Adds a user, who is not here yet.
    ///
    /// # Errors
    /// The room is full.
    pub(super) fn add(&mut self, name: &str, since: u32) -> Result<u32, RoomIsFull> {
        let texts = self.texts.add(name.as_bytes(), (b"", 0))?;
        grow(&mut self.list);
        let id = self.list.insert(User::new(texts, since)) as u32;
        if let Some(tables) = &mut self.tables {
            tables.add_name(id, &self.list, &self.texts);
        } else if self.list.len() > SCANNED_MAX {
            self.make_tables();
        }
        Ok(id)
    }

    /// Removes a user, who has no connections.
    pub(super) fn remove(&mut self, id: u32) {
        if let Some(tables) = &mut self.tables {
            tables.remove_name(id, &self.list, &self.texts);
        }
        self.texts.remove(self.list.remove(id as usize).texts);
        self.tidy_texts();
        if self.list.len() <= SCANNED_MAX / 2 && self.tables.as_ref().is_some_and(|tables| !tables.has_further()) {
            self.tables = None;
        }
    }

    /// Notes a connection of a user, which is not here yet.
    pub(super) fn connect(&mut self, connection: Connection, id: u32) {
        let user = &mut self.list[id as usize];
        if user.connection().is_some() {
            self.make_tables();
            if let Some(tables) = &mut self.tables {
                tables.add_further(connection, id);
            }
        } else {
            user.set_connection(Some(connection));
            if let Some(tables) = &mut self.tables {
                tables.add_connection(id, &self.list);
            }
        }
    }

    /// Forgets a connection. Returns its user.
    pub(super) fn disconnect(&mut self, connection: Connection) -> Option<u32> {
        let id = self.find_connection(connection)?;
        let is_noted_there = self.list[id as usize].connection() == Some(connection);
        match &mut self.tables {
            Some(tables) if is_noted_there => tables.remove_connection(id, &self.list),
            Some(tables) => tables.remove_further(connection),
            None => {}
        }
        if is_noted_there {
            self.list[id as usize].set_connection(None);
        }
        Some(id)
    }

    /// Shows this of a user from now on.
    ///
    /// # Errors
    /// The room is full.
    pub(super) fn show(&mut self, id: u32, info: &str, time: u64) -> Result<(), RoomIsFull> {
        let before = self.list[id as usize].texts;
        let name = self.texts.name(before).to_owned();
        self.list[id as usize].texts = self.texts.add(name.as_bytes(), (info.as_bytes(), time))?;
        self.texts.remove(before);
        self.tidy_texts();
        Ok(())
    }

    fn tidy_texts(&mut self) {
        self.texts.tidy(self.list.iter_mut().map(|(_, user)| &mut user.texts));
    }

    /// Whether most of the list is unused since many have left.
    pub(super) fn is_sparse(&self) -> bool {
        self.list.capacity() > KEPT_ENTRIES && self.list.len() < self.list.capacity() / 8
    }

    /// Frees the unused part of the list. Returns the users who have another number then, by the number that they had.
    pub(super) fn compact(&mut self) -> HashMap<u32, u32> {
        let mut moved = HashMap::new();
        self.list.compact(|_, from, to| moved.insert(from as u32, to as u32).is_none());
        if let Some(before) = self.tables.take() {
            self.make_tables();
            for (connection, id) in before.further() {
                let id = moved.get(&id).copied().unwrap_or(id);
                self.tables.iter_mut().for_each(|tables| tables.add_further(connection, id));
            }
        }
        moved
    }

    fn make_tables(&mut self) {
        let Self { list, texts, tables } = self;
        tables.get_or_insert_with(|| Box::new(Tables::of(list, texts)));
    }

    /// Its memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        let tables = self.tables.as_ref().map_or(0, |tables| tables.memory());
        self.list.capacity() * USER_BYTES + self.texts.memory() + tables
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::slot::ConnectionKey;

    fn connection(number: u32) -> Connection {
        Connection { core: number % 64, key: ConnectionKey { slot: number, generation: number ^ 7 } }
    }

    #[test]
    fn a_slot_of_the_list_is_as_large_as_a_user() {
        enum Slot {
            _Vacant(usize),
            _Occupied(User),
        }
        assert_eq!(size_of::<Slot>(), USER_BYTES);
    }

    /// The users, and a map that must say the same.
    #[derive(Default)]
    struct Tested {
        users: Users,
        connections: BTreeMap<u32, String>,
        infos: BTreeMap<String, String>,
    }

    impl Tested {
        fn connect(&mut self, number: u32, name: String) {
            self.disconnect(number);
            let id = self.users.find(&name).unwrap_or_else(|| self.users.add(&name, 7).expect("it has room"));
            self.users.connect(connection(number), id);
            self.users[id].connections += 1;
            self.connections.insert(number, name);
        }

        fn disconnect(&mut self, number: u32) {
            let id = self.users.disconnect(connection(number));
            let name = self.connections.remove(&number);
            assert_eq!(id.map(|id| self.users.name(&self.users[id]).to_owned()), name);
            let Some(id) = id else { return };
            self.users[id].connections -= 1;
            if self.users[id].connections == 0 {
                self.users.remove(id);
                self.infos.remove(&name.expect("it has a name"));
            }
        }

        fn show(&mut self, name: String, info: String) {
            let Some(id) = self.users.find(&name) else { return };
            self.users.show(id, &info, 7).expect("it has room");
            self.infos.insert(name, info);
        }

        fn compact(&mut self) {
            let before: BTreeMap<String, u32> =
                self.users.iter().map(|(id, user)| (self.users.name(user).to_owned(), id)).collect();
            let moved = self.users.compact();
            for (name, id) in before {
                assert_eq!(self.users.find(&name), Some(moved.get(&id).copied().unwrap_or(id)));
            }
            assert_eq!(self.users.numbers(), self.users.len());
        }

        fn check(&self) {
            for number in 0..200 {
                let id = self.users.find_connection(connection(number));
                let name = id.map(|id| self.users.name(&self.users[id]));
                assert_eq!(name, self.connections.get(&number).map(String::as_str));
            }
            let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
            self.connections.values().for_each(|name| *counts.entry(name).or_default() += 1);
            assert_eq!(self.users.len(), counts.len());
            for (id, user) in self.users.iter() {
                let name = self.users.name(user);
                assert_eq!((self.users.find(name), user.connections), (Some(id), counts[name]));
                assert_eq!(self.users.info(user).map(|(info, _)| info), self.infos.get(name).map(String::as_str));
            }
        }
    }

    proptest! {
        #[test]
        fn users_are_found_by_name_and_by_connection(
            steps in proptest::collection::vec((0..8_u8, 0..200_u32, 0..1000_u32), 1..400),
            users in 1..100_u32,
        ) {
            let mut tested = Tested::default();
            for (step, number, user) in steps {
                let name = format!("user {}", user % users);
                match step {
                    0..4 => tested.connect(number, name),
                    4..6 => tested.disconnect(number),
                    6 => tested.show(name, format!("{user}")),
                    _ if user % 9 == 0 => tested.compact(),
                    _ => tested.check(),
                }
            }
            tested.check();
            (0..200).for_each(|number| tested.disconnect(number));
            tested.check();
        }
    }
}
