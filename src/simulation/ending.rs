//! How a world ends.

use std::time::Duration;

use rand::{RngExt, seq::IndexedRandom};

use super::{
    client::End,
    keeper::AGE_MAX,
    node::Node,
    oracle,
    stream::Judge,
    talk::{ABROAD, LETTERS},
    world::World,
};
use crate::engine::router::Router;

/// The most steps in which stopping nodes close all connections, of 5 ms on average.
const CLOSES_MAX: usize = 1_000;

impl World {
    /// All clients go, and nothing is left.
    pub(super) fn finish(&mut self) {
        (0..self.clients.len()).for_each(|index| self.resume(index));
        self.settle();
        if self.rng.random_bool(0.3) {
            self.stop();
        }
        for index in 0..self.clients.len() {
            let end = *[End::Close, End::Finish, End::Reset].choose(&mut self.rng).expect("some");
            self.end(index, end);
        }
        self.settle();
        self.pass_time(30);
        let ends = self.clients.iter().filter(|client| !client.is_over).map(|client| client.number);
        assert_eq!(ends.collect::<Vec<_>>(), [0; 0], "connections that the server has not closed");
        self.nodes.iter().for_each(|node| node.hub().assert_empty());
        self.check_that_nobody_is_present();
        self.forget_histories();
        self.void_what_was_turned_away();
        self.void_what_the_rules_forbid();
        let (bridge, guard, keeper) = (self.bridge.as_ref(), self.guard.as_ref(), self.keeper.as_ref());
        self.clients.iter().for_each(|client| oracle::check(client, &self.publications, bridge, guard, keeper));
        if let Some(keeper) = &self.keeper {
            self.clients.iter().for_each(|client| self.ledger.add_notes(&client.notes));
            self.ledger.check(&self.publications, keeper);
            let publications = &self.publications;
            let mut judge = Judge { ledger: &mut self.ledger, publications, keeper };
            self.clients.iter().for_each(|client| judge.check(client));
        }
        if let Some(bridge) = bridge {
            bridge.far.check(&self.publications, |from, to| bridge.was_there(from, to));
        }
    }

    /// So much time passes that nothing is kept any more.
    fn forget_histories(&mut self) {
        if self.keeper.is_some() {
            self.now += Duration::from_secs(AGE_MAX + 10);
            self.settle();
            self.pass_time(3);
            for node in &self.nodes {
                let Router { history, outboxes, .. } = &node.hub().router;
                let left = (history.len(), history.messages(), history.bytes(outboxes.arena_ref()));
                assert_eq!(left, (0, 0, 0), "channels, messages and bytes of the history");
            }
        }
    }

    /// All nodes stop right after publications, which must still reach all subscribers. The nodes close their clients'
    /// connections one after the other; those that are left go on.
    fn stop(&mut self) {
        let first = self.unsettled;
        for _ in 0..self.rng.random_range(0..6) {
            let node = self.rng.random_range(0..self.nodes.len());
            self.post_letter(node);
        }
        let served: Vec<usize> = self.clients.iter().filter(|client| client.is_alive()).map(|c| c.number).collect();
        self.clients.iter_mut().for_each(|client| {
            client.is_expendable = true;
            client.is_leaving = true;
        });
        self.nodes.iter_mut().for_each(|node| node.is_to_stop = true);
        for _ in 0..self.rng.random_range(0..100) {
            self.clock += 1;
            self.network();
            let node = self.rng.random_range(0..self.nodes.len());
            self.turn_if_due(node, false);
        }
        self.settle();
        // What clients and the other node have sent before may have come after the first closes. Letters have not.
        let is_letter = |publisher: usize| (LETTERS..ABROAD).contains(&publisher);
        let uncertain = self.publications[first..].iter_mut().filter(|one| !is_letter(one.publisher));
        uncertain.for_each(|publication| publication.is_certain = false);
        for number in served {
            if self.clients[number].closed == Some(Some(1001)) {
                self.clients[number].caught_up = self.clock;
            }
        }
        for _ in 0..CLOSES_MAX {
            if self.nodes.iter().all(Node::is_draining) {
                return;
            }
            (0..self.rng.random_range(0..20)).for_each(|_| self.act());
            self.now += Duration::from_millis(self.rng.random_range(1..10));
            self.settle();
        }
        panic!("a node waits for its peers for ever, or does not close its connections");
    }
}
