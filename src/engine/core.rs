//! A core's thread: turn after turn, none of which blocks.

mod stopping;

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};

use crate::{
    config::memory,
    engine::{
        counters::Shared,
        hub::{Application, Hub},
        inbox::{Inbox, Letter, Options, Wake},
        pace::Pace,
        reactor::Reactor,
        session::ConnectionKey,
        uplink::BridgeLink,
    },
};

use self::stopping::Stop;

/// The one buffer that a core reads into, in bytes.
const READ_BYTES: usize = 64 * 1024;
const _: () = assert!(READ_BYTES <= memory::READ_BYTES);
/// Reads of one connection in one turn; what is left waits for the next, so that one publisher does not starve others.
const READS_PER_TURN: usize = 4;
/// Letters taken in one turn.
const LETTERS_PER_TURN: usize = 4096;
/// How long a core sleeps at most that cannot hand over its batches, or is stopping and waits for its peers.
const RELAY_RETRY: Duration = Duration::from_millis(1);

/// Both directions of the link between two cores.
pub(crate) struct Link {
    /// The peer's number.
    pub(crate) peer: u32,
    pub(crate) batches_in: Receiver<Vec<u8>>,
    pub(crate) batches_out: Sender<Vec<u8>>,
    pub(crate) wake: Arc<Wake>,
}

/// A core, ready to run on its thread.
pub(crate) struct Core {
    pub(crate) number: u32,
    pub(crate) hub: Hub,
    pub(crate) app: Box<dyn Application>,
    pub(crate) reactor: Reactor,
    pub(crate) links: Vec<Link>,
    /// The link to the bridge, if there are other nodes.
    pub(crate) bridge: Option<BridgeLink>,
    pub(crate) inbox: Inbox,
    pub(crate) shared: Arc<Shared>,
    /// The ready list's other half, empty between turns: its memory is used again.
    pub(crate) spare: Vec<ConnectionKey>,
    /// When a flush is worth to wait for.
    pub(crate) pace: Pace,
    /// How long to poll without sleeping after something happened.
    pub(crate) busy_poll: Duration,
}

impl Core {
    /// Runs until it is asked to stop and has drained.
    ///
    /// # Errors
    /// The poll failed, which nothing can mend.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let start = Instant::now();
        let mut buffer = vec![0; READ_BYTES];
        let mut stop: Option<Stop> = None;
        let mut awake_until = Duration::ZERO;
        // Read once a turn, behind the poll: a turn is short beside any deadline.
        let mut now = start.elapsed();
        loop {
            let deadline = if now < awake_until { Some(now) } else { self.next_deadline(now, stop.as_ref())? };
            let had_events = self.reactor.poll(now, deadline)?;
            now = start.elapsed();
            self.hub.begin_turn(now, self.reactor.due());
            let had_input = self.turn(now, &mut buffer) || had_events;
            if had_input {
                awake_until = now + self.busy_poll;
            }
            self.end_turn(had_input);
            if let Some(until) = self.pace.rest(now, self.hub.take_messages()) {
                wait_between_turns(until.saturating_sub(start.elapsed()));
            }
            if let Some(time) = self.inbox.stop_asked() {
                now = start.elapsed(); // the turn may have begun before anybody asked
                let stop = stop.get_or_insert_with(|| Stop::new(now.saturating_add(time), self.inbox.len()));
                if self.go_on_stopping(stop, now) {
                    return Ok(());
                }
            }
        }
    }

    /// How long to sleep at most, unless the alarm goes off. Peers need not make a system call to wake this core until
    /// this says that it may sleep.
    fn next_deadline(&mut self, now: Duration, stop: Option<&Stop>) -> io::Result<Option<Duration>> {
        if self.hub.wants_turn() {
            return Ok(Some(now));
        }
        self.inbox.wake().clear();
        let has_letters = !self.inbox.is_empty() && !self.hub.must_wait();
        let has_batches = self.links.iter().any(|link| !link.batches_in.is_empty())
            || self.bridge.as_ref().is_some_and(|bridge| bridge.waiting() > 0);
        let is_to_stop = stop.is_none() && self.inbox.stop_asked().is_some();
        if has_letters || has_batches || is_to_stop {
            return Ok(Some(now));
        }
        if let Some(deadline) = self.hub.next_deadline() {
            self.reactor.wake_at(now, deadline)?;
        }
        let waits_for_links = self.hub.has_batches() || stop.is_some_and(Stop::waits_for_peers);
        let retry = waits_for_links.then_some(now + RELAY_RETRY);
        let stop = stop.map(|stop| stop.deadline);
        Ok(retry.into_iter().chain(stop).min())
    }

    /// Takes in all that has come. Says whether anything did, sockets aside.
    fn turn(&mut self, now: Duration, buffer: &mut [u8]) -> bool {
        self.reactor.sort_events(&mut self.hub);
        let had_batches = self.take_batches();
        let had_letters = self.take_letters(LETTERS_PER_TURN) > 0;
        self.reactor.accept(&mut self.hub, now);
        let mut resumed = Vec::new();
        self.hub.resume(&mut *self.app, &mut resumed);
        for slot in resumed {
            self.read(self.hub.key(slot), buffer);
        }
        // A connection that is put back meanwhile lands on the other list, which is read in the next turn.
        let mut ready = std::mem::replace(&mut self.reactor.ready, std::mem::take(&mut self.spare));
        for key in ready.drain(..) {
            if self.hub.is_current(key) {
                self.reactor.connections.get(key.slot).is_ready = false;
                self.read(key, buffer);
            }
        }
        self.spare = ready;
        let connections = &self.reactor.connections;
        let had_deadlines =
            self.reactor.has_seen_all() && self.hub.look_at_due(&mut *self.app, |slot| connections.is_ready(slot));
        had_batches || had_letters || had_deadlines
    }

    /// Sends what came of the turn.
    fn end_turn(&mut self, had_input: bool) {
        self.send();
        if had_input {
            self.hub.stats.turns += 1;
            self.shared.store(self.hub.refresh_stats());
        }
    }

    fn take_batches(&mut self) -> bool {
        let mut had_batches = false;
        for index in 0..self.links.len() {
            let peer = self.links[index].peer;
            loop {
                let batch = match self.links[index].batches_in.try_recv() {
                    Ok(batch) => batch,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        self.hub.peer_has_ended(peer);
                        break;
                    }
                };
                had_batches = true;
                let mut used = 0;
                while used < batch.len() {
                    used += self.hub.relayed(peer, &batch[used..]);
                    self.flush_if_full();
                }
            }
        }
        had_batches | self.take_from_bridge()
    }

    /// Takes what the bridge had sent when this began: it may go on sending as fast as this core can take it.
    fn take_from_bridge(&mut self) -> bool {
        let waiting = self.bridge.as_ref().map_or(0, BridgeLink::waiting);
        for _ in 0..waiting {
            let Some((peer, batch)) = self.bridge.as_ref().and_then(|bridge| Some((bridge.peer, bridge.take()?)))
            else {
                break;
            };
            let mut used = 0;
            while used < batch.len() {
                used += self.hub.relayed(peer, &batch[used..]);
                self.flush_if_full();
            }
        }
        waiting > 0
    }

    /// Takes at most so many letters, and gives how many there were.
    fn take_letters(&mut self, most: usize) -> usize {
        let mut taken = 0;
        while taken < most && !self.hub.must_wait() {
            let Some(letter) = self.inbox.take() else { break };
            taken += 1;
            match letter {
                Letter::Publish { channels, payload } => {
                    let names = channels.split(|&byte| byte == b' ');
                    let is_text = simdutf8::basic::from_utf8(&payload).is_ok();
                    self.hub.publish(names, is_text, &payload, None);
                }
                Letter::Send { key, is_text, payload } if self.hub.is_current(key) => {
                    let is_text = is_text && simdutf8::basic::from_utf8(&payload).is_ok();
                    self.hub.send(key.slot, is_text, &payload);
                }
                Letter::Close { key, code, reason } if self.hub.is_current(key) => {
                    self.hub.close(&mut *self.app, key.slot, code, &reason);
                }
                Letter::Send { .. } | Letter::Close { .. } => {} // the connection is gone
                Letter::Options(options, taken) => {
                    self.set_options(*options);
                    let _ = taken.try_send(()); // whoever asked may have given up waiting
                }
            }
            self.flush_if_full();
        }
        taken
    }

    fn set_options(&mut self, options: Options) {
        self.hub.set_limits(options.limits);
        self.reactor.set_connections_max(options.connections_max);
        self.busy_poll = options.busy_poll;
        self.pace = Pace::new(options.coalesce);
    }

    /// Reads a connection until it has nothing more, or its share of the turn is used up.
    fn read(&mut self, key: ConnectionKey, buffer: &mut [u8]) {
        for _ in 0..READS_PER_TURN {
            if !self.hub.may_read(key.slot) {
                return; // it is read when it resumes
            }
            let len = match self.reactor.connections.read(key.slot, buffer) {
                Ok(0) => return self.hub.end_of_input(&mut *self.app, key.slot),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.hub.lost(&mut *self.app, key.slot),
            };
            let mut used = 0;
            while used < len {
                used += self.hub.receive(&mut *self.app, key.slot, &mut buffer[used..len]);
                self.flush_if_full();
            }
            // Under edge triggering a short read has emptied the socket, unless the end is there too.
            if len < buffer.len() && !self.reactor.connections.get(key.slot).is_read_closed {
                return;
            }
        }
        self.reactor.make_ready(key);
    }

    fn flush_if_full(&mut self) {
        if self.hub.is_full() {
            self.flush();
        }
    }

    /// Ends a turn.
    fn send(&mut self) {
        self.flush();
        let mut shut = Vec::new();
        self.hub.take_shut(&mut shut);
        shut.into_iter().for_each(|slot| self.reactor.connections.shut(slot));
        let mut ended = Vec::new();
        self.hub.reap(&mut ended);
        self.reactor.close(ended);
    }

    /// Sends what has been collected: batches first, so that peers work while this core writes. A turn that is full does
    /// so before its end, so neither its batches nor its outboxes grow with the number of those who publish in it.
    fn flush(&mut self) {
        for link in &self.links {
            let Some(batch) = self.hub.take_batch(link.peer) else { continue };
            match link.batches_out.try_send(batch) {
                Ok(()) => link.wake.notify(),
                Err(TrySendError::Full(batch)) => self.hub.give_back_batch(link.peer, batch),
                Err(TrySendError::Disconnected(_)) => {} // the peer has stopped, and so will this core
            }
        }
        self.hand_to_bridge();
        self.hub.flush(&mut *self.app, &mut self.reactor.connections);
    }
}

impl Core {
    fn hand_to_bridge(&mut self) {
        let Some(bridge) = &self.bridge else { return };
        let interest = self.hub.take_interest();
        bridge.uplink.send(self.number, interest, std::iter::from_fn(|| self.hub.take_batch(bridge.peer)));
    }
}

/// Not polling, and off the CPU: whoever sends is not slowed down by being listened to.
fn wait_between_turns(rest: Duration) {
    thread::sleep(rest);
}
