//! Three servers of NATS with JetStream and three nodes, of which one after the other is killed: what was acknowledged comes
//! to every subscriber, once. `LHTTP_CRASHES` says how often (two times, if it does not say so).

use std::{
    collections::HashMap,
    env,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use lhttp::{
    Message,
    client::{Client, Event, Start},
};
use rand::RngExt;

use crate::helpers::{
    daemon::Daemon,
    loopback::free_address,
    nats::{NatsServer, has_nats_server},
    scratch::Scratch,
    seeded_rng, wait_until,
};

const SERVERS: usize = 3;
/// JetStream needs some seconds for a new leader, and this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);
const RULES: &str = "[[channel]]\nmatch = \"kept\"\nhistory = 100000\n";

fn nats_cluster(scratch: &Scratch) -> Vec<NatsServer> {
    let routes: Vec<SocketAddr> = (0..SERVERS).map(|_| free_address()).collect();
    let start = |number: usize| {
        let others: Vec<String> = routes.iter().map(|route| format!("nats://{route}")).collect();
        let (cluster, name) = (format!("nats://{}", routes[number]), format!("server-{number}"));
        let store = scratch.path().join(&name);
        let store = store.to_str().expect("UTF-8");
        NatsServer::start(&[
            "-js",
            "-sd",
            store,
            "-n",
            &name,
            "--cluster_name",
            "test",
            "--cluster",
            &cluster,
            "--routes",
            &others.join(","),
        ])
    };
    (0..SERVERS).map(start).collect()
}

struct Nodes {
    args: Vec<String>,
    daemons: Vec<Option<Daemon>>,
    addresses: Vec<SocketAddr>,
}

impl Nodes {
    fn start(scratch: &Scratch, servers: &[NatsServer]) -> Self {
        scratch.write("lhttpd.toml", RULES);
        let config = scratch.path().join("lhttpd.toml").to_str().expect("UTF-8").to_owned();
        let urls = servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",");
        let args = vec!["--config".to_owned(), config, "--nats".to_owned(), urls];
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let addresses: Vec<_> = (0..SERVERS).map(|_| free_address()).collect();
        let start = |(number, &address)| Some(Daemon::start_at(address, cores(number), &words));
        let daemons = addresses.iter().enumerate().map(start).collect();
        Self { args, daemons, addresses }
    }

    fn restart(&mut self, number: usize) {
        self.daemons[number] = None; // dropping it kills it
        let words: Vec<&str> = self.args.iter().map(String::as_str).collect();
        self.daemons[number] = Some(Daemon::start_at(self.addresses[number], cores(number), &words));
    }
}

/// The cores of a node: one or two.
fn cores(number: usize) -> usize {
    1 + (number + 1) % 2
}

fn message_of(body: &str) -> Message {
    Message::new("chat").expect("a command").body(body)
}

fn connect(address: SocketAddr) -> Client {
    let builder = Client::builder(format!("ws://{address}")).timeout(PATIENCE);
    builder.reconnect_delay(Duration::from_millis(20), Duration::from_millis(200)).connect().expect("a node")
}

/// A message's body and its id.
type Numbered = (String, String);

/// Publishes numbers until it is stopped. Returns those that were acknowledged.
fn writer(
    address: SocketAddr,
    number: usize,
    stop: &Arc<AtomicBool>,
    count: &Arc<AtomicUsize>,
) -> JoinHandle<Vec<Numbered>> {
    let (stop, count) = (Arc::clone(stop), Arc::clone(count));
    thread::spawn(move || {
        let (mut client, mut acknowledged) = (connect(address), Vec::new());
        for message in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let body = format!("{number} {message}");
            match client.publish("kept", message_of(&body)) {
                Ok(ack) => {
                    acknowledged.push((body, ack.message_id().expect("it is kept").to_owned()));
                    count.fetch_add(1, Ordering::Relaxed);
                }
                // Nobody knows whether it is stored. It is not sent again. The client connects once more.
                Err(_) => _ = client.poll(Duration::from_millis(20)),
            }
        }
        acknowledged
    })
}

/// Subscribes, and takes messages until it has the last one of all.
fn reader(address: SocketAddr) -> JoinHandle<Vec<Numbered>> {
    let (mut client, mut seen) = (connect(address), Vec::new());
    client.subscribe_from("kept", Start::last(1)).expect("it subscribes");
    thread::spawn(move || {
        loop {
            match client.poll(PATIENCE).expect("the client goes on") {
                Some(Event::Message(message)) if message.body_bytes() == b"last" => return seen,
                Some(Event::Message(message)) => {
                    let id = message.header_value("message-id").expect("it is numbered").to_owned();
                    seen.push((String::from_utf8_lossy(message.body_bytes()).into_owned(), id));
                }
                Some(Event::MessagesLost { channel }) => {
                    let (before, position) = (seen.last(), client.position(&channel));
                    panic!("messages of {channel} are lost at {address} after {before:?}, at {position:?}")
                }
                Some(_) => {}
                None => panic!("nothing comes"),
            }
        }
    })
}

#[test]
fn nothing_acknowledged_is_missing_when_servers_and_nodes_crash() {
    if !has_nats_server() {
        return;
    }
    let crashes: usize = env::var("LHTTP_CRASHES").map_or(2, |text| text.parse().expect("a number"));
    let scratch = Scratch::new();
    let mut servers = nats_cluster(&scratch);
    let mut nodes = Nodes::start(&scratch, &servers);
    for node in nodes.daemons.iter().flatten() {
        assert!(wait_until(|| node.stderr().contains("in the stream LHTTP, which has 3 copies"), PATIENCE));
    }
    let readers: Vec<_> = nodes.addresses.iter().map(|&address| reader(address)).collect();
    let (stop, count) = (Arc::default(), Arc::default());
    let writers: Vec<_> =
        nodes.addresses.iter().enumerate().map(|(number, &address)| writer(address, number, &stop, &count)).collect();
    let acknowledges_more = |more: usize| {
        let before = count.load(Ordering::Relaxed);
        assert!(wait_until(|| count.load(Ordering::Relaxed) >= before + more, PATIENCE), "nothing is acknowledged");
    };
    let mut rng = seeded_rng();
    for crash in 0..crashes {
        println!("crash {crash}");
        assert!(!readers.iter().any(JoinHandle::is_finished), "a reader has failed");
        acknowledges_more(rng.random_range(50..300));
        let victim = rng.random_range(0..SERVERS);
        if crash % 2 == 0 {
            servers[victim].kill();
            acknowledges_more(rng.random_range(1..50));
            servers[victim].restart();
        } else {
            nodes.restart(victim);
        }
    }
    acknowledges_more(300);
    stop.store(true, Ordering::Relaxed);
    let acknowledged: Vec<Numbered> = writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect();
    connect(nodes.addresses[0]).publish("kept", message_of("last")).expect("it is stored");
    for reader in readers {
        let seen = reader.join().expect("a reader");
        let mut times: HashMap<&str, usize> = HashMap::new();
        seen.iter().for_each(|(body, _)| *times.entry(body).or_default() += 1);
        // With what the reader has got under its id: JetStream has given the number twice.
        let instead = |id: &str| seen.iter().find(|(_, other)| *other == id);
        let is_lost = |(body, _): &&Numbered| !times.contains_key(body.as_str());
        let lost: Vec<_> = acknowledged.iter().filter(is_lost).map(|lost| (lost, instead(&lost.1))).collect();
        let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        println!(
            "{crashes} crashes, {} acknowledged messages, {} received: {} lost, {} twice",
            acknowledged.len(),
            seen.len(),
            lost.len(),
            twice.len()
        );
        assert!(lost.is_empty() && twice.is_empty(), "lost: {lost:?}, twice: {twice:?}");
    }
}
