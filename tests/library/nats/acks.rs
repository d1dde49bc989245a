//! While NATS is silent, only the clients that wait for it wait.

use crate::helpers::{
    Client,
    bridge::{address, node, wait_for_stats, wait_until_online},
    nats::{NatsServer, has_nats_server},
};

/// The most acknowledgements that one connection may wait for.
const WAITING_MAX: usize = 1024;

#[test]
fn a_client_that_waits_for_too_many_acknowledgements_is_refused_and_the_others_go_on() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let node = node(&nats.url());
    wait_until_online(&node);
    let (mut greedy, mut other) = (Client::connect(address(&node)), Client::connect(address(&node)));
    other.subscribe("own");
    nats.pause();
    for number in 0..=WAITING_MAX {
        greedy.say(&format!("LHTTP/1.0 n\r\nsubscribe:new\r\npublish:new\r\nack:{number}\r\n\r\n"));
    }
    for number in 0..WAITING_MAX {
        greedy.expect(&format!("LHTTP/1.0 n\r\nsubscribe:new\r\npublish:new\r\nack:{number}\r\n\r\n"));
    }
    greedy.expect_error(429, "too-many-acks", Some(&WAITING_MAX.to_string()));
    wait_for_stats(&node, |stats| stats.refused_too_many_acks == 1);
    let text = "LHTTP/1.0 n\r\npublish:own\r\n\r\nhere";
    other.say(text);
    other.expect(text);
    nats.go_on();
    (0..WAITING_MAX).for_each(|number| {
        let ack = greedy.recv().into_text().expect("text");
        assert!(ack.starts_with(&format!("LHTTP/1.0 ack\r\nack:{number}\r\n")), "{ack}");
    });
    greedy.subscribe("new");
}
