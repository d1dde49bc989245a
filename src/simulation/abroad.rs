//! What happens beyond the nodes: at the bridge, and on the other node.

use rand::RngExt;

use super::{bridge::Around, talk::ABROAD, world::World};

/// Publishers on the other node.
const PUBLISHERS: usize = 2;

impl World {
    /// In some worlds the bridge is there before all clients.
    pub(super) fn begin_abroad(&mut self) {
        if self.rng.random() {
            self.with_bridge(|bridge, around| bridge.come(around.now));
            self.settle();
        }
    }

    /// The bridge does something, or the other node publishes.
    pub(super) fn step_abroad(&mut self) {
        if self.bridge.is_none() || self.rng.random_bool(0.5) {
            return;
        }
        if self.rng.random_bool(0.2) {
            self.publish_abroad();
        } else {
            self.with_bridge(|bridge, around| bridge.step(around));
        }
    }

    /// All that can happen at the bridge now happens; says whether anything has.
    pub(super) fn settle_abroad(&mut self) -> bool {
        self.with_bridge(|bridge, around| bridge.settle(around)).unwrap_or(false)
    }

    fn with_bridge<T>(&mut self, of: impl FnOnce(&mut super::bridge::Bridge, &mut Around<'_>) -> T) -> Option<T> {
        let Self { nodes, publications, now, clock, .. } = self;
        let mut around = Around { nodes, publications, now: *now, clock: *clock };
        self.bridge.as_mut().map(|bridge| of(bridge, &mut around))
    }

    fn publish_abroad(&mut self) {
        let publisher = ABROAD + self.rng.random_range(0..PUBLISHERS);
        let channels = self.channels();
        let (_, payload) = self.publication(publisher, "", channels.clone());
        let is_text = std::str::from_utf8(&payload).is_ok();
        self.publications.last_mut().expect("just made").is_text = is_text;
        if let Some(bridge) = &mut self.bridge {
            bridge.publish(&channels, is_text, &payload);
        }
    }
}
