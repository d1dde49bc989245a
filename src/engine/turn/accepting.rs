//! How a core accepts new connections, and which one gives way when there are too many.

use std::{
    io::{self, IoSlice},
    time::Duration,
};

use crate::engine::{
    arrival::{Arrival, Role, Transport},
    log_limit::LogLimit,
    outbox::Written,
    stats::Why,
    turn::{Accepted, Links, Sockets, Turn, places::GivesWay},
};

/// The most connections that one turn accepts, and the most time for that. The next turn accepts the others.
pub(crate) const ACCEPTS_PER_TURN: usize = 4;
const ACCEPT_TIME: Duration = Duration::from_micros(100);

/// The answer to a connection that gives way.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nX-Content-Type-Options: nosniff\r\nRetry-After: 5\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// The answer to a connection of an address that is at its limit.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nX-Content-Type-Options: nosniff\r\nRetry-After: 1\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

impl<S: Sockets, L: Links> Turn<S, L> {
    /// Accepts new connections, within the turn's share.
    pub(super) fn accept_connections(&mut self) {
        self.places.begin_turn();
        let (mut began, mut accepting_since) = (None, self.now);
        for _ in 0..ACCEPTS_PER_TURN {
            let accepted = match self.sockets.accept(self.now, |role| self.places.may_accept(role)) {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.hub.stats.out_of_fds += u64::from(error.kind() != io::ErrorKind::WouldBlock);
                    break;
                }
            };
            self.admit(accepted, accepting_since);
            let now = self.sockets.clock();
            accepting_since = now;
            if now.saturating_sub(*began.get_or_insert(now)) >= ACCEPT_TIME {
                break;
            }
        }
        self.hub.stats.proxies_refused += self.sockets.take_refused();
    }

    /// Opens an accepted connection, on a reserved place if it is over the limit. One whose address is at its limit takes
    /// no place. The accept began at `since`, by the sockets' clock.
    fn admit(&mut self, accepted: Accepted<S::Stream>, since: Duration) {
        let Accepted { stream, peer, role, transport, is_loopback, is_told } = accepted;
        let is_tls = transport == Transport::Tls;
        let is_proxy = !is_told && role == Role::Public && self.hub.limits.access.trusts(peer.map(|peer| peer.ip()));
        let arrival = Arrival { peer, is_told, is_proxy, is_loopback, transport, role, ..Arrival::default() };
        let Ok(ticket) = self.hub.admit_address(&arrival) else {
            // A client that waits for a handshake cannot read the answer.
            return self.sockets.turn_away(stream, if is_tls { b"" } else { TOO_MANY });
        };
        let is_reserved = !self.places.take(role);
        if is_reserved {
            self.make_room(role);
        }
        let arrival = Arrival { is_reserved, is_late: self.hub.is_closing(), ..arrival };
        let key = if is_reserved { self.hub.open_reserved(arrival) } else { self.hub.open(arrival) };
        self.hub.was_accepted(key.slot, since);
        self.hub.hold(key.slot, ticket);
        self.ready.open(key.slot);
        self.places.seat(key.slot, role, is_reserved);
        if is_reserved && !is_tls {
            self.ready.add(key); // read it in this turn: in the next one it may have to give way
        }
        if let Err(error) = self.sockets.add(key, stream, is_tls) {
            static LIMIT: LogLimit = LogLimit::new();
            LIMIT.say(|more| log::error!("cannot poll a connection: {error}{more}"));
            self.hub.abandon(key.slot, Why::Lost, format_args!("its socket cannot be polled"));
        }
    }

    /// Frees a reserved place if there is none. The turn's end closes the socket of the connection that gives way.
    fn make_room(&mut self, role: Role) {
        let gives_way = self.places.make_room(role, |slot| self.hub.is_unanswered(slot));
        let Some(GivesWay { slot, is_unanswered }) = gives_way else { return };
        if is_unanswered {
            self.hub.count_turned_away();
            match self.sockets.write(slot, &[IoSlice::new(BUSY)]) {
                Ok(Written { bytes, .. }) if bytes == BUSY.len() => self.sockets.shut(slot),
                _ => self.hub.cut(slot), // a partial answer must not look complete; or the peer is gone
            }
        }
        self.hub.give_way(slot);
    }
}
