//! Channels whose history the nodes of a cluster share: what a node could miss because NATS does not bring it for a while.

use super::history::{Cluster, next, pairs, publish, subscribe};
use crate::helpers::{
    PATIENCE,
    client::Client,
    daemon::Daemon,
    message::chat,
    nats::{NatsServer, RawNats, has_nats_server},
    on_one_and_two_cores,
    scratch::Scratch,
    wait_until,
};

on_one_and_two_cores!(
    a_node_whose_last_subscriber_has_left_does_not_take_its_old_copy_for_all,
    a_server_that_was_silent_for_a_while_goes_on_keeping_messages,
    subscribers_get_what_other_nodes_publish_after_a_reload_with_the_first_history,
    a_message_that_is_too_large_for_a_node_does_not_hide_the_others,
    a_client_that_knows_more_than_its_node_has_lost_nothing,
    a_node_notices_that_another_one_has_made_the_stream_anew,
    a_publish_that_the_permissions_of_nats_forbid_is_refused,
);

fn a_node_whose_last_subscriber_has_left_does_not_take_its_old_copy_for_all(cores: usize) {
    let Some(cluster) = Cluster::new(cores) else { return };
    let (here, there) = (cluster.node(), cluster.node());
    let mut writer = Client::connect(there.port());
    let mut ids = vec![publish(&mut writer, "kept.a", "0")];
    for round in 1..=3 {
        let mut reader = Client::connect(here.port());
        let (missed, ack) = subscribe(&mut reader, &["subscribe:kept.a", &format!("since:{}", ids[0])]);
        let bodies = ["1", "2"];
        assert_eq!(missed, pairs(&ids[1..], &bodies[..round - 1]), "in round {round}");
        assert_eq!((ack.header("lost"), ack.header("position")), (None, ids.last().map(String::as_str)));
        drop(reader);
        let has_left = || !RawNats::has_subscriber(&cluster.nats, "_LHTTP.live.kept.a");
        assert!(wait_until(has_left, PATIENCE), "the node stays subscribed");
        ids.push(publish(&mut writer, "kept.a", &round.to_string()));
    }
    // Who has not asked for them does not get messages of before.
    let mut late = Client::connect(here.port());
    late.say(&chat(&["subscribe:kept.a"], ""));
    late.expect_nothing_before_ack();
    let is_heard = || RawNats::has_subscriber(&cluster.nats, "_LHTTP.live.kept.a");
    assert!(wait_until(is_heard, PATIENCE), "the node does not subscribe");
    let id = publish(&mut writer, "kept.a", "4");
    let message = next(&mut late);
    assert_eq!((message.header("message-id"), &*message.body), (Some(&*id), "4"));
}

fn a_server_that_was_silent_for_a_while_goes_on_keeping_messages(cores: usize) {
    let Some(cluster) = Cluster::new(cores) else { return };
    let node = cluster.node();
    let mut client = Client::connect(node.port());
    subscribe(&mut client, &["subscribe:kept.a"]);
    cluster.nats.pause();
    node.wait_for("the server does not answer");
    let mut writer = Client::connect(node.port());
    writer.say(&chat(&["publish:kept.a", "ack:p"], "silent"));
    cluster.nats.go_on();
    assert!(next(&mut writer).header("message-id").is_some());
    assert_eq!(next(&mut client).body, "silent");
    assert!(!node.stderr().contains("is lost"), "the connection is still the first one: {}", node.stderr());
}

fn subscribers_get_what_other_nodes_publish_after_a_reload_with_the_first_history(cores: usize) {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let config = scratch.write("lhttpd.toml", "");
    let store = scratch.path().join("jetstream");
    let nats = NatsServer::start(&["-js", "-sd", store.to_str().expect("UTF-8")]);
    let node = || {
        let daemon = Daemon::start(cores, &["--config", &config, "--nats", &nats.url()]);
        daemon.wait_for("NATS: connected");
        daemon
    };
    let (here, there) = (node(), node());
    let mut reader = Client::connect(here.port());
    reader.subscribe_acked("kept.a");
    scratch.write("lhttpd.toml", "[[channel]]\nmatch = \"kept.*\"\nhistory = 10\n");
    for node in [&here, &there] {
        node.signal("HUP");
        node.wait_for("is in the stream LHTTP");
    }
    let id = publish(&mut Client::connect(there.port()), "kept.a", "first");
    assert_eq!(next(&mut reader).header("message-id"), Some(&*id));
}

fn a_message_that_is_too_large_for_a_node_does_not_hide_the_others(cores: usize) {
    let Some(cluster) = Cluster::new(cores) else { return };
    let node = cluster.node_with(&["--outbox-max", "256KiB"]);
    let mut reader = Client::connect(node.port());
    subscribe(&mut reader, &["subscribe:kept.a"]);
    let mut writer = Client::connect(node.port());
    let mut ids = vec![publish(&mut writer, "kept.a", "before")];
    let mut raw = RawNats::connect(&cluster.nats);
    let large = [&b"LHTTP/1.0 chat\r\n\r\n"[..], &[b'x'; 900_000]].concat();
    raw.publish("_LHTTP.history.kept.a", &large);
    raw.flush();
    ids.push(publish(&mut writer, "kept.a", "behind it"));
    for body in ["before", "behind it"] {
        assert_eq!(next(&mut reader).body, body);
    }
    for node in [&node, &cluster.node_with(&["--outbox-max", "256KiB"])] {
        let (missed, _) = subscribe(&mut Client::connect(node.port()), &["subscribe:kept.a", "last:5"]);
        assert_eq!(missed, pairs(&ids, &["before", "behind it"]));
    }
}

fn a_client_that_knows_more_than_its_node_has_lost_nothing(cores: usize) {
    let Some(cluster) = Cluster::new(cores) else { return };
    let (slow, fast) = (cluster.node(), cluster.node());
    subscribe(&mut Client::connect(slow.port()), &["subscribe:kept.a"]);
    let mut reader = Client::connect(slow.port());
    subscribe(&mut reader, &["subscribe:kept.a"]);
    let mut writer = Client::connect(fast.port());
    let mut id = String::new();
    for round in 0..8 {
        let mut client = Client::connect(slow.port());
        client.expect_nothing_before_ack();
        slow.signal("STOP");
        id = publish(&mut writer, "kept.a", &round.to_string());
        client.say(&chat(&["subscribe:kept.a", &format!("since:{id}"), "ack:s"], ""));
        slow.signal("CONT");
        let ack = next(&mut client);
        assert_eq!((ack.header("lost"), ack.header("position")), (None, Some(&*id)), "in round {round}: {ack:?}");
        client.expect_nothing_before_ack();
        assert_eq!(next(&mut reader).header("message-id"), Some(&*id));
    }
    // An id that nobody has given out.
    let (epoch, number) = id.rsplit_once('-').expect("an epoch and a number");
    let number: u64 = number.parse().expect("a number");
    for number in [number + 1000, u64::MAX - 1, u64::MAX] {
        let since = format!("since:{epoch}-{number}");
        let (missed, ack) = subscribe(&mut Client::connect(slow.port()), &["subscribe:kept.a", &since]);
        assert_eq!((missed.len(), ack.header("lost"), ack.header("position")), (0, Some("kept.a"), Some(&*id)));
    }
    slow.wait_for("a client is told that messages of kept.a are lost: it has message ");
}

fn a_node_notices_that_another_one_has_made_the_stream_anew(cores: usize) {
    let Some(cluster) = Cluster::new(cores) else { return };
    let (here, there) = (cluster.node(), cluster.node());
    let mut reader = Client::connect(here.port());
    subscribe(&mut reader, &["subscribe:kept.a"]);
    let mut writer = Client::connect(there.port());
    let old: Vec<String> = (0..50).map(|number| publish(&mut writer, "kept.a", &number.to_string())).collect();
    for id in &old {
        assert_eq!(next(&mut reader).header("message-id"), Some(&**id));
    }
    let mut raw = RawNats::connect(&cluster.nats);
    raw.publish("$JS.API.STREAM.DELETE.LHTTP", b"");
    raw.flush();
    let is_noticed = || {
        publish(&mut writer, "kept.a", "which shows it, unless the stream is still the old one");
        here.stderr().matches("is in the stream LHTTP").count() == 2
    };
    assert!(wait_until(is_noticed, PATIENCE), "{}", here.stderr());
    // Its cores know it by the time that a client is subscribed.
    subscribe(&mut Client::connect(here.port()), &["subscribe:kept.a", "last:1"]);
    let new = publish(&mut writer, "kept.a", "new");
    let message = std::iter::repeat_with(|| next(&mut reader)).find(|message| message.body == "new").expect("it comes");
    assert_eq!(message.header("message-id"), Some(&*new));
    let (missed, ack) =
        subscribe(&mut Client::connect(here.port()), &["subscribe:kept.a", &format!("since:{}", old[9])]);
    assert_eq!((missed.len(), ack.header("lost"), ack.header("position")), (0, Some("kept.a"), Some(&*new)));
}

fn a_publish_that_the_permissions_of_nats_forbid_is_refused(cores: usize) {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let config = scratch.write("lhttpd.toml", "[[channel]]\nmatch = \"kept.*\"\nhistory = 10\n");
    let permissions = "{ publish: { deny: [\"_LHTTP.history.kept.b\"] } }";
    let users = format!("authorization {{ users: [{{ user: node, password: p, permissions: {permissions} }}] }}\n");
    let of_nats = scratch.write("nats.conf", &users);
    let store = scratch.path().join("jetstream");
    let nats = NatsServer::start(&["-c", &of_nats, "-js", "-sd", store.to_str().expect("UTF-8")]);
    let url = format!("nats://node:p@{}", nats.address());
    let node = Daemon::start(cores, &["--config", &config, "--nats", &url]);
    node.wait_for("is in the stream LHTTP");
    let mut client = Client::connect(node.port());
    client.say(&chat(&["publish:kept.b", "ack:p"], "forbidden"));
    client.expect_error(503, "history-unavailable", Some("p"));
    publish(&mut client, "kept.a", "allowed");
}
