//! What is kept for peers, held against this core's share of `memory-budget`.

use crate::engine::{
    hub::{Application, Hub},
    session::Phase,
    subscriptions::Slot,
};

impl Hub {
    /// Bytes that peers have not read, or not sent whole.
    pub(super) fn kept_bytes(&self) -> usize {
        self.outboxes.backlog_bytes() + self.incoming_bytes
    }

    /// Brings the sum of what sessions keep up to date with this one.
    pub(super) fn recount(&mut self, slot: Slot) {
        let session = &mut self.sessions[slot as usize];
        let bytes = session.incoming_bytes();
        self.incoming_bytes = self.incoming_bytes + bytes - session.counted as usize;
        session.counted = bytes as u32;
    }

    /// The core keeps more than its share: those who make it keep the most are closed, until it does not.
    pub(super) fn enforce_budget(&mut self, app: &mut dyn Application) {
        let mut offenders: Vec<(usize, Slot)> = self
            .sessions
            .iter()
            .map(|(slot, session)| (self.offence(slot as Slot) + session.incoming_bytes(), slot as Slot))
            .filter(|&(bytes, _)| bytes > 0)
            .collect();
        offenders.sort_unstable_by(|a, b| b.cmp(a));
        for (_, slot) in offenders {
            if self.kept_bytes() <= self.limits.kept_bytes_max {
                break;
            }
            if self.drop_backlog(app, slot) {
                self.stats.slow_consumers -= 1;
                self.stats.over_budget += 1;
            } else {
                self.lost(app, slot);
            }
            self.drop_incoming(slot);
        }
    }

    /// How much of what is kept for peers is a connection's fault. What waits for it counts, and so does the memory that
    /// cannot be freed while it waits, though others may wait for the same: who does not read pins the segment of every
    /// burst for a few bytes, and who reads the rest of them pins none but the newest.
    fn offence(&self, slot: Slot) -> usize {
        self.outboxes.backlog_cost(slot) + self.outboxes.pinned_bytes(slot)
    }

    /// What a connection that is told to go had sent of an unfinished message is of no use any more.
    fn drop_incoming(&mut self, slot: Slot) {
        let session = &mut self.sessions[slot as usize];
        if session.fragments().is_some() {
            // Without it the stream cannot be followed, so its own close frame will not be seen either.
            session.incoming = None;
            session.phase = if session.phase == Phase::Closing { Phase::Lingering } else { session.phase };
            self.recount(slot);
        }
    }
}
