//! A connection that waits for a congested link while the rules change: what it has sent before is judged when it goes on.

use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};

use super::{frames, node::Node};
use crate::{
    config::{ChannelRule, Config, Who},
    engine::limits::Limits,
};

/// The messages that the publisher sends before the other node takes any.
const MESSAGES: usize = 5;

fn limits(publish: Who) -> Limits {
    let rule: ChannelRule = "a".parse().expect("it is a channel");
    let config = Config { channels: vec![rule.publish(publish)], ..Config::default() };
    Limits::new(&config, u64::MAX, 1)
}

/// Two nodes and the links between them.
struct Pair {
    nodes: [Node; 2],
    now: Duration,
    buffer: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let nodes = [0, 1].map(|own| Node::new(own, 2, limits(Who::Anyone), None));
        Self { nodes, now: Duration::ZERO, buffer: vec![0; 1 << 16] }
    }

    /// One turn of a node. Nothing moves on the links.
    fn turn(&mut self, number: usize) {
        self.now += Duration::from_millis(1);
        self.nodes[number].turn(self.now, &mut self.buffer);
        self.nodes[number].end_turn();
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            for (from, to) in [(0, 1), (1, 0)] {
                if self.nodes[to].takes_from(from) {
                    let batches = self.nodes[from].take_sent(to);
                    self.nodes[to].put_batches(from, batches);
                }
            }
            self.turn(0);
            self.turn(1);
        }
    }

    /// Connects a client that sends these messages.
    fn connect(&mut self, node: usize, messages: &[String]) -> usize {
        let id = self.nodes[node].connect();
        let socket = self.nodes[node].socket(id);
        (socket.room, socket.readable) = (usize::MAX, true);
        socket.inbound.extend_from_slice(frames::HANDSHAKE.as_bytes());
        self.send(node, id, messages);
        id
    }

    fn send(&mut self, node: usize, id: usize, messages: &[String]) {
        let mut rng = StdRng::seed_from_u64(1);
        let socket = self.nodes[node].socket(id);
        messages
            .iter()
            .for_each(|message| _ = frames::push_message(&mut socket.inbound, &mut rng, true, message.as_bytes()));
        socket.readable = true;
    }

    fn received(&mut self, node: usize, id: usize) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.nodes[node].socket(id).outbound)).into_owned()
    }
}

#[test]
fn what_waits_for_a_link_is_refused_if_the_rules_forbid_it_by_then() {
    let mut pair = Pair::new();
    pair.nodes[0].hub_mut().router.set_batch_bytes_max(0);
    let listener = pair.connect(1, &["LHTTP/1.0 c\r\nsubscribe:a\r\n\r\n".to_owned()]);
    let publisher = pair.connect(0, &[]);
    pair.settle();
    pair.received(1, listener);
    pair.received(0, publisher);

    // Heads that differ, so that each message is looked at.
    let message = |number| format!("LHTTP/1.0 c{number}\r\npublish:a\r\n\r\n<{number}>");
    for number in 0..MESSAGES {
        pair.send(0, publisher, &[message(number)]);
        pair.turn(0);
    }
    assert!(pair.nodes[0].hub().sessions.has_paused(), "the link takes one batch");
    pair.nodes[0].post_limits(limits(Who::Nobody), usize::MAX);
    pair.turn(0);
    pair.settle();

    let refused = pair.received(0, publisher).matches("reason:forbidden").count();
    let got = pair.received(1, listener);
    let delivered = (0..MESSAGES).filter(|number| got.contains(&format!("<{number}>"))).count();
    assert_eq!(refused + delivered, MESSAGES, "{got}");
    assert!(refused > 0 && delivered > 0, "{refused} refused, {delivered} delivered");
    assert!((0..delivered).all(|number| got.contains(&format!("<{number}>"))), "the first ones: {got}");
}
