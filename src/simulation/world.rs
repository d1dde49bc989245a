//! Nodes, clients and the network between them, all moved by one seed.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{
    client::{Asked, Client, End},
    node::Node,
    oracle::{self, Interval, Publication},
};
use crate::{
    config::Config,
    engine::{counters::Stats, hub::Limits, inbox::Mailbox},
};
use tungstenite::protocol::frame::coding::Control;

const CHANNELS: [&str; 6] = ["a", "b", "a.b", "a.c", "b.a.c", "c"];
const PATTERNS: [&str; 5] = [">", "a.*", "*", "*.b", "b.>"];
/// Publishers that are no clients are numbered from here, by node.
const LETTERS: usize = 1_000_000;

/// All of it.
pub(crate) struct World {
    rng: StdRng,
    now: Duration,
    /// Counts what happens, in order.
    clock: u64,
    nodes: Vec<Node>,
    /// Nodes that do not get the CPU for so many steps.
    frozen: Vec<usize>,
    freeze_max: usize,
    clients: Vec<Client>,
    publications: Vec<Publication>,
    /// The first publication that may still be on its way.
    unsettled: usize,
    buffer: Vec<u8>,
    body_bytes_max: usize,
    is_tight: bool,
}

impl World {
    pub(crate) fn new(seed: u64, mailbox: &Mailbox) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut limits = Limits::new(&Config::default(), u64::MAX, 1);
        limits.outbox_bytes_max = *[3_000, 30_000, 1 << 20].choose(&mut rng).expect("some");
        let is_tight = rng.random_bool(0.15);
        if is_tight {
            limits.kept_bytes_max = 6_000;
        }
        let nodes: u32 = rng.random_range(1..=4);
        let is_short = rng.random_bool(0.5);
        let writes = |own: u32| is_short.then(|| StdRng::seed_from_u64(seed + u64::from(own)));
        let node = |own| Node::new(own, nodes, limits.clone(), mailbox.clone(), writes(own));
        let mut nodes: Vec<Node> = (0..nodes).map(node).collect();
        if rng.random_bool(0.5) {
            nodes.iter_mut().for_each(|node| node.hub.set_batch_bytes_max(0));
        }
        let freeze_max = *[2, 100, 400].choose(&mut rng).expect("some");
        let buffer = vec![0; *[7, 100, 5_000, 128 * 1024].choose(&mut rng).expect("some")];
        let body_bytes_max =
            if buffer.len() < 5_000 { 200 } else { *[40, 300, 60_000].choose(&mut rng).expect("some") };
        Self {
            rng,
            now: Duration::ZERO,
            clock: 0,
            frozen: vec![0; nodes.len()],
            freeze_max,
            nodes,
            clients: Vec::new(),
            publications: Vec::new(),
            unsettled: 0,
            buffer,
            body_bytes_max,
            is_tight,
        }
    }

    /// Runs it to its end; gives what the nodes counted.
    pub(crate) fn run(mut self) -> Vec<Stats> {
        for _ in 0..self.rng.random_range(2..6) {
            self.connect();
        }
        for _ in 0..self.rng.random_range(2..6) {
            for _ in 0..self.rng.random_range(20..250) {
                self.step();
            }
            self.settle();
            if self.rng.random_bool(0.3) {
                let seconds = *[3, 30, 90].choose(&mut self.rng).expect("some");
                self.pass_time(seconds);
            }
        }
        self.finish();
        self.nodes.iter_mut().map(|node| *node.hub.refresh_stats()).collect()
    }

    /// Everybody goes, and nothing is left.
    fn finish(&mut self) {
        (0..self.clients.len()).for_each(|index| self.resume(index));
        self.settle();
        if self.rng.random_bool(0.3) {
            self.clients.iter_mut().for_each(|client| client.is_expendable = true);
            self.nodes.iter_mut().for_each(Node::drain);
        }
        for index in 0..self.clients.len() {
            let end = *[End::Close, End::Finish, End::Reset].choose(&mut self.rng).expect("some");
            self.end(index, end);
        }
        self.settle();
        self.pass_time(30);
        let ends = self.clients.iter().filter(|client| !client.is_over).map(|client| client.number);
        assert_eq!(ends.collect::<Vec<_>>(), [0; 0], "connections that the server has not closed");
        self.nodes.iter().for_each(|node| node.hub.assert_empty());
        self.clients.iter().for_each(|client| oracle::check(client, &self.publications));
    }

    fn step(&mut self) {
        self.clock += 1;
        self.now += Duration::from_micros(self.rng.random_range(0..400));
        let node = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..100) {
            0..3 if self.clients.len() < 20 => self.connect(),
            0..4 => self.frozen[node] = self.rng.random_range(1..self.freeze_max),
            4..7 => self.post_letter(node),
            7..50 => self.act(),
            50..75 => self.network(),
            _ => {
                self.turn_if_due(node, false); // rarely, so that turns are full
            }
        }
        self.frozen.iter_mut().for_each(|steps| *steps = steps.saturating_sub(1));
    }

    fn connect(&mut self) {
        let node = self.rng.random_range(0..self.nodes.len());
        let socket = self.nodes[node].connect();
        let is_http = self.rng.random_bool(0.15);
        let mut client = Client::new(self.clients.len(), node, socket, is_http);
        client.is_expendable = self.is_tight;
        if !is_http {
            client.upgrade();
        }
        self.clients.push(client);
    }

    /// A client does something.
    fn act(&mut self) {
        let Some(index) = (0..self.clients.len()).collect::<Vec<_>>().choose(&mut self.rng).copied() else { return };
        if !self.clients[index].is_alive() {
            return;
        }
        if self.clients[index].is_http {
            return self.post(index);
        }
        match self.rng.random_range(0..100) {
            0..70 => self.send_message(index),
            70..76 => {
                for _ in 0..self.rng.random_range(1..25) {
                    self.send_message(index);
                }
            }
            76..82 => self.send_unsound(index),
            82..90 => self.clients[index].send_ping(&mut self.rng),
            90..95 if self.clients[index].is_stalled => self.resume(index),
            90..95 => self.stall(index),
            95..97 => {
                let end = *[End::Close, End::Finish, End::Reset].choose(&mut self.rng).expect("some");
                self.end(index, end);
            }
            _ => {}
        }
    }

    /// A message with any of the control headers.
    fn send_message(&mut self, index: usize) {
        let (mut head, mut live, mut over) = (String::new(), Vec::new(), Vec::new());
        if self.rng.random_bool(0.3) {
            let names = self.names();
            head += &format!("subscribe:{}\r\n", names.join(" "));
            live = self.subscribe(index, names);
        }
        let channels = if self.rng.random_bool(0.7) { self.channels() } else { Vec::new() };
        let client = &self.clients[index];
        let open = client.intervals.iter().filter(|interval| interval.left.is_none());
        let own = open.map(|interval| interval.matches(&channels)).sum();
        if self.rng.random_bool(0.15) {
            let names = self.names();
            head += &format!("Unsubscribe: {}\r\n", names.join("  "));
            over = self.unsubscribe(index, &names);
        }
        let no_echo = self.rng.random_bool(0.2);
        if no_echo {
            head += "no-echo:true\r\n";
        }
        if self.rng.random_bool(0.5) {
            let token = self.clients[index].token();
            head += &format!("ack:{token}\r\n");
            self.clients[index].asked.insert(token, Asked::Sound { live, over });
        }
        let (is_text, payload) = self.publication(index, &head, channels);
        let publication = self.publications.last_mut().expect("just made");
        (publication.own, publication.no_echo) = (own, no_echo);
        self.clients[index].send_message(&mut self.rng, is_text, &payload);
    }

    /// A message of which nothing may happen.
    fn send_unsound(&mut self, index: usize) {
        let token = self.clients[index].token();
        let flaw = *["subscribe:a..b", "unsubscribe:a.>.b", "publish:*", "multipart:5 3", "upstream:GET http://x/"]
            .choose(&mut self.rng)
            .expect("some");
        let head = format!("ack:{token}\r\nsubscribe:zzz\r\n{flaw}\r\n");
        let channels = self.channels();
        let (is_text, payload) = self.publication(index, &head, channels);
        self.publications.last_mut().expect("just made").is_unsound = true;
        self.clients[index].asked.insert(token, Asked::Unsound);
        self.clients[index].send_message(&mut self.rng, is_text, &payload);
    }

    /// A message over HTTP.
    fn post(&mut self, index: usize) {
        let channels = self.channels();
        let count = channels.len();
        let (is_text, payload) = self.publication(index, "", channels);
        self.publications.last_mut().expect("just made").is_text = is_text || std::str::from_utf8(&payload).is_ok();
        let client = &mut self.clients[index];
        if self.rng.random_bool(0.5) {
            let head = format!("POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", payload.len());
            client.to_send.extend_from_slice(head.as_bytes());
            client.to_send.extend_from_slice(&payload);
        } else {
            client.to_send.extend(b"POST /publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in payload.chunks(self.rng.random_range(1..2000)) {
                client.to_send.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                client.to_send.extend_from_slice(chunk);
                client.to_send.extend(b"\r\n");
            }
            client.to_send.extend(b"0\r\n\r\n");
        }
        client.responses.push_back((200, Some(format!("{{\"channels\":{count}}}"))));
    }

    /// Something is published from another thread.
    fn post_letter(&mut self, node: usize) {
        let channels = self.channels();
        let (_, payload) = self.publication(LETTERS + node, "", channels.clone());
        let publication = self.publications.last_mut().expect("just made");
        publication.is_text = std::str::from_utf8(&payload).is_ok();
        self.nodes[node].letters.push_back((channels.join(" ").into_bytes(), payload));
    }

    /// Makes up a message and notes it; without channels it is one that must not reach anybody.
    fn publication(&mut self, publisher: usize, head: &str, channels: Vec<String>) -> (bool, Vec<u8>) {
        let is_text = self.rng.random_bool(0.6);
        let publish = if channels.is_empty() { String::new() } else { format!("publish:{}\r\n", channels.join(" ")) };
        let mut payload = format!("LHTTP/1.0 m\r\n{publish}{head}\r\n{} ", self.publications.len()).into_bytes();
        let len = self.rng.random_range(0..self.body_bytes_max);
        let filler: &[u8] = if is_text { "é€".as_bytes() } else { &[0xff, 0, 0x80] };
        payload.extend_from_slice(&filler.repeat(len / filler.len()));
        self.publications.push(Publication {
            publisher,
            channels,
            payload: payload.clone(),
            is_text,
            no_echo: false,
            is_unsound: false,
            sent: self.clock,
            settled: u64::MAX,
            is_certain: false,
            own: 0,
        });
        (is_text, payload)
    }

    fn channels(&mut self) -> Vec<String> {
        let count = if self.rng.random_bool(0.8) { 1 } else { self.rng.random_range(2..4) };
        CHANNELS.sample(&mut self.rng, count).map(|name| name.to_string()).collect()
    }

    fn names(&mut self) -> Vec<String> {
        let count = self.rng.random_range(1..3);
        let names: Vec<&str> = CHANNELS.iter().chain(&PATTERNS).copied().collect();
        names.sample(&mut self.rng, count).map(|name| name.to_string()).collect()
    }

    fn subscribe(&mut self, index: usize, names: Vec<String>) -> Vec<usize> {
        let clock = self.clock;
        let intervals = &mut self.clients[index].intervals;
        let mut found = Vec::new();
        for name in names {
            let open = intervals.iter().position(|interval| interval.name == name && interval.left.is_none());
            found.push(open.unwrap_or_else(|| {
                intervals.push(Interval::new(name, clock));
                intervals.len() - 1
            }));
        }
        found
    }

    fn unsubscribe(&mut self, index: usize, names: &[String]) -> Vec<usize> {
        let mut found = Vec::new();
        for (position, interval) in self.clients[index].intervals.iter_mut().enumerate() {
            if interval.left.is_none() && names.contains(&interval.name) {
                interval.left = Some(self.clock);
                found.push(position);
            }
        }
        found
    }

    fn stall(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.is_stalled = true;
        self.nodes[client.node].socket(client.socket).room = self.rng.random_range(0..3000);
    }

    fn resume(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.is_stalled = false;
        self.nodes[client.node].socket(client.socket).room = usize::MAX;
    }

    fn end(&mut self, index: usize, end: End) {
        if !self.clients[index].is_alive() {
            return;
        }
        let end = if self.clients[index].is_http && end == End::Close { End::Finish } else { end };
        if end == End::Close {
            self.clients[index].send_control(&mut self.rng, Control::Close, &1000u16.to_be_bytes());
        }
        self.clients[index].ended = Some(end);
        self.resume(index);
    }

    /// The network moves some bytes of one client.
    fn network(&mut self) {
        let Some(index) = (0..self.clients.len()).collect::<Vec<_>>().choose(&mut self.rng).copied() else { return };
        let most = *[1, 20, 3000, usize::MAX].choose(&mut self.rng).expect("some");
        self.move_bytes(index, most);
    }

    /// Moves up to so many bytes to the server, and all back; true when that was any.
    fn move_bytes(&mut self, index: usize, most: usize) -> bool {
        let client = &mut self.clients[index];
        let socket = self.nodes[client.node].socket(client.socket);
        if client.is_over {
            return false;
        }
        let mut has_moved = false;
        if client.ended == Some(End::Reset) {
            has_moved |= !std::mem::replace(&mut socket.is_reset, true);
            client.is_over = socket.is_closed;
            socket.readable |= has_moved;
            return has_moved;
        }
        let sent = client.to_send.len().min(most);
        if sent > 0 {
            socket.inbound.extend_from_slice(&client.to_send[..sent]);
            client.to_send.drain(..sent);
            (socket.readable, has_moved) = (true, true);
        }
        let is_finished = client.to_send.is_empty() && (client.ended.is_some() || socket.is_shut);
        if is_finished && !socket.is_finished {
            socket.is_finished = true;
            (socket.readable, has_moved) = (true, true);
        }
        client.was_slow |= socket.is_refused;
        if client.is_stalled {
            return has_moved;
        }
        if std::mem::take(&mut socket.is_refused) || self.rng.random_bool(0.01) {
            socket.writable = true;
            has_moved = true;
        }
        let bytes = std::mem::take(&mut socket.outbound);
        let is_over = socket.is_closed || socket.is_shut;
        has_moved |= !bytes.is_empty();
        client.receive(&bytes, &mut self.rng, self.clock, &self.publications);
        if is_over && socket.is_closed {
            client.end_of_input();
        }
        has_moved
    }

    fn turn_if_due(&mut self, node: usize, must: bool) -> bool {
        let is_due = self.nodes[node].next_turn(self.now).is_some_and(|at| at <= self.now);
        let is_spurious = !must && self.rng.random_bool(0.05);
        if (!is_due && !is_spurious) || (!must && self.frozen[node] > 0) {
            return false;
        }
        self.nodes[node].turn(self.now, &mut self.buffer);
        for peer in (0..self.nodes.len()).filter(|&peer| peer != node) {
            let Some(batch) = self.nodes[node].hub.take_batch(peer as u32) else { continue };
            if let Err(batch) = self.nodes[peer].take_in(node, batch) {
                self.nodes[node].hub.give_back_batch(peer as u32, batch);
            }
        }
        self.nodes[node].end_turn();
        true
    }

    /// Lets everything that is on its way arrive; no more time passes than links need.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "it does not come to rest");
            self.clock += 1;
            let mut has_moved = false;
            for index in 0..self.clients.len() {
                let most = self.rng.random_range(1..200_000);
                has_moved |= self.move_bytes(index, most);
            }
            for node in 0..self.nodes.len() {
                has_moved |= self.turn_if_due(node, true);
            }
            if !has_moved && !self.nodes.iter().any(|node| node.hub.has_batches()) {
                break;
            }
            if !has_moved {
                self.now += Duration::from_millis(1);
            }
        }
        self.clock += 1;
        self.at_rest();
        self.clock += 1;
    }

    fn at_rest(&mut self) {
        for node in &self.nodes {
            assert!(!node.hub.has_paused() && node.letters.is_empty(), "a node sleeps on what it could do");
            assert!(node.links.iter().flatten().all(|link| link.is_empty()));
        }
        for client in &mut self.clients {
            client.at_rest(self.clock);
        }
        for publication in &mut self.publications[self.unsettled..] {
            publication.settled = self.clock;
            let publisher = self.clients.get(publication.publisher);
            publication.is_certain = publisher.is_none_or(|client| client.is_alive() && !client.is_stalled);
        }
        self.unsettled = self.publications.len();
    }

    fn pass_time(&mut self, seconds: u64) {
        for client in &mut self.clients {
            client.was_silent |= client.is_stalled || client.is_http;
        }
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.settle();
        }
    }
}
