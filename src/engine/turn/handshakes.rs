//! When a core takes part in TLS handshakes: a few in each turn, so that a crowd that comes back at once does not delay the
//! messages of the others.

use std::{collections::VecDeque, time::Duration};

use crate::{
    config::memory::HALF_OPEN_MAX,
    engine::{
        slot::ConnectionKey,
        stats::Why,
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
    /// Those that have not begun, and wait until fewer others are half open. They end with their handshake's timeout.
    held: VecDeque<ConnectionKey>,
    /// Those that have begun, the oldest first, and when. Some may be finished or gone.
    begun: VecDeque<(ConnectionKey, Duration)>,
}

impl Handshakes {
    /// Puts a connection behind the others.
    pub(super) fn add(&mut self, key: ConnectionKey) {
        self.queue.push_back(key);
    }

    /// When the oldest one gives way to those that are held.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let oldest = self.begun.front().filter(|_| !self.held.is_empty());
        oldest.map(|&(_, since)| since + GIVES_WAY_AFTER)
    }
}

impl<S: Sockets, L: Links> Turn<S, L> {
    /// Whether the next turn can take handshakes further.
    pub(super) fn has_handshakes(&self) -> bool {
        let Handshakes { queue, held, .. } = &self.handshakes;
        !queue.is_empty() || (!held.is_empty() && self.sockets.half_open() < HALF_OPEN_MAX)
    }

    /// Takes some handshakes further.
    pub(super) fn shake_hands(&mut self, buffer: &mut [u8]) {
        if self.handshakes.queue.is_empty() && self.handshakes.held.is_empty() {
            return;
        }
        if self.sockets.half_open() >= HALF_OPEN_MAX && !self.handshakes.held.is_empty() {
            self.end_slowest();
        }
        let began = self.sockets.clock();
        for _ in 0..STEPS_PER_TURN {
            let Some(key) = self.next_handshake() else { break };
            if self.hub.sessions.is_current(key) {
                self.shake(key, buffer);
            }
            if self.sockets.clock().saturating_sub(began) >= STEPS_TIME {
                break;
            }
        }
    }

    /// The next connection to take further. One that has not begun comes after those that were held.
    fn next_handshake(&mut self) -> Option<ConnectionKey> {
        let is_free = self.sockets.half_open() < HALF_OPEN_MAX;
        let Handshakes { queue, held, .. } = &mut self.handshakes;
        if is_free && !held.is_empty() {
            return held.pop_front();
        }
        while let Some(key) = queue.pop_front() {
            if is_free || !self.sockets.is_waiting(key.slot) {
                return Some(key);
            }
            held.push_back(key);
        }
        None
    }

    /// Takes one handshake further.
    fn shake(&mut self, key: ConnectionKey, buffer: &mut [u8]) {
        if self.sockets.is_waiting(key.slot) {
            self.begins(key);
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
                let said = format_args!("the TLS handshake has failed: {error}");
                self.hub.drop_for(&mut *self.app, key.slot, Why::TlsFailed, said);
            }
        }
    }

    /// Notes that a handshake begins. Those before it that are over are forgotten.
    fn begins(&mut self, key: ConnectionKey) {
        while let Some(&(key, _)) = self.handshakes.begun.front()
            && !self.is_half_open(key)
        {
            self.handshakes.begun.pop_front();
        }
        self.handshakes.begun.push_back((key, self.now));
    }

    fn is_half_open(&self, key: ConnectionKey) -> bool {
        self.hub.sessions.is_current(key) && self.sockets.is_shaking(key.slot)
    }

    /// Ends the oldest handshake if it is slow. Its place is free with the next turn.
    fn end_slowest(&mut self) {
        while let Some(&(key, since)) = self.handshakes.begun.front() {
            if !self.is_half_open(key) {
                self.handshakes.begun.pop_front();
                continue;
            }
            if self.now.saturating_sub(since) >= GIVES_WAY_AFTER {
                self.handshakes.begun.pop_front();
                let said = format_args!("its TLS handshake was slow, and too many had begun");
                self.hub.drop_for(&mut *self.app, key.slot, Why::TlsGaveWay, said);
            }
            return;
        }
    }
}
