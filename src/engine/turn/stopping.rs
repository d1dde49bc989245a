//! How a core stops: what was published before reaches everybody, on the other cores too, before its clients are told to go.

use std::time::Duration;

use crate::engine::turn::{LETTERS_PER_TURN, Links, Sockets, Turn};

/// How long clients have, after all was sent, to answer the goodbye of a stopping server.
const FAREWELL: Duration = Duration::from_secs(1);

/// A core that is stopping.
pub(crate) struct Stop {
    /// Then it ends, whatever is left.
    pub(crate) deadline: Duration,
    stage: Stage,
}

/// What it waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// To have taken this many letters: those that were there when somebody asked it to stop.
    Letters(usize),
    /// For its peers to say that they publish nothing any more, so that all that they did has come.
    Peers,
    /// For its clients to go.
    Drain,
}

impl Stop {
    /// A core that ends at this time, and has this many letters.
    pub(crate) fn new(deadline: Duration, letters: usize) -> Self {
        Self { deadline, stage: Stage::Letters(letters) }
    }

    /// Whether its clients were told to go.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn is_draining(&self) -> bool {
        self.stage == Stage::Drain
    }

    /// Whether it may go on though nobody wakes it: a peer that has ended wakes nobody.
    pub(super) fn waits_for_peers(&self) -> bool {
        self.stage == Stage::Peers
    }
}

impl<S: Sockets, L: Links> Turn<S, L> {
    /// Goes on with stopping, behind a turn. True when it is over.
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
