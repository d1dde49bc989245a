//! The times that a core measures. It adds to them once a flush, never for each message.

use super::{
    SharedStats,
    histogram::{Histogram, SharedHistogram},
};

/// The times of one core.
#[derive(Debug, Default)]
pub(crate) struct Measures {
    /// The length of turns in which something happened, to the end of their last flush.
    pub(crate) turns: Histogram,
    /// For each delivery, the time from the read of its publish to the end of the flush that wrote it, or a little longer.
    pub(crate) deliveries: Histogram,
    /// For each WebSocket handshake, the time from `accept` to the end of the flush that wrote the answer.
    pub(crate) handshakes: Histogram,
}

impl Measures {
    /// Adds the times of another core.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))] // only the page asks
    pub(crate) fn add(&mut self, other: &Self) {
        self.turns.merge(&other.turns);
        self.deliveries.merge(&other.deliveries);
        self.handshakes.merge(&other.handshakes);
    }

    /// Copies what has changed to a place that other threads can read.
    pub(crate) fn share(&mut self, shared: &SharedMeasures) {
        self.turns.share(&shared.turns);
        self.deliveries.share(&shared.deliveries);
        self.handshakes.share(&shared.handshakes);
    }
}

/// A core's numbers and times, for other threads to read. Only the core writes them.
#[derive(Debug, Default)]
pub(crate) struct SharedNumbers {
    pub(crate) stats: SharedStats,
    pub(crate) measures: SharedMeasures,
}

/// A core's times, for other threads to read.
#[derive(Debug, Default)]
pub(crate) struct SharedMeasures {
    turns: SharedHistogram,
    deliveries: SharedHistogram,
    handshakes: SharedHistogram,
}

impl SharedMeasures {
    /// Adds these times to a sum.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))] // only the metrics call it
    pub(crate) fn add_to(&self, sum: &mut Measures) {
        self.turns.add_to(&mut sum.turns);
        self.deliveries.add_to(&mut sum.deliveries);
        self.handshakes.add_to(&mut sum.handshakes);
    }
}
