//! More names than the memory allows subscriptions for: the bridge subscribes to wider patterns, and every client still
//! gets its messages.

use lhttp::{Config, Handle};

use crate::helpers::{
    Client,
    bridge::{self, OFFLINE, ONLINE, address, wait_for_stats, wait_until_online},
    nats::{NatsServer, RawNats, has_nats_server},
    scratch::Scratch,
    start, wait_for,
};

/// The most subscriptions of the node.
const NAMES_MAX: u64 = 64;

fn node(url: &str) -> Handle {
    let config = Config {
        nats: Some(url.into()),
        memory_budget_bytes: Some(NAMES_MAX * (2 << 10)),
        message_bytes_max: 16 << 10,
        outbox_bytes_max: 64 << 10,
        ..Config::default()
    };
    let node = start(|builder| builder.config(config));
    wait_until_online(&node);
    node
}

/// Publishes to each channel, and checks that this client receives each message as often as stated, and nothing else.
fn expect_copies(raw: &mut RawNats, client: &mut Client, copies: &[(&str, usize)]) {
    for (channel, _) in copies {
        raw.publish(channel, format!("to {channel}").as_bytes());
    }
    raw.publish("end", b"end");
    let mut heard: Vec<String> = Vec::new();
    loop {
        let text = client.recv().into_text().expect("text").to_string();
        if text == "end" {
            break;
        }
        heard.push(text);
    }
    for (channel, copies) in copies {
        let count = heard.iter().filter(|text| **text == format!("to {channel}")).count();
        assert_eq!(count, *copies, "{channel}: {heard:?}");
    }
    assert_eq!(heard.len(), copies.iter().map(|(_, copies)| copies).sum::<usize>(), "{heard:?}");
}

#[test]
fn a_group_of_many_names_comes_by_one_wide_subscription_and_each_message_once() {
    if !has_nats_server() {
        return;
    }
    let mut nats = NatsServer::start(&[]);
    let node = node(&nats.url());
    let mut raw = RawNats::connect(&nats);
    let mut client = Client::connect(address(&node));
    for names in ["end", "*.5", "user.*.x", "user.>"] {
        assert_eq!(bridge::subscribe(&mut client, names), ONLINE, "{names}");
    }
    for number in 0..90 {
        assert_eq!(bridge::subscribe(&mut client, &format!("user.{number}")), ONLINE, "user.{number}");
    }
    let stats = wait_for_stats(&node, |stats| stats.nats_subscriptions <= NAMES_MAX);
    assert_eq!(stats.nats_subscriptions_refused, 0, "{stats}");
    let copies =
        [("user.7", 2), ("user.5", 3), ("user.89", 2), ("user.90", 1), ("user.a.x", 2), ("other.5", 1), ("other.6", 0)];
    expect_copies(&mut raw, &mut client, &copies);
    // Also on the next connection.
    nats.kill();
    nats.restart();
    wait_for_stats(&node, |stats| stats.nats_disconnects == 1);
    wait_until_online(&node);
    let mut raw = RawNats::connect(&nats);
    expect_copies(&mut raw, &mut client, &copies);
    // With few names left, each has its own subscription again.
    client.unsubscribe("user.*.x user.>");
    for number in 20..90 {
        client.unsubscribe(&format!("user.{number}"));
    }
    wait_for_stats(&node, |stats| stats.nats_subscriptions == 22);
    let received = node.stats().nats_unwanted;
    expect_copies(&mut raw, &mut client, &[("user.0", 1), ("user.1", 1), ("user.20", 0), ("user.5", 2)]);
    assert_eq!(node.stats().nats_unwanted, received, "nothing wider brings anything");
}

#[test]
fn names_that_have_nothing_in_common_come_by_a_subscription_to_everything() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let node = node(&nats.url());
    let mut raw = RawNats::connect(&nats);
    let mut client = Client::connect(address(&node));
    for names in ["end", "*.room", ">"] {
        assert_eq!(bridge::subscribe(&mut client, names), ONLINE, "{names}");
    }
    for number in 0..90 {
        assert_eq!(bridge::subscribe(&mut client, &format!("c{number}.room")), ONLINE, "{number}");
    }
    wait_for_stats(&node, |stats| stats.nats_subscriptions == 1);
    raw.publish("$JS.x", b"of the system");
    raw.publish("_INBOX.x", b"of the system");
    client.unsubscribe(">"); // it matched the end, too
    wait_for(|| node.stats().nats_unwanted >= 2);
    expect_copies(&mut raw, &mut client, &[("c7.room", 2), ("c89.room", 2), ("c90.room", 1), ("c7", 0)]);
}

#[test]
fn channels_of_one_token_are_a_group_too() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let node = node(&nats.url());
    let mut raw = RawNats::connect(&nats);
    let mut client = Client::connect(address(&node));
    assert_eq!(bridge::subscribe(&mut client, "end *"), ONLINE);
    for number in 0..90 {
        assert_eq!(bridge::subscribe(&mut client, &format!("room{number}")), ONLINE);
    }
    wait_for_stats(&node, |stats| stats.nats_subscriptions <= 3);
    client.unsubscribe("*");
    expect_copies(&mut raw, &mut client, &[("room7", 1), ("room89", 1), ("room90", 0), ("a.b", 0)]);
}

#[test]
fn where_no_wider_subscription_is_allowed_the_excess_names_are_acknowledged_as_offline() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let deny = "permissions: { publish: [\">\"], subscribe: [\"n.*.x\", \"probe\"] }";
    let config =
        scratch.write("nats.conf", &format!("authorization {{ users: [{{ user: u, password: p, {deny} }}] }}\n"));
    let nats = NatsServer::start(&["-c", &config]);
    let node = node(&format!("nats://u:p@{}", nats.address()));
    let mut client = Client::connect(address(&node));
    let answers: Vec<String> = (0..90).map(|number| bridge::subscribe(&mut client, &format!("n.{number}.x"))).collect();
    let online = answers.iter().filter(|answer| **answer == ONLINE).count() as u64;
    assert!(online >= NAMES_MAX - 2, "{answers:?}");
    assert!(answers[89] == OFFLINE, "{answers:?}");
    let stats = wait_for_stats(&node, |stats| stats.nats_subscriptions_refused > 0);
    assert!(stats.nats_subscriptions < 2 * NAMES_MAX, "but for what came while it was asked for: {stats}");
    // When some names are unsubscribed there is room, and the bridge requests the others again.
    for number in 0..60 {
        client.unsubscribe(&format!("n.{number}.x"));
    }
    wait_for_stats(&node, |stats| stats.nats_subscriptions_refused == 0);
    // The counter falls when NATS is asked again, which is a moment before it has confirmed.
    wait_for(|| bridge::subscribe(&mut client, "n.89.x") == ONLINE);
}
