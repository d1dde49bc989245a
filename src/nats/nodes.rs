//! The other nodes of a cluster, as their messages about who is present show them. Each core of a node is a source of its
//! own, with numbered messages: the homes here keep its members, and this says when to ask for all of them anew.

use std::{collections::HashMap, time::Duration};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::engine::{
    log_limit::LogLimit,
    relay::{MemberItem, OWN},
    router::Homes,
};

use super::{
    member_lines::{CORES_MAX, MemberLine, next_member},
    to_cores::ToCores,
};

/// A node that has sent nothing for so long is gone. It sends something every 10 s; with the default grace of 5 s its users
/// are gone within 30 s.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(24);
/// The most other nodes.
const NODES_MAX: usize = 64;
/// The least time between two questions to a core.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// After a sum differs so often, this many digests pass until the next one is looked at.
const DIGESTS_SKIPPED_MAX: u32 = 30;

/// The other nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_id: HashMap<u64, Node, RandomState>,
    last_source: u32,
    last_check: u32,
}

#[derive(Debug)]
struct Node {
    heard_at: Instant,
    /// By the node's core.
    sources: Vec<Option<Source>>,
}

/// A core of another node.
#[derive(Debug)]
struct Source {
    /// Names it to the homes.
    number: u32,
    /// The number of its last message, if any has come.
    last: Option<u64>,
    /// Something of it is missing: its state is wanted.
    is_stale: bool,
    asked_at: Option<Instant>,
    /// Its state is coming: all of it so far, or not.
    loading: Option<bool>,
    check: Option<Check>,
    /// How often its sum has differed in a row, and the digests that are not looked at for that.
    failed: u32,
    skipped: u32,
}

/// A question to the homes here whether they know the members of a source.
#[derive(Debug)]
struct Check {
    id: u32,
    /// The sum that they must have.
    expected: u64,
    sum: u64,
    /// A bit for each home that has not answered.
    missing: u64,
}

impl Source {
    /// Takes the number of a message. Returns false if it has come before.
    fn follow(&mut self, number: u64) -> bool {
        if self.last.is_some_and(|last| number <= last) {
            return false;
        }
        if self.last.is_none_or(|last| number != last + 1) {
            self.miss();
        }
        self.last = Some(number);
        true
    }

    /// Something has not come.
    fn miss(&mut self) {
        self.is_stale = true;
        self.check = None;
        if self.loading.is_some() {
            self.loading = Some(false);
        }
    }
}

impl Nodes {
    /// Takes a message of a core of a node. Returns whether the node wants to hear of this one.
    pub(super) fn take(
        &mut self,
        (node, core): (u64, u8),
        line: &MemberLine<'_>,
        to_cores: &mut ToCores,
        homes: Homes,
        now: Instant,
    ) -> bool {
        if *line == MemberLine::Goodbye {
            self.forget(node, to_cores);
            return false;
        }
        let check = self.last_check.wrapping_add(1);
        let Some(source) = self.source(node, core, now) else { return false };
        match *line {
            MemberLine::Changes { number, mut members } => {
                if source.follow(number) {
                    while let Some(member) = next_member(&mut members) {
                        let home = homes.of(member.name) as usize;
                        match to_cores.has_room(home) {
                            true => to_cores.tell_member(home, &MemberItem::Member(source.number, member)),
                            false => source.miss(),
                        }
                    }
                }
            }
            MemberLine::Begin { number } => {
                if source.follow(number) {
                    (source.is_stale, source.check, source.loading) = (false, None, Some(true));
                    to_cores.tell_members(&MemberItem::Begin(source.number));
                }
            }
            MemberLine::End { number } => {
                let is_next = source.follow(number);
                if is_next && source.loading.take() == Some(true) {
                    to_cores.tell_members(&MemberItem::End(source.number));
                }
            }
            MemberLine::Digest { number, sum, is_hello } => {
                if source.last != Some(number) {
                    // It has sent more, or somebody else has sent something in its name.
                    source.miss();
                    source.last = Some(number);
                } else if source.skipped > 0 {
                    source.skipped -= 1;
                } else if !source.is_stale && source.loading.is_none() {
                    let missing = u64::MAX >> (64 - to_cores.len());
                    source.check = Some(Check { id: check, expected: sum, sum: 0, missing });
                    to_cores.tell_members(&MemberItem::Ask { source: source.number, id: check });
                    self.last_check = check;
                }
                return is_hello;
            }
            MemberLine::Goodbye => {}
        }
        false
    }

    /// The core of a node, which may be new.
    fn source(&mut self, node: u64, core: u8, now: Instant) -> Option<&mut Source> {
        if self.by_id.len() >= NODES_MAX && !self.by_id.contains_key(&node) {
            static LIMIT: LogLimit = LogLimit::new();
            LIMIT.say(|more| log::warn!("NATS: presence knows {NODES_MAX} other nodes, and no more{more}"));
            return None;
        }
        let node = self.by_id.entry(node).or_insert_with(|| Node { heard_at: now, sources: Vec::new() });
        node.heard_at = now;
        let core = usize::from(core).min(CORES_MAX - 1);
        if node.sources.len() <= core {
            node.sources.resize_with(core + 1, || None);
        }
        let last_source = &mut self.last_source;
        Some(node.sources[core].get_or_insert_with(|| {
            *last_source = last_source.wrapping_add(1).max(OWN + 1);
            Source {
                number: *last_source,
                last: None,
                is_stale: true,
                asked_at: None,
                loading: None,
                check: None,
                failed: 0,
                skipped: 0,
            }
        }))
    }

    /// Takes the sum that a home knows of a source. `None`: it changes at present.
    pub(super) fn take_sum(&mut self, home: u32, (number, id): (u32, u32), sum: Option<u64>) {
        let sources = self.by_id.values_mut().flat_map(|node| node.sources.iter_mut().flatten());
        let Some(source) = sources.into_iter().find(|source| source.number == number) else { return };
        let Some(check) = source.check.as_mut().filter(|check| check.id == id) else { return };
        let Some(sum) = sum else {
            source.check = None;
            return;
        };
        check.sum = check.sum.wrapping_add(sum);
        check.missing &= !(1 << home);
        if check.missing == 0 {
            let is_right = check.sum == check.expected;
            source.check = None;
            source.failed = if is_right { 0 } else { source.failed + 1 };
            if !is_right {
                // If all members do not help, because this node has other rules or no memory, it asks more rarely.
                source.skipped = (1 << source.failed.min(8)).min(DIGESTS_SKIPPED_MAX) - 2;
                source.is_stale = true;
                log::debug!("NATS: another node has other members than this one knows of it");
            }
        }
    }

    /// Everything is asked for anew.
    pub(super) fn distrust(&mut self) {
        for source in self.by_id.values_mut().flat_map(|node| node.sources.iter_mut().flatten()) {
            source.miss();
        }
    }

    /// Forgets the nodes that are silent.
    pub(super) fn expire(&mut self, to_cores: &mut ToCores, now: Instant) {
        let silent: Vec<u64> =
            self.by_id.iter().filter(|(_, node)| node.heard_at + SILENCE_MAX <= now).map(|(&id, _)| id).collect();
        for id in silent {
            log::info!("NATS: a node is silent for {} s; its users are gone", SILENCE_MAX.as_secs());
            self.forget(id, to_cores);
        }
    }

    fn forget(&mut self, node: u64, to_cores: &mut ToCores) {
        let sources = self.by_id.remove(&node).map(|node| node.sources).unwrap_or_default();
        sources.iter().flatten().for_each(|source| to_cores.tell_members(&MemberItem::Gone(source.number)));
    }

    /// Takes the cores whose state must be asked for.
    pub(super) fn take_stale(&mut self, now: Instant) -> Vec<(u64, u8)> {
        let mut stale = Vec::new();
        for (&id, node) in &mut self.by_id {
            for (core, source) in node.sources.iter_mut().enumerate() {
                let may_ask = |source: &&mut Source| source.asked_at.is_none_or(|at| at + ASK_PAUSE <= now);
                if let Some(source) = source.as_mut().filter(|source| source.is_stale).filter(may_ask) {
                    source.asked_at = Some(now);
                    stale.push((id, core as u8));
                }
            }
        }
        stale
    }

    /// When to call [`Nodes::expire`], and, if `may_ask`, [`Nodes::take_stale`].
    pub(super) fn due_at(&self, may_ask: bool, now: Instant) -> Option<Instant> {
        let silent_at = self.by_id.values().map(|node| node.heard_at + SILENCE_MAX);
        let sources = self.by_id.values().flat_map(|node| node.sources.iter().flatten());
        let stale = sources.filter(|source| source.is_stale && may_ask);
        silent_at.chain(stale.map(|source| source.asked_at.map_or(now, |at| at + ASK_PAUSE))).min()
    }
}

#[cfg(test)]
mod tests;
