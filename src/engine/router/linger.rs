//! Names that have lost their last subscriber here, and that the peers are not told of yet.
//!
//! A client that subscribes and unsubscribes in a loop, or connects, subscribes and goes, would have every peer, and NATS,
//! follow each of its steps. So a name lingers for a while before it is withdrawn: if it is subscribed to again by then,
//! the peers hear nothing at all, and the subscription is live as soon as they have answered the first one.

use std::{collections::VecDeque, time::Duration};

use crate::engine::{
    router::{Router, work::subscription_units},
    subscriptions::AudienceId,
};

/// How long a name lingers, in milliseconds.
pub(crate) const LINGER_MILLIS: u64 = 500;
/// What the names that linger on one core may cost, in bytes: each its own and [`NAME_OVERHEAD_BYTES`]. Past it the one
/// that has lingered longest is withdrawn early.
const LINGERING_BYTES_MAX: usize = 512 * 1024;
/// What a name counts beside its bytes.
const NAME_OVERHEAD_BYTES: usize = 32;
/// Names that are withdrawn in one turn; more in the next.
const WITHDRAWALS_PER_TURN: usize = 256;

/// The names that linger, the one that has lingered longest first.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    names: VecDeque<Entry>,
    bytes: usize,
    /// Room for [`crate::engine::subscriptions::Subscriptions::take_left`], empty between two calls.
    left: Vec<AudienceId>,
}

#[derive(Debug)]
struct Entry {
    /// When it is withdrawn, in milliseconds since the core's start.
    until: u64,
    /// It is valid for as long as the name lingers.
    audience: AudienceId,
    bytes: u16,
}

impl Lingering {
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl Router {
    /// Names may have lost their last subscriber. `now` is the time for which the core has run, in milliseconds.
    pub(super) fn linger(&mut self, now: u64) {
        let mut left = std::mem::take(&mut self.lingering.left);
        self.subscriptions.take_left(&mut left);
        for audience in left.drain(..) {
            let bytes = (self.subscriptions.name(audience).0.len() + NAME_OVERHEAD_BYTES) as u16;
            self.lingering.names.push_back(Entry { until: now + LINGER_MILLIS, audience, bytes });
            self.lingering.bytes += usize::from(bytes);
        }
        self.lingering.left = left;
        let is_alone = !self.relays.has_peers();
        while (is_alone || self.lingering.bytes > LINGERING_BYTES_MAX) && self.withdraw_oldest() {}
    }

    /// Withdraws names that have lingered long enough, and says whether there were any.
    pub(crate) fn withdraw_due(&mut self, now: u64) -> bool {
        let mut count = 0;
        while count < WITHDRAWALS_PER_TURN
            && self.lingering.names.front().is_some_and(|entry| entry.until <= now)
            && self.withdraw_oldest()
        {
            count += 1;
        }
        count > 0
    }

    /// When [`Router::withdraw_due`] has something to do. A link that is full is looked at again and again anyway.
    pub(crate) fn next_withdrawal(&self) -> Option<Duration> {
        let entry = self.lingering.names.front().filter(|_| !self.relays.is_congested_for_interest())?;
        Some(Duration::from_millis(entry.until))
    }

    /// Ends the name that has lingered longest. False if there is none, or no room to tell all peers: then names stay,
    /// which are no more than were announced, for nothing new is announced in the meantime.
    fn withdraw_oldest(&mut self) -> bool {
        if self.relays.is_congested_for_interest() {
            return false;
        }
        let Some(Entry { audience, bytes, .. }) = self.lingering.names.pop_front() else { return false };
        self.lingering.bytes -= usize::from(bytes);
        self.apply_run();
        let (name, kind) = self.subscriptions.name(audience);
        self.resolved.forget(name, kind);
        self.recent.forget(name, kind);
        if let Some((name, kind)) = self.subscriptions.end_lingering(audience) {
            self.work.add(subscription_units(name));
            self.passed_on += self.relays.withdraw(name, kind);
            self.subscriptions.withdraw(audience);
        }
        true
    }

    /// Whether names linger.
    #[cfg(test)]
    pub(crate) fn has_lingering(&self) -> bool {
        !self.lingering.is_empty()
    }
}
