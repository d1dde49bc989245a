//! The memory that is kept for peers, checked against this core's share of `memory-budget`.
//!
//! A core over its share closes connections until nine tenths of the share are in use. The search visits each
//! connection that keeps memory. It runs again only when another tenth has come, so a core at its limit does not spend
//! its time on searches.

use std::collections::BinaryHeap;

use crate::engine::{
    application::Application,
    hub::Hub,
    outbox::{Sink, SocketCounts},
    session::Phase,
    slot::Slot,
    stats::Why,
};

/// The core closes connections until one part in this many of the share is free.
const HEADROOM_DIVISOR: usize = 10;

/// The minimum age that counts, in milliseconds: of two connections with younger memory, the larger one is worse.
const AGE_MIN: u64 = 1_000;

/// The most bytes that a closed connection may still be sent, so that it gets the reason. With more it is reset.
const FAREWELL_BYTES_MAX: usize = 4096;

/// The memory that a core keeps beside its backlogs.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The application's memory for connections, in bytes.
    application_bytes: usize,
    /// The sockets' memory for unfinished input, in bytes, at the last flush.
    sockets_bytes: usize,
    /// Closing connections did not help. The core tries again when it keeps more than this.
    retry_above: usize,
}

impl Hub {
    /// Bytes that count against the core's share: memory for peers, and subscriptions.
    pub(super) fn kept_bytes(&self) -> usize {
        // Subscriptions over their own limit are no reason to close a connection.
        self.kept_for_peers() + self.router.subscriptions.bytes().min(self.limits.table_bytes_max)
    }

    /// Bytes of backlogs, of unfinished input, of messages that are not carried out completely, of identities, of
    /// verified tokens, and of the application's memory for connections.
    pub(super) fn kept_for_peers(&self) -> usize {
        let of_acks = self.acks.bytes() + self.router.receipts.bytes() + self.missed.bytes();
        let of_messages = self.router.unfinished.bytes() + self.router.storing_bytes() + of_acks;
        self.router.outboxes.backlog_bytes()
            + self.sessions.incoming_bytes()
            + self.kept.application_bytes
            + self.kept.sockets_bytes
            + self.grants.bytes()
            + self.stats.token_cache_bytes as usize
            + self.router.presence.bytes()
            + of_messages
    }

    /// Notes that the application keeps this many bytes for a connection while it is open.
    pub(crate) fn application_keeps(&mut self, slot: Slot, bytes: usize) {
        self.sessions.keeps(slot);
        self.kept.application_bytes += bytes;
    }

    /// Notes that the application has freed this many bytes.
    pub(crate) fn application_frees(&mut self, bytes: usize) {
        self.kept.application_bytes -= bytes;
    }

    /// Closes the worst offenders if the core keeps more than its share.
    pub(super) fn enforce_budget(&mut self, app: &mut dyn Application, sockets: &impl Sink) {
        self.kept.sockets_bytes = sockets.kept_bytes();
        let SocketCounts { tls_faults, tls_key_updates, read_bytes, written_bytes } = sockets.counts();
        (self.stats.tls_faults, self.stats.tls_key_updates) = (tls_faults, tls_key_updates);
        (self.stats.read_bytes, self.stats.written_bytes) = (read_bytes, written_bytes);
        let max = self.limits.kept_bytes_max;
        if self.kept_bytes() <= max {
            self.kept.retry_above = 0;
        } else if self.kept_bytes() > self.kept.retry_above {
            self.close_offenders(app, sockets, max - max / HEADROOM_DIVISOR);
            // No connection is left whose end would free memory.
            let kept = self.kept_bytes();
            self.kept.retry_above = if kept > max { kept + max / HEADROOM_DIVISOR } else { 0 };
        }
    }

    /// Closes the connections that keep the most for the longest, until the core keeps no more than `target`. If the
    /// worst one pins much memory for a few bytes, these bytes are copied out instead.
    fn close_offenders(&mut self, app: &mut dyn Application, sockets: &impl Sink, target: usize) {
        let mut keepers = self.sessions.take_keepers();
        let mut offenders = Vec::new();
        keepers.retain(|slot| {
            let offence = self.offence(app, sockets, slot);
            offenders.extend((offence > 0).then_some((offence, slot)));
            offence > 0
        });
        self.sessions.put_keepers(keepers);
        // A heap instead of a sorted list: only a few of thousands are closed.
        let mut offenders = BinaryHeap::from(offenders);
        while self.kept_bytes() > target
            && let Some((_, slot)) = offenders.pop()
        {
            if self.router.outboxes.unpin(slot) {
                offenders.push((self.offence(app, sockets, slot), slot)); // it may not be the worst any more
                continue;
            }
            let was_at_work = self.close_slow_consumer(app, slot, Why::OverBudget);
            self.drop_incoming(slot);
            let of_socket = sockets.kept_by(slot);
            self.kept.sockets_bytes -= of_socket; // freed with the socket, at the end of the turn
            // The rest of a frame that is partly sent may be most of the backlog.
            if !was_at_work || of_socket > 0 || self.router.outboxes.backlog_cost(slot) > FAREWELL_BYTES_MAX {
                self.drop_for(app, slot, Why::OverBudget, format_args!("the core keeps too much"));
            }
        }
    }

    /// How much a connection contributes to the kept memory: bytes, each weighted with its age. Its backlog counts, and
    /// so does its part of the memory that the backlog pins: a stalled reader pins one segment per burst for a few
    /// bytes, a slow one pins only the newest. The memory of its handshake is in use while the connection is open, so
    /// it never counts as old.
    fn offence(&self, app: &dyn Application, sockets: &impl Sink, slot: Slot) -> u64 {
        let Some(session) = self.sessions.get(slot) else { return 0 };
        let age = |since: u64| AGE_MIN + self.sessions.now().saturating_sub(since);
        let weigh = |bytes: usize, since: u64| (bytes as u64).saturating_mul(age(since));
        let backlog = self.router.outboxes.backlog_since(slot).map_or(0, |since| {
            weigh(self.router.outboxes.backlog_cost(slot) + self.router.outboxes.pinned_bytes(slot), since)
        });
        let incoming = session.incoming_since().map_or(0, |since| weigh(session.incoming_bytes(), since));
        let application = if session.is_open() { app.kept_bytes(slot) } else { 0 };
        let application = application + self.grants.bytes_of_connection(session.grant());
        let of_socket = weigh(sockets.kept_by(slot), session.heard);
        let of_application = weigh(application, self.sessions.now());
        [incoming, of_socket, of_application].into_iter().fold(backlog, u64::saturating_add)
    }

    /// Frees the unfinished message of a connection that is being closed.
    fn drop_incoming(&mut self, slot: Slot) {
        let session = &mut self.sessions[slot];
        if session.fragments().is_some() {
            // Without these bytes the stream cannot be parsed, so the peer's close frame will not be seen either.
            session.incoming = None;
            if session.phase() == Phase::Closing {
                session.set_phase(Phase::Lingering);
            }
            self.recount(slot);
        }
    }
}
