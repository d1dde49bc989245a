//! Presence in a cluster: a home tells other nodes of its own members, and takes theirs in.
//!
//! Changes are gathered, and go to the bridge in pieces, as does the whole state that another node asks for. In both, a
//! member is told as it is at that time. So it does no harm that changes are told in the middle of a state.

use std::{
    collections::{HashMap, VecDeque},
    mem,
};

use foldhash::fast::RandomState;

use super::{Presence, room::Room};
use crate::engine::relay::{Member, MemberItem, OWN};

/// How long changes are gathered.
const GATHER_MILLIS: u64 = 250;
/// The most bytes of a piece, and the least time between two.
const PIECE_BYTES: usize = 16 * 1024;
const PIECE_MILLIS: u64 = 4;
/// The most entries and users that are looked at in one step.
const LOOKS_PER_STEP: usize = 4096;

/// The memory that is left for the members of other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    All,
    /// No information is taken.
    Names,
    /// No members are taken that are not here already.
    Nothing,
}

/// The state of a home in a cluster.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// Own members whose change must be told: room, its generation, and user.
    unsent: VecDeque<(u32, u32, u32)>,
    /// When the next piece is due.
    pub(super) due_at: Option<u64>,
    must_tell_rules: bool,
    /// The whole state is wanted.
    wants_state: bool,
    /// The place up to which the state that is being told has come.
    state: Option<Cursor>,
    /// The sum of own members is wanted.
    wants_sum: Option<u32>,
    own_sum: u64,
    sources: HashMap<u32, Source, RandomState>,
    /// Sources whose old entries must go.
    sweeps: VecDeque<Sweep>,
}

#[derive(Debug, Default)]
struct Source {
    generation: u32,
    sum: u64,
}

#[derive(Debug)]
struct Sweep {
    source: u32,
    /// Entries before this generation go.
    generation: u32,
    room: usize,
}

/// A place in the list of rooms, and in that of the room's users.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    room: usize,
    user: usize,
}

impl Presence {
    /// Shares the rooms with the other nodes of a cluster from now on.
    #[cfg_attr(not(feature = "nats"), allow(dead_code))]
    pub(crate) fn join_cluster(&mut self, has_rules: bool) {
        let due_at = has_rules.then_some(0);
        self.cluster = Some(Box::new(Cluster { must_tell_rules: has_rules, due_at, ..Cluster::default() }));
    }

    /// There are other rules: other nodes may have members for them, and know members that count no more.
    pub(super) fn share_anew(&mut self) {
        let now = self.now;
        if let Some(cluster) = &mut self.cluster {
            (cluster.must_tell_rules, cluster.wants_state) = (true, true);
            cluster.wake(now);
        }
    }

    /// When [`Presence::share`] has something to do.
    pub(super) fn shares_at(&self) -> Option<u64> {
        self.cluster.as_ref()?.due_at
    }

    /// Notes the changes of a room that other nodes must be told.
    pub(super) fn note_shared(&mut self, id: u32) {
        let Some(cluster) = &mut self.cluster else { return };
        let room = &mut self.rooms[id as usize];
        let Some(shared) = &mut room.shared else { return };
        cluster.own_sum = cluster.own_sum.wrapping_add(mem::take(&mut shared.own_sum));
        if !shared.unsent.is_empty() {
            let unsent = mem::take(&mut shared.unsent).into_iter();
            cluster.unsent.extend(unsent.map(|user| (id, room.generation, user)));
            cluster.due_at.get_or_insert(self.now + GATHER_MILLIS);
        }
    }

    /// Forgets what is known of a room that goes.
    pub(super) fn unshare(&mut self, room: &Room) {
        let Some(cluster) = &mut self.cluster else { return };
        let Cluster { own_sum, sources, .. } = &mut **cluster;
        room.sums(|source, member| {
            let sum = match source {
                None => Some(&mut *own_sum),
                Some(source) => sources.get_mut(&source).map(|source| &mut source.sum),
            };
            if let Some(sum) = sum {
                *sum = sum.wrapping_sub(member);
            }
        });
    }

    /// Tells the bridge the next piece, if it is due. Returns whether it was.
    pub(crate) fn share(&mut self, is_bridge_near: bool, mut put: impl FnMut(&MemberItem<'_>)) -> bool {
        let Some(cluster) = &mut self.cluster else { return false };
        if cluster.due_at.is_none_or(|at| at > self.now) {
            return false;
        }
        cluster.due_at = Some(self.now + PIECE_MILLIS);
        if !is_bridge_near {
            return true;
        }
        if mem::take(&mut cluster.must_tell_rules) {
            put(&MemberItem::Rules);
        }
        self.share_changes(&mut put);
        self.share_state(&mut put);
        let Some(cluster) = &mut self.cluster else { return true };
        if cluster.unsent.is_empty() {
            if let Some(id) = cluster.wants_sum.take() {
                put(&MemberItem::Sum { source: OWN, id, sum: Some(cluster.own_sum) });
            }
            if cluster.state.is_none() && !cluster.wants_state {
                cluster.due_at = None;
            }
        }
        true
    }

    fn share_changes(&mut self, put: &mut impl FnMut(&MemberItem<'_>)) {
        let mut rest = PIECE_BYTES;
        while rest > 0
            && let Some((id, generation, user)) = self.cluster.as_mut().and_then(|cluster| cluster.unsent.pop_front())
        {
            let Some(room) = self.rooms.get_mut(id as usize).filter(|room| room.generation == generation) else {
                continue;
            };
            let Some(member) = room.member(user) else { continue };
            rest = rest.saturating_sub(member.len());
            put(&MemberItem::Member(OWN, member));
            self.change(id, |room, _, _| room.sent(user));
        }
        if let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.unsent.is_empty()) {
            cluster.unsent = VecDeque::new(); // a rush leaves no memory behind
            self.recount();
        }
    }

    fn share_state(&mut self, put: &mut impl FnMut(&MemberItem<'_>)) {
        let Some(cluster) = &mut self.cluster else { return };
        if cluster.state.is_none() && mem::take(&mut cluster.wants_state) {
            cluster.state = Some(Cursor::default());
            put(&MemberItem::Begin(OWN));
        }
        let Some(cursor) = &mut cluster.state else { return };
        let mut rest = PIECE_BYTES;
        for _ in 0..LOOKS_PER_STEP {
            let is_last = cursor.room >= self.rooms.capacity();
            if rest == 0 || is_last {
                if is_last {
                    cluster.state = None;
                    put(&MemberItem::End(OWN));
                }
                return;
            }
            match self.rooms.get(cursor.room).filter(|room| cursor.user < room.users.numbers()) {
                Some(room) => {
                    if let Some(member) = room.member(cursor.user as u32).filter(|member| member.connections > 0) {
                        rest = rest.saturating_sub(member.len());
                        put(&MemberItem::Member(OWN, member));
                    }
                    cursor.user += 1;
                }
                None => *cursor = Cursor { room: cursor.room + 1, user: 0 },
            }
        }
    }

    /// The whole state of this core is wanted.
    pub(crate) fn want_state(&mut self) {
        let now = self.now;
        if let Some(cluster) = &mut self.cluster {
            cluster.wants_state = true;
            cluster.wake(now);
        }
    }

    /// The sum of own members is wanted.
    pub(crate) fn want_sum(&mut self, id: u32) {
        let now = self.now;
        if let Some(cluster) = &mut self.cluster {
            cluster.wants_sum = Some(id);
            cluster.wake(now);
        }
    }

    /// The sum of a source's members; [`None`] while old ones are being removed.
    pub(crate) fn sum(&self, source: u32) -> Option<u64> {
        let cluster = self.cluster.as_ref()?;
        let is_changing = cluster.sweeps.iter().any(|sweep| sweep.source == source);
        (!is_changing).then(|| cluster.sources.get(&source).map_or(0, |source| source.sum))
    }

    /// Takes a member of another node. Returns false if there is no memory for it.
    pub(crate) fn take_member(&mut self, source: u32, member: &Member<'_>, left: Allowance) -> bool {
        let Some(cluster) = &mut self.cluster else { return true };
        let generation = cluster.sources.entry(source).or_default().generation;
        let found = self.find(member.name);
        if member.connections > 0 && left == Allowance::Nothing {
            let is_here = found.is_some_and(|id| self.rooms[id as usize].has_entry(source, member.user));
            if !is_here {
                return false;
            }
        }
        let id = match found {
            Some(id) => id,
            None if member.connections == 0 => return true,
            None => self.add(member.name),
        };
        let member = Member { info: member.info.filter(|_| left == Allowance::All), ..*member };
        let mut sum = Ok(0);
        self.change(id, |room, now, grace| sum = room.take_member((source, generation), &member, (now, grace)));
        self.add_to_sum(source, sum.unwrap_or(0));
        sum.is_ok()
    }

    fn add_to_sum(&mut self, source: u32, sum: u64) {
        if let Some(source) = self.cluster.as_mut().and_then(|cluster| cluster.sources.get_mut(&source)) {
            source.sum = source.sum.wrapping_add(sum);
        }
    }

    /// All members of a source follow.
    pub(crate) fn begin_state(&mut self, source: u32) {
        if let Some(cluster) = &mut self.cluster {
            cluster.sources.entry(source).or_default().generation += 1;
        }
    }

    /// All members of a source have come since the last beginning: others are gone.
    pub(crate) fn end_state(&mut self, source: u32) {
        if let Some(cluster) = &mut self.cluster
            && let Some(generation) = cluster.sources.get(&source).map(|source| source.generation)
        {
            cluster.sweeps.push_back(Sweep { source, generation, room: 0 });
        }
    }

    /// A source is gone, with all its members.
    pub(crate) fn source_is_gone(&mut self, source: u32) {
        if let Some(cluster) = &mut self.cluster
            && cluster.sources.remove(&source).is_some()
        {
            cluster.sweeps.push_back(Sweep { source, generation: u32::MAX, room: 0 });
        }
    }

    /// Whether other nodes are being told the whole state: the numbers of users must stay as they are.
    pub(super) fn is_telling_state(&self) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.state.is_some())
    }

    /// Whether [`Presence::sweep`] has something to do.
    pub(crate) fn is_sweeping(&self) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| !cluster.sweeps.is_empty())
    }

    /// Removes some members who are gone. Returns how many entries it has looked at.
    pub(crate) fn sweep(&mut self) -> usize {
        let mut looks = 0;
        while looks < LOOKS_PER_STEP
            && let Some(sweep) = self.cluster.as_mut().and_then(|cluster| cluster.sweeps.front_mut())
        {
            if sweep.room >= self.rooms.capacity() {
                self.cluster.as_mut().and_then(|cluster| cluster.sweeps.pop_front());
                continue;
            }
            let (id, source, generation) = (sweep.room, sweep.source, sweep.generation);
            sweep.room += 1;
            looks += 1;
            if let Some(room) = self.rooms.get(id).filter(|room| room.entries() > 0) {
                looks += room.entries();
                let mut sum = 0;
                self.change(id as u32, |room, now, grace| sum = room.remove_old(source, generation, (now, grace)));
                self.add_to_sum(source, sum);
            }
        }
        looks
    }
}

impl Cluster {
    /// The memory of what must be told, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.unsent.capacity() * size_of::<(u32, u32, u32)>()
    }

    /// Lets the next piece come soon.
    fn wake(&mut self, now: u64) {
        self.due_at = Some(self.due_at.map_or(now, |at| at.min(now)));
    }
}

#[cfg(test)]
mod tests;
