//! Every message has a number: the messages of a publisher stay in order in each channel, whatever happens to NATS.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use lhttp::Handle;

use crate::helpers::{
    Client,
    bridge::{ONLINE, address, node, subscribe, wait_for_stats, wait_until_online},
    nats::{NatsServer, RawNats, has_nats_server},
};

/// Publishers of one node, each with its own count per channel.
const PUBLISHERS: usize = 3;
const CHANNELS: [&str; 2] = ["s.a", "s.b"];

/// Publishes in all channels, as fast as the node accepts, until told to stop. Returns the number of messages in each
/// channel.
fn publish_all_the_time(node: &Handle, name: String, is_over: Arc<AtomicBool>) -> thread::JoinHandle<usize> {
    let mut client = Client::connect(address(node));
    thread::spawn(move || {
        let mut number = 0;
        while !is_over.load(Ordering::Relaxed) {
            for channel in CHANNELS {
                client.say(&format!("LHTTP/1.0 n\r\npublish:{channel}\r\n\r\n{name} {channel} {number}"));
            }
            number += 1;
            if number % 50 == 0 {
                client.expect_nothing();
                thread::yield_now();
            }
        }
        client.expect_nothing();
        number
    })
}

/// The messages that a subscriber received: by publisher and channel, how many, and the last number.
type Heard = HashMap<(String, String), (usize, usize)>;

/// Subscribes to all channels and receives messages, in order and none twice, until the end message.
fn hear_all(node: &Handle) -> thread::JoinHandle<Heard> {
    let mut client = Client::connect(address(node));
    assert_eq!(subscribe(&mut client, "s.* over"), ONLINE);
    thread::spawn(move || {
        let mut heard = Heard::new();
        loop {
            let text = client.recv().into_text().expect("text").to_string();
            let body = text.rsplit('\n').next().expect("a body").to_owned();
            let [name, channel, number] = body.split(' ').collect::<Vec<_>>()[..] else { return heard };
            let number: usize = number.parse().expect("a number");
            let (count, next) = heard.entry((name.to_owned(), channel.to_owned())).or_default();
            assert!(number >= *next, "{name} in {channel}: {number} where {next} was due");
            (*count, *next) = (*count + 1, number + 1);
        }
    })
}

#[test]
fn every_publisher_stays_in_order_in_every_channel_while_the_server_is_killed() {
    if !has_nats_server() {
        return;
    }
    let mut nats = NatsServer::start(&[]);
    let nodes = [node(&nats.url()), node(&nats.url())];
    nodes.iter().for_each(wait_until_online);
    let is_over = Arc::new(AtomicBool::new(false));
    let subscribers = nodes.each_ref().map(hear_all);
    let publishers: Vec<_> = (0..2 * PUBLISHERS)
        .map(|number| {
            let (node, name) = (number % 2, format!("{}-{number}", number % 2));
            (node, name.clone(), publish_all_the_time(&nodes[node], name, Arc::clone(&is_over)))
        })
        .collect();
    for round in 1..=3 {
        let received = nodes.each_ref().map(|node| node.stats().nats_received);
        for (node, received) in nodes.iter().zip(received) {
            wait_for_stats(node, |stats| stats.nats_received > received + 1000);
        }
        nats.kill();
        nats.restart();
        for node in &nodes {
            wait_for_stats(node, |stats| stats.nats_disconnects == round);
            wait_until_online(node);
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let sent: Vec<_> = publishers
        .into_iter()
        .map(|(node, name, thread)| (node, name, thread.join().expect("the node takes it all")))
        .collect();
    // Each node sends the end message behind its own messages. That of the other node comes behind the messages that
    // NATS brought.
    for node in &nodes {
        let all = 2 * sent
            .iter()
            .filter(|(of, ..)| std::ptr::eq(&nodes[*of], node))
            .map(|(.., sent)| *sent as u64)
            .sum::<u64>();
        wait_for_stats(node, |stats| stats.nats_published + stats.nats_publish_dropped == all);
        wait_until_online(node);
    }
    let mut raw = RawNats::connect(&nats);
    raw.publish("over", b"over");
    for (node, subscriber) in subscribers.into_iter().enumerate() {
        let heard = subscriber.join().expect("in order, and none twice");
        for (of, name, sent) in &sent {
            for channel in CHANNELS {
                let (count, next) = heard[&(name.clone(), channel.to_owned())];
                assert!(count <= *sent && next <= *sent);
                assert!(*of != node || count == *sent, "{name} lost messages on its own node: {count} of {sent}");
            }
        }
    }
}
