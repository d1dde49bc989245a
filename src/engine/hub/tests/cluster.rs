//! Channels that the nodes of a cluster share: what clients of one core get of loads and live messages.

use std::sync::atomic::AtomicBool;

use super::{
    history::{all, bodies, keeping},
    *,
};
use crate::{
    engine::{
        history::Load,
        relay::{self, ClusterItem, Item, StreamMessage, Way, Wish},
    },
    protocol::message::Epoch,
};

const BRIDGE: u32 = 1;
const NAME: &[u8] = b"room";

struct Node {
    hub: Hub,
    peers: Peers,
}

impl Node {
    fn new() -> Self {
        let mut hub = Hub::new(0, 1, keeping(4 << 20, 100));
        assert_eq!(hub.router.relays.add_bridge(), BRIDGE);
        hub.join_cluster(Arc::new(AtomicBool::new(true)), 1 << 20);
        let mut node = Self { hub, peers: Peers::default() };
        node.take(&ClusterItem::There { epoch: Epoch::new(1), is_anew: false });
        node
    }

    fn take(&mut self, item: &ClusterItem<'_>) {
        let mut batch = Vec::new();
        relay::put_cluster(&mut batch, item);
        assert_eq!(self.hub.relayed(BRIDGE, &batch), batch.len());
        self.hub.go_on(u64::MAX >> 1);
        self.hub.flush(&mut Plain, &mut self.peers);
    }

    fn bring(&mut self, number: u64, way: Way, body: &str) {
        let message = format!("LHTTP/1.0 c\r\n\r\n{body}");
        let message =
            StreamMessage { name: NAME, number, way, is_text: true, except: None, message: message.as_bytes() };
        self.take(&ClusterItem::Message(message));
    }

    fn open(&mut self) -> Slot {
        let slot = open(&mut self.hub, &mut self.peers);
        self.peers.received[slot as usize].clear();
        slot
    }

    fn subscribe(&mut self, slot: Slot, wish: Wish) {
        let hub = &mut self.hub;
        let receipt = hub.begin_receipt(slot, b"told", None, 0, [NAME].into_iter());
        let awaited = hub.subscribe_from(slot, NAME, Kind::Exact, wish, Some(receipt));
        hub.carried_out(receipt, awaited);
        hub.message_done(Some(slot));
    }

    /// The load that the bridge was asked for since the last call.
    fn load(&mut self) -> Option<Load> {
        let interest = self.hub.router.relays.take_interest()?;
        let mut rest = &interest[..];
        std::iter::from_fn(|| relay::next(&mut rest)).find_map(|item| match item {
            Item::Cluster(ClusterItem::Load { load, .. }) => Some(load),
            _ => None,
        })
    }

    fn loaded(&mut self, load: Load, dropped: u64) {
        self.take(&ClusterItem::Loaded { name: NAME, load: load.id, dropped, position: 0 });
    }

    fn received(&self, slot: Slot) -> String {
        bodies(&self.peers.received[slot as usize])
    }
}

#[test]
fn subscribers_get_all_that_a_load_has_brought_before_their_live_messages() {
    let mut node = Node::new();
    let slot = node.open();
    node.hub.subscribe_from(slot, NAME, Kind::Exact, Wish::default(), None);
    let load = node.load().expect("a load");
    let bodies = ["a", "b", "c", "d", "e"].map(|body| body.repeat(40_000));
    for (number, body) in (1..).zip(&bodies) {
        node.bring(number, Way::Loaded { load: load.id, age: 0 }, body);
    }
    assert_eq!(node.received(slot), "", "it has not asked for old ones");
    node.bring(1, Way::Live { before: 0 }, &bodies[0]);
    node.loaded(load, 0);
    for (number, body) in (1..).zip(&bodies) {
        node.bring(number, Way::Live { before: number - 1 }, body);
    }
    assert_eq!(node.received(slot), "abcde");
}

#[test]
fn a_client_that_came_before_the_stream_was_known_waits_for_one_load() {
    let mut node = Node::new();
    let slot = node.open();
    node.subscribe(slot, all());
    let early = node.load().expect("a load");
    node.take(&ClusterItem::There { epoch: Epoch::new(2), is_anew: false });
    let load = node.load().expect("the load of before has ended");
    node.bring(1, Way::Loaded { load: early.id, age: 0 }, "x");
    node.bring(1, Way::Loaded { load: load.id, age: 0 }, "a");
    node.loaded(load, 0);
    node.hub.settle_history();
    node.hub.flush(&mut Plain, &mut node.peers);
    assert_eq!((node.received(slot), node.load()), ("a!".to_owned(), None));
}

#[test]
fn a_client_gets_its_acknowledgement_although_the_budget_has_no_room_for_its_channel() {
    let mut node = Node::new();
    node.hub.router.history.set_budget(1);
    let slot = node.open();
    node.subscribe(slot, all());
    for _ in 0..50 {
        node.hub.settle_history();
        let Some(load) = node.load() else { break };
        node.bring(1, Way::Loaded { load: load.id, age: 0 }, "a");
        node.loaded(load, 0);
    }
    node.hub.router.relays.answered(BRIDGE, 1);
    node.hub.message_done(None);
    node.hub.flush(&mut Plain, &mut node.peers);
    assert!(node.received(slot).ends_with('!'), "{:?}", node.received(slot));
}
