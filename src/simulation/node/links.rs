//! The links between nodes, as batches in flight.

use std::collections::VecDeque;

use crate::engine::{
    hub::Hub,
    turn::{Links, Taken},
};

/// Batches in flight from one node to another: only one, so that links are often full.
const BATCHES_PER_LINK: usize = 1;

/// The batches that a node has received and sent, by peer. The link to itself is never used.
pub(super) struct Batches {
    own: usize,
    pub(super) incoming: Vec<VecDeque<Vec<u8>>>,
    pub(super) outgoing: Vec<VecDeque<Vec<u8>>>,
}

impl Batches {
    pub(super) fn new(own: u32, nodes: u32) -> Self {
        let links = vec![VecDeque::new(); nodes as usize];
        Self { own: own as usize, incoming: links.clone(), outgoing: links }
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
        self.incoming.iter().any(|batches| !batches.is_empty())
    }

    fn bridge(&self) -> Option<u32> {
        None
    }

    fn waiting_of_bridge(&self) -> usize {
        0
    }

    fn take_of_bridge(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn hand_to_bridge(&mut self, _: &mut Hub) {}
}
