//! The links between nodes and to the bridge, as batches on their way.

use std::collections::VecDeque;

use crate::engine::turn::{Links, Taken};

/// Batches in flight from one node to another: only one, so that links are often full.
const BATCHES_PER_LINK: usize = 1;

/// The batches that a node has received and sent, by peer. The link to itself is never used.
pub(super) struct Batches {
    own: usize,
    pub(super) incoming: Vec<VecDeque<Vec<u8>>>,
    pub(super) outgoing: Vec<VecDeque<Vec<u8>>>,
    /// What it has got from the bridge and sent there, if there is one.
    pub(super) bridge: Option<BridgeLink>,
}

/// The link to the bridge, which makes nobody wait.
pub(super) struct BridgeLink {
    pub(super) number: u32,
    pub(super) incoming: VecDeque<Vec<u8>>,
    pub(super) interest: VecDeque<Vec<u8>>,
    pub(super) publishes: VecDeque<Vec<u8>>,
    /// The bridge takes no interest for now.
    pub(super) is_full: bool,
}

impl Batches {
    pub(super) fn new(own: u32, nodes: u32) -> Self {
        let links = vec![VecDeque::new(); nodes as usize];
        Self { own: own as usize, incoming: links.clone(), outgoing: links, bridge: None }
    }
}

impl BridgeLink {
    #[cfg(test)]
    pub(super) fn new(number: u32) -> Self {
        let (incoming, interest, publishes) = Default::default();
        Self { number, incoming, interest, publishes, is_full: false }
    }
}

impl Links for Batches {
    fn count(&self) -> usize {
        self.incoming.len()
    }

    fn peer(&self, link: usize) -> u32 {
        link as u32
    }

    fn take(&mut self, link: usize) -> Taken {
        self.incoming[link].pop_front().map_or(Taken::Nothing, Taken::Batch)
    }

    fn send(&mut self, link: usize, batch: Vec<u8>) -> Result<(), Vec<u8>> {
        assert_ne!(link, self.own, "a node sends to itself");
        if self.outgoing[link].len() == BATCHES_PER_LINK {
            return Err(batch);
        }
        self.outgoing[link].push_back(batch);
        Ok(())
    }

    fn has_batches_in(&self) -> bool {
        self.incoming.iter().any(|batches| !batches.is_empty()) || self.waiting_of_bridge() > 0
    }

    fn bridge(&self) -> Option<u32> {
        self.bridge.as_ref().map(|bridge| bridge.number)
    }

    fn waiting_of_bridge(&self) -> usize {
        self.bridge.as_ref().map_or(0, |bridge| bridge.incoming.len())
    }

    fn take_of_bridge(&mut self) -> Option<Vec<u8>> {
        self.bridge.as_mut()?.incoming.pop_front()
    }

    fn is_bridge_full(&self) -> bool {
        self.bridge.as_ref().is_some_and(|bridge| bridge.is_full)
    }

    fn send_to_bridge(&mut self, interest: Option<Vec<u8>>, publishes: impl Iterator<Item = Vec<u8>>) {
        if let Some(bridge) = &mut self.bridge {
            bridge.interest.extend(interest);
            bridge.publishes.extend(publishes);
        }
    }
}
