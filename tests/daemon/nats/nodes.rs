//! Several nodes with a real nats-server between them: which client gets what, how often, and when a subscription is
//! live.

use std::time::{Duration, Instant};

use crate::helpers::{
    self,
    client::Client,
    daemon::Daemon,
    http::Http,
    message::chat,
    nats::{NatsServer, RawNats, has_nats_server},
    on_one_and_two_cores,
};

/// A node whose bridge is connected and confirms subscriptions.
fn node(cores: usize, nats: &NatsServer, args: &[&str]) -> Daemon {
    let daemon = Daemon::start(cores, &[&["--nats", &nats.url()], args].concat());
    daemon.wait_for("NATS: connected");
    let mut client = Client::connect(daemon.port());
    let mut answer = String::new();
    // The first barrier may be in flight.
    let is_online = helpers::wait_until(
        || {
            client.say("LHTTP/1.0 probe\r\nsubscribe:probe\r\nack:probe\r\n\r\n");
            answer = String::from_utf8(client.recv().payload).expect("text");
            !answer.contains("cluster:offline")
        },
        helpers::PATIENCE,
    );
    assert!(is_online, "{answer}");
    daemon
}

on_one_and_two_cores!(a_publish_crosses_to_every_node_once, patterns_and_names_each_get_their_copy);

fn a_publish_crosses_to_every_node_once(cores: usize) {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let nodes = [node(cores, &nats, &[]), node(cores, &nats, &[]), node(cores, &nats, &[])];
    let mut clients: Vec<Client> = nodes.iter().flat_map(|node| (0..4).map(|_| Client::connect(node.port()))).collect();
    for client in &mut clients {
        client.subscribe_acked("room");
    }
    for publisher in 0..clients.len() {
        let message = chat(&["publish:room", "content-type:text"], &format!("hello from {publisher}"));
        clients[publisher].say(&message);
        for client in &mut clients {
            client.expect_text(&message);
        }
    }
    let binary = b"LHTTP/1.0 chat\r\npublish:room\r\n\r\n\xff\x00";
    clients[0].send_binary(binary);
    for client in &mut clients {
        client.expect_binary(binary);
    }
    // If NATS sent a message back to its publisher, it would come before the messages published behind it.
    let mut raw = RawNats::connect(&nats);
    raw.publish("room", b"marker");
    for client in &mut clients {
        client.expect_text("marker");
        client.expect_nothing_before_ack();
    }
}

fn patterns_and_names_each_get_their_copy(cores: usize) {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let (here, there) = (node(cores, &nats, &[]), node(cores, &nats, &[]));
    let mut publisher = Client::connect(here.port());
    let subscribed = [("c.room", 1), ("c.*", 1), ("c.room c.*", 2), ("c.room c.* > *.room", 4), ("d.room.x", 0)];
    let mut clients: Vec<(Client, usize)> =
        subscribed.iter().map(|&(_, copies)| (Client::connect(there.port()), copies)).collect();
    for ((client, _), (names, _)) in clients.iter_mut().zip(subscribed) {
        client.subscribe_acked(names);
    }
    for number in 0..3 {
        publisher.say(&chat(&["publish:c.room"], &number.to_string()));
    }
    publisher.say(&chat(&["publish:c.room"], "last"));
    let text = |client: &mut Client| String::from_utf8(client.recv().payload).expect("text");
    for (client, copies) in &mut clients {
        let mut bodies: Vec<String> = Vec::new();
        while bodies.iter().filter(|body| body.ends_with("last")).count() < *copies {
            bodies.push(text(client));
        }
        for number in 0..3 {
            let of = |body: &&String| body.ends_with(&format!("\r\n\r\n{number}"));
            assert_eq!(bodies.iter().filter(of).count(), *copies, "{bodies:?}");
        }
        assert_eq!(bodies.len(), *copies * 4);
        client.expect_nothing_before_ack();
    }
}

#[test]
fn any_nats_client_can_listen_and_publish() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let node = node(1, &nats, &[]);
    let mut raw = RawNats::connect(&nats);
    raw.subscribe("chatroom.*");
    raw.flush();
    let mut client = Client::connect(node.port());
    client.subscribe_acked("chatroom.a");
    let message = chat(&["publish:chatroom.a"], "hi");
    client.say(&message);
    client.expect_text(&message);
    assert_eq!(raw.recv(), ("chatroom.a".to_owned(), message.clone().into_bytes()));
    for payload in [message.as_bytes(), b"not LHTTP", b"", "µ".as_bytes()] {
        raw.publish("chatroom.a", payload);
        client.expect_text(std::str::from_utf8(payload).expect("text"));
    }
    raw.publish("chatroom.a", b"\xff\xfe");
    client.expect_binary(b"\xff\xfe");
    let large = vec![b'x'; 300_000]; // more than a client of this node may send
    raw.publish("chatroom.a", &large);
    client.expect_text(std::str::from_utf8(&large).expect("text"));
    client.expect_nothing_before_ack();
}

#[test]
fn a_burst_after_a_pause_does_not_overwhelm_an_idle_core() {
    if !has_nats_server() {
        return;
    }
    const SENT: usize = 16_000; // of 1 KiB; NATS buffers them while the node reads nothing
    let nats = NatsServer::start(&[]);
    let node = node(1, &nats, &["--outbox-max", "64MiB"]);
    let mut raw = RawNats::connect(&nats);
    let mut client = Client::connect(node.port());
    client.subscribe_acked("room");
    let padding = "x".repeat(1000);
    for round in 0..3 {
        node.signal("STOP");
        for number in 0..SENT {
            raw.publish("room", format!("{padding} {number}").as_bytes());
        }
        raw.flush();
        node.signal("CONT");
        for number in 0..SENT {
            let payload = client.recv().payload;
            let text = std::str::from_utf8(&payload).expect("text");
            assert_eq!(text[1001..], number.to_string(), "in round {round}");
        }
    }
}

#[test]
fn a_node_that_only_listens_detects_that_nats_does_not_answer() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let node = node(1, &nats, &[]);
    let mut client = Client::connect(node.port());
    client.subscribe_acked("room");
    nats.pause();
    node.wait_for("the server does not answer");
    // The bridge logs this before the core knows it.
    let is_told = helpers::wait_until(
        || {
            client.say("LHTTP/1.0 n\r\nsubscribe:room\r\nack:a\r\n\r\n");
            client.recv().payload == b"LHTTP/1.0 ack\r\nack:a\r\ncluster:offline\r\n\r\n"
        },
        helpers::PATIENCE,
    );
    assert!(is_told, "acks do not say that NATS is silent");
    nats.go_on();
}

#[test]
fn system_channels_neither_leave_their_node_nor_reach_subscribers_of_everything() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let node = node(1, &nats, &[]);
    let mut raw = RawNats::connect(&nats);
    raw.subscribe(">");
    raw.flush();
    let mut client = Client::connect(node.port());
    client.subscribe_acked(">");
    client.say(&chat(&["publish:_lhttp.x room"], "refused"));
    client.expect_error(403, "forbidden", None);
    let message = chat(&["publish:room"], "hi");
    client.say(&message);
    client.expect_text(&message);
    assert_eq!(raw.recv(), ("room".to_owned(), message.into_bytes()));
    for subject in ["_lhttp.x", "_INBOX.x", "$KV.x"] {
        raw.publish(subject, b"for nobody");
    }
    raw.publish("room", b"behind it");
    client.expect_text("behind it");
}

#[test]
fn an_acknowledgement_means_that_the_nats_server_has_confirmed() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let node = node(1, &nats, &[]);
    let mut raw = RawNats::connect(&nats);
    let mut client = Client::connect(node.port());
    let mut everything = Client::connect(node.port());
    everything.subscribe_acked(">"); // it neither disturbs confirmations nor sees them
    for number in 0..200 {
        let (name, pattern) = (format!("n.{number}"), format!("n.{number}.*"));
        client.subscribe_acked(&format!("{name} {pattern}"));
        raw.publish(&name, b"exact");
        raw.publish(&format!("{name}.x"), b"pattern");
        client.expect_text("exact");
        client.expect_text("pattern");
        everything.expect_text("exact");
        everything.expect_text("pattern");
    }
    client.expect_nothing_before_ack();
    everything.expect_nothing_before_ack();
}

#[test]
fn a_node_that_reconnects_is_still_subscribed() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let node = node(1, &nats, &[]);
    let mut raw = RawNats::connect(&nats);
    let mut client = Client::connect(node.port());
    for number in 0..50 {
        client.subscribe_acked("room");
        raw.publish("room", number.to_string().as_bytes());
        client.expect_text(&number.to_string());
        client.say_acked("unsubscribe:room");
    }
    client.expect_nothing_before_ack();
}

#[test]
fn a_message_that_nats_cannot_carry_is_refused_whole() {
    if !has_nats_server() {
        return;
    }
    let scratch = helpers::scratch::Scratch::new();
    let config = scratch.write("nats.conf", "max_payload: 2048\n");
    let nats = NatsServer::start(&["-c", &config]);
    let (here, there) = (node(1, &nats, &[]), node(1, &nats, &[]));
    let (mut client, mut other) = (Client::connect(here.port()), Client::connect(there.port()));
    client.subscribe_acked("room");
    other.subscribe_acked("room");
    let fits = chat(&["publish:room"], "fits");
    client.say(&fits);
    client.expect_text(&fits);
    for _ in 0..2 {
        client.say(&chat(&["publish:room", "ack:big"], &"x".repeat(2048)));
        let sentence = client.expect_error(413, "message-too-big", Some("big"));
        assert!(sentence.contains("2048"), "{sentence}");
        // The same head as before, which the server has already parsed.
        client.say(&chat(&["publish:room"], &"x".repeat(2048)));
        client.expect_error(413, "message-too-big", None);
    }
    let body = chat(&["publish:room"], &"x".repeat(2048));
    let request = format!("POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(Http::connect(here.port()).ask(request).status, 413);
    let request = format!("POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{fits}", fits.len());
    assert_eq!(Http::connect(here.port()).ask(request).status, 200);
    client.expect_text(&fits);
    other.expect_text(&fits);
    other.expect_text(&fits);
    assert_eq!(here.stderr().matches("NATS: connected").count(), 1, "{}", here.stderr());
    assert!(!here.stderr().contains("is lost"), "{}", here.stderr());
}

#[test]
fn a_stopping_node_sends_the_messages_that_it_has_accepted() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let mut node = node(1, &nats, &[]);
    let mut raw = RawNats::connect(&nats);
    raw.subscribe("room");
    raw.flush();
    let mut client = Client::connect(node.port());
    for number in 0..5000 {
        client.say(&chat(&["publish:room"], &number.to_string()));
    }
    client.expect_nothing_before_ack();
    node.terminate();
    for number in 0..5000 {
        assert_eq!(raw.recv().1, chat(&["publish:room"], &number.to_string()).into_bytes());
    }
    assert!(node.exit_within(helpers::PATIENCE).is_some_and(|status| status.success()));
    assert!(!node.stderr().contains("were not sent"), "{}", node.stderr());
}

#[test]
fn a_node_without_a_drain_time_exits_at_once_although_nats_is_silent() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let mut node = node(1, &nats, &["--drain", "0"]);
    let mut client = Client::connect(node.port());
    nats.pause();
    client.say(&chat(&["publish:room"], "nobody confirms it"));
    client.expect_nothing_before_ack();
    let asked = Instant::now();
    node.terminate();
    assert!(node.exit_within(helpers::PATIENCE).is_some_and(|status| status.success()));
    assert!(asked.elapsed() < Duration::from_millis(1900), "{:?}", asked.elapsed());
    node.wait_for("may not have arrived");
    nats.go_on();
}

#[test]
fn messages_larger_than_the_current_outbox_limit_are_logged_at_once_and_the_rest_at_the_stop() {
    if !has_nats_server() {
        return;
    }
    let scratch = helpers::scratch::Scratch::new();
    let config = scratch.write("lhttpd.toml", "outbox-max = \"1MiB\"\n");
    let nats = NatsServer::start(&[]);
    let mut node = node(1, &nats, &["--config", &config]);
    let mut raw = RawNats::connect(&nats);
    let mut client = Client::connect(node.port());
    client.subscribe_acked("big room");
    let large = "x".repeat(300_000);
    raw.publish("big", large.as_bytes());
    client.expect_text(&large);
    scratch.write("lhttpd.toml", "outbox-max = \"256KiB\"\n");
    node.signal("HUP");
    node.wait_for("outbox-max");
    raw.publish("big", large.as_bytes());
    node.wait_for("1 messages from other nodes were dropped, for they are larger than outbox-max; one of them on big");
    for _ in 0..2 {
        raw.publish("big", large.as_bytes()); // the log would report these only 10 s later
    }
    raw.publish("room", b"behind it");
    client.expect_text("behind it");
    node.terminate();
    assert!(node.exit_within(helpers::PATIENCE).is_some_and(|status| status.success()));
    node.wait_for("2 messages from other nodes were dropped, for they are larger than outbox-max; one of them on big");
}

#[test]
fn the_log_says_that_nats_is_slower_than_the_publishers() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let node = node(1, &nats, &["--nats-buffer", "512KiB"]);
    let mut client = Client::connect(node.port());
    nats.pause();
    client.say(&chat(&["publish:room"], "which is not confirmed"));
    node.wait_for("the server does not answer");
    for _ in 0..3000 {
        client.say(&chat(&["publish:full.room"], &"x".repeat(1000)));
    }
    node.wait_for("messages for other nodes were dropped, for NATS is slower than they come; one of them on full.room");
    nats.go_on();
}

#[test]
fn the_log_says_once_how_many_messages_did_not_fit_the_buffer_and_names_one_channel() {
    if !has_nats_server() {
        return;
    }
    let address = helpers::loopback::free_address();
    let node = Daemon::start(1, &["--nats", &address.to_string(), "--nats-buffer", "512KiB"]);
    let mut client = Client::connect(node.port());
    let body = "x".repeat(1000);
    for _ in 0..3000 {
        client.say(&chat(&["publish:full.room"], &body));
    }
    client.expect_nothing_before_ack();
    let _nats = NatsServer::start_at(address);
    node.wait_for("did not fit nats-buffer; one of them on full.room");
    assert_eq!(node.stderr().matches("were dropped").count(), 1, "{}", node.stderr());
}
