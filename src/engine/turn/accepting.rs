//! How a core takes in new connections, and which one gives way when too many come.

use std::{
    io::{self, IoSlice},
    time::Duration,
};

use crate::engine::{
    log_limit::LogLimit,
    turn::{Accepted, Links, Sockets, Turn, places::GivesWay},
};

/// Connections accepted in one turn, and for how long; more in the next.
pub(crate) const ACCEPTS_PER_TURN: usize = 32;
const ACCEPT_TIME: Duration = Duration::from_millis(1);

/// What a connection is told that gives way.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nX-Content-Type-Options: nosniff\r\nRetry-After: 5\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

impl<S: Sockets, L: Links> Turn<S, L> {
    /// Accepts what has come, within the turn's share.
    pub(super) fn accept_connections(&mut self) {
        let (mut reserved_left, mut began) = (self.places.reserved_per_turn(), None);
        for _ in 0..ACCEPTS_PER_TURN {
            if reserved_left == 0 && self.places.are_taken() {
                break;
            }
            let accepted = match self.sockets.accept(self.now) {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.hub.stats.out_of_fds += u64::from(error.kind() != io::ErrorKind::WouldBlock);
                    break;
                }
            };
            let is_over = self.admit(accepted);
            reserved_left = reserved_left.saturating_sub(usize::from(is_over));
            let now = self.sockets.clock();
            if now.saturating_sub(*began.get_or_insert(now)) >= ACCEPT_TIME {
                break;
            }
        }
    }

    /// Takes in a connection, and says whether it is over the limit.
    fn admit(&mut self, Accepted { stream, peer }: Accepted<S::Stream>) -> bool {
        let is_over = !self.places.take();
        let key = if is_over {
            self.make_room();
            self.hub.open_reserved(peer)
        } else {
            self.hub.open(peer)
        };
        self.ready.open(key.slot);
        if is_over {
            self.places.take_reserved(key.slot);
            self.ready.add(key); // in this turn, for in the next it may have to give way
        }
        if let Err(error) = self.sockets.add(key, stream) {
            static LIMIT: LogLimit = LogLimit::new();
            LIMIT.say(|more| log::error!("cannot poll a connection: {error}{more}"));
            self.hub.abandon(key.slot);
        }
        is_over
    }

    /// Makes sure of a reserved place. The socket of the connection that gives way is closed when the turn ends.
    fn make_room(&mut self) {
        let Some(GivesWay { slot, is_unanswered }) = self.places.make_room(|slot| self.hub.is_unanswered(slot)) else {
            return;
        };
        if is_unanswered {
            self.hub.count_turned_away();
            match self.sockets.write(slot, &[IoSlice::new(BUSY)]) {
                Ok(len) if len == BUSY.len() => self.sockets.shut(slot),
                _ => self.hub.cut(slot), // a part of an answer is none; or it is gone
            }
        }
        self.hub.give_way(slot);
    }
}
