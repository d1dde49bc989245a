//! Connections over `max-connections`: each has a reserved place for one request, so that a full server still says that it
//! is well and takes `POST /publish`.

use std::net::SocketAddr;

use crate::{
    engine::{
        hub::Hub,
        session::Phase,
        slot::{ConnectionKey, Slot},
    },
    error::HttpFault,
    protocol::{
        handshake,
        http::{RequestHead, write_fault},
    },
};

use super::http::{Extra, Faulty};

/// How long a connection on a reserved place has for its request, in milliseconds, if `handshake-timeout` is not less.
const RESERVED_MILLIS: u64 = 5_000;

const TOO_MANY: HttpFault = HttpFault::new(503, "this server has as many connections as it takes");
const RETRY: Extra = &[("Retry-After", "5")];

impl Hub {
    /// A connection was accepted that is over `max-connections`: one request of it is read. A server of pages has nothing to
    /// answer but 503, and says so at once.
    pub(crate) fn open_reserved(&mut self, peer: Option<SocketAddr>) -> ConnectionKey {
        let key = self.admit(peer, true);
        if self.pages.is_some() {
            self.turn_away(key.slot);
        }
        key
    }

    /// Tells a connection on a reserved place that it is one too many; it lingers to hear it.
    pub(super) fn turn_away(&mut self, slot: Slot) {
        self.count_turned_away();
        self.push_http(slot, |turn| write_fault(turn, TOO_MANY, RETRY));
        self.move_on(slot, Phase::Lingering);
    }

    /// How long a connection has until its request is whole, in milliseconds.
    pub(super) fn request_timeout(&self, is_reserved: bool) -> u64 {
        let timeout = self.limits.handshake_timeout;
        if is_reserved { timeout.min(RESERVED_MILLIS) } else { timeout }
    }

    /// Whether a connection on a reserved place still waits for its answer.
    pub(crate) fn is_unanswered(&self, slot: Slot) -> bool {
        self.sessions[slot as usize].phase == Phase::Http
    }

    /// Ends a connection on a reserved place, at once.
    pub(crate) fn give_way(&mut self, slot: Slot) {
        self.sessions[slot as usize].is_cut |= !self.outboxes.is_empty(slot);
        self.abandon(slot);
    }

    /// What a connection is to be told has not reached it whole: it ends with a reset.
    pub(crate) fn cut(&mut self, slot: Slot) {
        self.sessions[slot as usize].is_cut = true;
    }

    /// Counts a connection that is told 503 without a request, or instead of it.
    pub(crate) fn count_turned_away(&mut self) {
        self.stats.turned_away += 1;
    }

    /// Lets the requests pass that a full server answers.
    pub(super) fn check_reserved(&mut self, head: &RequestHead<'_, '_>) -> Result<(), Faulty> {
        let is_served = match (head.path, head.method) {
            ("/healthz", _) | ("/publish", "POST") => !handshake::is_upgrade(head),
            _ => false,
        };
        if !is_served {
            self.count_turned_away();
            return Err((TOO_MANY, RETRY));
        }
        Ok(())
    }
}
