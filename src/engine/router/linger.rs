//! Names that have lost their last subscriber here, but are not withdrawn from the peers yet.
//!
//! A client may subscribe and unsubscribe in a loop, or connect, subscribe and disconnect. Without lingering, every
//! peer, and NATS, would follow each of its steps. So a name lingers for a while before it is withdrawn. If it gets a
//! subscriber again by then, the peers are not told, and the subscription is live as soon as they have answered the
//! first one.

use std::{collections::VecDeque, time::Duration};

use crate::engine::{
    router::{Router, work::subscription_units},
    subscriptions::AudienceId,
};

/// How long a name lingers, in milliseconds.
pub(crate) const LINGER_MILLIS: u64 = 500;
/// The most memory of lingering names on one core, in bytes: each name costs its length and [`NAME_OVERHEAD_BYTES`].
/// Above it, the longest lingering name is withdrawn early.
const LINGERING_BYTES_MAX: usize = 512 * 1024;
/// The bytes that a name counts beside its length.
const NAME_OVERHEAD_BYTES: usize = 32;
/// The most names that one turn withdraws. The next turn withdraws the others.
const WITHDRAWALS_PER_TURN: usize = 256;

/// The lingering names, the longest lingering one first.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    names: VecDeque<Entry>,
    bytes: usize,
    /// Buffer for [`crate::engine::subscriptions::Subscriptions::take_left`], empty between two calls.
    left: Vec<AudienceId>,
}

#[derive(Debug)]
struct Entry {
    /// When it is withdrawn, in milliseconds since the core's start.
    until: u64,
    /// Valid while the name lingers.
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
    /// Lets the names linger that have just lost their last subscriber. `now` is the time for which the core has run,
    /// in milliseconds.
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

    /// Withdraws names that have lingered long enough. Returns whether there were any.
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

    /// The time at which [`Router::withdraw_due`] has work. While a link is full the core retries anyway.
    pub(crate) fn next_withdrawal(&self) -> Option<Duration> {
        let entry = self.lingering.names.front().filter(|_| !self.relays.is_congested_for_interest())?;
        Some(Duration::from_millis(entry.until))
    }

    /// Withdraws the longest lingering name. Returns false if there is none, or if a link is full. In that case the
    /// names stay; they cannot become more, because a full link stops new announcements, too.
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
