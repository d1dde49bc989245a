//! Hostile messages from NATS neighbours: none of them ends the node or its connection, or costs others a message.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use crate::helpers::{
    self,
    client::Client,
    daemon::Daemon,
    nats::{NatsServer, RawNats, has_nats_server},
    scratch::Scratch,
};

const LIMITS: Duration = Duration::from_secs(15);

/// A neighbour that may send headers and any bytes.
struct Neighbour(BufReader<TcpStream>);

impl Neighbour {
    fn connect(nats: &NatsServer) -> Self {
        let stream = TcpStream::connect(nats.address()).expect("nats-server accepts");
        stream.set_read_timeout(Some(helpers::PATIENCE)).expect("a read timeout");
        let mut neighbour = Self(BufReader::new(stream));
        neighbour.line();
        neighbour.say(b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
        neighbour
    }

    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).expect("nats-server answers");
        line
    }

    fn say(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("nats-server takes it");
    }

    fn publish(&mut self, subject: &[u8], reply: &[u8], payload: &[u8]) {
        self.say(
            &[b"PUB ", subject, b" ", reply, b" ", payload.len().to_string().as_bytes(), b"\r\n", payload, b"\r\n"]
                .concat(),
        );
    }

    fn publish_with_headers(&mut self, subject: &[u8], head: &[u8], payload: &[u8]) {
        let lens = format!("{} {}\r\n", head.len(), head.len() + payload.len());
        self.say(&[b"HPUB ", subject, b" ", lens.as_bytes(), head, payload, b"\r\n"].concat());
    }

    /// Waits until the server has read everything. It reports errors before that.
    fn flush(&mut self) {
        self.say(b"PING\r\n");
        while self.line() != b"PONG\r\n" {}
    }
}

/// A node, and a client that is subscribed to everything.
fn node(nats: &NatsServer, args: &[&str]) -> (Daemon, Client) {
    let daemon = Daemon::start(1, &[&["--nats", &nats.url()], args].concat());
    daemon.wait_for("NATS: connected");
    let client = Client::connect(daemon.port());
    (daemon, client)
}

/// Subscribes, and waits until the subscription is live on all nodes.
fn subscribe(client: &mut Client, names: &str) {
    let is_online = helpers::wait_until(|| is_online(client, names), helpers::PATIENCE);
    assert!(is_online, "{names}");
}

fn is_online(client: &mut Client, names: &str) -> bool {
    client.say(&format!("LHTTP/1.0 n\r\nsubscribe:{names}\r\nack:a\r\n\r\n"));
    loop {
        let answer = String::from_utf8(client.recv().payload).expect("text");
        if answer.starts_with("LHTTP/1.0 ack\r\n") {
            return !answer.contains("cluster:offline");
        }
    }
}

#[test]
fn a_malformed_message_does_not_affect_other_messages() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let (daemon, mut client) = node(&nats, &[]);
    subscribe(&mut client, "> room odd.*");
    let mut neighbour = Neighbour::connect(&nats);
    let heads: [&[u8]; 14] = [
        b"NATS/1.0\r\nk: a\rb\r\n\r\n",
        b"NATS/1.0\r\nk\r\n\r\n",
        b"NATS/1.0\r\n: v\r\n\r\n",
        b"NATS/1.0\r\n\xff: v\r\n\r\n",
        b"NATS/1.0\r\nk: \xff\r\n\r\n",
        b"NATS/1.0 99999 much\r\n\r\n",
        b"NATS/1.0 0\r\n\r\n",
        b"NATS/1.0 abc\r\n\r\n",
        b"NATS/9.9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\r\n\r\n",
        b"NATS/1.0\r\nk: v",
        b"NATS/1.0\r\n k: v\r\n\r\n",
        b"\x00\r\n\r\n",
    ];
    for (number, head) in heads.iter().enumerate() {
        neighbour.publish_with_headers(b"room", head, format!("h{number}").as_bytes());
        neighbour.publish(b"room", b"", format!("p{number}").as_bytes());
    }
    let subjects: [&[u8]; 8] =
        [b"odd.\xff", b"odd.\x01", b"odd.\r", b"odd..x", b".odd", b"odd.", b"odd.*", b"odd.\x7f"];
    for subject in subjects {
        neighbour.publish(subject, b"", b"not for anybody");
        neighbour.publish_with_headers(subject, b"NATS/1.0\r\n\r\n", b"not for anybody");
    }
    let spaces = ["odd.\u{a0}", "odd.\u{2028}", "odd.a\u{200d}b", "odd.\u{85}"];
    for subject in spaces {
        neighbour.publish(subject.as_bytes(), b"", b"plain");
        neighbour.publish_with_headers(subject.as_bytes(), b"NATS/1.0\r\n\r\n", b"with headers");
    }
    for reply in [b"\xff".as_slice(), b"re\rply", "\u{a0}".as_bytes(), b"a..b"] {
        neighbour.publish(b"room", reply, b"with a reply");
    }
    for subject in [b"$SYS.x".as_slice(), b"_INBOX.x", b"_x", b"$"] {
        neighbour.publish(subject, b"", b"of the system");
    }
    neighbour.flush();
    neighbour.publish(b"room", b"", b"end");
    neighbour.flush();
    let mut heard: Vec<String> = Vec::new();
    // Each message comes twice: once for `>` and once for its name.
    while heard.iter().filter(|text| *text == "end").count() < 2 {
        heard.push(String::from_utf8(client.recv().payload).expect("text"));
    }
    let count = |text: &str| heard.iter().filter(|heard| *heard == text).count();
    for number in 0..heads.len() {
        assert_eq!((count(&format!("h{number}")), count(&format!("p{number}"))), (2, 2), "{number}: {heard:?}");
    }
    assert_eq!((count("plain"), count("with headers")), (2 * spaces.len(), 2 * spaces.len()), "{heard:?}");
    assert_eq!(count("with a reply"), 8, "{heard:?}");
    assert_eq!((count("not for anybody"), count("of the system")), (0, 0), "{heard:?}");
    daemon.wait_for("for their subjects are no channels");
    assert_eq!(daemon.stderr().matches("NATS: connected").count(), 1, "{}", daemon.stderr());
    assert!(!daemon.stderr().contains("is lost"), "{}", daemon.stderr());
}

#[test]
fn a_subscription_that_nats_refuses_is_acknowledged_as_refused_and_requested_again() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let denied = ["deny.\u{a0}", "deny.\u{2028}", "deny.a\u{200d}b", "deny.\"\\"];
    let permissions = "permissions: { publish: [\">\"], subscribe: { deny: [\"deny.*\"] } }";
    let config = format!(
        "max_subscriptions: 9\nmax_subscription_tokens: 6\nauthorization {{ users: [{{ user: u, password: p, {permissions} }}] }}\n"
    );
    let nats = NatsServer::start(&["-c", &scratch.write("nats.conf", &config)]);
    let daemon = Daemon::start(1, &["--nats", &format!("nats://u:p@{}", nats.address())]);
    daemon.wait_for("NATS: connected");
    let mut client = Client::connect(daemon.port());
    subscribe(&mut client, "a.b");
    for name in denied {
        assert!(!is_online(&mut client, name), "{name}");
    }
    assert!(!is_online(&mut client, "a.b.c.d.e.f.g"), "too many tokens");
    assert!(is_online(&mut client, "a.b.c.d.e.f"));
    // Many subscriptions at once, of which some are too many. Each answer must be true for its own subscription.
    for number in 0..20 {
        client.say(&format!("LHTTP/1.0 n\r\nsubscribe:s{number}\r\nack:{number}\r\n\r\n"));
    }
    let mut online = Vec::new();
    for number in 0..20 {
        let answer = String::from_utf8(client.recv().payload).expect("text");
        assert!(answer.contains(&format!("ack:{number}\r\n")), "{answer}");
        if !answer.contains("cluster:offline") {
            online.push(number);
        }
    }
    assert_eq!(online, [0, 1, 2, 3, 4], "there is room for nine, of which two are for operators");
    let mut neighbour = Neighbour::connect_as(&nats, "u", "p");
    for number in 0..20 {
        neighbour.publish(format!("s{number}").as_bytes(), b"", number.to_string().as_bytes());
    }
    for number in online {
        client.expect_text(&number.to_string());
    }
    // When others leave, the refused names are requested again, without a new connection.
    client.say("LHTTP/1.0 n\r\nunsubscribe:s0 s1 s2\r\n\r\n");
    let is_taken = helpers::wait_until(|| is_online(&mut client, "s5"), LIMITS);
    assert!(is_taken, "{}", daemon.stderr());
    assert_eq!(daemon.stderr().matches("NATS: connected").count(), 1, "{}", daemon.stderr());
    assert!(
        daemon.stderr().contains("subscriptions are refused (maximum subscriptions exceeded)"),
        "{}",
        daemon.stderr()
    );
}

impl Neighbour {
    fn connect_as(nats: &NatsServer, user: &str, password: &str) -> Self {
        let stream = TcpStream::connect(nats.address()).expect("nats-server accepts");
        let mut neighbour = Self(BufReader::new(stream));
        neighbour.line();
        neighbour
            .say(format!("CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"{password}\"}}\r\n").as_bytes());
        neighbour
    }
}

#[test]
fn a_node_with_a_prefix_neither_sees_nor_touches_other_subjects() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let (_here, mut one) = node(&nats, &["--nats-prefix", "app.test"]);
    let (_there, mut two) = node(&nats, &["--nats-prefix", "app.test"]);
    let mut raw = RawNats::connect(&nats);
    raw.subscribe("app.test.>");
    raw.flush();
    subscribe(&mut one, "room *.x");
    subscribe(&mut two, "room >");
    let message = helpers::message::chat(&["publish:room"], "hi");
    one.say(&message);
    one.expect_text(&message);
    two.expect_text(&message);
    two.expect_text(&message);
    assert_eq!(raw.recv(), ("app.test.room".to_owned(), message.into_bytes()));
    for subject in ["room", "app.room", "app.testroom", "other.app.test.room", "app.test._x", "app.test.$x"] {
        raw.publish(subject, b"for nobody here");
    }
    raw.publish("app.test.a.x", b"by patterns");
    one.expect_text("by patterns");
    two.expect_text("by patterns");
    one.expect_nothing_before_ack();
    two.expect_nothing_before_ack();
}

#[test]
fn a_flood_in_one_channel_does_not_push_out_messages_of_others() {
    if !has_nats_server() {
        return;
    }
    let address = helpers::loopback::free_address();
    let daemon = Daemon::start(1, &["--nats", &address.to_string(), "--nats-buffer", "512KiB"]);
    let (mut flooder, mut other) = (Client::connect(daemon.port()), Client::connect(daemon.port()));
    let body = "x".repeat(1000);
    for number in 0..3000 {
        flooder.say(&helpers::message::chat(&["publish:flood"], &body));
        if number % 100 == 0 {
            flooder.expect_nothing_before_ack();
            other.say(&helpers::message::chat(&["publish:room"], &number.to_string()));
            other.expect_nothing_before_ack();
        }
    }
    daemon.signal("STOP"); // until a client subscribes to the buffered messages
    let nats = NatsServer::start_at(address);
    let mut raw = RawNats::connect(&nats);
    raw.subscribe("room");
    raw.flush();
    daemon.signal("CONT");
    daemon.wait_for("did not fit nats-buffer; one of them on flood");
    for number in (0..3000).step_by(100) {
        assert_eq!(raw.recv().1, helpers::message::chat(&["publish:room"], &number.to_string()).into_bytes());
    }
}

#[test]
fn a_stranger_that_finds_the_bridges_own_port_gets_nowhere() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let (daemon, mut client) = node(&nats, &[]);
    subscribe(&mut client, "room");
    let Some(port) = own_port(&daemon) else { return };
    let strangers: Vec<_> = (0..20)
        .map(|_| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
                let _ = stream.set_read_timeout(Some(helpers::PATIENCE));
                let _ = stream.write_all(b"CONNECT {\"name\":\"lhttpd\"}\r\nPING\r\nSUB room 1\r\n");
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said);
                String::from_utf8_lossy(&said).into_owned()
            })
        })
        .collect();
    for stranger in strangers {
        let said = stranger.join().expect("it is closed");
        assert!(!said.contains("PONG"), "{said}");
    }
    subscribe(&mut client, "room.of.his.own");
    assert_eq!(daemon.stderr().matches("NATS: connected").count(), 1, "{}", daemon.stderr());
}

/// The port on which the bridge waits for its client.
fn own_port(daemon: &Daemon) -> Option<u16> {
    let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", daemon.id()))
        .ok()?
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(words[1].split_once(':')?.1, 16).ok()?;
        let is_listening = words[3] == "0A" && inodes.iter().any(|inode| inode == words[9]);
        (is_listening && port != daemon.port()).then_some(port)
    })
}
