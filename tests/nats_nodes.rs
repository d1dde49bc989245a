//! Several nodes with a real nats-server between them: who gets what, how often, and when a subscription is live.
#![cfg(feature = "nats")]

mod common;

use common::{
    client::Client,
    daemon::Daemon,
    message::chat,
    nats::{NatsServer, has_nats_server},
};

/// A node whose bridge is connected.
fn node(cores: usize, nats: &NatsServer) -> Daemon {
    let daemon = Daemon::start(cores, &["--nats", &nats.url()]);
    daemon.wait_for("NATS: connected");
    daemon
}

#[test]
fn a_publish_crosses_to_the_other_node_as_it_was_sent() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let (one, other) = (node(1, &nats), node(1, &nats));
    let (mut publisher, mut subscriber) = (Client::connect(one.port()), Client::connect(other.port()));
    subscriber.subscribe_acked("room");
    let message = chat(&["publish:room", "content-type:text"], "hello");
    publisher.say(&message);
    subscriber.expect_text(&message);
}
