//! Who is present on the nodes of a cluster.
//!
//! ```text
//!   cores ── own members ──────► _LHTTP.presence.<node> ──► other nodes
//!     ▲ ◄── State, Ask ◄──────── _LHTTP.presence-ask.<node>
//!     └── members of others ◄─── nodes ◄─── _LHTTP.presence.*
//! ```
//!
//! Each core of a node numbers its messages, and says every 10 s the sum of its members. A node that has missed a message, or
//! knows other members, or has not heard of the core before, asks for all members of this core.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::{
    relay::{Member, MemberItem, OWN},
    router::Homes,
};

use super::{
    commands::{Asked, Command, Commands},
    member_lines::{MESSAGE_BYTES_MAX, MemberLine, Subjects, asked_core, put_member, read, write},
    nodes::Nodes,
    to_cores::ToCores,
};

/// How often a core says its sum, and the least time between two times.
const DIGEST_EVERY: Duration = Duration::from_secs(10);
const DIGEST_PAUSE: Duration = Duration::from_secs(1);
/// The least time between two states of a core.
const STATE_PAUSE: Duration = Duration::from_secs(1);
/// The most bytes of messages that wait for a slow server. More are not sent; other nodes then ask for all members.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// The most bytes of a message beside its members.
const HEAD_BYTES: usize = 16;

/// What the bridge knows of members. The homes keep the members themselves.
#[derive(Debug)]
pub(super) struct Members {
    subjects: Subjects,
    cores: Vec<OwnCore>,
    nodes: Nodes,
    /// Rules have presence, or have had it.
    is_wanted: bool,
    is_subscribed: bool,
    /// The node has said that it ends.
    pub(super) has_ended: bool,
    /// When the sums were asked for last, and when they are next.
    digest_at: Instant,
    digested_at: Option<Instant>,
    /// When to act.
    act_at: Option<Instant>,
}

/// A core of this node.
#[derive(Debug, Default)]
struct OwnCore {
    /// The number of its last message.
    number: u64,
    /// Members for the next message.
    members: Vec<u8>,
    state: State,
    /// A state was asked for since the last one began.
    is_asked: bool,
    /// Its next digest says hello.
    says_hello: bool,
}

/// The state that a core tells of all its members.
#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    None,
    Coming,
    Ended(Instant),
}

/// Where messages go.
pub(super) struct Out<'c> {
    /// The connection that subscribes, if there is one.
    pub(super) commands: Option<&'c mut Commands>,
    /// The largest message that the server takes, in bytes.
    pub(super) message_bytes_max: usize,
}

impl Members {
    pub(super) fn new(subjects: Subjects, cores: usize, now: Instant) -> Self {
        let cores = (0..cores).map(|_| OwnCore::default()).collect();
        Self {
            subjects,
            cores,
            nodes: Nodes::default(),
            is_wanted: false,
            is_subscribed: false,
            has_ended: false,
            digest_at: now,
            digested_at: None,
            act_at: Some(now),
        }
    }

    /// Whether rules have presence, or have had it.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// A connection subscribes from now on.
    pub(super) fn connected(&mut self, now: Instant) {
        self.is_subscribed = false;
        (self.digest_at, self.act_at) = (now, Some(now));
        self.cores.iter_mut().for_each(|core| core.says_hello = true);
    }

    /// Takes an item of a core.
    pub(super) fn hear(&mut self, core: u32, item: &MemberItem<'_>, out: &mut Out<'_>, now: Instant) {
        let index = core as usize;
        if !matches!(item, MemberItem::Member(..)) {
            self.send_members(index, out);
            self.act_at = Some(now);
        }
        match *item {
            MemberItem::Rules => {
                self.is_wanted = true;
                self.nodes.distrust();
            }
            MemberItem::Member(_, ref member) => self.add_member(index, member, out),
            MemberItem::Begin(_) => {
                self.cores[index].state = State::Coming;
                self.send(index, |number| MemberLine::Begin { number }, out);
            }
            MemberItem::End(_) => {
                self.cores[index].state = State::Ended(now);
                self.send(index, |number| MemberLine::End { number }, out);
            }
            MemberItem::Sum { source: OWN, sum, .. } => {
                let OwnCore { number, says_hello, .. } = &mut self.cores[index];
                let is_hello = self.is_subscribed && out.commands.is_some() && std::mem::take(says_hello);
                let line = MemberLine::Digest { number: *number, sum: sum.unwrap_or_default(), is_hello };
                self.publish(&write(core as u8, &line), out);
            }
            MemberItem::Sum { source, id, sum } => self.nodes.take_sum(core, (source, id), sum),
            MemberItem::State | MemberItem::Gone(_) | MemberItem::Ask { .. } => {} // only for the cores
        }
    }

    /// A core's items end here for now.
    pub(super) fn heard(&mut self, core: u32, out: &mut Out<'_>) {
        self.send_members(core as usize, out);
    }

    fn add_member(&mut self, core: usize, member: &Member<'_>, out: &mut Out<'_>) {
        let max = MESSAGE_BYTES_MAX.min(out.message_bytes_max).saturating_sub(HEAD_BYTES);
        let before = self.cores[core].members.len();
        put_member(&mut self.cores[core].members, member);
        if self.cores[core].members.len() <= max {
            return;
        }
        self.cores[core].members.truncate(before);
        self.send_members(core, out);
        let members = &mut self.cores[core].members;
        put_member(members, member);
        if members.len() > max {
            // The server takes only tiny messages.
            members.clear();
            put_member(members, &Member { info: None, ..*member });
        }
        if members.len() > max {
            members.clear();
        }
    }

    fn send_members(&mut self, core: usize, out: &mut Out<'_>) {
        if !self.cores[core].members.is_empty() {
            let mut members = std::mem::take(&mut self.cores[core].members);
            self.send(core, |number| MemberLine::Changes { number, members: &members }, out);
            members.clear();
            self.cores[core].members = members;
        }
    }

    /// Sends the next message of a core.
    fn send<'b>(&mut self, core: usize, line: impl FnOnce(u64) -> MemberLine<'b>, out: &mut Out<'_>) {
        self.cores[core].number += 1;
        let payload = write(core as u8, &line(self.cores[core].number));
        self.publish(&payload, out);
    }

    /// Sends a message, if that is possible at present.
    fn publish(&mut self, payload: &[u8], out: &mut Out<'_>) {
        if let Some(commands) = &mut out.commands
            && !self.has_ended
            && commands.waiting_bytes() < WAITING_BYTES_MAX
        {
            commands.push(Command::Send(self.subjects.publish(payload)));
        }
    }

    /// Takes a message of a node.
    pub(super) fn message(
        &mut self,
        subject: &[u8],
        payload: &[u8],
        to_cores: &mut ToCores,
        homes: Homes,
        now: Instant,
    ) {
        let node = self.subjects.node_of(subject).filter(|node| *node != self.subjects.node && self.is_wanted);
        if let Some(node) = node
            && let Some((core, line)) = read(payload)
            && self.nodes.take((node, core), &line, to_cores, homes, now)
        {
            let soon = self.digested_at.map_or(now, |at| at + DIGEST_PAUSE);
            self.digest_at = self.digest_at.min(soon);
        }
        self.act_at = Some(now);
    }

    /// Takes a question of a node.
    pub(super) fn asked(&mut self, payload: &[u8], now: Instant) {
        if let Some(core) = asked_core(payload).and_then(|core| self.cores.get_mut(core)) {
            (core.is_asked, self.act_at) = (true, Some(now));
        }
    }

    /// Does the work that is due.
    pub(super) fn act(&mut self, commands: Option<&mut Commands>, to_cores: &mut ToCores, now: Instant) {
        if !self.is_wanted || self.has_ended || self.act_at.is_none_or(|at| at > now) {
            return;
        }
        let is_connected = commands.is_some();
        self.nodes.expire(to_cores, now);
        if let Some(commands) = commands {
            if !std::mem::replace(&mut self.is_subscribed, true) {
                for (sid, subject) in self.subjects.subscriptions() {
                    commands.push(Command::Subscribe(sid, subject, None));
                }
            }
            for (node, core) in self.nodes.take_stale(now) {
                commands.push(Command::Send(self.subjects.ask(node, core)));
            }
            if self.digest_at <= now {
                to_cores.tell_members(&MemberItem::Ask { source: OWN, id: 0 });
                (self.digest_at, self.digested_at) = (now + DIGEST_EVERY, Some(now));
            }
            for (index, core) in self.cores.iter_mut().enumerate() {
                if core.is_asked && core.state_at(now).is_some_and(|at| at <= now) {
                    (core.is_asked, core.state) = (false, State::Coming);
                    to_cores.tell_member(index, &MemberItem::State);
                }
            }
        }
        to_cores.send();
        self.act_at = self.next_at(is_connected, now);
    }

    /// When to call [`Members::act`].
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.act_at.filter(|_| self.is_wanted && !self.has_ended)
    }

    fn next_at(&self, is_connected: bool, now: Instant) -> Option<Instant> {
        let states = self.cores.iter().filter(|core| core.is_asked && is_connected);
        let states = states.filter_map(|core| core.state_at(now));
        let digest = is_connected.then_some(self.digest_at);
        self.nodes.due_at(is_connected, now).into_iter().chain(digest).chain(states).min()
    }

    /// Says that this node ends. The answer to a `PING` behind it shows that all nodes will know.
    pub(super) fn say_goodbye(&mut self, commands: &mut Commands) {
        if self.is_wanted && !std::mem::replace(&mut self.has_ended, true) {
            commands.push(Command::Send(self.subjects.publish(&write(0, &MemberLine::Goodbye))));
            commands.push(Command::Ask(Asked::Arrival));
        }
    }
}

impl OwnCore {
    /// When its next state may begin; `None` while one is coming.
    fn state_at(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::None => Some(now),
            State::Coming => None,
            State::Ended(at) => Some(at + STATE_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests;
