//! When a core takes part in TLS handshakes: a few in each turn, so that a crowd that comes back at once does not delay the
//! messages of the others.

use std::{collections::VecDeque, time::Duration};

use crate::{
    config::memory::HALF_OPEN_MAX,
    engine::{
        slot::ConnectionKey,
        turn::{Links, Shaken, Sockets, Turn},
    },
};

/// The most handshakes that one turn takes further, and the time after which it begins no other. One with an ECDSA key
/// takes 0.1 ms, one with an RSA key more than the half of this time.
const STEPS_PER_TURN: usize = 4;
const STEPS_TIME: Duration = Duration::from_micros(500);
/// A handshake that has begun so long ago gives way if there are too many. In this time a round trip is possible from
/// anywhere on Earth.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(2);

/// The connections of a core that are not set up yet.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    /// Those with something to do, the longest waiting one first.
    queue: VecDeque<ConnectionKey>,
    /// Those that have not begun, and wait until fewer others are half open.
    held: VecDeque<ConnectionKey>,
    /// Those that have begun, the oldest first, and when. Some may be finished or gone.
    begun: VecDeque<(ConnectionKey, Duration)>,
}

impl Handshakes {
    /// Puts a connection behind the others.
    pub(super) fn add(&mut self, key: ConnectionKey) {
        self.queue.push_back(key);
    }

    /// Whether the next turn has handshakes to take further.
    pub(super) fn has_waiting(&self) -> bool {
        !self.queue.is_empty()
    }
}

impl<S: Sockets, L: Links> Turn<S, L> {
    /// Takes some handshakes further.
    pub(super) fn shake_hands(&mut self, buffer: &mut [u8]) {
        if self.handshakes.queue.is_empty() && self.handshakes.held.is_empty() {
            return;
        }
        if self.sockets.half_open() < HALF_OPEN_MAX || self.give_way() {
            self.handshakes.queue.extend(self.handshakes.held.pop_front());
        }
        let began = self.sockets.clock();
        for _ in 0..self.handshakes.queue.len().min(STEPS_PER_TURN) {
            let Some(key) = self.handshakes.queue.pop_front() else { break };
            if self.hub.sessions.is_current(key) {
                self.shake(key, buffer);
            }
            if self.sockets.clock().saturating_sub(began) >= STEPS_TIME {
                break;
            }
        }
    }

    /// Takes one handshake further.
    fn shake(&mut self, key: ConnectionKey, buffer: &mut [u8]) {
        if self.sockets.is_waiting(key.slot) {
            if self.sockets.half_open() >= HALF_OPEN_MAX {
                return self.handshakes.held.push_back(key);
            }
            self.handshakes.begun.push_back((key, self.now));
        }
        self.ready.set(key.slot, false);
        match self.sockets.shake(key.slot, buffer) {
            Ok(Shaken::Waits) => {}
            Ok(Shaken::HasMore) => {
                self.ready.set(key.slot, true);
                self.handshakes.add(key);
            }
            Ok(Shaken::Done) => {
                self.hub.stats.tls_handshakes += 1;
                self.ready.add(key); // its first request may have come with the end of the handshake
            }
            Err(error) => {
                log::debug!("a TLS handshake has failed: {error}");
                self.hub.stats.tls_failed += 1;
                self.hub.lost(&mut *self.app, key.slot);
            }
        }
    }

    /// Ends the oldest handshake if it is slow. Returns whether a place is free now.
    fn give_way(&mut self) -> bool {
        while let Some(&(key, since)) = self.handshakes.begun.front() {
            let is_shaking = self.hub.sessions.is_current(key) && self.sockets.is_shaking(key.slot);
            if is_shaking && self.now.saturating_sub(since) < GIVES_WAY_AFTER {
                return false;
            }
            self.handshakes.begun.pop_front();
            if is_shaking {
                self.hub.stats.tls_gave_way += 1;
                self.hub.lost(&mut *self.app, key.slot);
                return true; // its socket closes with this turn
            }
        }
        false
    }
}
