//! A node's end of the link to the bridge.

use super::{Node, links::BridgeLink};

impl Node {
    /// Links it to the bridge.
    pub(crate) fn add_bridge(&mut self) {
        self.turn.links.bridge = Some(BridgeLink::new(self.turn.hub.router.relays.add_bridge()));
    }

    /// A batch of the bridge arrives.
    pub(crate) fn put_of_bridge(&mut self, batch: Vec<u8>) {
        self.bridge().incoming.push_back(batch);
        self.is_woken = true;
    }

    /// The next interest for the bridge.
    pub(crate) fn take_interest(&mut self) -> Option<Vec<u8>> {
        self.bridge().interest.pop_front()
    }

    /// The next batch of publishes for the bridge.
    pub(crate) fn take_publishes(&mut self) -> Option<Vec<u8>> {
        self.bridge().publishes.pop_front()
    }

    /// The bridge takes no interest for now, or takes it again.
    pub(crate) fn set_bridge_full(&mut self, is_full: bool) {
        self.bridge().is_full = is_full;
    }

    fn bridge(&mut self) -> &mut BridgeLink {
        self.turn.links.bridge.as_mut().expect("the node is linked to the bridge")
    }
}
