//! Nodes, clients and the network between them, all moved by one seed.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{
    attendance::Attendance,
    bridge::Bridge,
    client::{End, Known, SimulatedClient},
    crowd::Crowd,
    guard::{Guard, make_rules},
    keeper::Keeper,
    ledger::Ledger,
    node::Node,
    oracle::Publication,
};
use crate::{
    config::Config,
    engine::{limits::Limits, stats::Stats, subscriptions::with_fixed_hash},
};

/// Limits of an outbox, in bytes.
pub(super) const OUTBOXES: [usize; 3] = [3_000, 30_000, 1 << 20];

/// The most bytes of a message's head, and of a frame's.
const HEAD_BYTES_MAX: usize = 1_000;

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What the nodes counted.
    pub(crate) stats: Vec<Stats>,
    /// Messages of the other node, and what that got.
    pub(crate) from_abroad: u64,
    pub(crate) abroad: usize,
    /// Clients that were one too many, and had to go for others.
    pub(crate) gave_way: usize,
    /// Clients that were told that other nodes are away.
    pub(crate) offline: usize,
    /// Followed channels that were held against what is true, changes that clients were told of, and those that were only
    /// counted.
    pub(crate) followed: usize,
    pub(crate) changes: usize,
    pub(crate) unnamed: u64,
}

/// All of it.
pub(crate) struct World {
    pub(super) rng: StdRng,
    pub(super) now: Duration,
    /// Counts what happens, in order.
    pub(super) clock: u64,
    pub(super) nodes: Vec<Node>,
    /// The bridge to another node, if there is one.
    pub(super) bridge: Option<Bridge>,
    pub(super) crowd: Crowd,
    /// The rules for channels, if there are some.
    pub(super) guard: Option<Guard>,
    /// The rules that give channels a history, if there are some.
    pub(super) keeper: Option<Keeper>,
    /// The rules that say who is present, if there are some.
    pub(super) attendance: Option<Attendance>,
    /// The numbers of messages, as far as they were seen.
    pub(super) ledger: Ledger,
    /// Nodes that do not get the CPU for so many steps.
    frozen: Vec<usize>,
    freeze_max: usize,
    pub(super) clients: Vec<SimulatedClient>,
    pub(super) publications: Vec<Publication>,
    /// The first publication that may still be on its way.
    pub(super) unsettled: usize,
    pub(super) buffer: Vec<u8>,
    /// A turn is long enough for all that a connection sends at once.
    pub(super) reads_whole: bool,
    pub(super) body_bytes_max: usize,
    pub(super) limits: Limits,
    pub(super) is_tight: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut limits = Limits::new(&Config::default(), u64::MAX, 1);
        limits.outbox_bytes_max = *OUTBOXES.choose(&mut rng).expect("some");
        let is_tight = rng.random_bool(0.15);
        if is_tight {
            limits.kept_bytes_max = 6_000;
        }
        let (mut guard, mut keeper) = (Guard::new(&mut rng), Keeper::new(&mut rng, &mut limits));
        let mut attendance = Attendance::new(seed, &mut limits);
        if guard.is_some() || keeper.is_some() || attendance.is_some() {
            make_rules(&mut rng, &mut limits, 0, guard.as_mut(), keeper.as_mut(), attendance.as_mut());
        }
        let buffer = vec![0; *[7, 100, 5_000, 128 * 1024].choose(&mut rng).expect("some")];
        let body_bytes_max =
            if buffer.len() < 5_000 { 200 } else { *[40, 300, 60_000].choose(&mut rng).expect("some") };
        if keeper.is_some() {
            // As the configuration wants it: each message fits into an outbox.
            limits.outbox_bytes_max = limits.outbox_bytes_max.max(body_bytes_max + HEAD_BYTES_MAX);
        }
        let nodes: u32 = rng.random_range(1..=4);
        let is_short = rng.random_bool(0.5);
        let writes = |own: u32| is_short.then(|| StdRng::seed_from_u64(seed + u64::from(own)));
        let node = |own| Node::new(own, nodes, limits.clone(), writes(own));
        let mut nodes: Vec<Node> = with_fixed_hash(|| (0..nodes).map(node).collect());
        nodes.iter_mut().for_each(|node| Attendance::shorten_changes(seed, node));
        if rng.random_bool(0.5) {
            nodes.iter_mut().for_each(|node| node.hub_mut().router.set_batch_bytes_max(0));
        }
        if keeper.is_some() && rng.random_bool(0.5) {
            let credit = *[0, 500, 20_000].choose(&mut rng).expect("some");
            nodes.iter_mut().for_each(|node| node.hub_mut().router.set_small_history(credit, 600));
        }
        let units = *[None, Some(300), Some(3000)].choose(&mut rng).expect("some");
        if let Some(units) = units {
            nodes.iter_mut().for_each(|node| node.set_small_turns(units));
        }
        // The nodes of a cluster cannot share a history.
        let has_bridge = keeper.is_none() && rng.random_bool(0.8);
        let bridge = has_bridge.then(|| Bridge::new(seed, &mut nodes));
        let crowd = Crowd::new(&mut rng, &mut nodes);
        let freeze_max = *[2, 100, 400].choose(&mut rng).expect("some");
        Self {
            rng,
            now: Duration::ZERO,
            clock: 0,
            frozen: vec![0; nodes.len()],
            freeze_max,
            nodes,
            bridge,
            crowd,
            guard,
            keeper,
            attendance,
            ledger: Ledger::default(),
            clients: Vec::new(),
            publications: Vec::new(),
            unsettled: 0,
            buffer,
            reads_whole: units.is_none(),
            body_bytes_max,
            limits,
            is_tight,
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Outcome {
        self.begin_abroad();
        for _ in 0..self.rng.random_range(2..6) {
            self.connect();
        }
        for _ in 0..self.rng.random_range(2..6) {
            for _ in 0..self.rng.random_range(20..250) {
                self.step();
            }
            self.settle();
            self.look_at_histories();
            if self.attendance.is_some() && self.rng.random_bool(0.5) {
                self.call_the_roll();
            }
            if self.rng.random_bool(0.3) {
                let seconds = *[8, 25, 61, 4_000].choose(&mut self.rng).expect("some");
                self.stand_still(seconds);
            }
            if self.rng.random_bool(0.3) {
                let seconds = *[3, 30, 90].choose(&mut self.rng).expect("some");
                self.pass_time(seconds);
            }
        }
        self.finish();
        Outcome {
            stats: self.nodes.iter_mut().map(|node| *node.hub_mut().refresh_stats()).collect(),
            from_abroad: self.bridge.as_ref().map_or(0, |bridge| bridge.delivered),
            abroad: self.bridge.as_ref().map_or(0, |bridge| bridge.far.received()),
            gave_way: self.clients.iter().filter(|client| client.gave_way).count(),
            offline: self.clients.iter().filter(|client| client.was_offline).count(),
            followed: self.attendance.as_ref().map_or(0, |attendance| attendance.followed),
            changes: self.clients.iter().map(|client| client.rosters.changes).sum(),
            unnamed: self.clients.iter().map(|client| client.rosters.unnamed).sum(),
        }
    }

    fn step(&mut self) {
        self.clock += 1;
        self.now += Duration::from_micros(self.rng.random_range(0..400));
        if self.rng.random_bool(0.005) {
            self.now += Duration::from_millis(300); // lingering names are withdrawn
        }
        let node = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..100) {
            0..3 if self.clients.len() < 20 => self.connect(),
            3 if self.rng.random_bool(0.5) => self.change_rules(),
            0..4 => self.frozen[node] = self.rng.random_range(1..self.freeze_max),
            4..6 => self.post_letter(node),
            6 if !self.clients.is_empty() => self.post_other_letter(node),
            7..10 if self.crowd.is_limited() && self.clients.len() < 60 => self.connect(),
            7..50 => self.act(),
            50..75 => self.network(),
            _ => {
                self.turn_if_due(node, false); // rarely, so that turns are full
            }
        }
        self.step_abroad();
        self.frozen.iter_mut().for_each(|steps| *steps = steps.saturating_sub(1));
    }

    /// The network moves some bytes of one client.
    pub(super) fn network(&mut self) {
        let Some(index) = (0..self.clients.len()).collect::<Vec<_>>().choose(&mut self.rng).copied() else { return };
        let most = *[1, 20, 3000, usize::MAX].choose(&mut self.rng).expect("some");
        self.move_bytes(index, most);
    }

    /// Moves up to so many bytes to the server, and all back; true when that was any.
    pub(super) fn move_bytes(&mut self, index: usize, most: usize) -> bool {
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
        let known = Known {
            clock: self.clock,
            publications: &self.publications,
            now: self.now,
            bridge: self.bridge.as_ref(),
            guard: self.guard.as_ref(),
            keeper: self.keeper.as_ref(),
            attendance: self.attendance.as_ref(),
        };
        client.receive(&bytes, &mut self.rng, known);
        if is_over && socket.is_closed {
            client.end_of_input(socket.is_cut);
        }
        has_moved
    }

    pub(super) fn turn_if_due(&mut self, node: usize, must: bool) -> bool {
        let is_due = self.nodes[node].next_turn(self.now).is_some_and(|at| at <= self.now);
        let is_spurious = !must && self.rng.random_bool(0.05);
        if (!is_due && !is_spurious) || (!must && self.frozen[node] > 0) {
            return false;
        }
        for peer in 0..self.nodes.len() {
            if self.nodes[node].takes_from(peer) {
                let batches = self.nodes[peer].take_sent(node);
                self.nodes[node].put_batches(peer, batches);
            }
        }
        self.look_at_requests(node);
        let before = self.ordinary();
        self.nodes[node].turn(self.now, &mut self.buffer);
        self.check_accepted(node, before);
        self.nodes[node].end_turn();
        self.nodes[node].go_on_stopping();
        for peer in 0..self.nodes.len() {
            self.nodes[peer].is_woken |= self.nodes[node].has_sent(peer);
            self.nodes[node].is_woken |= self.nodes[peer].has_sent(node); // it has not taken these batches yet
        }
        true
    }
}
