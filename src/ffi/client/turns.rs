//! Which thread may use a client: one at a time, first come, first served. A waiting poll makes way for new calls, and
//! then waits on behind them.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::client::{Client, Waker};

/// A client, and the threads that wait for it.
pub(super) struct Turns {
    line: Mutex<Line>,
    moved: Condvar,
    /// The thread with the turn holds the lock; `None` after the close.
    client: Mutex<Option<Client>>,
    waker: Waker,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    Poll,
}

#[derive(Default)]
struct Line {
    /// The number for the next thread.
    next: u64,
    waiting: BTreeMap<u64, Kind>,
    /// The number of the thread with the turn.
    holder: Option<Kind>,
    /// The client was woken for a call, and no poll has ended for it yet.
    interrupted: bool,
}

impl Line {
    fn has_calls(&self) -> bool {
        self.waiting.values().any(|kind| *kind == Kind::Call)
    }
}

impl Turns {
    pub(super) fn new(client: Client) -> Self {
        let waker = client.waker();
        Self { line: Mutex::default(), moved: Condvar::new(), client: Mutex::new(Some(client)), waker }
    }

    /// A turn for a call, which ends a poll that waits, but no other call.
    pub(super) fn for_call(&self) -> Turn<'_> {
        let mut line = self.line();
        if line.holder == Some(Kind::Poll) {
            line.interrupted = true;
            self.waker.wake();
        }
        let ticket = enter(&mut line, Kind::Call);
        let first = |line: &mut Line| line.holder.is_some() || line.waiting.keys().next() != Some(&ticket);
        let line = self.moved.wait_while(line, first).unwrap_or_else(PoisonError::into_inner);
        self.begin(line, ticket, Kind::Call)
    }

    /// A turn for a poll, if there is one within this time.
    pub(super) fn for_poll(&self, timeout: Duration) -> Option<Turn<'_>> {
        let mut line = self.line();
        let ticket = enter(&mut line, Kind::Poll);
        let first = |line: &mut Line| line.holder.is_some() || line.waiting.keys().next() != Some(&ticket);
        let (mut line, waited) =
            self.moved.wait_timeout_while(line, timeout, first).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            line.waiting.remove(&ticket);
            self.moved.notify_all();
            return None;
        }
        Some(self.begin(line, ticket, Kind::Poll))
    }

    fn begin(&self, mut line: MutexGuard<'_, Line>, ticket: u64, kind: Kind) -> Turn<'_> {
        line.waiting.remove(&ticket);
        line.holder = Some(kind);
        let others_wait = line.has_calls();
        if kind == Kind::Poll {
            // Earlier calls have had their turn, or are known to wait, so their wake-up is spent. Later calls wake the
            // client anew.
            line.interrupted = false;
            self.waker.forget();
        }
        drop(line);
        Turn { client: self.client.lock().unwrap_or_else(PoisonError::into_inner), others_wait, _leave: Leave(self) }
    }

    /// True if a poll without an event ended because of a call.
    pub(super) fn was_interrupted(&self) -> bool {
        std::mem::take(&mut self.line().interrupted)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn enter(line: &mut Line, kind: Kind) -> u64 {
    let ticket = line.next;
    line.next += 1;
    line.waiting.insert(ticket, kind);
    ticket
}

/// The client, until it is dropped.
pub(super) struct Turn<'a> {
    pub(super) client: MutexGuard<'a, Option<Client>>,
    /// Calls waited when the turn began: a poll must not wait, because nothing would wake it.
    pub(super) others_wait: bool,
    // Dropped after the guard: the next thread finds the client unlocked.
    _leave: Leave<'a>,
}

struct Leave<'a>(&'a Turns);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.line().holder = None;
        self.0.moved.notify_all();
    }
}
