use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::engine::{
    presence::{Connection, Info},
    relay::{self, Item},
    slot::ConnectionKey,
};

const GRACE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(32);
const SINCE: u64 = 1_800_000_000;

/// Some nodes of one core each, which hear each other at once.
struct Tested {
    nodes: Vec<Presence>,
    now: Duration,
    /// By node, what its subscribers were told.
    events: Vec<Vec<Value>>,
    /// Messages of this node are lost.
    deaf_to: Option<usize>,
    allowance: Allowance,
    /// The sums that nodes have told.
    sums: BTreeMap<usize, u64>,
    sent: usize,
}

impl Tested {
    fn new(nodes: usize) -> Self {
        let node = || {
            let mut presence = Presence::default();
            presence.set_grace(GRACE);
            presence.join_cluster(true);
            presence
        };
        Self {
            nodes: (0..nodes).map(|_| node()).collect(),
            now: Duration::ZERO,
            events: vec![Vec::new(); nodes],
            deaf_to: None,
            allowance: Allowance::All,
            sums: BTreeMap::new(),
            sent: 0,
        }
    }

    fn enter(&mut self, node: usize, number: u32, user: &str, info: Info<'_>) {
        let since = SINCE + self.now.as_secs_f64().round() as u64;
        self.nodes[node].enter(b"room", connection(number), user, info, since);
    }

    fn leave(&mut self, node: usize, number: u32) {
        self.nodes[node].leave(b"room", connection(number));
    }

    fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / TICK.as_millis() {
            self.now += TICK;
            (0..self.nodes.len()).for_each(|node| self.turn(node));
        }
    }

    fn turn(&mut self, node: usize) {
        let (presence, events) = (&mut self.nodes[node], &mut self.events[node]);
        presence.expire(self.now, |_, body| {
            if let Some(body) = body.filter(|body| !body.is_empty()) {
                events.push(serde_json::from_slice(body).expect("JSON"));
            }
            true
        });
        while presence.is_sweeping() {
            presence.sweep();
        }
        let mut batch = Vec::new();
        presence.share(true, |item| relay::put_member(&mut batch, item));
        let mut rest = &batch[..];
        while let Some(Item::Members(item)) = relay::next(&mut rest) {
            self.sent += 1;
            match item {
                MemberItem::Sum { sum, .. } => _ = self.sums.insert(node, sum.expect("it is known")),
                item if self.deaf_to != Some(node) => self.deliver(node, &item),
                _ => {}
            }
        }
    }

    /// Brings an item of a node to the others, to which it is this source.
    fn deliver(&mut self, from: usize, item: &MemberItem<'_>) {
        let source = from as u32 + 1;
        for (_, presence) in self.nodes.iter_mut().enumerate().filter(|(node, _)| *node != from) {
            match item {
                MemberItem::Member(_, member) => _ = presence.take_member(source, member, self.allowance),
                MemberItem::Begin(_) => presence.begin_state(source),
                MemberItem::End(_) => presence.end_state(source),
                _ => {}
            }
        }
    }

    fn list(&self, node: usize) -> Value {
        let list = self.nodes[node].peek(b"room", usize::MAX);
        list.map_or(json!([]), |list| serde_json::from_slice(&list.json).expect("JSON"))
    }

    /// Asserts that all nodes show the same, and that each knows the sums of the others.
    fn assert_equal(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.nodes[node].want_sum(1));
        self.pass(2 * TICK);
        for node in 1..self.nodes.len() {
            let (one, other) = (self.list(0), self.list(node));
            let text = |list: &Value| list.to_string().chars().take(500).collect::<String>();
            assert!(one == other, "node {node}: {} instead of {}", text(&other), text(&one));
        }
        for (node, presence) in self.nodes.iter().enumerate() {
            for (other, sum) in self.sums.iter().filter(|(other, _)| **other != node) {
                assert_eq!(presence.sum(*other as u32 + 1), Some(*sum), "node {other} on node {node}");
            }
        }
    }
}

fn connection(number: u32) -> Connection {
    Connection { core: 0, key: ConnectionKey { slot: number, generation: 7 } }
}

fn user(name: &str, connections: u64, since: u64) -> Value {
    json!({"user": name, "connections": connections, "since": SINCE + since})
}

#[test]
fn users_of_all_nodes_are_one_list_and_come_and_go_once() {
    let mut tested = Tested::new(3);
    tested.enter(0, 1, "mike", Info::Same);
    tested.pass(Duration::from_secs(2));
    tested.enter(1, 1, "mike", Info::Same);
    tested.enter(1, 2, "mike", Info::Same);
    tested.enter(2, 1, "eve", Info::Same);
    tested.pass(Duration::from_secs(2));
    assert_eq!(tested.list(2), json!([user("eve", 1, 2), user("mike", 3, 0)]));
    tested.assert_equal();
    tested.leave(0, 1);
    tested.leave(2, 1);
    tested.pass(Duration::from_secs(1));
    assert_eq!(tested.list(0), json!([user("eve", 0, 2), user("mike", 2, 0)]), "in the time of grace");
    tested.enter(0, 1, "eve", Info::Same);
    tested.pass(2 * GRACE);
    assert_eq!(tested.list(1), json!([user("eve", 1, 2), user("mike", 2, 0)]), "a reconnect to another node");
    tested.assert_equal();
    for events in &tested.events {
        assert_eq!(events.len(), 2, "{events:?}");
        assert!(events.iter().all(|event| event["left"] == json!([])), "{events:?}");
    }
    tested.leave(0, 1);
    tested.leave(1, 1);
    tested.leave(1, 2);
    tested.pass(2 * GRACE);
    for (node, presence) in tested.nodes.iter().enumerate() {
        assert_eq!((presence.len(), presence.bytes()), (0, 0), "node {node}");
        let left: Vec<&Value> =
            tested.events[node].iter().flat_map(|event| event["left"].as_array().unwrap()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}

#[test]
fn all_nodes_show_the_newest_information() {
    let mut tested = Tested::new(2);
    tested.enter(0, 1, "mike", Info::Json("\"one\""));
    tested.enter(1, 1, "mike", Info::Json("\"two\""));
    tested.pass(Duration::from_secs(1));
    tested.assert_equal();
    // The clock of the other node is late; but it has seen what was there.
    tested.nodes[1].enter(b"room", connection(1), "mike", Info::Json("\"last\""), SINCE - 1000);
    tested.pass(Duration::from_secs(1));
    assert_eq!(tested.list(0)[0]["info"], json!("last"));
    tested.assert_equal();
}

#[test]
fn a_state_brings_what_was_missed_and_takes_what_is_gone() {
    let mut tested = Tested::new(2);
    tested.enter(0, 1, "mike", Info::Same);
    tested.enter(0, 2, "eve", Info::Same);
    tested.pass(Duration::from_secs(1));
    tested.deaf_to = Some(0);
    tested.leave(0, 1);
    tested.enter(0, 3, "bob", Info::Same);
    tested.pass(Duration::from_secs(1));
    assert_eq!(tested.list(1), json!([user("eve", 1, 0), user("mike", 1, 0)]));
    tested.deaf_to = None;
    tested.nodes[0].want_state();
    tested.pass(2 * GRACE);
    tested.assert_equal();
    assert_eq!(tested.list(1).as_array().map(Vec::len), Some(2));
    tested.nodes[1].source_is_gone(1);
    tested.pass(2 * GRACE);
    assert_eq!((tested.list(1), tested.nodes[1].bytes()), (json!([]), 0));
    let left = tested.events[1].iter().flat_map(|event| event["left"].as_array().unwrap()).count();
    assert_eq!(left, 3);
}

#[test]
fn a_node_without_memory_takes_names_only_and_then_nothing_new() {
    let mut tested = Tested::new(2);
    tested.allowance = Allowance::Names;
    tested.enter(0, 1, "mike", Info::Json("1"));
    tested.pass(Duration::from_secs(1));
    assert_eq!(tested.list(1), json!([user("mike", 1, 0)]));
    tested.allowance = Allowance::Nothing;
    let before = tested.nodes[1].bytes();
    tested.enter(0, 2, "mike", Info::Same);
    (0..100).for_each(|number| tested.enter(0, 10 + number, &format!("user {number}"), Info::Same));
    tested.pass(Duration::from_secs(1));
    assert_eq!((tested.list(1), tested.nodes[1].bytes()), (json!([user("mike", 2, 0)]), before));
    tested.allowance = Allowance::All;
    tested.nodes[0].want_state();
    tested.pass(Duration::from_secs(1));
    tested.assert_equal();
}

#[test]
fn new_rules_take_rooms_away_and_bring_them_again() {
    let mut tested = Tested::new(2);
    tested.enter(0, 1, "mike", Info::Same);
    tested.enter(1, 1, "eve", Info::Same);
    tested.pass(Duration::from_secs(1));
    tested.nodes[0].retain(|_| false);
    tested.pass(2 * GRACE);
    assert_eq!((tested.list(0), tested.list(1)), (json!([]), json!([user("eve", 1, 0)])));
    tested.nodes[0].want_sum(1);
    tested.pass(Duration::from_secs(1));
    assert_eq!((tested.sums[&0], tested.nodes[1].sum(1), tested.nodes[0].sum(2)), (0, Some(0), Some(0)));
    tested.enter(0, 1, "mike", Info::Same);
    tested.nodes[1].want_state();
    tested.pass(Duration::from_secs(1));
    tested.assert_equal();
    assert_eq!(tested.list(0).as_array().map(Vec::len), Some(2));
}

#[test]
fn changes_are_gathered_and_told_in_pieces() {
    let mut tested = Tested::new(2);
    tested.pass(Duration::from_secs(1));
    tested.sent = 0;
    for number in 0..1000 {
        tested.enter(0, 1, if number % 2 == 0 { "mike" } else { "eve" }, Info::Same);
        tested.leave(0, 1);
        tested.pass(TICK);
    }
    assert!(tested.sent <= 2 * 1000 * 32 / GATHER_MILLIS as usize, "{} in 32 s", tested.sent);
    tested.pass(Duration::from_secs(1));
    for number in 0..10_000 {
        tested.enter(0, number, &format!("user {number}"), Info::Same);
    }
    tested.sent = 0;
    tested.pass(Duration::from_millis(GATHER_MILLIS - 64));
    assert_eq!(tested.sent, 0);
    tested.now += Duration::from_millis(128);
    tested.turn(0);
    assert!((1..1000).contains(&tested.sent), "{} at once", tested.sent);
    tested.now += TICK;
    tested.nodes[0].set_now(tested.now);
    assert!(tested.nodes[0].share(false, |_| panic!("the bridge is behind")));
    tested.pass(Duration::from_millis(1600));
    let listed = tested.list(1).as_array().map_or(0, Vec::len);
    assert!(listed >= 10_000, "{listed} are there within 2 s");
    tested.pass(2 * GRACE);
    tested.assert_equal();
    assert!(tested.list(1).as_array().is_some_and(|list| list.len() == 10_000));
}

#[test]
fn after_most_users_have_left_the_nodes_still_know_the_others() {
    let mut tested = Tested::new(2);
    for number in 0..2_000 {
        tested.enter(0, number, &format!("user {number}"), Info::Same);
        tested.enter(1, number, &format!("user {}", number + 1_000), Info::Same);
    }
    tested.pass(Duration::from_secs(2));
    tested.assert_equal();
    for number in 0..1_990 {
        tested.leave(0, number);
        tested.leave(1, number);
        if number == 1_000 {
            // What is being told of all users does not miss those who move together.
            tested.nodes.iter_mut().for_each(Presence::want_state);
        }
        if number % 50 == 0 {
            tested.pass(TICK);
        }
    }
    tested.pass(2 * GRACE);
    tested.assert_equal();
    let listed = tested.list(0).as_array().map_or(0, Vec::len);
    assert_eq!(listed, 20);
    assert!(tested.nodes.iter().all(|node| node.bytes() < 8 * 1024), "{} bytes", tested.nodes[0].bytes());
}

#[derive(Clone, Debug)]
enum Step {
    Enter(usize, u32, u8),
    Show(usize, u32, u8),
    Leave(usize, u32),
    Pass(u64),
    Deaf(usize),
    State(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, 0..4_u32, 0..4_u8).prop_map(|(node, number, user)| Step::Enter(node, number, user)),
        2 => (0..3_usize, 0..4_u32, 0..4_u8).prop_map(|(node, number, user)| Step::Show(node, number, user)),
        6 => (0..3_usize, 0..4_u32).prop_map(|(node, number)| Step::Leave(node, number)),
        4 => (0..8_000_u64).prop_map(Step::Pass),
        1 => (0..3_usize).prop_map(Step::Deaf),
        1 => (0..3_usize).prop_map(Step::State),
    ]
}

proptest! {
    /// Whatever is lost on the way, after a state all nodes know who is there, and so do their subscribers.
    #[test]
    fn all_nodes_come_to_the_same_list(steps in proptest::collection::vec(step(), 1..60)) {
        let mut tested = Tested::new(3);
        let mut model: BTreeMap<(usize, u32), u8> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Enter(node, number, user) => {
                    tested.enter(node, number, &format!("user {user}"), Info::Same);
                    model.insert((node, number), user);
                }
                Step::Show(node, number, user) => {
                    tested.enter(node, number, &format!("user {user}"), Info::Json(["1", "2", "3", "4"][number as usize]));
                    model.insert((node, number), user);
                }
                Step::Leave(node, number) => {
                    tested.leave(node, number);
                    model.remove(&(node, number));
                }
                Step::Pass(millis) => tested.pass(Duration::from_millis(millis)),
                Step::Deaf(node) => tested.deaf_to = Some(node),
                Step::State(node) => {
                    tested.deaf_to = None;
                    tested.nodes[node].want_state();
                }
            }
        }
        tested.deaf_to = None;
        tested.nodes.iter_mut().for_each(Presence::want_state);
        tested.pass(GRACE + Duration::from_secs(2));
        let mut users: BTreeMap<String, u64> = BTreeMap::new();
        model.values().for_each(|user| *users.entry(format!("user {user}")).or_default() += 1);
        (0..3).for_each(|node| tested.nodes[node].want_sum(1));
        tested.pass(2 * TICK);
        let sums = tested.sums.clone();
        for node in 0..3 {
            let list = tested.list(node);
            let found: BTreeMap<String, u64> = list.as_array().unwrap().iter()
                .map(|user| (user["user"].as_str().unwrap().to_owned(), user["connections"].as_u64().unwrap())).collect();
            prop_assert_eq!(&found, &users, "node {}", node);
            let mut known: Vec<String> = Vec::new();
            for event in &tested.events[node] {
                let names = |list: &Value| -> Vec<String> {
                    list.as_array().unwrap().iter().map(|user| user["user"].as_str().unwrap().to_owned()).collect()
                };
                for name in names(&event["left"]) {
                    prop_assert!(known.contains(&name), "{} was not known", name);
                    known.retain(|one| *one != name);
                }
                known.extend(names(&event["joined"]).into_iter().filter(|name| !known.contains(name)).collect::<Vec<_>>());
            }
            known.sort();
            prop_assert_eq!(known, users.keys().cloned().collect::<Vec<_>>(), "node {}", node);
            for other in (0..3).filter(|other| *other != node) {
                prop_assert_eq!(tested.nodes[node].sum(other as u32 + 1), Some(sums[&other]));
            }
        }
        for (node, number) in model.into_keys() {
            tested.leave(node, number);
        }
        tested.pass(GRACE + Duration::from_secs(2));
        for presence in &tested.nodes {
            prop_assert_eq!((presence.len(), presence.bytes()), (0, 0));
        }
    }
}
