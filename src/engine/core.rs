//! A core's thread: it polls, has a turn, and rests, until it must stop.

mod links;

use std::{io, sync::Arc, thread, time::Duration};

use crate::{
    config::memory,
    engine::{
        busy_poll::BusyPoll,
        inbox::CoreOptions,
        pace::Pace,
        reactor::Reactor,
        stats::SharedNumbers,
        turn::{Stop, Turn},
    },
};

pub(crate) use self::links::{CoreLinks, Link};

/// The size of a core's read buffer, in bytes.
const READ_BYTES: usize = 64 * 1024;
const _: () = assert!(READ_BYTES <= memory::READ_BYTES);

/// A core, ready to run on its thread.
pub(crate) struct Core {
    pub(crate) turn: Turn<Reactor, CoreLinks>,
    pub(crate) shared: Arc<SharedNumbers>,
    /// Decides when to delay a flush so that several messages share it.
    pub(crate) pace: Pace,
    /// Decides whether to poll on instead of sleeping.
    pub(crate) busy_poll: BusyPoll,
}

impl Core {
    /// Runs until another thread asks it to stop and it has drained.
    ///
    /// # Errors
    /// The poll failed; the core cannot go on.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let start = self.turn.sockets.start_clock();
        let mut buffer = vec![0; READ_BYTES];
        let mut stop: Option<Stop> = None;
        // The clock is read once a turn, after the poll: a turn is short compared to any deadline.
        let mut now = start.elapsed();
        loop {
            let deadline =
                if self.busy_poll.is_open(now) { Some(now) } else { self.next_deadline(now, stop.as_ref())? };
            let had_events = self.turn.sockets.poll(now, deadline, self.turn.hub.sessions.len())?;
            now = start.elapsed();
            let due = self.turn.sockets.due();
            let had_input = self.turn.take(now, due, &mut buffer) || had_events;
            if had_input {
                self.busy_poll.had_work(now);
            }
            self.end_turn(had_input);
            if let Some(until) = self.pace.rest(now, self.turn.hub.take_messages())
                && !self.turn.has_waiting()
            {
                wait_between_turns(until.saturating_sub(start.elapsed()));
            }
            if let Some(ending) = self.turn.inbox.stop_asked() {
                now = start.elapsed(); // the turn may have begun before the request to stop
                let stop = stop.get_or_insert_with(|| Stop::new(ending, now));
                if self.turn.go_on_stopping(stop, now) {
                    self.share_numbers();
                    return Ok(());
                }
            }
        }
    }

    /// The latest end of the next sleep, unless the alarm goes off.
    fn next_deadline(&mut self, now: Duration, stop: Option<&Stop>) -> io::Result<Option<Duration>> {
        if self.turn.has_left(stop.is_some()) {
            return Ok(Some(now));
        }
        let deadlines = [self.turn.hub.next_deadline(), self.turn.app.next_deadline()];
        if let Some(deadline) = deadlines.into_iter().flatten().min() {
            self.turn.sockets.wake_at(now, deadline)?;
        }
        Ok(self.turn.retry(now, stop))
    }

    fn end_turn(&mut self, had_input: bool) {
        let waited = self.turn.hub.stats.relay_waiting_bytes > 0; // it may have ended without an event
        self.turn.send();
        for (options, taken) in self.turn.take_options() {
            self.set_options(&options);
            let _ = taken.try_send(()); // the thread that asked may have given up waiting
        }
        if had_input {
            self.turn.count_turn();
        }
        if had_input || waited {
            self.share_numbers();
        }
    }

    /// Copies the core's numbers to a place that other threads can read.
    fn share_numbers(&mut self) {
        self.shared.stats.store(self.turn.hub.refresh_stats());
        self.turn.hub.measures.share(&self.shared.measures);
    }

    fn set_options(&mut self, options: &CoreOptions) {
        self.busy_poll = BusyPoll::new(options.busy_poll);
        self.pace = Pace::new(options.coalesce);
    }
}

/// Sleeps instead of polling, so that senders on the same CPU are not slowed down.
fn wait_between_turns(rest: Duration) {
    thread::sleep(rest);
}
