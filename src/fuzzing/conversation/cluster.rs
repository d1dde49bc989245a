//! The servers and their clients.

use std::{collections::VecDeque, time::Duration};

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{
    super::{dice::Dice, hostile, http},
    Ruled,
    bounds::{self, Flow, Spent},
    limits,
};
use crate::{
    engine::limits::Limits,
    simulation::{
        frames::{HANDSHAKE, Incoming, Reader, push_frame},
        node::Node,
        sockets::Socket,
    },
};

const CLIENTS_MAX: usize = 12;
/// The first clients are well-behaved: one reads, one publishes.
const WELL_BEHAVED: usize = 2;
/// The channel of the well-behaved clients. No other client can name it.
const CHANNEL: &str = "well-behaved.channel";

struct Client {
    node: usize,
    socket: usize,
    /// Bytes on their way to the server.
    to_send: Vec<u8>,
    is_finished: bool,
    is_reset: bool,
    is_stalled: bool,
    /// Reads the server's bytes, if the client has really upgraded.
    reader: Option<Reader>,
}

/// The servers, the clients, and the oracle's notes.
pub(super) struct Cluster {
    now: Duration,
    nodes: Vec<Node>,
    limits: Limits,
    clients: Vec<Client>,
    flow: Flow,
    spent: Vec<Spent>,
    buffer: Vec<u8>,
    /// Bodies that the well-behaved reader must still receive.
    expected: VecDeque<Vec<u8>>,
    /// The budget is so small that a server may have to close well-behaved clients.
    is_tight: bool,
    /// All clients are about to go.
    is_over: bool,
}

impl Cluster {
    pub(super) fn new(dice: &mut Dice<'_>) -> Self {
        let ruled = dice.choose(&Ruled::ALL);
        let mut limits = limits(ruled);
        let count = 1 + dice.below(3) as u32;
        limits.outbox_bytes_max = dice.choose(&[1 << 20, 30_000, 5_000]);
        let is_tight = dice.is_one_in(4);
        if is_tight {
            limits.kept_bytes_max = dice.choose(&[40_000, 10_000]);
            limits.table_bytes_max = limits.kept_bytes_max / 2;
        }
        limits.history_bytes_max = dice.choose(&[100_000, 1_000]);
        limits.subscriptions_max = dice.choose(&[1000, 8]);
        limits.publish_channels_max = dice.choose(&[32, 3]);
        limits.http_head_bytes_max = dice.choose(&[8192, 512]);
        let node = |own| Node::new(own, count, limits.clone(), None);
        let mut nodes: Vec<Node> = (0..count).map(node).collect();
        let (units, has_full_links) = (dice.choose(&[None, Some(300), Some(3000)]), dice.is_one_in(2));
        for node in &mut nodes {
            if let Some(units) = units {
                node.set_small_turns(units);
            }
            if has_full_links {
                node.hub_mut().router.set_batch_bytes_max(0);
            }
        }
        let spent = vec![Spent::default(); nodes.len()];
        let buffer = vec![0; dice.choose(&[4096, 64 * 1024, 5])];
        let (clients, flow, expected) = (Vec::new(), Flow::default(), VecDeque::new());
        let now = Duration::ZERO;
        let mut cluster = Self { now, nodes, limits, clients, flow, spent, buffer, expected, is_tight, is_over: false };
        // The well-behaved reader and publisher.
        cluster.connect(0, true);
        cluster.connect(count as usize - 1, true);
        let subscribe = format!("LHTTP/1.0 c\r\nsubscribe:{CHANNEL}\r\n\r\n");
        cluster.say(0, OpCode::Data(Data::Text), subscribe.as_bytes());
        cluster.settle();
        cluster
    }

    /// Takes one random step.
    pub(super) fn step(&mut self, dice: &mut Dice<'_>) {
        let hostile =
            (self.clients.len() > WELL_BEHAVED).then(|| WELL_BEHAVED + dice.below(self.clients.len() - WELL_BEHAVED));
        match (dice.below(16), hostile) {
            (0 | 1, _) | (_, None) if self.clients.len() < CLIENTS_MAX => {
                let (node, upgrades) = (dice.below(self.nodes.len()), !dice.is_one_in(4));
                self.connect(node, upgrades);
            }
            (2..=7, Some(client)) => self.speak(client, dice),
            (8 | 9, Some(client)) => {
                let most = dice.choose(&[usize::MAX, 1, 20, 300]);
                self.move_bytes(client, most);
            }
            (10 | 11, _) => {
                let node = dice.below(self.nodes.len());
                self.turn_if_due(node);
            }
            (12, Some(client)) => {
                self.clients[client].is_stalled = dice.is_one_in(2);
                let room = if self.clients[client].is_stalled { dice.below(3000) } else { usize::MAX };
                self.socket(client).room = room;
            }
            (13, Some(client)) => match dice.below(8) {
                0 => self.clients[client].is_reset = true,
                1 => self.clients[client].is_finished = true,
                _ => self.settle(),
            },
            (14, _) => self.pass(dice.choose(&[1, 300, 5_000, 61_000, 4_000_000])),
            _ => self.publish(dice.below(self.nodes.len())),
        }
    }

    /// All clients go, or are told to go, and nothing is left.
    pub(super) fn finish(mut self, stops: bool) {
        self.settle();
        self.settle();
        assert!(
            self.expected.is_empty() || self.is_tight,
            "the well-behaved clients wait for {} messages",
            self.expected.len()
        );
        let are_whole =
            self.clients[..WELL_BEHAVED].iter().flat_map(|client| &client.reader).all(Reader::is_at_boundary);
        assert!(are_whole || self.is_tight, "a well-behaved client waits for the rest of a frame");
        self.is_over = true;
        if stops {
            self.nodes.iter_mut().for_each(|node| node.is_to_stop = true);
            self.settle();
            // They are closed one after the other, and those that have not asked for anything have a second for that.
            for _ in 0..self.clients.len() + 8 {
                if self.nodes.iter().all(Node::is_draining) {
                    break;
                }
                self.pass(150);
            }
            assert!(self.nodes.iter().all(Node::is_draining), "a node waits for its peers for ever");
        }
        for client in 0..self.clients.len() {
            self.clients[client].is_stalled = false;
            self.socket(client).room = usize::MAX;
            self.socket(client).writable = true;
            self.clients[client].is_finished = true;
        }
        self.settle();
        // Connections that were not read yet may take their time. Names that linger take less than a second, and rooms two.
        let mut left = 240;
        while left > 0 {
            self.pass(250);
            let are_gone = (0..self.clients.len()).all(|client| self.socket(client).is_closed);
            left = if are_gone { left.min(8) - 1 } else { left - 1 };
        }
        for client in 0..self.clients.len() {
            assert!(self.socket(client).is_closed, "client {client} is still connected");
        }
        self.nodes.iter().for_each(|node| node.hub().assert_empty());
    }

    fn socket(&mut self, client: usize) -> &mut Socket {
        let Client { node, socket, .. } = self.clients[client];
        self.nodes[node].socket(socket)
    }

    fn connect(&mut self, node: usize, upgrades: bool) {
        let socket = self.nodes[node].connect();
        let to_send = if upgrades { HANDSHAKE.as_bytes().to_vec() } else { Vec::new() };
        let reader = upgrades.then(Reader::default);
        let client = Client { node, socket, to_send, is_finished: false, is_reset: false, is_stalled: false, reader };
        self.clients.push(client);
        self.flow.accepted += 1;
    }

    fn say(&mut self, client: usize, opcode: OpCode, payload: &[u8]) {
        push_frame(&mut self.clients[client].to_send, true, opcode, [1, 2, 3, 4], payload);
    }

    fn speak(&mut self, client: usize, dice: &mut Dice<'_>) {
        let client = &mut self.clients[client];
        if client.is_finished || client.is_reset || client.to_send.len() > 100_000 {
            return;
        }
        if client.reader.is_some() {
            hostile::push(dice, &mut client.to_send);
        } else {
            let count = dice.below(12);
            http::push(dice.take(count), &mut client.to_send);
        }
    }

    /// The well-behaved publisher publishes, or another thread does.
    fn publish(&mut self, node: usize) {
        let body = format!("{}", self.flow.turns).into_bytes();
        let message = [format!("LHTTP/1.0 c\r\npublish:{CHANNEL}\r\n\r\n").as_bytes(), &body].concat();
        self.say(1, OpCode::Data(Data::Text), &message);
        self.expected.push_back(body);
        let (channels, payload): (Box<[u8]>, _) = (b"a a.b c".as_slice().into(), b"LHTTP/1.0 letter\r\n\r\n".to_vec());
        self.flow.input += (channels.len() + payload.len()) as u64;
        self.nodes[node].post_publish(channels, payload);
    }

    /// Moves at most this many bytes to the server, and all bytes back. Returns whether it moved any.
    fn move_bytes(&mut self, number: usize, most: usize) -> bool {
        let client = &mut self.clients[number];
        let node = client.node;
        let socket = self.nodes[node].socket(client.socket);
        if client.is_reset {
            let is_new = !std::mem::replace(&mut socket.is_reset, true);
            socket.readable |= is_new;
            return is_new;
        }
        let mut has_moved = false;
        if !socket.is_closed {
            let sent = client.to_send.len().min(most);
            socket.inbound.extend(client.to_send.drain(..sent));
            self.flow.input += sent as u64;
            let ends = client.to_send.is_empty() && (client.is_finished || socket.is_shut) && !socket.is_finished;
            socket.is_finished |= ends;
            has_moved = sent > 0 || ends;
            socket.readable |= has_moved;
        }
        if client.is_stalled {
            return has_moved;
        }
        if !socket.is_closed && std::mem::take(&mut socket.is_refused) {
            socket.writable = true;
            has_moved = true;
        }
        let bytes = std::mem::take(&mut socket.outbound);
        self.spent[node].written += bytes.len() as u64;
        self.hear(number, &bytes);
        has_moved || !bytes.is_empty()
    }

    /// A client receives bytes: they are valid, and for the well-behaved reader they are all publications in order.
    fn hear(&mut self, client: usize, bytes: &[u8]) {
        let Some(mut reader) = self.clients[client].reader.take() else { return };
        reader.feed(bytes);
        while let Some(incoming) = reader.next() {
            match incoming {
                Incoming::Ping(payload) if client < WELL_BEHAVED => {
                    self.say(client, OpCode::Control(Control::Pong), &payload);
                }
                Incoming::Message { payload, .. } if client == 0 => {
                    let body =
                        self.expected.pop_front().expect("a message to the well-behaved reader that nobody has sent");
                    assert!(
                        payload.ends_with(&[b"\r\n\r\n", &body[..]].concat()),
                        "the well-behaved reader misses a message"
                    );
                }
                Incoming::Close(code) if client < WELL_BEHAVED => {
                    assert!(self.is_tight || self.is_over, "a well-behaved client is closed with {code:?}");
                }
                _ => {}
            }
        }
        self.clients[client].reader = Some(reader);
    }

    /// Runs a turn of the node if one is due, and returns whether it did.
    fn turn_if_due(&mut self, number: usize) -> bool {
        if self.nodes[number].next_turn(self.now).is_none_or(|at| at > self.now) {
            return false;
        }
        for peer in 0..self.nodes.len() {
            if self.nodes[number].takes_from(peer) {
                let batches = self.nodes[peer].take_sent(number);
                for batch in &batches {
                    bounds::check_batch(batch.len());
                    self.spent[peer].batch_bytes += batch.len() as u64;
                }
                self.nodes[number].put_batches(peer, batches);
            }
        }
        let before = self.nodes[number].hub().router.work.done();
        let stats = *self.nodes[number].hub_mut().refresh_stats();
        let unread = self.unread(number);
        self.nodes[number].turn(self.now, &mut self.buffer);
        self.nodes[number].end_turn();
        self.nodes[number].go_on_stopping();
        let read = unread - self.unread(number);
        let spent = &mut self.spent[number];
        spent.turn_work = self.nodes[number].hub().router.work.done() - before;
        // Subscriptions that begin and end within a turn are in the bytes that the turn read, with at least two bytes
        // each.
        let within = stats.subscriptions + (read + stats.kept_bytes - stats.subscription_bytes) / 2;
        spent.subscriptions = spent.subscriptions.max(within);
        self.flow.turns += 1;
        for peer in 0..self.nodes.len() {
            self.nodes[peer].is_woken |= self.nodes[number].has_sent(peer);
            self.nodes[number].is_woken |= self.nodes[peer].has_sent(number); // it has not taken these batches yet
        }
        self.check_bounds(number);
        true
    }

    /// Bytes that clients have sent to a node and that the node has not read.
    fn unread(&mut self, node: usize) -> u64 {
        let own = self.clients.iter().filter(|client| client.node == node).map(|client| client.socket);
        let (nodes, mut sum) = (&mut self.nodes, 0);
        own.for_each(|socket| sum += nodes[node].socket(socket).inbound.len());
        sum as u64
    }

    fn check_bounds(&mut self, number: usize) {
        self.flow.published = self.nodes.iter_mut().map(|node| node.hub_mut().refresh_stats().published).sum();
        let hub = self.nodes[number].hub_mut();
        let (work, stats) = (hub.router.work.done(), *hub.refresh_stats());
        let spent = &mut self.spent[number];
        spent.work = work;
        spent.channels = spent.channels.max(stats.channels);
        bounds::check(&self.flow, spent, &stats, &self.limits);
    }

    /// Delivers everything that is in flight.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "the nodes never come to rest");
            let mut has_moved = false;
            for client in 0..self.clients.len() {
                has_moved |= self.move_bytes(client, usize::MAX);
            }
            for node in 0..self.nodes.len() {
                has_moved |= self.turn_if_due(node);
            }
            if !has_moved && !self.nodes.iter().any(|node| node.hub().router.relays.has_batches()) {
                break;
            }
            if !has_moved {
                self.now += Duration::from_millis(1);
            }
        }
    }

    /// Time passes: a short time as usual, a long one while the machine stands still.
    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.settle();
    }
}
