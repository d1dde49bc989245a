//! Nodes in this process, for tests of their bridges.

use std::net::SocketAddr;

use lhttp::{Config, Handle, Stats};

use super::{Client, start, wait_for};

pub(crate) const OFFLINE: &str = "LHTTP/1.0 ack\r\nack:a\r\ncluster:offline\r\n\r\n";
pub(crate) const ONLINE: &str = "LHTTP/1.0 ack\r\nack:a\r\n\r\n";

pub(crate) fn config(nats: &str) -> Config {
    Config { nats: Some(nats.into()), ..Config::default() }
}

pub(crate) fn node(nats: &str) -> Handle {
    start(|builder| builder.config(config(nats)))
}

pub(crate) fn address(node: &Handle) -> SocketAddr {
    node.local_addrs()[0]
}

/// Subscribes and returns the acknowledgement; skips messages that come before it.
pub(crate) fn subscribe(client: &mut Client, names: &str) -> String {
    client.say(&format!("LHTTP/1.0 n\r\nsubscribe:{names}\r\nack:a\r\n\r\n"));
    loop {
        let text = client.recv().into_text().expect("text").to_string();
        if text.starts_with("LHTTP/1.0 ack\r\n") {
            return text;
        }
    }
}

/// Waits until a node is connected and its server confirms subscriptions.
pub(crate) fn wait_until_online(node: &Handle) {
    let mut client = Client::connect(address(node));
    wait_for(|| subscribe(&mut client, "probe") == ONLINE);
}

/// Waits until the bridge's counters satisfy the condition.
pub(crate) fn wait_for_stats(node: &Handle, condition: impl Fn(&Stats) -> bool) -> Stats {
    let mut stats = node.stats();
    wait_for(|| {
        stats = node.stats();
        condition(&stats)
    });
    stats
}
