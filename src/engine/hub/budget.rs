//! What is kept for peers, held against this core's share of `memory-budget`.
//!
//! Over it connections are closed until nine tenths of it are kept. Looking for them costs a look at each that keeps
//! something, and happens again only when another tenth has come: so a core at its limit does not spend its time on it.

use std::collections::BinaryHeap;

use crate::engine::{application::Application, hub::Hub, session::Phase, slot::Slot};

/// Connections are closed until all but one part in so many of the share is kept.
const HEADROOM_DIVISOR: usize = 10;

/// The age that counts for something that has just come, in milliseconds: of two that are younger, the larger is worse.
const AGE_MIN: u64 = 1_000;

/// What one that is closed may still be sent, so that it hears why, in bytes; with more it is reset.
const FAREWELL_BYTES_MAX: usize = 4096;

/// What a core keeps beside its backlogs.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// What the application keeps about connections, in bytes.
    application_bytes: usize,
    /// Closing connections did not help: it is tried again when more than this is kept.
    retry_above: usize,
}

impl Hub {
    /// Bytes that count against the core's share: what is kept for peers, and subscriptions.
    pub(super) fn kept_bytes(&self) -> usize {
        // More of these than there may be are no reason to close anybody.
        self.kept_for_peers() + self.router.subscriptions.bytes().min(self.limits.table_bytes_max)
    }

    /// Bytes that peers have not read, or not sent whole, what is left of their messages, and what is kept about them.
    pub(super) fn kept_for_peers(&self) -> usize {
        let of_messages = self.router.unfinished.bytes() + self.acks.bytes();
        self.router.outboxes.backlog_bytes()
            + self.sessions.incoming_bytes()
            + self.kept.application_bytes
            + of_messages
    }

    /// The application keeps this many bytes about a connection for as long as it is open.
    pub(crate) fn application_keeps(&mut self, slot: Slot, bytes: usize) {
        self.sessions.keeps(slot);
        self.kept.application_bytes += bytes;
    }

    /// The application keeps them no more.
    pub(crate) fn application_frees(&mut self, bytes: usize) {
        self.kept.application_bytes -= bytes;
    }

    /// Closes the worst offenders if the core keeps more than its share.
    pub(super) fn enforce_budget(&mut self, app: &mut dyn Application) {
        let max = self.limits.kept_bytes_max;
        if self.kept_bytes() <= max {
            self.kept.retry_above = 0;
        } else if self.kept_bytes() > self.kept.retry_above {
            self.close_offenders(app, max - max / HEADROOM_DIVISOR);
            // What is left is nobody's that could be closed.
            let kept = self.kept_bytes();
            self.kept.retry_above = if kept > max { kept + max / HEADROOM_DIVISOR } else { 0 };
        }
    }

    /// Closes those who keep the most for the longest, until no more than this is kept. Of one that is worst because it
    /// pins much for a few bytes, these are copied out instead.
    fn close_offenders(&mut self, app: &mut dyn Application, target: usize) {
        let mut keepers = self.sessions.take_keepers();
        let mut offenders = Vec::new();
        keepers.retain(|slot| {
            let offence = self.offence(app, slot);
            offenders.extend((offence > 0).then_some((offence, slot)));
            offence > 0
        });
        self.sessions.put_keepers(keepers);
        // A heap, and not a sorted list: a few of thousands are closed.
        let mut offenders = BinaryHeap::from(offenders);
        while self.kept_bytes() > target
            && let Some((_, slot)) = offenders.pop()
        {
            if self.router.outboxes.unpin(slot) {
                offenders.push((self.offence(app, slot), slot)); // it may not have to go
                continue;
            }
            let was_at_work = self.drop_backlog(app, slot);
            if was_at_work {
                self.stats.slow_consumers -= 1;
                self.stats.over_budget += 1;
            }
            self.drop_incoming(slot);
            // The rest of a frame that is partly sent may be most of what there was.
            if !was_at_work || self.router.outboxes.backlog_cost(slot) > FAREWELL_BYTES_MAX {
                self.lost(app, slot);
            }
        }
    }

    /// How much a connection has to do with what is kept: bytes, each with its age. What waits for it counts, and so does
    /// its part of the memory that cannot be freed while it waits: a stalled reader pins one segment per burst for a few
    /// bytes, a slow one pins only the newest. What is kept of its handshake is in use as long as it is open, and so never
    /// counts as old.
    fn offence(&self, app: &dyn Application, slot: Slot) -> u64 {
        let Some(session) = self.sessions.get(slot) else { return 0 };
        let age = |since: u64| AGE_MIN + self.sessions.now().saturating_sub(since);
        let weigh = |bytes: usize, since: u64| (bytes as u64).saturating_mul(age(since));
        let backlog = self.router.outboxes.backlog_since(slot).map_or(0, |since| {
            weigh(self.router.outboxes.backlog_cost(slot) + self.router.outboxes.pinned_bytes(slot), since)
        });
        let incoming = session.incoming_since().map_or(0, |since| weigh(session.incoming_bytes(), since));
        let application = if session.phase == Phase::Open { app.kept_bytes(slot) } else { 0 };
        backlog.saturating_add(incoming).saturating_add(weigh(application, self.sessions.now()))
    }

    /// What a connection that is told to go had sent of an unfinished message is of no use any more.
    fn drop_incoming(&mut self, slot: Slot) {
        let session = &mut self.sessions[slot];
        if session.fragments().is_some() {
            // Without it the stream cannot be followed, so its own close frame will not be seen either.
            session.incoming = None;
            session.phase = if session.phase == Phase::Closing { Phase::Lingering } else { session.phase };
            self.recount(slot);
        }
    }
}
