//! The loop of a worker: it takes a request, carries it out, and takes the next.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, bounded};

use crate::{
    engine::{inbox::Mailbox, log_limit::LogLimit, stats::SharedStats},
    error::Reason,
};

use super::{
    Prepared, Tally,
    fetch::Fetch,
    http_client::{HttpClient, failed},
    lock,
    post::Post,
    queue::Capacity,
    reply::outcome,
    schedule::Schedule,
};

/// The state that all workers share.
#[derive(Debug)]
pub(super) struct Workers {
    client: HttpClient,
    intake: Receiver<Box<Fetch>>,
    /// Held by the one idle worker that waits for the intake, so that a request wakes one worker and not all.
    idle: Mutex<()>,
    /// Wakes that worker when another one has left a request in the schedule that may begin.
    more: (Sender<()>, Receiver<()>),
    schedule: Mutex<Schedule>,
    capacity: Arc<Capacity>,
    under_way: AtomicUsize,
    /// Requests that failed because the time to stop was over.
    broken_off: AtomicUsize,
    post: Arc<Post>,
    tally: Arc<Tally>,
    is_over: AtomicBool,
}

impl Workers {
    pub(super) fn new(prepared: Prepared, mailboxes: Vec<Mailbox>, stats: Arc<SharedStats>) -> Self {
        let Prepared { client, allow, intake, capacity, workers, .. } = prepared;
        let tally = Arc::new(Tally { counts: Mutex::default(), stats });
        Self {
            client,
            intake,
            idle: Mutex::default(),
            more: bounded(1),
            schedule: Mutex::new(Schedule::new(workers, allow.servers())),
            capacity,
            under_way: AtomicUsize::new(0),
            broken_off: AtomicUsize::new(0),
            post: Post::new(mailboxes, Arc::clone(&tally)),
            tally,
            is_over: AtomicBool::new(false),
        }
    }

    /// Runs one worker, from its start to its end.
    pub(super) fn run(&self) {
        while let Some(mut fetch) = self.take() {
            self.under_way.fetch_add(1, Ordering::Relaxed);
            fetch.place = None;
            self.carry_out(&fetch);
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            let mut schedule = lock(&self.schedule);
            // Take in new requests first: otherwise a flow that looks empty is removed, and its next request jumps the line.
            self.take_in(&mut schedule);
            schedule.done(fetch.flow());
        }
    }

    /// Waits for the next request that may begin. Gives none when this worker is to end.
    fn take(&self) -> Option<Box<Fetch>> {
        if let (Some(fetch), _) = self.begin() {
            return Some(fetch);
        }
        let _idle = lock(&self.idle);
        loop {
            match self.begin() {
                (Some(fetch), _) => return Some(fetch),
                // The busy workers do the rest: the end of a request lets at most one other begin.
                (None, is_closed) if is_closed || self.is_over() => return None,
                (None, _) => {
                    let mut waking = Select::new();
                    waking.recv(&self.intake);
                    waking.recv(&self.more.1);
                    waking.ready();
                    let _ = self.more.1.try_recv();
                }
            }
        }
    }

    /// Begins the next request. The flag is true if no more requests will come.
    fn begin(&self) -> (Option<Box<Fetch>>, bool) {
        let mut schedule = lock(&self.schedule);
        let is_closed = self.take_in(&mut schedule);
        if self.is_over() {
            return (None, is_closed);
        }
        let next = schedule.begin();
        // The intake wakes no worker for requests that this one has moved to the schedule.
        if schedule.can_begin() {
            let _ = self.more.0.try_send(());
        }
        (next, is_closed)
    }

    /// Moves new requests to the schedule; true if no more will come. The caller holds the schedule's lock, so one worker
    /// does it at a time and the requests of a flow stay in order.
    fn take_in(&self, schedule: &mut Schedule) -> bool {
        loop {
            match self.intake.try_recv() {
                Ok(fetch) => schedule.enter(fetch),
                Err(error) => return error == TryRecvError::Disconnected,
            }
        }
    }

    fn carry_out(&self, fetch: &Fetch) {
        // A bug in the code that reads an upstream's bytes costs only this request.
        let result = catch_unwind(AssertUnwindSafe(|| self.client.run(fetch))).unwrap_or_else(|_| {
            static LIMIT: LogLimit = LogLimit::new();
            LIMIT.say(|more| log::error!("an upstream request has panicked{more}"));
            Err(failed("the upstream request failed in this server"))
        });
        if self.is_over() && result.is_err() {
            self.broken_off.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.tally.count(|stats| match &result {
            Ok(_) => stats.upstream_answered += 1,
            Err(refusal) if refusal.code() == Reason::UpstreamTimeout.code() => stats.upstream_timed_out += 1,
            Err(_) => stats.upstream_failed += 1,
        });
        if let Some(payload) = outcome(fetch, result) {
            // The core drops it if the connection has closed since.
            self.post.send(fetch.core, fetch.key, payload);
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Requests that wait or are under way.
    pub(super) fn waiting(&self) -> usize {
        self.capacity.waiting() + self.under_way.load(Ordering::Relaxed)
    }

    /// Breaks off the requests that are under way, and lets no more begin.
    pub(super) fn break_off(&self) {
        self.is_over.store(true, Ordering::Release);
        self.client.shut_down();
    }

    /// After [`Workers::break_off`]: how many requests were not sent, and how many were broken off.
    pub(super) fn given_up(&self) -> (usize, usize) {
        let hanging = self.under_way.load(Ordering::Relaxed);
        (self.capacity.waiting(), self.broken_off.load(Ordering::Relaxed) + hanging)
    }

    /// Drops the answers that the cores have not taken. The cores must have ended.
    pub(super) fn close(&self) {
        self.post.close();
    }
}
