//! Rules that say who is present in a channel, and what must be true of that when everything is quiet (PROTOCOL.md §11).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{
    client::{Known, SimulatedClient},
    node::Node,
    roster::{self, Users},
    talk::CHANNELS,
    versions::Versions,
    world::World,
};
use crate::{
    config::{ChannelRule, Presence, Who},
    engine::{hub::Hub, limits::Limits, rules::Rules, slot::Slot},
    protocol::channel::Kind,
};

/// How long users stay present, in seconds.
const GRACES: [u64; 3] = [0, 1, 5];
/// The bytes of a message about changes where they are short: one or two users.
const SHORT_BYTES: usize = 80;
/// Makes the worlds with presence others than those with a history.
const SEED_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// So often clients may still leave while nobody does anything: the server closes silent ones.
const ROUNDS_MAX: usize = 40;

/// The number of connections of each user, by channel.
type Present = BTreeMap<String, BTreeMap<String, u64>>;

/// What the rules say of presence, version by version.
pub(crate) struct Attendance {
    versions: Versions,
    grace: u64,
    /// Followed channels that were held against what is true.
    pub(super) followed: usize,
}

impl Attendance {
    /// In some worlds it is known who is present.
    pub(super) fn new(seed: u64, limits: &mut Limits) -> Option<Self> {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(SEED_FACTOR));
        if rng.random_bool(0.5) {
            return None;
        }
        let grace = *GRACES.choose(&mut rng).expect("some");
        limits.presence_grace = Duration::from_secs(grace);
        Some(Self { versions: Versions::default(), grace, followed: 0 })
    }

    /// In some worlds messages about changes are so short that they leave changes out.
    pub(super) fn shorten_changes(seed: u64, node: &mut Node) {
        if seed.is_multiple_of(3) {
            node.hub_mut().router.presence.tell_at_most(SHORT_BYTES);
        }
    }

    /// Lets some of these rules say who is present.
    pub(super) fn add_to(rng: &mut StdRng, rules: &mut Vec<ChannelRule>) {
        if rng.random_bool(0.5) {
            // Also for clients without a token, which may get one later.
            let rest: ChannelRule = ">".parse().expect("it is a pattern");
            rules.push(rest.subscribe(Who::Anyone).publish(Who::Anyone));
        }
        for rule in rules {
            if rng.random_bool(0.8) {
                let shown = if rng.random_bool(0.8) { Presence::Events } else { Presence::Ask };
                *rule = rule.clone().presence(shown);
            }
        }
    }

    /// The nodes get these rules.
    pub(super) fn change(&mut self, rules: &Arc<Rules>, clock: u64) {
        self.versions.change(rules, clock);
    }

    /// All nodes have applied the last rules.
    pub(super) fn at_rest(&mut self, clock: u64) {
        self.versions.at_rest(clock);
    }

    /// Whether all nodes have the same rules.
    pub(super) fn is_settled(&self) -> bool {
        self.versions.settled().is_some()
    }

    /// What some rules say of a channel that may be in effect between two times. `None` of a server where nobody is counted.
    pub(super) fn shown(&self, name: &str, from: u64, to: u64) -> Vec<Option<Option<Presence>>> {
        let of = |rules: &Rules| rules.has_presence().then(|| rules.presence(name.as_bytes()));
        self.versions.in_effect(from, to).map(of).collect()
    }
}

impl World {
    /// After a while in which nobody comes or goes, each list is exactly what is true, and so is what clients make of a list
    /// and the changes behind it.
    pub(super) fn call_the_roll(&mut self) {
        let Some(attendance) = &self.attendance else { return };
        let seconds = attendance.grace + 1;
        let mut present = None;
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "clients come and go for ever");
            self.pass_time(seconds);
            let now = self.present();
            if present.as_ref() == Some(&now) {
                break;
            }
            present = Some(now);
        }
        let present = present.unwrap_or_default();
        for name in CHANNELS {
            self.check_rooms(name, &present);
            self.check_rosters(name, &present);
        }
        for index in 0..self.clients.len() {
            self.clients[index].rosters.lists.clear();
            self.ask_who_is_somewhere(index);
        }
        self.settle();
        // A client that is slow may have gone because of its answer.
        if self.present() == present {
            let lists = self.clients.iter().flat_map(|client| &client.rosters.lists);
            lists.for_each(|(name, (users, more))| check_list(&present, name, users, *more));
        }
    }

    /// The users of each channel, as the connections and their subscriptions have it.
    fn present(&self) -> Present {
        let mut present = Present::new();
        let rules =
            self.attendance.as_ref().and_then(|attendance| attendance.versions.last()).expect("there are rules");
        let mut nobody = BTreeSet::new();
        for client in &self.clients {
            let node = &self.nodes[client.node];
            let Some(slot) = node.slot_of(client.socket).filter(|&slot| node.hub().sessions.is_open(slot)) else {
                continue;
            };
            let user = user(client, node.hub(), slot);
            assert!(!user.starts_with('~') || nobody.insert(user.clone()), "two clients are {user}");
            for (name, _) in node.hub().router.subscriptions.of(slot).filter(|(_, kind)| *kind == Kind::Exact) {
                if rules.presence(name).is_some() {
                    let name = String::from_utf8(name.to_vec()).expect("a name is text");
                    *present.entry(name).or_default().entry(user.clone()).or_default() += 1;
                }
            }
        }
        present
    }

    /// The home of a channel, and no other node, knows exactly these users.
    fn check_rooms(&self, name: &str, present: &Present) {
        let mut found = Vec::new();
        for node in &self.nodes {
            if let Some(list) =
                node.hub().router.presence.peek(name.as_bytes(), usize::MAX).filter(|list| list.listed > 0)
            {
                found.push(roster::users(&list.json));
            }
        }
        let all = present.get(name).cloned().unwrap_or_default();
        let found: Vec<BTreeMap<String, u64>> = found
            .into_iter()
            .map(|users| users.into_iter().map(|(user, seen)| (user, seen.connections)).collect())
            .collect();
        assert_eq!(found, if all.is_empty() { vec![] } else { vec![all] }, "the rooms of {name}");
    }

    /// Clients that had a list, and the changes behind it, know exactly these users and what they show.
    fn check_rosters(&mut self, name: &str, present: &Present) {
        let attendance = self.attendance.as_mut().expect("it is there");
        let rules = attendance.versions.last().expect("there are rules");
        if rules.presence(name.as_bytes()) != Some(Presence::Events) {
            return;
        }
        let all: BTreeSet<&String> = present.get(name).into_iter().flat_map(BTreeMap::keys).collect();
        let rooms = self.nodes.iter().filter_map(|node| node.hub().router.presence.peek(name.as_bytes(), usize::MAX));
        let infos: BTreeMap<String, Option<String>> =
            rooms.flat_map(|list| roster::users(&list.json)).map(|(user, seen)| (user, seen.info)).collect();
        for client in self.clients.iter().filter(|client| client.is_alive() && !client.is_stalled) {
            if let Some(count) = client.rosters.count(name) {
                assert_eq!(count, all.len(), "client {} counts the users of {name}", client.number);
            }
            if let Some(roster) = client.rosters.known(name) {
                attendance.followed += 1;
                assert_eq!(roster.keys().collect::<BTreeSet<_>>(), all, "client {} in {name}", client.number);
                for (user, info) in roster {
                    assert_eq!(Some(info), infos.get(user), "client {} of {user} in {name}", client.number);
                }
            }
        }
    }

    /// Nobody is left in any room.
    pub(super) fn check_that_nobody_is_present(&self) {
        for node in &self.nodes {
            let presence = &node.hub().router.presence;
            assert_eq!((presence.len(), presence.bytes()), (0, 0), "rooms and their bytes");
        }
    }
}

/// Holds an answer against what is true. `more` users are left out.
fn check_list(present: &Present, name: &str, users: &Users, more: usize) {
    let all: BTreeMap<String, u64> = present.get(name).cloned().unwrap_or_default();
    assert_eq!(users.len() + more, all.len(), "the number of users in {name}: {users:?} of {all:?}");
    for ((user, listed), (is, connections)) in users.iter().zip(&all) {
        assert_eq!((user, listed.connections), (is, *connections), "in {name}");
    }
}

/// The user that a connection counts as. It is the last one that the client has asked to be, and was not refused.
fn user(client: &SimulatedClient, hub: &Hub, slot: Slot) -> String {
    let user = hub.user_of(slot).into_owned();
    match client.last_user() {
        // It does not know yet whether its last token was refused.
        _ if client.is_stalled => {}
        Some(asked) => assert_eq!(user, asked, "client {}", client.number),
        None => assert!(user.starts_with('~') && user.len() == 13, "client {} is {user}", client.number),
    }
    user
}

impl SimulatedClient {
    /// What a client was told who is in a channel. Its question was sent at `asked`.
    pub(super) fn may_be_told(&self, name: &str, asked: u64, known: Known<'_>) {
        let shown = known.attendance.expect("somebody counts").shown(name, asked, known.clock);
        assert!(shown.iter().any(|shown| matches!(shown, Some(Some(_)))), "nobody counts who is in {name}");
    }
}
