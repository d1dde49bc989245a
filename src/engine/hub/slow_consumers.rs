//! Connections that read more slowly than they are sent to: past `outbox-max` the core closes them with 1013.

use crate::{
    engine::{application::Application, hub::Hub, session::Phase, slot::Slot, stats::Why},
    error::Fault,
};

/// The least limit of a connection that speaks HTTP, in bytes: an answer is as large as it is, however small outboxes are.
const HTTP_BYTES: usize = 1024 * 1024;

impl Hub {
    /// Closes a connection whose backlog is over `outbox-max`.
    pub(super) fn close_if_slow(&mut self, app: &mut dyn Application, slot: Slot) {
        let outbox_bytes_max = self.limits.outbox_bytes_max;
        let is_http = self.sessions[slot].phase() == Phase::Http;
        let most = if is_http { outbox_bytes_max.max(HTTP_BYTES) } else { outbox_bytes_max };
        if self.router.outboxes.backlog_cost(slot) > most {
            self.close_slow_consumer(app, slot, Why::SlowConsumer);
        }
    }

    /// Closes a slow consumer: it loses its backlog, and gets the reason when it reads again. Returns whether the
    /// connection was still in use.
    pub(super) fn close_slow_consumer(&mut self, app: &mut dyn Application, slot: Slot, why: Why) -> bool {
        match self.sessions[slot].phase() {
            Phase::Open => {
                self.router.outboxes.truncate(slot);
                self.close(app, slot, Fault::SLOW_CONSUMER.parts(), why);
                true
            }
            Phase::Http => {
                self.drop_for(app, slot, why, format_args!("{}", Fault::SLOW_CONSUMER.reason));
                true
            }
            Phase::Closing | Phase::Lingering | Phase::Ended | Phase::Over => false,
        }
    }
}
