//! More connections than a server takes: which of them it may turn away.

use std::sync::{Arc, atomic::Ordering};

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use super::{node::Node, world::World};

/// Reserved places of a node: few, so that connections give way often.
const RESERVED: [usize; 3] = [4, 6, 9];

/// The limit on connections, over all nodes.
pub(crate) struct Crowd {
    pub(super) connections_max: usize,
    /// What the nodes count.
    open: Arc<std::sync::atomic::AtomicUsize>,
}

impl Crowd {
    /// In some worlds connections are few, in most of them as many as there are clients.
    pub(super) fn new(rng: &mut StdRng, nodes: &mut [Node]) -> Self {
        let is_limited = rng.random_bool(0.4);
        let connections_max = if is_limited { rng.random_range(1..8) } else { usize::MAX };
        let (open, reserved) = (Arc::default(), *RESERVED.choose(rng).expect("some"));
        nodes.iter_mut().for_each(|node| node.set_places(Arc::clone(&open), connections_max, reserved));
        Self { connections_max, open }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.connections_max < usize::MAX
    }
}

impl World {
    /// Connections within the limit, as they are before a turn.
    pub(super) fn ordinary(&self) -> usize {
        self.nodes.iter().map(Node::ordinary).sum()
    }

    /// Notes which clients that a node is about to accept have sent a whole request, if they are read in the same turn.
    pub(super) fn look_at_requests(&mut self, node: usize) {
        if !self.reads_whole || self.nodes.len() > 1 {
            return;
        }
        for client in self.clients.iter_mut().filter(|client| client.node == node) {
            let came = self.nodes[node].socket_of(client.socket).inbound.len();
            let is_whole = client.first_request.is_some_and(|bytes| bytes <= came);
            client.is_in_time |= is_whole && came <= self.buffer.len() && !self.nodes[node].is_accepted(client.socket);
        }
    }

    /// A node has taken in connections: as long as there was room none of them was one too many.
    pub(super) fn check_accepted(&mut self, node: usize, mut before: usize) {
        for socket in self.nodes[node].take_accepted() {
            let is_full = before >= self.crowd.connections_max;
            assert_eq!(self.nodes[node].is_reserved(socket), is_full, "of {before} connections the next");
            before += usize::from(!is_full);
        }
        assert!(self.ordinary() <= self.crowd.connections_max, "{} connections are open", self.ordinary());
        assert_eq!(self.ordinary(), self.crowd.open.load(Ordering::Relaxed), "open connections are counted wrongly");
        let has_upgraded = |client: &&super::client::SimulatedClient| {
            client.is_admitted && !self.nodes[client.node].socket_of(client.socket).is_closed
        };
        let upgraded = self.clients.iter().filter(has_upgraded).count();
        assert!(upgraded <= self.crowd.connections_max, "{upgraded} connections are served");
    }

    /// What is not carried out though it was sent: what clients sent that were turned away, and what follows the one request
    /// that is read of a connection over the limit.
    pub(super) fn void_what_was_turned_away(&mut self) {
        for client in &self.clients {
            for publication in self.publications.iter_mut().filter(|sent| sent.publisher == client.number) {
                publication.is_unsound |= client.was_turned_away && !client.is_http;
            }
            client.void.iter().for_each(|&number| self.publications[number].is_unsound = true);
        }
    }
}
