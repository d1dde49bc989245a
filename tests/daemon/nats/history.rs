//! Channels whose history the nodes of a cluster share: a real nats-server with JetStream keeps it.

use std::{collections::HashMap, process::Command, thread};

use crate::helpers::{
    PATIENCE,
    client::Client,
    daemon::Daemon,
    message::{Message, chat},
    nats::{NatsServer, RawNats, has_nats_server},
    on_one_and_two_cores,
    scratch::Scratch,
};

on_one_and_two_cores!(
    a_client_goes_on_at_another_node_with_the_same_numbers,
    what_is_published_while_nats_is_away_is_acknowledged_when_it_is_kept,
    a_client_that_comes_and_goes_gets_each_message_once_in_order,
    subscribers_to_patterns_and_publishers_without_echo_get_what_is_theirs,
);

const RULES: &str = "
    [[channel]]
    match = \"kept.*\"
    history = 5000
    [[channel]]
    match = \"short\"
    history = 3
";

/// A nats-server with JetStream, and the rules of its nodes.
pub(super) struct Cluster {
    pub(super) nats: NatsServer,
    scratch: Scratch,
    cores: usize,
}

impl Cluster {
    pub(super) fn new(cores: usize) -> Option<Self> {
        if !has_nats_server() {
            return None;
        }
        let scratch = Scratch::new();
        scratch.write("lhttpd.toml", RULES);
        let store = scratch.path().join("jetstream");
        let nats = NatsServer::start(&["-js", "-sd", store.to_str().expect("UTF-8")]);
        Some(Self { nats, scratch, cores })
    }

    pub(super) fn node(&self) -> Daemon {
        self.node_with(&[])
    }

    pub(super) fn node_with(&self, args: &[&str]) -> Daemon {
        let config = self.scratch.path().join("lhttpd.toml");
        let own = ["--config", config.to_str().expect("UTF-8"), "--nats", &self.nats.url()];
        let daemon = Daemon::start(self.cores, &[&own, args].concat());
        daemon.wait_for("is in the stream LHTTP");
        daemon
    }
}

pub(super) fn next(client: &mut Client) -> Message {
    Message::parse(&client.recv().payload)
}

/// Publishes to a channel, and returns the id.
#[track_caller]
pub(super) fn publish(client: &mut Client, channel: &str, body: &str) -> String {
    client.say(&chat(&[&format!("publish:{channel}"), "ack:p"], body));
    let ack = next(client);
    ack.header("message-id").unwrap_or_else(|| panic!("no id in {ack:?}")).to_owned()
}

/// Subscribes with these header lines, and returns the ids and bodies of the messages before the acknowledgement, and that.
#[track_caller]
pub(super) fn subscribe(client: &mut Client, headers: &[&str]) -> (Vec<(String, String)>, Message) {
    client.say(&chat(&[headers, &["ack:s"]].concat(), ""));
    let mut messages = Vec::new();
    loop {
        let message = next(client);
        if message.command == "ack" {
            return (messages, message);
        }
        messages.push((message.header("message-id").expect("a number").to_owned(), message.body));
    }
}

pub(super) fn pairs(ids: &[String], bodies: &[&str]) -> Vec<(String, String)> {
    ids.iter().cloned().zip(bodies.iter().map(|&body| body.to_owned())).collect()
}

fn a_client_goes_on_at_another_node_with_the_same_numbers(cores: usize) {
    let Some(cluster) = Cluster::new(cores) else { return };
    let (here, there) = (cluster.node(), cluster.node());
    let (mut one, mut other) = (Client::connect(here.port()), Client::connect(there.port()));
    let (missed, ack) = subscribe(&mut one, &["subscribe:kept.a kept.empty"]);
    assert!(missed.is_empty() && ack.header("position").is_some() && ack.header("lost").is_none(), "{ack:?}");
    let positions: Vec<String> = ack.header("position").expect("positions").split(' ').map(str::to_owned).collect();
    subscribe(&mut other, &["subscribe:kept.a"]);
    let (mut writer, mut far) = (Client::connect(here.port()), Client::connect(there.port()));
    let mut ids = Vec::new();
    for number in 0..3 {
        let writer = if number == 1 { &mut far } else { &mut writer };
        ids.push(publish(writer, "kept.a", &number.to_string()));
        // Another channel takes a number in between.
        publish(writer, "kept.b", "other");
        for reader in [&mut one, &mut other] {
            let message = next(reader);
            assert_eq!((message.header("message-id"), &*message.body), (Some(&*ids[number]), &*number.to_string()));
            assert_eq!(message.header("channel"), Some("kept.a"));
        }
    }
    let third = cluster.node();
    for node in [&here, &there, &third] {
        for (since, bodies) in [(&ids[0], &["1", "2"][..]), (&ids[2], &[]), (&positions[0], &["0", "1", "2"])] {
            let mut client = Client::connect(node.port());
            let (missed, ack) = subscribe(&mut client, &["subscribe:kept.a", &format!("since:{since}")]);
            assert_eq!(missed, pairs(&ids[3 - bodies.len()..], bodies));
            assert_eq!((ack.header("lost"), ack.header("position")), (None, Some(&*ids[2])));
        }
        let mut client = Client::connect(node.port());
        let (missed, ack) = subscribe(&mut client, &["subscribe:kept.empty", &format!("since:{}", positions[1])]);
        assert!(missed.is_empty() && ack.header("lost").is_none(), "{ack:?}");
        let (last, _) = subscribe(&mut Client::connect(node.port()), &["subscribe:kept.a", "last:1"]);
        assert_eq!(last, pairs(&ids[2..], &["2"]));
    }
    // Of five messages three are kept: a client that has missed those alone has lost nothing.
    let short: Vec<String> = ["1", "2", "3", "4", "5"].map(|body| publish(&mut writer, "short", body)).into();
    for node in [&here, &third, &cluster.node()] {
        for (since, lost) in [(&short[0], Some("short")), (&short[1], None)] {
            let mut client = Client::connect(node.port());
            let (missed, ack) = subscribe(&mut client, &["subscribe:short", &format!("since:{since}"), "last:9"]);
            assert_eq!((ack.header("lost"), missed), (lost, pairs(&short[2..], &["3", "4", "5"])), "since {since}");
        }
    }
}

fn what_is_published_while_nats_is_away_is_acknowledged_when_it_is_kept(cores: usize) {
    let Some(mut cluster) = Cluster::new(cores) else { return };
    let (here, there) = (cluster.node(), cluster.node());
    let mut readers = [Client::connect(here.port()), Client::connect(there.port())];
    for reader in &mut readers {
        subscribe(reader, &["subscribe:kept.a"]);
    }
    let mut writer = Client::connect(here.port());
    let first = publish(&mut writer, "kept.a", "before");
    for reader in &mut readers {
        assert_eq!(next(reader).body, "before");
    }
    cluster.nats.kill();
    here.wait_for("the connection to");
    for number in 0..100 {
        writer.say(&chat(&["publish:kept.a", &format!("ack:{number}")], &number.to_string()));
    }
    // Nobody gets a message before its number is known; other channels go on on each node.
    let mut others = Client::connect(here.port());
    others.say(&chat(&["subscribe:plain"], ""));
    others.say(&chat(&["publish:plain"], "plain"));
    assert_eq!(next(&mut others).body, "plain");
    readers[0].say(&chat(&["ack:now"], ""));
    assert_eq!(next(&mut readers[0]).header("ack"), Some("now"));
    cluster.nats.restart();
    for number in 0..100 {
        let ack = next(&mut writer);
        assert!(ack.header("ack") == Some(&*number.to_string()) && ack.header("message-id").is_some(), "{ack:?}");
    }
    for reader in &mut readers {
        let bodies: Vec<String> = (0..100).map(|_| next(reader).body).collect();
        assert_eq!(bodies, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
        reader.expect_nothing_before_ack();
    }
    let mut late = Client::connect(there.port());
    let (missed, ack) = subscribe(&mut late, &["subscribe:kept.a", &format!("since:{first}")]);
    assert_eq!((missed.len(), ack.header("lost")), (100, None));
}

fn a_client_that_comes_and_goes_gets_each_message_once_in_order(cores: usize) {
    const WRITERS: usize = 3;
    const MESSAGES: usize = 300;
    let Some(cluster) = Cluster::new(cores) else { return };
    let nodes = [cluster.node(), cluster.node()];
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let mut writer = Client::connect(nodes[number % 2].port());
            thread::spawn(move || {
                for message in 0..MESSAGES {
                    writer.say(&chat(&["publish:kept.a"], &format!("{number} {message}")));
                    if message % 16 == 0 {
                        writer.expect_nothing_before_ack();
                    }
                }
                writer.expect_nothing_before_ack();
            })
        })
        .collect();
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let ports = [nodes[0].port(), nodes[1].port()];
            thread::spawn(move || {
                let (mut seen, mut since) = (Vec::new(), None::<String>);
                for turn in 0.. {
                    let mut client = Client::connect(ports[(turn + reader) % 2]);
                    let mut headers = vec!["subscribe:kept.a".to_owned(), "ack:s".to_owned()];
                    headers
                        .extend(since.as_ref().map_or(Some("last:1000".to_owned()), |id| Some(format!("since:{id}"))));
                    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
                    client.say(&chat(&headers, ""));
                    // It leaves after some messages, before or after the acknowledgement.
                    for _ in 0..20 + 13 * reader {
                        let message = next(&mut client);
                        if message.command == "ack" {
                            assert_eq!(message.header("lost"), None);
                            since.get_or_insert_with(|| message.header("position").expect("a position").to_owned());
                            continue;
                        }
                        since = message.header("message-id").map(str::to_owned);
                        seen.push(message.body);
                        if seen.len() == WRITERS * MESSAGES {
                            return seen;
                        }
                    }
                }
                seen
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
    let seen: Vec<Vec<String>> = readers.into_iter().map(|reader| reader.join().expect("a reader")).collect();
    for of_reader in &seen {
        assert_eq!(of_reader, &seen[0], "all readers get the same order");
        let mut next = HashMap::new();
        for body in of_reader {
            let (writer, number) = body.split_once(' ').expect("two numbers");
            let expected = next.entry(writer.to_owned()).or_insert(0);
            assert_eq!(number.parse(), Ok(*expected), "of writer {writer}");
            *expected += 1;
        }
    }
}

fn subscribers_to_patterns_and_publishers_without_echo_get_what_is_theirs(cores: usize) {
    let Some(cluster) = Cluster::new(cores) else { return };
    let (here, there) = (cluster.node(), cluster.node());
    let mut patterns = [Client::connect(here.port()), Client::connect(there.port())];
    for client in &mut patterns {
        client.subscribe_acked("kept.* > *.a");
    }
    let mut writer = Client::connect(here.port());
    subscribe(&mut writer, &["subscribe:kept.a"]);
    for number in 0..3 {
        writer.say(&chat(&["publish:kept.a", "no-echo:true", "ack:p"], &number.to_string()));
        assert_eq!(next(&mut writer).header("ack"), Some("p"));
    }
    let id = publish(&mut Client::connect(there.port()), "kept.a", "last");
    assert_eq!(next(&mut writer).header("message-id"), Some(&*id), "nothing of its own came before");
    for client in &mut patterns {
        // Three names, so each message comes three times.
        let bodies: Vec<String> = (0..12).map(|_| next(client).body).collect();
        for number in ["0", "1", "2", "last"] {
            assert_eq!(bodies.iter().filter(|body| *body == number).count(), 3, "{bodies:?}");
        }
        client.expect_nothing_before_ack();
    }
    // Another program may publish to the stream; what is no message of LHTTP passes nobody.
    let mut raw = RawNats::connect(&cluster.nats);
    raw.publish("_LHTTP.history.kept.a", b"not LHTTP");
    raw.publish("_LHTTP.history.kept.a", b"LHTTP/1.0 chat\r\nmessage-id:forged\r\n\r\nfrom a program");
    let message = next(&mut writer);
    assert_eq!(message.body, "from a program");
    assert!(message.header("message-id").is_some_and(|id| id != "forged"));
    let (last, _) = subscribe(&mut Client::connect(there.port()), &["subscribe:kept.a", "last:2"]);
    assert_eq!(last.iter().map(|(_, body)| &**body).collect::<Vec<_>>(), ["last", "from a program"]);
}

#[test]
fn without_jetstream_the_server_says_so_and_ends() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    scratch.write("lhttpd.toml", RULES);
    let config = scratch.path().join("lhttpd.toml");
    let config = config.to_str().expect("UTF-8");
    let nats = NatsServer::start(&[]);
    let mut daemon = Daemon::start(1, &["--config", config, "--nats", &nats.url()]);
    let status = daemon.exit_within(PATIENCE);
    assert!(status.is_some_and(|status| !status.success()), "{status:?}");
    daemon.wait_for("there is no JetStream for it");
    let mut check = Command::new(env!("CARGO_BIN_EXE_lhttpd"));
    check.args(["--config", config, "--nats", &nats.url(), "--history-file", "chat.db", "--check"]);
    let said = check.output().expect("it runs");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("with nats the history is in JetStream"), "{said}");
}
