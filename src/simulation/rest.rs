//! How a world comes to rest, and what must hold then.

use std::time::Duration;

use rand::RngExt;

use super::{bridge::Bridge, talk::ABROAD, world::World};

impl World {
    /// Lets everything that is on its way arrive; no more time passes than links need.
    pub(super) fn settle(&mut self) {
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
            has_moved |= self.settle_abroad();
            let is_waiting = self.bridge.as_ref().is_some_and(Bridge::is_waiting);
            if !has_moved && !is_waiting && !self.nodes.iter().any(|node| node.hub().router.relays.has_batches()) {
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
            assert!(!node.hub().is_sweeping(), "new rules are not applied");
            assert!(!node.hub().sessions.has_paused() && node.has_no_letters(), "a node sleeps on what it could do");
            assert!((0..self.nodes.len()).all(|peer| !node.has_sent(peer)), "a batch is not taken");
        }
        if let Some(bridge) = &mut self.bridge {
            bridge.at_rest(self.clock);
        }
        if let Some(guard) = &mut self.guard {
            guard.at_rest(self.clock);
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.at_rest(self.clock);
        }
        if let Some(attendance) = &mut self.attendance {
            attendance.at_rest(self.clock);
        }
        let bridge = self.bridge.as_ref();
        for client in &mut self.clients {
            client.at_rest(self.clock, self.now, bridge);
        }
        for publication in &mut self.publications[self.unsettled..] {
            publication.settled = self.clock;
            let publisher = self.clients.get(publication.publisher);
            let came = |bridge: &Bridge| bridge.was_there(publication.sent, self.clock);
            publication.is_certain = if publication.publisher >= ABROAD {
                bridge.is_some_and(came)
            } else {
                publisher.is_none_or(|client| client.is_alive() && !client.is_stalled)
            };
        }
        self.unsettled = self.publications.len();
    }

    pub(super) fn pass_time(&mut self, seconds: u64) {
        for client in &mut self.clients {
            client.was_silent |= client.is_stalled || client.is_http || client.is_dawdling;
        }
        for _ in 0..seconds * 4 {
            self.now += Duration::from_millis(250); // so that no turn is late
            self.settle();
        }
    }

    /// The machine stands still, clients and all. Nobody is silent or slow by that.
    pub(super) fn stand_still(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.settle();
    }
}
