//! Connections over the limit. Each gets a reserved place for one request, so that a full server still answers some
//! requests. The application decides which.

use crate::{
    config::ADMIN_CONNECTIONS_MAX,
    engine::{
        application::Application,
        arrival::{Arrival, Role},
        hub::{Hub, ends::End},
        log_limit::LogLimit,
        session::Phase,
        slot::{ConnectionKey, Slot},
        stats::Why,
    },
    error::HttpFault,
    protocol::http::{RequestHead, write_fault},
};

use super::http::{Extra, Faulty};

/// The time for a request on a reserved place, in milliseconds. A shorter `handshake-timeout` counts instead.
const RESERVED_MILLIS: u64 = 5_000;

const TOO_MANY: HttpFault = HttpFault::new(503, "this server has as many connections as it takes");
const RETRY: Extra = &[("Retry-After", "5")];

impl Hub {
    /// Opens a connection over the limit of its role: one request of it is read. The role of pages has no
    /// requests that are served then, so a connection of it gets 503 at once.
    pub(crate) fn open_reserved(&mut self, arrival: impl Into<Arrival>) -> ConnectionKey {
        let arrival = Arrival { is_reserved: true, ..arrival.into() };
        let key = self.open(arrival);
        match arrival.role {
            Role::Public => {}
            Role::Pages => self.turn_away(key.slot, Why::Full),
            Role::Admin => {
                static LIMIT: LogLimit = LogLimit::new();
                let most = ADMIN_CONNECTIONS_MAX;
                LIMIT.say(|more| {
                    log::warn!("admin: all {most} connections are in use; more get one request each{more}")
                });
            }
        }
        key
    }

    /// Answers a connection on a reserved place with 503. It lingers so that it can read the answer.
    pub(super) fn turn_away(&mut self, slot: Slot, why: Why) {
        self.count_turned_away();
        self.push_http(slot, |turn| write_fault(turn, TOO_MANY, RETRY));
        self.move_on(slot, Phase::Lingering, (why, End::Answered(TOO_MANY.status)));
    }

    /// The time until a connection's request must be complete, in milliseconds.
    pub(super) fn request_timeout(&self, is_reserved: bool) -> u64 {
        let timeout = self.limits.handshake_timeout;
        if is_reserved { timeout.min(RESERVED_MILLIS) } else { timeout }
    }

    /// Whether a connection on a reserved place still waits for its answer.
    pub(crate) fn is_unanswered(&self, slot: Slot) -> bool {
        self.sessions[slot].phase() == Phase::Http
    }

    /// Ends a connection on a reserved place, at once.
    pub(crate) fn give_way(&mut self, slot: Slot) {
        self.cut_off(slot);
        self.abandon(slot, Why::Full, format_args!("its reserved place is for another request"));
    }

    /// Notes that a connection did not get its last answer completely: it ends with a reset.
    pub(crate) fn cut(&mut self, slot: Slot) {
        self.sessions[slot].set_cut(true);
    }

    /// Counts a connection that was turned away with 503.
    pub(crate) fn count_turned_away(&mut self) {
        self.stats.turned_away += 1;
    }

    /// Checks that a full server serves this request.
    ///
    /// # Errors
    /// The 503 for all other requests.
    pub(super) fn check_reserved(
        &mut self,
        app: &dyn Application,
        head: &RequestHead<'_, '_>,
        role: Role,
    ) -> Result<(), Faulty> {
        let is_served = if role == Role::Admin { app.is_operators(self, head) } else { app.is_served_when_full(head) };
        if is_served {
            return Ok(());
        }
        self.count_turned_away();
        Err((TOO_MANY, RETRY))
    }
}
