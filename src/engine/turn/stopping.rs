//! How a core stops: all earlier publishes reach their subscribers, on the other cores too, before the core closes its
//! clients' connections.

use std::time::Duration;

use crate::engine::turn::{LETTERS_PER_TURN, Links, Sockets, Turn};

/// The time of clients to answer the close frame of a stopping server, after all was sent.
const FAREWELL: Duration = Duration::from_secs(1);

/// A core that is stopping.
pub(crate) struct Stop {
    /// At this time the core ends, even if something is left.
    pub(crate) deadline: Duration,
    stage: Stage,
}

/// The condition that a stopping core waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// To take this many more letters: those that were in the inbox when another thread asked it to stop.
    Letters(usize),
    /// For its peers to announce that they publish nothing any more: by then all of their publishes have come.
    Peers,
    /// For its clients to close their connections.
    Drain,
}

impl Stop {
    /// The state of a core that ends at this time at the latest, and has this many letters to take.
    pub(crate) fn new(deadline: Duration, letters: usize) -> Self {
        Self { deadline, stage: Stage::Letters(letters) }
    }

    /// Whether the core closes its clients' connections.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn is_draining(&self) -> bool {
        self.stage == Stage::Drain
    }

    /// Whether the core must look again without being woken: a peer that has ended does not wake it.
    pub(super) fn waits_for_peers(&self) -> bool {
        self.stage == Stage::Peers
    }
}

impl<S: Sockets, L: Links> Turn<S, L> {
    /// Continues to stop, after each turn. Returns true at the end.
    pub(crate) fn go_on_stopping(&mut self, stop: &mut Stop, now: Duration) -> bool {
        if let Stage::Letters(left) = stop.stage {
            let left = left - self.take_letters(left.min(LETTERS_PER_TURN));
            let has_left =
                (left > 0 && !self.inbox.is_empty()) || !self.held.is_empty() || !self.hub.router.unfinished.is_empty();
            if has_left {
                stop.stage = Stage::Letters(left);
            } else {
                self.hub.stop_publishing();
                stop.stage = Stage::Peers;
            }
        }
        let is_time = now >= stop.deadline;
        if is_time || (stop.stage == Stage::Peers && self.hub.router.relays.have_all_stopped()) {
            stop.stage = Stage::Drain;
            self.hub.drain(&mut *self.app);
        }
        self.send();
        let (is_sent, is_empty) = self.hub.drained();
        if is_sent && stop.stage == Stage::Drain {
            stop.deadline = stop.deadline.min(now + FAREWELL);
        }
        if is_time || (is_empty && stop.stage == Stage::Drain) {
            self.hand_to_bridge();
            self.sockets.close_all();
            return true;
        }
        false
    }
}
