//! Who is present in a channel, on several nodes with a real nats-server between them (PROTOCOL.md §11).

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rand::RngExt;
use serde_json::{Value, json};

use crate::helpers::{
    self, PATIENCE,
    client::Client,
    daemon::Daemon,
    http::{Http, handshake},
    message::{Message, chat},
    nats::{NatsServer, RawNats, has_nats_server},
    on_one_and_two_cores,
    scratch::Scratch,
    token::{KeyFile, token},
};

on_one_and_two_cores!(
    all_nodes_show_the_same_users,
    a_reconnect_to_another_node_shows_nothing,
    a_node_that_stops_takes_its_users_with_it_at_once,
    users_are_right_again_after_nats_was_away,
    a_reload_brings_users_of_other_nodes,
    strangers_cannot_harm_presence,
    a_thousand_that_come_at_once_are_told_of_in_few_messages,
);

const RULES: &str = "
    [[channel]]
    match = \"room.*\"
    subscribe = \"anyone\"
    publish = \"anyone\"
    presence = \"events\"
";
const NO_PRESENCE: &str = "
    [[channel]]
    match = \"room.*\"
    subscribe = \"anyone\"
    publish = \"anyone\"
";
/// The third byte of a message between nodes, if it has members, or says that the node ends.
const CHANGES: u8 = 0;
const GOODBYE: u8 = 4;
/// A digest comes every 10 s. The rest is for slow machines.
const HEALED: Duration = Duration::from_secs(30);
/// Long enough that a slow machine is in time, and short enough for a test.
const GRACE: &str = "2s";

struct Cluster {
    nats: NatsServer,
    scratch: Scratch,
    key: KeyFile,
    cores: usize,
}

impl Cluster {
    fn new(cores: usize) -> Option<Self> {
        Self::with_rules(cores, RULES)
    }

    fn with_rules(cores: usize, rules: &str) -> Option<Self> {
        if !has_nats_server() {
            return None;
        }
        let scratch = Scratch::new();
        scratch.write("lhttpd.toml", rules);
        Some(Self { nats: NatsServer::start(&[]), scratch, key: KeyFile::new(), cores })
    }

    fn node(&self) -> Daemon {
        let config = self.scratch.path().join("lhttpd.toml");
        let config = config.to_str().expect("UTF-8");
        let url = self.nats.url();
        let args = ["--config", config, "--nats", &url, "--token-key", self.key.text(), "--presence-grace", GRACE];
        let daemon = Daemon::start(self.cores, &args);
        daemon.wait_for("NATS: connected");
        daemon
    }
}

fn connect_as(node: &Daemon, user: &str) -> Client {
    let mut http = Http::connect(node.port());
    let response = http.ask(handshake("/", &format!("Authorization: Bearer {}\r\n", token(user, &[], &[]))));
    assert_eq!(response.status, 101, "{response:?}");
    http.into_client()
}

/// A client that has subscribed to a channel, as a user.
fn member(node: &Daemon, user: &str, channel: &str) -> Client {
    let mut client = connect_as(node, user);
    subscribe(&mut client, &[&format!("subscribe:{channel}")]);
    client
}

/// Subscribes, and passes over what it is told before the acknowledgement.
#[track_caller]
fn subscribe(client: &mut Client, headers: &[&str]) {
    client.say(&chat(&[headers, &["ack:s"]].concat(), ""));
    while next(client).command != "ack" {}
}

fn next(client: &mut Client) -> Message {
    Message::parse(&client.recv().payload)
}

/// Who is in a channel, as a node tells a client that is not subscribed.
fn list(node: &Daemon, channel: &str) -> Vec<Value> {
    let mut client = Client::connect(node.port());
    client.say(&chat(&[&format!("presence:{channel}")], ""));
    let answer = next(&mut client);
    assert_eq!((&*answer.command, answer.header("more")), ("presence", None));
    serde_json::from_str(&answer.body).expect("a JSON array")
}

/// Waits until a node shows these users with so many connections each.
#[track_caller]
fn wait_for_users(node: &Daemon, channel: &str, users: &[(&str, u64)]) -> Vec<Value> {
    wait_for_users_for(node, channel, users, PATIENCE)
}

#[track_caller]
fn wait_for_users_for(node: &Daemon, channel: &str, users: &[(&str, u64)], patience: Duration) -> Vec<Value> {
    let expected: Vec<Value> = users.iter().map(|(user, count)| json!([user, count])).collect();
    let mut found = Vec::new();
    let are_there = || {
        found = list(node, channel);
        found.iter().map(|user| json!([user["user"], user["connections"]])).collect::<Vec<_>>() == expected
    };
    assert!(helpers::wait_until(are_there, patience), "{found:?}, not {expected:?}");
    found
}

/// The next change that a subscriber is told of: who came, and who left.
#[track_caller]
fn next_change(client: &mut Client) -> (Vec<String>, Vec<String>) {
    let message = next(client);
    assert_eq!(message.command, "presence-change", "{message:?}");
    let body: Value = serde_json::from_str(&message.body).expect("JSON");
    let names = |list: &Value| {
        list.as_array().expect("a list").iter().map(|user| user["user"].as_str().expect("a name").to_owned()).collect()
    };
    (names(&body["joined"]), names(&body["left"]))
}

fn all_nodes_show_the_same_users(cores: usize) {
    let Some(cluster) = Cluster::new(cores) else { return };
    let nodes = [cluster.node(), cluster.node(), cluster.node()];
    let channels = ["room.a", "room.b", "room.c"];
    let mut watchers: Vec<Client> = nodes.iter().map(|node| member(node, "watcher", "room.a")).collect();
    for node in &nodes {
        wait_for_users(node, "room.a", &[("watcher", 3)]);
    }
    let mut members = Vec::new();
    for channel in channels {
        members.push(member(&nodes[0], "eve", channel));
        members.push(member(&nodes[1], "mike", channel));
        subscribe(members.last_mut().expect("one"), &[&format!("subscribe:{channel}"), "presence-info:hello"]);
        members.push(member(&nodes[2], "mike", channel));
    }
    for channel in channels {
        let users = [("eve", 1), ("mike", 2), ("watcher", 3)];
        let users = if channel == "room.a" { &users[..] } else { &users[..2] };
        let lists: Vec<_> = nodes.iter().map(|node| wait_for_users(node, channel, users)).collect();
        assert!(lists.iter().all(|list| *list == lists[0]), "{lists:?}");
        assert_eq!(lists[0][1]["info"], json!("hello"));
        let late = wait_for_users(&cluster.node(), channel, users);
        assert_eq!(late, lists[0], "a new node learns the same");
    }
    for watcher in &mut watchers {
        let mut joined = BTreeSet::new();
        while joined.len() < 2 {
            let (came, left) = next_change(watcher);
            assert!(left.is_empty(), "{left:?}");
            joined.extend(came.into_iter().filter(|user| user != "watcher"));
        }
        assert_eq!(joined, BTreeSet::from(["eve".to_owned(), "mike".to_owned()]));
    }
    // One of Mike's two connections is left everywhere; Eve is gone.
    members.remove(1);
    members.remove(0);
    for node in &nodes {
        wait_for_users(node, "room.a", &[("mike", 1), ("watcher", 3)]);
    }
    for watcher in &mut watchers {
        let is_last = |(_, left): &(Vec<String>, Vec<String>)| !left.is_empty();
        let change = std::iter::from_fn(|| Some(next_change(watcher))).find(is_last);
        assert_eq!(change, Some((vec![], vec!["eve".to_owned()])));
    }
}

fn a_reconnect_to_another_node_shows_nothing(cores: usize) {
    let Some(cluster) = Cluster::new(cores) else { return };
    let nodes = [cluster.node(), cluster.node()];
    let mut watchers: Vec<Client> = nodes.iter().map(|node| member(node, "watcher", "room.a")).collect();
    for node in &nodes {
        wait_for_users(node, "room.a", &[("watcher", 2)]);
    }
    let mike = member(&nodes[0], "mike", "room.a");
    let before: Vec<_> =
        nodes.iter().map(|node| wait_for_users(node, "room.a", &[("mike", 1), ("watcher", 2)])).collect();
    for watcher in &mut watchers {
        while !next_change(watcher).0.contains(&"mike".to_owned()) {}
    }
    drop(mike);
    for node in &nodes {
        wait_for_users(node, "room.a", &[("mike", 0), ("watcher", 2)]);
    }
    let mike = member(&nodes[1], "mike", "room.a");
    for (node, before) in nodes.iter().zip(&before) {
        assert_eq!(
            &wait_for_users(node, "room.a", &[("mike", 1), ("watcher", 2)]),
            before,
            "not even the time differs"
        );
    }
    let eve = member(&nodes[0], "eve", "room.a");
    for watcher in &mut watchers {
        assert_eq!(next_change(watcher), (vec!["eve".to_owned()], vec![]), "nothing came before");
    }
    drop((mike, eve));
    for watcher in &mut watchers {
        let mut left = BTreeSet::new();
        while left.len() < 2 {
            left.extend(next_change(watcher).1);
        }
    }
}

fn a_node_that_stops_takes_its_users_with_it_at_once(cores: usize) {
    let Some(cluster) = Cluster::new(cores) else { return };
    let (here, there) = (cluster.node(), cluster.node());
    let _eve = member(&here, "eve", "room.a");
    let _mike = member(&there, "mike", "room.a");
    wait_for_users(&here, "room.a", &[("eve", 1), ("mike", 1)]);
    let mut raw = RawNats::connect(&cluster.nats);
    raw.subscribe("_LHTTP.presence.*");
    let begun = Instant::now();
    there.terminate();
    while raw.recv().1[2] != GOODBYE {
        assert!(begun.elapsed() < PATIENCE, "it says nothing");
    }
    wait_for_users(&here, "room.a", &[("eve", 1)]);
    assert!(begun.elapsed() < Duration::from_secs(20), "nobody has waited until the node was silent for too long");
}

#[test]
fn a_node_that_dies_takes_its_users_with_it_within_30_seconds() {
    let Some(cluster) = Cluster::new(1) else { return };
    let (here, there) = (cluster.node(), cluster.node());
    let _eve = member(&here, "eve", "room.a");
    let _mike = member(&there, "mike", "room.a");
    wait_for_users(&here, "room.a", &[("eve", 1), ("mike", 1)]);
    there.signal("KILL");
    wait_for_users_for(&here, "room.a", &[("eve", 1)], Duration::from_secs(30));
}

fn users_are_right_again_after_nats_was_away(cores: usize) {
    let Some(mut cluster) = Cluster::new(cores) else { return };
    let (here, there) = (cluster.node(), cluster.node());
    let eve = member(&here, "eve", "room.a");
    let _mike = member(&there, "mike", "room.a");
    for node in [&here, &there] {
        wait_for_users(node, "room.a", &[("eve", 1), ("mike", 1)]);
    }
    cluster.nats.kill();
    for node in [&here, &there] {
        node.wait_for("the connection to");
    }
    drop(eve);
    let _bob = member(&here, "bob", "room.a");
    // Here it is as it is; there nobody knows.
    wait_for_users(&here, "room.a", &[("bob", 1), ("mike", 1)]);
    wait_for_users(&there, "room.a", &[("eve", 1), ("mike", 1)]);
    cluster.nats.restart();
    for node in [&here, &there] {
        wait_for_users(node, "room.a", &[("bob", 1), ("mike", 1)]);
    }
}

fn a_reload_brings_users_of_other_nodes(cores: usize) {
    let Some(cluster) = Cluster::with_rules(cores, NO_PRESENCE) else { return };
    let here = cluster.node();
    let reload = |rules: &str, times: usize| {
        cluster.scratch.write("lhttpd.toml", rules);
        here.signal("HUP");
        let is_done = || here.stderr().matches("was read again").count() >= times;
        assert!(helpers::wait_until(is_done, PATIENCE), "{}", here.stderr());
    };
    cluster.scratch.write("lhttpd.toml", RULES);
    let there = cluster.node();
    let _eve = member(&here, "eve", "room.a");
    let _mike = member(&there, "mike", "room.a");
    wait_for_users(&there, "room.a", &[("mike", 1)]);
    reload(RULES, 1);
    for node in [&here, &there] {
        wait_for_users(node, "room.a", &[("eve", 1), ("mike", 1)]);
    }
    reload(NO_PRESENCE, 2);
    wait_for_users(&there, "room.a", &[("mike", 1)]);
    reload(RULES, 3);
    for node in [&here, &there] {
        wait_for_users(node, "room.a", &[("eve", 1), ("mike", 1)]);
    }
}

fn strangers_cannot_harm_presence(cores: usize) {
    let Some(cluster) = Cluster::new(cores) else { return };
    let (here, there) = (cluster.node(), cluster.node());
    let _eve = member(&here, "eve", "room.a");
    let _mike = member(&there, "mike", "room.a");
    wait_for_users(&here, "room.a", &[("eve", 1), ("mike", 1)]);
    let mut raw = RawNats::connect(&cluster.nats);
    raw.subscribe("_LHTTP.presence.*");
    let _bob = member(&there, "bob", "room.a");
    let (subject, message) = loop {
        let (subject, message) = raw.recv();
        if message[2] == CHANGES && message.windows(3).any(|part| part == b"bob") {
            break (subject, message);
        }
    };
    let mut raw = RawNats::connect(&cluster.nats);
    // In the other node's name: a user who is not there, with the next number.
    let mut ghost = message.clone();
    ghost[3] += 1;
    let at = ghost.windows(3).position(|part| part == b"bob").expect("the user");
    ghost[at..at + 3].copy_from_slice(b"eva");
    raw.publish(&subject, &ghost);
    wait_for_users(&here, "room.a", &[("bob", 1), ("eva", 1), ("eve", 1), ("mike", 1)]);
    // The message that has this number is passed over. Only the sum of the next digest shows that something is wrong.
    let _ann = member(&there, "ann", "room.a");
    let users = [("ann", 1), ("bob", 1), ("eve", 1), ("mike", 1)];
    wait_for_users(&there, "room.a", &users);
    wait_for_users_for(&here, "room.a", &users, HEALED);
    let mut random = helpers::seeded_rng();
    let mut forged = |subject: &str, kind: u8| {
        let len = random.random_range(0..80);
        let mut payload: Vec<u8> = (0..len).map(|_| random.random()).collect();
        payload.splice(0..payload.len().min(3), [1, random.random_range(0..3), kind]);
        raw.publish(subject, &payload);
        raw.publish(&subject.replace("presence.", "presence-ask."), &[1, random.random_range(0..4)]);
        raw.flush();
    };
    for round in 0..600_u32 {
        forged(&subject, (round % 6) as u8);
    }
    wait_for_users_for(&here, "room.a", &users, HEALED);
    for round in 0..600 {
        forged(&format!("_LHTTP.presence.{round:016x}"), (round % 6) as u8);
    }
    forged("_LHTTP.presence.x", CHANGES);
    here.wait_for("presence knows 64 other nodes");
    for node in [&here, &there] {
        wait_for_users(node, "room.a", &users);
    }
}

fn a_thousand_that_come_at_once_are_told_of_in_few_messages(cores: usize) {
    const USERS: usize = 1000;
    let Some(cluster) = Cluster::new(cores) else { return };
    let (here, there) = (cluster.node(), cluster.node());
    let mut watcher = member(&here, "watcher", "room.a");
    wait_for_users(&there, "room.a", &[("watcher", 1)]);
    let mut clients: Vec<Client> = (0..USERS).map(|_| Client::connect(there.port())).collect();
    let begun = Instant::now();
    for client in &mut clients {
        client.say(&chat(&["subscribe:room.a"], ""));
    }
    let (mut users, mut messages) = (0, 0);
    while users <= USERS as u64 {
        let change: Value = serde_json::from_str(&next(&mut watcher).body).expect("JSON");
        assert_eq!(change["left"], json!([]));
        users = change["users"].as_u64().expect("a number");
        messages += 1;
    }
    let seconds = begun.elapsed().as_secs() + 1;
    assert!(messages <= 4 * seconds, "{messages} messages in {seconds} s");
    assert_eq!(list(&here, "room.a").len(), USERS + 1);
    assert_eq!(list(&there, "room.a").len(), USERS + 1);
}
