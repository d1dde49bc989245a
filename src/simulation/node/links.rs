//! The links between nodes, as batches on their way.

use std::collections::VecDeque;

use crate::engine::turn::{Links, Taken};

/// Batches on their way from one node to another: one, so that links are full often.
const BATCHES_PER_LINK: usize = 1;

/// What a node has got and sent, by peer; its own number is a link that nothing uses.
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

    fn is_bridge_full(&self) -> bool {
        false
    }

    fn send_to_bridge(&mut self, _: Option<Vec<u8>>, _: impl Iterator<Item = Vec<u8>>) {}
}
