//! Which server a node is connected to, and how it moves to another one.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::helpers::{
    self,
    client::Client,
    daemon::Daemon,
    loopback::free_address,
    nats::{NatsServer, RawNats, has_nats_server},
    scratch::Scratch,
};

fn wait_until_online(daemon: &Daemon, name: &str) -> Client {
    let mut client = Client::connect(daemon.port());
    let is_online = || {
        client.say(&format!("LHTTP/1.0 n\r\nsubscribe:{name}\r\nack:a\r\n\r\n"));
        !String::from_utf8(client.recv().payload).expect("text").contains("offline")
    };
    assert!(helpers::wait_until(is_online, helpers::PATIENCE), "{}", daemon.stderr());
    client
}

/// Two servers of one cluster.
fn cluster(args: [&[&str]; 2]) -> [NatsServer; 2] {
    let route = format!("nats://{}", free_address());
    let other = format!("nats://{}", free_address());
    let first = ["--cluster_name", "c", "--cluster", &route];
    let second = ["--cluster_name", "c", "--cluster", &other, "--routes", &route];
    [NatsServer::start(&[&first, args[0]].concat()), NatsServer::start(&[&second, args[1]].concat())]
}

/// Publishes numbers at this server until it is told to stop. Returns how many.
fn publish_numbers(server: &NatsServer, channel: &'static str) -> (mpsc::Sender<()>, thread::JoinHandle<usize>) {
    let mut raw = RawNats::connect(server);
    let (end, ended) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut number = 0;
        while ended.recv_timeout(Duration::from_millis(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            raw.publish(channel, number.to_string().as_bytes());
            number += 1;
        }
        raw.flush();
        raw.publish(channel, b"end");
        raw.flush();
        number
    });
    (end, thread)
}

/// Receives numbers until the end, and checks that each came once.
fn expect_numbers(client: &mut Client, count: usize) {
    let mut heard: Vec<usize> = Vec::new();
    loop {
        let text = String::from_utf8(client.recv().payload).expect("text");
        match text.parse() {
            Ok(number) => heard.push(number),
            Err(_) if text == "end" => break,
            Err(_) => {}
        }
    }
    heard.sort_unstable();
    let missing: Vec<usize> = (0..count).filter(|number| heard.binary_search(number).is_err()).collect();
    assert_eq!((missing, heard.len()), (Vec::new(), count), "each number comes once");
}

#[test]
fn a_node_leaves_a_closing_server_in_time_and_loses_nothing() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let config = scratch.write("nats.conf", "lame_duck_duration: \"40s\"\nlame_duck_grace_period: \"5s\"\n");
    let [mut first, second] = cluster([&["-c", &config], &[]]);
    // The first server tells the node of the second.
    let daemon = Daemon::start(1, &["--nats", &first.url()]);
    let mut client = wait_until_online(&daemon, "room");
    let mut publisher = Client::connect(daemon.port());
    let mut raw = RawNats::connect(&second);
    raw.subscribe("back");
    raw.flush();
    let probe = || {
        raw_publish(&second, "room", "probe");
        client.set_timeout(Duration::from_millis(100));
        client.try_recv().is_ok()
    };
    assert!(helpers::wait_until(probe, helpers::PATIENCE), "the servers are one");
    client.set_timeout(helpers::PATIENCE);
    let (end, numbers) = publish_numbers(&second, "room");
    let (stop, back) = mpsc::channel::<()>();
    let publishing = thread::spawn(move || {
        let mut count = 0;
        while back.recv_timeout(Duration::from_millis(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            publisher.say(&helpers::message::chat(&["publish:back"], &count.to_string()));
            count += 1;
        }
        publisher.expect_nothing_before_ack();
        count
    });
    first.lame_duck();
    daemon.wait_for("is about to close its connections");
    daemon.wait_for(&format!("moved to {}", second.url()));
    helpers::let_pass(Duration::from_millis(500)); // time in which both connections exist, and then only one
    first.kill();
    helpers::let_pass(Duration::from_millis(300));
    end.send(()).expect("it publishes");
    stop.send(()).expect("it publishes");
    expect_numbers(&mut client, numbers.join().expect("it publishes"));
    for number in 0..publishing.join().expect("it publishes") {
        assert_eq!(raw.recv().1, helpers::message::chat(&["publish:back"], &number.to_string()).into_bytes());
    }
    assert!(!daemon.stderr().contains("is lost"), "{}", daemon.stderr());
}

fn raw_publish(server: &NatsServer, channel: &str, text: &str) {
    let mut raw = RawNats::connect(server);
    raw.publish(channel, text.as_bytes());
    raw.flush();
}

#[test]
fn unreachable_servers_do_not_delay_the_others() {
    if !has_nats_server() {
        return;
    }
    // The front names servers that nobody can reach: packets to the first ones vanish.
    let silent = Silent::start();
    let info = [silent.address().to_string(), free_address().to_string(), "192.0.2.1:4222".to_owned()];
    let mut nats = NatsServer::start(&[]);
    let front = Front::start(nats.address(), &info);
    let daemon = Daemon::start(1, &["--nats", &format!("nats://{}", front.0)]);
    let _client = wait_until_online(&daemon, "room");
    for round in 0..3 {
        nats.kill();
        nats.restart();
        let since = Instant::now();
        let is_back = || daemon.stderr().matches("NATS: connected").count() == round + 2;
        assert!(helpers::wait_until(is_back, helpers::PATIENCE), "{}", daemon.stderr());
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}: {}", since.elapsed(), daemon.stderr());
    }
    let lost = format!("the connection to nats://{} is lost", front.0);
    assert_eq!(daemon.stderr().matches(&lost).count(), 3, "it names who is gone: {}", daemon.stderr());
}

/// A server that accepts and says nothing.
struct Silent(TcpListener);

impl Silent {
    fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }
}

/// A proxy of a server. It adds other servers to the server's first line.
struct Front(SocketAddr);

impl Front {
    fn start(server: SocketAddr, others: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let urls = others.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(",");
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let urls = urls.clone();
                thread::spawn(move || pass(client, server, &urls));
            }
        });
        Self(address)
    }
}

fn pass(mut client: TcpStream, server: SocketAddr, urls: &str) -> Option<()> {
    let mut server = BufReader::new(TcpStream::connect(server).ok()?);
    let mut info = String::new();
    server.read_line(&mut info).ok()?;
    let info = info.replacen('{', &format!("{{\"connect_urls\":[{urls}],"), 1);
    client.write_all(info.as_bytes()).ok()?;
    let (mut from, mut to) = (client.try_clone().ok()?, server.get_ref().try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    let mut bytes = [0; 4096];
    loop {
        let len = server.read(&mut bytes).unwrap_or(0);
        if len == 0 {
            let _ = client.shutdown(std::net::Shutdown::Both);
            return None;
        }
        client.write_all(&bytes[..len]).ok()?;
    }
}

#[test]
fn a_rotated_password_is_used_at_the_next_connection_and_at_once_on_sighup() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let one = |password: &str| format!("authorization {{ user: node, password: \"{password}\" }}\n");
    let mut nats = NatsServer::start(&["-c", &scratch.write("nats.conf", &one("first"))]);
    let file = scratch.write("password", "first\n");
    let daemon = Daemon::start(1, &["--nats", &nats.url(), "--nats-user", "node", "--nats-password-file", &file]);
    let mut client = wait_until_online(&daemon, "room");
    // The password changes on both sides, and the server restarts.
    scratch.write("password", "second\n");
    scratch.write("nats.conf", &one("second"));
    nats.kill();
    nats.restart();
    let is_back = || daemon.stderr().matches("NATS: connected").count() == 2;
    assert!(helpers::wait_until(is_back, helpers::PATIENCE), "{}", daemon.stderr());
    // A file that cannot be read is logged, and its earlier content is used.
    std::fs::remove_file(&file).expect("it is there");
    nats.kill();
    nats.restart();
    daemon.wait_for("nats-password-file: cannot read");
    let is_back = || daemon.stderr().matches("NATS: connected").count() == 3;
    assert!(helpers::wait_until(is_back, helpers::PATIENCE), "{}", daemon.stderr());
    // On SIGHUP the node moves to a connection with the new password.
    scratch.write("password", "second \n");
    daemon.signal("HUP");
    daemon.wait_for("nothing has changed");
    scratch.write("nats.conf", &one("third"));
    nats.reload();
    let is_lost = || daemon.stderr().contains("authorization violation");
    assert!(helpers::wait_until(is_lost, helpers::PATIENCE), "its user is gone: {}", daemon.stderr());
    scratch.write("password", "third\n");
    daemon.signal("HUP");
    daemon.wait_for("nats-password-file");
    let is_back = || daemon.stderr().matches("NATS: connected").count() == 4;
    assert!(helpers::wait_until(is_back, helpers::PATIENCE), "{}", daemon.stderr());
    drop(wait_until_online(&daemon, "room.2"));
    let mut raw = RawNats::connect_as(&nats, "node", "third");
    raw.publish("room", b"still here");
    client.expect_text("still here");
}

#[test]
fn sighup_with_new_credentials_reconnects_without_a_gap() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    // The server asks for no password, and so accepts any.
    let nats = NatsServer::start(&[]);
    let file = scratch.write("password", "one\n");
    let daemon = Daemon::start(1, &["--nats", &nats.url(), "--nats-user", "node", "--nats-password-file", &file]);
    let mut client = wait_until_online(&daemon, "room");
    let (end, numbers) = publish_numbers(&nats, "room");
    for round in 1..=3 {
        scratch.write("password", &format!("another {round}\n"));
        daemon.signal("HUP");
        let has_moved = || daemon.stderr().matches("NATS: moved to").count() == round;
        assert!(helpers::wait_until(has_moved, helpers::PATIENCE), "{}", daemon.stderr());
    }
    end.send(()).expect("it publishes");
    expect_numbers(&mut client, numbers.join().expect("it publishes"));
    scratch.write("password", "\n");
    daemon.signal("HUP");
    daemon.wait_for("password is empty");
    drop(wait_until_online(&daemon, "room.2"));
    assert!(!daemon.stderr().contains("is lost"), "{}", daemon.stderr());
}

#[test]
fn a_node_that_was_stopped_comes_back() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let daemon = Daemon::start(1, &["--nats", &nats.url()]);
    let mut client = wait_until_online(&daemon, "room");
    let mut raw = RawNats::connect(&nats);
    daemon.signal("STOP");
    for number in 0..1000 {
        raw.publish("room", number.to_string().as_bytes());
    }
    raw.flush();
    helpers::let_pass(Duration::from_secs(3));
    daemon.signal("CONT");
    for number in 0..1000 {
        client.expect_text(&number.to_string());
    }
    drop(wait_until_online(&daemon, "room.2"));
    assert!(!daemon.stderr().contains("is lost"), "{}", daemon.stderr());
}
