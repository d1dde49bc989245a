//! A node's network to NATS fails as real networks fail: packets vanish without a notice.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use lhttp::{Config, Handle};

use crate::helpers::{
    self, Client,
    isolated_nats::IsolatedNats,
    namespace::in_namespace,
    nats::{RawNats, has_nats_server},
    start,
};

/// A broken connection is detected after 9 s; the other tests' patience is too short for that.
const PATIENCE: Duration = Duration::from_secs(60);

fn wait_until(condition: impl FnMut() -> bool) {
    assert!(helpers::wait_until(condition, PATIENCE), "nothing happens for {PATIENCE:?}");
}

/// A node behind the network, a client that publishes there, and a NATS client that listens at the server.
struct Scene {
    isolated: IsolatedNats,
    node: Handle,
    client: Client,
    raw: RawNats,
    sent: usize,
}

impl Scene {
    fn new() -> Self {
        let isolated = IsolatedNats::start();
        let node =
            start(|builder| builder.config(Config { nats: Some(IsolatedNats::SERVER.into()), ..Config::default() }));
        let client = Client::connect(node.local_addrs()[0]);
        let mut raw = RawNats::connect_to(IsolatedNats::SERVER_SEEN);
        raw.subscribe("room");
        raw.flush();
        let mut scene = Self { isolated, node, client, raw, sent: 0 };
        scene.confirm();
        scene
    }

    /// Publishes a few numbers, no faster than a lively room.
    fn publish(&mut self) {
        for _ in 0..10 {
            self.client.say(&format!("LHTTP/1.0 n\r\npublish:room\r\n\r\n{}", self.sent));
            self.sent += 1;
        }
        helpers::let_pass(Duration::from_millis(20));
    }

    /// Waits until NATS has confirmed all publishes: a new subscription is confirmed behind them.
    fn confirm(&mut self) {
        wait_until(|| self.node.stats().nats_published == self.sent as u64);
        let name = format!("behind.{}", self.sent);
        wait_until(|| {
            self.client.say(&format!("LHTTP/1.0 n\r\nsubscribe:{name}\r\nack:a\r\n\r\n"));
            self.client.recv() == tungstenite::Message::text("LHTTP/1.0 ack\r\nack:a\r\n\r\n")
        });
    }

    /// The messages at the server up to the last number, all in order and none twice.
    fn heard(&mut self) -> Vec<usize> {
        let mut heard: Vec<usize> = Vec::new();
        while heard.last() != Some(&(self.sent - 1)) {
            let (_, payload) = self.raw.recv();
            let text = String::from_utf8(payload).expect("text");
            let number = text.rsplit('\n').next().and_then(|number| number.parse().ok()).expect("a number");
            assert!(heard.last().is_none_or(|before| *before < number), "{number} after {:?}", heard.last());
            heard.push(number);
        }
        heard
    }
}

/// The TCP connections to the server, one line each, including those that only the kernel still knows.
fn connections() -> Vec<String> {
    let ss = Command::new("ss").args(["-Htan", "dst", "10.9.0.2"]).output().expect("ss is beside ip");
    String::from_utf8_lossy(&ss.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn messages_published_in_a_short_partition_arrive_after_it() {
    if !has_nats_server() {
        return;
    }
    in_namespace(concat!(module_path!(), "::messages_published_in_a_short_partition_arrive_after_it"), || {
        let mut scene = Scene::new();
        scene.publish();
        scene.isolated.cut();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(4) {
            scene.publish();
        }
        scene.isolated.restore();
        scene.publish();
        scene.confirm();
        assert_eq!(scene.heard(), (0..scene.sent).collect::<Vec<_>>());
        let stats = scene.node.stats();
        assert_eq!(
            (stats.nats_disconnects, stats.nats_possibly_lost, stats.nats_publish_dropped),
            (0, 0, 0),
            "the connection outlives it: {stats}"
        );
    });
}

#[test]
fn after_a_long_partition_nothing_comes_late_and_the_missing_messages_were_counted() {
    if !has_nats_server() {
        return;
    }
    in_namespace(
        concat!(module_path!(), "::after_a_long_partition_nothing_comes_late_and_the_missing_messages_were_counted"),
        || {
            let mut scene = Scene::new();
            for _ in 0..10 {
                scene.publish();
            }
            scene.confirm();
            let before = scene.sent;
            scene.isolated.cut();
            let start = Instant::now();
            while scene.node.stats().nats_disconnects == 0 {
                scene.publish();
                assert!(start.elapsed() < PATIENCE, "the broken connection is not detected");
            }
            scene.isolated.restore();
            scene.publish();
            scene.confirm();
            let connections = connections();
            assert_eq!(connections.len(), 1, "the kernel goes on with the broken connection: {connections:?}");
            let heard = scene.heard();
            let stats = scene.node.stats();
            let (missing, lost) = (scene.sent - heard.len(), stats.nats_possibly_lost as usize);
            assert!(lost > 0 && stats.nats_publish_dropped == 0, "{stats}");
            assert_eq!(missing, lost, "only messages in flight are lost: {stats}");
            let kept = (0..before).chain(before + lost..scene.sent).collect::<Vec<_>>();
            assert_eq!(heard, kept, "the lost messages are consecutive, at the time of the cut");
        },
    );
}
