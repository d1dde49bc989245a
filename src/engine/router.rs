//! Routing: a published message goes into the outboxes of its subscribers, and to the interested peers.
//!
//! The router knows channels, subscribers and slots. It knows nothing of the connection in a slot or of its deadlines:
//! [`crate::engine::sessions`] does.

mod admission;
mod cluster;
mod delivery;
mod home;
mod linger;
mod moves;
mod publish;
pub(crate) mod receipts;
mod recent;
mod repeat;
mod resolve;
mod storing;
mod subscribing;
mod unfinished;
pub(crate) mod work;

use std::{sync::Arc, time::Duration};

use crate::{
    config::memory,
    engine::{
        history::History, outbox::Outboxes, presence::Presence, relay::Relays, rules::Rules, stats::busiest::Busiest,
        subscriptions::Subscriptions,
    },
    protocol::{channel::Kind, message::Epoch},
};

use self::{
    admission::InFlight,
    delivery::Run,
    linger::Lingering,
    moves::Moves,
    recent::Recent,
    repeat::{LastHead, Repeated},
    resolve::Resolved,
    storing::Storing,
};
pub(crate) use self::{
    home::{Home, Homes, Place},
    moves::Move,
    receipts::{Known, Receipt, Receipts},
    subscribing::Awaited,
    unfinished::{Message, OwnPublish, Step, Unfinished},
    work::{SHARE_UNITS, Work},
};

/// After this many collected bytes the core flushes before it reads more, so that the turn's bytes stay in the cache.
pub(crate) const TURN_BYTES_MAX: usize = 256 * 1024;

const _: () = assert!(TURN_BYTES_MAX <= memory::TURN_BYTES);

/// Makes the epochs of cores differ in all of their letters.
const EPOCH_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The routing state of one core.
pub(crate) struct Router {
    pub(crate) subscriptions: Subscriptions,
    pub(crate) outboxes: Outboxes,
    pub(crate) relays: Relays,
    pub(crate) work: Work,
    pub(crate) unfinished: Unfinished,
    /// The channels with a history whose home is this core.
    pub(crate) history: History,
    pub(crate) receipts: Receipts,
    /// Who is in the channels whose home is this core.
    pub(crate) presence: Presence,
    moves: Moves,
    /// They say which channels have a history; none has one unless `keeps_some`.
    rules: Arc<Rules>,
    keeps_some: bool,
    homes: Homes,
    storing: Option<Box<Storing>>,
    in_flight: InFlight,
    resolved: Resolved,
    recent: Recent,
    /// The number of resolutions of channels so far.
    resolutions: u64,
    run: Option<Run>,
    busiest: Busiest,
    last_head: LastHead,
    lingering: Lingering,
    /// Bytes of frames since the last flush that only peers get. The turn's buffer does not hold them.
    passed_on: usize,
    /// Messages published: once for each channel named.
    published: u64,
    /// Messages delivered: once for each matching subscription.
    delivered: u64,
}

#[cfg(test)]
pub(crate) use self::linger::LINGER_MILLIS;

impl Router {
    /// The router of core `own` of `cores`. `seed` is the same for all of them.
    pub(crate) fn new(own: u32, cores: u32, seed: u64, rules: Arc<Rules>) -> Self {
        Self {
            history: History::new(Epoch::new(seed.wrapping_add(u64::from(own)).wrapping_mul(EPOCH_FACTOR))),
            receipts: Receipts::default(),
            presence: Presence::default(),
            moves: Moves::default(),
            keeps_some: rules.has_history(),
            rules,
            homes: Homes::new(own, cores, seed),
            storing: None,
            subscriptions: Subscriptions::new(cores),
            outboxes: Outboxes::default(),
            relays: Relays::new(own, cores),
            work: Work::new(),
            unfinished: Unfinished::default(),
            in_flight: InFlight::default(),
            resolved: Resolved::default(),
            recent: Recent::new(),
            resolutions: 0,
            run: None,
            busiest: Busiest::default(),
            last_head: LastHead::default(),
            lingering: Lingering::default(),
            passed_on: 0,
            published: 0,
            delivered: 0,
        }
    }

    /// Whether the core should flush, and hand over the batches for peers, before it reads more.
    pub(crate) fn is_full(&self) -> bool {
        self.outboxes.turn_len() + self.passed_on >= TURN_BYTES_MAX || self.outboxes.has_long_chain()
    }

    /// Whether input must wait: for a flush, or because the turn has done enough.
    pub(crate) fn must_stop(&self) -> bool {
        self.is_full() || self.work.is_at_limit()
    }

    /// Whether a flush has something to do.
    pub(crate) fn is_dirty(&self) -> bool {
        self.outboxes.is_dirty() || self.run.is_some()
    }

    /// Completes the outboxes before a flush.
    pub(crate) fn begin_flush(&mut self) {
        self.apply_run();
        self.work.write(self.outboxes.dirty_len());
        if self.is_full() {
            // A turn of many publishers goes on after this flush. A subscriber that reads as fast as they publish must
            // not wait for the next poll, or its backlog would exceed the limit. The retry costs one system call for
            // each stalled subscriber.
            self.outboxes.retry();
        }
        self.passed_on = 0;
    }

    /// Messages published and delivered since the core's start.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.published, self.delivered)
    }

    /// Begins to find out which channels are the busiest.
    pub(crate) fn watch_channels(&mut self) {
        self.busiest = Busiest::start();
    }

    /// Begins a turn at this time since the core's start.
    pub(crate) fn begin_turn(&mut self, now: Duration) {
        self.busiest.begin_turn(now, self.published);
    }

    /// The channels with the most publishes a second on this core, with the rates, largest first.
    pub(crate) fn busiest(&self, now: Duration, limit: usize) -> Vec<(Box<[u8]>, f64)> {
        self.busiest.top(now, limit)
    }

    /// Samples the messages that were counted last, which are for this channel, if one of them is due.
    #[inline]
    fn sample(&mut self, name: &[u8]) {
        if self.busiest.is_due(self.published) {
            self.busiest.take(self.published, name);
        }
    }

    /// The same for messages to the resolved channel.
    #[inline]
    fn sample_resolved(&mut self) {
        if self.busiest.is_due(self.published) {
            self.busiest.take(self.published, &self.resolved.name);
        }
    }

    /// Whether a link to a peer is congested, or this core has announced that it publishes nothing more.
    pub(crate) fn is_congested(&self) -> bool {
        self.relays.congested() != 0
    }

    /// The congested links that a publish to these checked channels needs.
    pub(crate) fn links_of_publish<'n>(&mut self, names: impl Iterator<Item = &'n [u8]>) -> u64 {
        match self.relays.congested() {
            0 => 0,
            congested => names.fold(0, |links, name| links | self.links_of_channel(name)) & congested,
        }
    }

    /// The links that a publish to this checked channel needs.
    pub(crate) fn links_of_channel(&mut self, name: &[u8]) -> u64 {
        self.resolve(name);
        match self.resolved.home {
            Home::Away(home) => self.relays.links_of_publish(1 << home),
            Home::None | Home::Here(_) => self.relays.links_of_publish(self.resolved.peers),
        }
    }

    /// The links that a subscription to this checked name needs: none if the peers know the name already.
    pub(crate) fn links_of_subscription(&self, name: &[u8], kind: Kind) -> u64 {
        let home = if let Home::Away(home) = self.home(name, kind) { 1 << home } else { 0 };
        home | if self.subscriptions.is_announced(name, kind) { 0 } else { self.relays.links_of_interest() }
    }

    /// Takes new rules: other channels may have a history.
    pub(crate) fn set_rules(&mut self, rules: &Arc<Rules>) {
        (self.rules, self.keeps_some) = (Arc::clone(rules), rules.has_history());
        self.forget_all_resolved();
        if self.history.is_copy()
            && let Some(retention) = rules.widest_retention()
        {
            self.relays.keep(retention);
        }
    }

    /// Units of work so far, including the writes. The writes of the next flush count, too, if they are for many
    /// audiences: more messages for the same audience cause no more writes.
    pub(crate) fn work_with_writes(&self) -> u64 {
        self.work.with_writes(self.outboxes.dirty_len())
    }
}

/// For tests: the invariants between two turns.
#[cfg(any(test, feature = "fuzz"))]
impl Router {
    pub(crate) fn invariants(&self) {
        self.subscriptions.invariants();
        self.recent.iter().chain([&self.resolved]).for_each(|resolved| self.check_resolved(resolved));
        self.outboxes.invariants();
        assert!(!self.unfinished.is_cut(), "a cut message has nobody to continue it");
        self.history.invariants();
    }

    /// Asserts that the closed connections have left nothing behind.
    pub(crate) fn assert_empty(&self) {
        assert_eq!((self.subscriptions.len(), self.subscriptions.audiences()), (0, 0));
        assert_eq!(self.outboxes.segments(), 0);
        assert!(self.lingering.is_empty() && self.unfinished.is_empty() && !self.relays.has_batches());
        assert!(self.receipts.is_empty() && !self.has_moves());
    }

    /// Lowers the limit at which links are congested.
    pub(crate) fn set_batch_bytes_max(&mut self, bytes: usize) {
        self.relays.batch_bytes_max = bytes;
    }

    /// Lowers the credit of other cores, and the size of the history's segments.
    #[cfg(test)]
    pub(crate) fn set_small_history(&mut self, credit_bytes: u64, segment_bytes: usize) {
        self.relays.credit_bytes = credit_bytes;
        self.outboxes.arena().set_history_segments(segment_bytes);
    }
}
