//! A core's thread: turn after turn, none of which blocks.

mod letters;
mod reading;
mod relaying;
mod stopping;

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::{
    config::memory,
    engine::{
        counters::Shared,
        hub::{Application, Hub},
        inbox::{Inbox, Wake},
        lanes::Lanes,
        pace::Pace,
        reactor::Reactor,
        session::ConnectionKey,
        uplink::BridgeLink,
    },
};

pub(crate) use self::{letters::Held, relaying::Rest};
use self::{letters::LETTERS_PER_TURN, stopping::Stop};

/// The one buffer that a core reads into, in bytes.
const READ_BYTES: usize = 64 * 1024;
const _: () = assert!(READ_BYTES <= memory::READ_BYTES);
/// How long a core sleeps at most that cannot hand over its batches, or is stopping and waits for its peers.
const RELAY_RETRY: Duration = Duration::from_millis(1);

/// Both directions of the link between two cores.
pub(crate) struct Link {
    /// The peer's number.
    pub(crate) peer: u32,
    pub(crate) batches_in: Receiver<Vec<u8>>,
    /// What is left of the batch that was taken last.
    pub(crate) rest: Rest,
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
    /// What is left of its last batch.
    pub(crate) bridge_rest: Rest,
    /// The link that is taken from first in the next turn.
    pub(crate) first_link: usize,
    pub(crate) inbox: Inbox,
    /// Letters that wait for a congested link.
    pub(crate) held: Held,
    pub(crate) shared: Arc<Shared>,
    /// The order in which connections are read.
    pub(crate) lanes: Lanes,
    /// The ready list's other half, empty between turns: its memory is used again.
    pub(crate) spare: Vec<ConnectionKey>,
    /// Room for connections that need not wait any more, empty between turns.
    pub(crate) resumed: Vec<ConnectionKey>,
    /// The time of the running turn, since the core's start.
    pub(crate) now: Duration,
    /// Since when the connection is read that is read, but for the time of flushes: they serve all who have published.
    pub(crate) began: Instant,
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
            if let Some(until) = self.pace.rest(now, self.hub.take_messages())
                && !self.lanes.has_waiting()
            {
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
        if self.hub.wants_turn() || self.lanes.has_waiting() {
            return Ok(Some(now));
        }
        self.inbox.wake().clear();
        let is_to_stop = stop.is_none() && self.inbox.stop_asked().is_some();
        if self.has_letters() || self.has_batches_in() || is_to_stop {
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

    /// Takes in all that has come, or was left by earlier turns. Says whether anything was, the poll's events aside.
    fn turn(&mut self, now: Duration, buffer: &mut [u8]) -> bool {
        self.now = now;
        let had_left = self.lanes.has_waiting() || self.hub.wants_turn();
        self.reactor.sort_events(&mut self.hub);
        let had_batches = self.take_batches();
        let had_letters = self.take_letters(LETTERS_PER_TURN) > 0;
        self.reactor.accept(&mut self.hub, now);
        self.read_connections(buffer);
        let connections = &self.reactor.connections;
        let had_deadlines =
            self.reactor.has_seen_all() && self.hub.look_at_due(&mut *self.app, |slot| connections.is_ready(slot));
        had_left || had_batches || had_letters || had_deadlines
    }

    /// Sends what came of the turn.
    fn end_turn(&mut self, had_input: bool) {
        self.send();
        if had_input {
            self.hub.stats.turns += 1;
            self.shared.store(self.hub.refresh_stats());
        }
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
        let began = Instant::now();
        self.hub.flush(&mut *self.app, &mut self.reactor.connections);
        let took = began.elapsed();
        self.began += took;
        self.lanes.has_flushed(&mut self.hub, took);
    }
}

impl Core {
    fn hand_to_bridge(&mut self) {
        let Some(bridge) = &self.bridge else { return };
        let mut interest = self.hub.take_interest();
        if bridge.uplink.is_full_of_interest()
            && let Some(interest) = interest.take()
        {
            self.hub.give_back_interest(interest);
        }
        bridge.uplink.send(self.number, interest, std::iter::from_fn(|| self.hub.take_batch(bridge.peer)));
    }
}

/// Not polling, and off the CPU: whoever sends is not slowed down by being listened to.
fn wait_between_turns(rest: Duration) {
    thread::sleep(rest);
}
