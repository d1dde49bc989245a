//! The part of a room that the nodes of a cluster share: its own users for the others, and theirs.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{RoomIsFull, room::Room};
use crate::engine::relay::Member;

/// Below this capacity the entries are not worth shrinking.
const KEPT_ENTRIES: usize = 64;

/// The shared part.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// By source and user.
    entries: HashMap<(u32, u32), Entry, RandomState>,
    /// Users whose change must be told, since this was taken last.
    pub(super) unsent: Vec<u32>,
    /// The change of the sum of own members since it was taken last.
    pub(super) own_sum: u64,
}

/// A user of a source.
#[derive(Debug)]
struct Entry {
    connections: u32,
    /// The source's generation when it was told last.
    generation: u32,
}

impl Room {
    /// Sets the number of a user's connections on this node.
    pub(super) fn set_connections(&mut self, id: u32, connections: u32) {
        let before = std::mem::replace(&mut self.users[id].connections, connections);
        if let Some(shared) = &mut self.shared {
            let sum = |connections| Member::sum(&self.name, self.users.name(&self.users[id]), connections);
            shared.own_sum = shared.own_sum.wrapping_add(sum(connections)).wrapping_sub(sum(before));
            self.note_unsent(id);
        }
    }

    /// Notes that other nodes must be told of a user.
    pub(super) fn note_unsent(&mut self, id: u32) {
        if let Some(shared) = &mut self.shared
            && !std::mem::replace(&mut self.users[id].is_unsent, true)
        {
            shared.unsent.push(id);
        }
    }

    /// The member that other nodes are told of for a user.
    pub(super) fn member(&self, id: u32) -> Option<Member<'_>> {
        let user = self.users.get(id)?;
        let (connections, since, info) = (user.connections, u64::from(user.since), self.users.info(user));
        Some(Member { name: &self.name, user: self.users.name(user), connections, since, info })
    }

    /// Notes that other nodes were told of a user.
    pub(super) fn sent(&mut self, id: u32) {
        self.users[id].is_unsent = false;
        self.forget_gone(id);
    }

    /// Takes a member of another node. Returns the change of the source's sum.
    ///
    /// # Errors
    /// The room is full. The member is not here then.
    pub(super) fn take_member(
        &mut self,
        (source, generation): (u32, u32),
        member: &Member<'_>,
        (now, grace): (u64, u64),
    ) -> Result<u64, RoomIsFull> {
        if member.connections == 0 {
            let id = self.users.find(member.user);
            return Ok(id.map_or(0, |id| self.remove_entry(source, id, (now, grace))));
        }
        let id = self.user(member.user, member.since)?;
        let entry = Entry { connections: member.connections, generation };
        let shared = self.shared.get_or_insert_default();
        let before = shared.entries.insert((source, id), entry).map(|entry| entry.connections);
        let user = &mut self.users[id];
        user.elsewhere = user.elsewhere - before.unwrap_or(0) + member.connections;
        user.since = user.since.min(u32::try_from(member.since).unwrap_or(u32::MAX));
        self.stays(id);
        let shown = self.users.info(&self.users[id]).map(|(info, at)| (at, info));
        if let Some((info, at)) = member.info.filter(|&(info, at)| Some((at, info)) > shown) {
            self.show(id, info, at);
        }
        if !self.users[id].is_told {
            self.note_change(id);
        }
        let sum = |connections| Member::sum(member.name, member.user, connections);
        Ok(sum(member.connections).wrapping_sub(sum(before.unwrap_or(0))))
    }

    /// Whether there is an entry for this user, which can be changed without more memory.
    pub(super) fn has_entry(&self, source: u32, user: &str) -> bool {
        let id = self.users.find(user);
        id.is_some_and(|id| self.shared.as_ref().is_some_and(|shared| shared.entries.contains_key(&(source, id))))
    }

    fn remove_entry(&mut self, source: u32, id: u32, (now, grace): (u64, u64)) -> u64 {
        let Some(entry) = self.shared.as_mut().and_then(|shared| shared.remove(source, id)) else { return 0 };
        self.users[id].elsewhere -= entry.connections;
        let sum = Member::sum(&self.name, self.users.name(&self.users[id]), entry.connections);
        self.leaves(id, now + grace);
        0_u64.wrapping_sub(sum)
    }

    /// Removes the entries of a source that were not told in this generation or later. Returns the change of the source's
    /// sum.
    pub(super) fn remove_old(&mut self, source: u32, generation: u32, now: (u64, u64)) -> u64 {
        let Some(shared) = &self.shared else { return 0 };
        let is_old = |((of, _), entry): &(&(u32, u32), &Entry)| *of == source && entry.generation < generation;
        let old: Vec<u32> = shared.entries.iter().filter(is_old).map(|((_, id), _)| *id).collect();
        old.into_iter().fold(0, |sum, id| sum.wrapping_add(self.remove_entry(source, id, now)))
    }

    /// The number of entries of other nodes.
    pub(super) fn entries(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.entries.len())
    }

    /// Calls `each` with each member's source and sum, [`None`] being this node.
    pub(super) fn sums(&self, mut each: impl FnMut(Option<u32>, u64)) {
        let Some(shared) = &self.shared else { return };
        let name = |user| self.users.name(user);
        for (_, user) in self.users.iter() {
            each(None, Member::sum(&self.name, name(user), user.connections));
        }
        for ((source, id), entry) in &shared.entries {
            each(Some(*source), Member::sum(&self.name, name(&self.users[*id]), entry.connections));
        }
    }

    /// Users have other numbers. What other nodes must be told of is noted again.
    pub(super) fn renumber(&mut self, number: impl Fn(u32) -> u32) {
        let Some(shared) = &mut self.shared else { return };
        let entries = std::mem::take(&mut shared.entries).into_iter();
        shared.entries = entries.map(|((source, id), entry)| ((source, number(id)), entry)).collect();
        shared.unsent = self.users.iter().filter(|(_, user)| user.is_unsent).map(|(id, _)| id).collect();
    }
}

impl Shared {
    fn remove(&mut self, source: u32, id: u32) -> Option<Entry> {
        let entry = self.entries.remove(&(source, id));
        let (len, capacity) = (self.entries.len(), self.entries.capacity());
        if capacity > KEPT_ENTRIES && len < capacity / 8 {
            self.entries.shrink_to(2 * len);
        }
        entry
    }

    /// Its memory, in bytes, without what is taken at once.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.entries.allocation_size()
    }
}
