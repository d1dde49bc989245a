//! The upstream proxy (PROTOCOL.md §5): worker threads that send HTTP requests for messages, and the way back.
//!
//! ```text
//!   cores: gate ──► queue ──► intake ──► worker ──► ureq ◄──► an HTTP server
//!     ▲                         │ lanes ▲  │
//!     └───── a core's inbox ◄───┼───────┴──┘ what came of it
//! ```
//!
//! One worker at a time takes from the queue. A request whose *lane* (its connection, and the server that it is for) is
//! busy waits there, and whoever has done the one before does it next: so a connection's requests to a server arrive in
//! order, and a server that hangs holds no more than one worker for each connection.

mod client;
mod lanes;
mod resolver;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::{
    config::{Config, Prefix},
    engine::{
        counters::{Shared as SharedStats, Stats},
        hub::acks::encode_refusal,
        inbox::{Letter, Mailbox},
    },
    error::{PublishError, Reason, Refusal, StartError},
    extension::{Fetch, Gate, Queue, Room},
};

use self::{
    client::{Answer, Client, failed},
    lanes::Lanes,
};

/// How long a worker waits for a core to take what came of a request.
const DELIVERY_TIME: Duration = Duration::from_secs(10);
/// How often it tries.
const DELIVERY_RETRY: Duration = Duration::from_millis(1);
/// How long a worker whose request was broken off may take to end.
const STOP_TIME: Duration = Duration::from_secs(1);
/// The stack of a worker; what it does is shallow, but for TLS.
const STACK_BYTES: usize = 512 * 1024;

/// The workers, as the server holds them.
#[derive(Debug)]
pub(crate) struct Pool {
    work: Arc<Work>,
    /// Closed when the last worker has ended.
    ended: Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

/// A client and a queue for [`Pool::start`], and the cores' way to it.
pub(crate) struct Prepared {
    client: Client,
    prefixes: Arc<[Prefix]>,
    queue: Queue,
    intake: Receiver<Box<Fetch>>,
    room: Arc<Room>,
    workers: usize,
}

/// What the workers share.
#[derive(Debug)]
struct Work {
    client: Client,
    /// Held by the worker that takes the next request and finds its lane.
    intake: Mutex<Receiver<Box<Fetch>>>,
    lanes: Mutex<Lanes>,
    room: Arc<Room>,
    under_way: AtomicUsize,
    /// Requests that were under way when the time to stop was over.
    broken_off: AtomicUsize,
    mailboxes: Vec<Mailbox>,
    counts: Mutex<Stats>,
    stats: Arc<SharedStats>,
    is_over: AtomicBool,
}

impl Prepared {
    /// The way to the workers for one core.
    pub(crate) fn gate(&self, core: u32) -> Gate {
        Gate { core, prefixes: Arc::clone(&self.prefixes), queue: self.queue.clone() }
    }
}

impl Pool {
    /// Reads the prefixes, and loads the certificate authorities if one is `https`.
    ///
    /// # Errors
    /// [`StartError::Config`].
    pub(crate) fn prepare(config: &Config) -> Result<Prepared, StartError> {
        let prefixes: Arc<[Prefix]> = config.upstream_prefixes().map_err(StartError::Config)?.into();
        let client = Client::new(config, Arc::clone(&prefixes))?;
        let (queue, intake, room) = Queue::new(config.upstream_queue_max, Config::UPSTREAM_QUEUE_BYTES_MAX);
        Ok(Prepared { client, prefixes, queue, intake, room, workers: config.upstream_workers })
    }

    /// Starts the workers. They end when the cores have, and with them the gates to the queue.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(prepared: Prepared, mailboxes: Vec<Mailbox>, stats: Arc<SharedStats>) -> io::Result<Self> {
        let Prepared { client, intake, room, workers, .. } = prepared;
        let work = Arc::new(Work {
            client,
            intake: Mutex::new(intake),
            lanes: Mutex::default(),
            room,
            under_way: AtomicUsize::new(0),
            broken_off: AtomicUsize::new(0),
            mailboxes,
            counts: Mutex::default(),
            stats,
            is_over: AtomicBool::new(false),
        });
        let (alive, ended) = bounded(0);
        let mut pool = Self { work, ended, threads: Vec::with_capacity(workers) };
        for number in 0..workers {
            pool.threads.push(pool.spawn(number, alive.clone())?);
        }
        Ok(pool)
    }

    fn spawn(&self, number: usize, alive: Sender<()>) -> io::Result<JoinHandle<()>> {
        let work = Arc::clone(&self.work);
        let run = move || {
            work.run();
            drop(alive);
        };
        thread::Builder::new().name(format!("lhttp-up-{number}")).stack_size(STACK_BYTES).spawn(run)
    }

    /// Requests that wait or are under way.
    pub(crate) fn waiting(&self) -> usize {
        self.work.room.waiting() + self.work.under_way.load(Ordering::Relaxed)
    }

    /// Waits until all that the cores have queued is done, but not beyond `deadline`: what is left then is given up. The
    /// cores must have ended.
    pub(crate) fn stop(&mut self, deadline: Instant) {
        if self.threads.is_empty() {
            return;
        }
        if self.ended.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout) {
            self.work.is_over.store(true, Ordering::Release);
            self.work.client.shut_down();
            let _ = self.ended.recv_timeout(STOP_TIME);
            let (unsent, broken_off) = self.work.given_up();
            if unsent + broken_off > 0 {
                log::warn!("upstream: {unsent} requests were not sent, {broken_off} more may not have arrived");
            }
        }
        for thread in self.threads.drain(..) {
            // One that hangs in the system's connect ends by itself, at its time limit.
            if thread.is_finished() && thread.join().is_err() {
                log::error!("an upstream worker has panicked");
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop(Instant::now());
    }
}

impl Work {
    /// A worker, from its start to its end.
    fn run(&self) {
        let mut next = None;
        while let Some(fetch) = next.take().or_else(|| self.take()) {
            self.under_way.fetch_add(1, Ordering::Relaxed);
            self.room.give_back(fetch.cost);
            let lane = fetch.lane();
            self.carry_out(&fetch);
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            next = lock(&self.lanes).done(&lane);
            if self.is_over() {
                return;
            }
        }
    }

    /// The next request that may begin; none when there will be no more.
    fn take(&self) -> Option<Box<Fetch>> {
        let intake = lock(&self.intake);
        loop {
            let fetch = intake.recv().ok()?;
            if self.is_over() {
                return None; // it counts as waiting for ever
            }
            // The lock on the intake is held meanwhile, so that nobody who took a later one comes before this one.
            if let Some(fetch) = lock(&self.lanes).enter(fetch) {
                return Some(fetch);
            }
        }
    }

    fn carry_out(&self, fetch: &Fetch) {
        // A bug in what reads an upstream's bytes costs this one request.
        let result = catch_unwind(AssertUnwindSafe(|| self.client.run(fetch))).unwrap_or_else(|_| {
            log::error!("an upstream request has panicked");
            Err(failed("the upstream request failed in this server"))
        });
        if self.is_over() && result.is_err() {
            self.broken_off.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.count(|stats| match &result {
            Ok(_) => stats.upstream_answered += 1,
            Err(refusal) if refusal.code() == Reason::UpstreamTimeout.code() => stats.upstream_timed_out += 1,
            Err(_) => stats.upstream_failed += 1,
        });
        if let Some(payload) = outcome(fetch, result) {
            self.deliver(fetch, payload);
        }
    }

    /// Hands what came of a request to the core of its connection, which knows whether that is still there.
    fn deliver(&self, fetch: &Fetch, payload: Vec<u8>) {
        let letter = Letter::Send { key: fetch.key, is_text: true, payload };
        if !wait_until_posted(&self.mailboxes[fetch.core as usize], letter, || self.is_over()) {
            self.count(|stats| stats.upstream_dropped += 1);
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// How many requests were not sent, and how many were broken off, now that this is over.
    fn given_up(&self) -> (usize, usize) {
        let hanging = self.under_way.load(Ordering::Relaxed);
        (self.room.waiting(), self.broken_off.load(Ordering::Relaxed) + hanging)
    }

    /// Counts something, and shows the numbers to other threads.
    fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut counts = lock(&self.counts);
        change(&mut counts);
        self.stats.store(&counts);
    }
}

/// What the sender of a message hears of its request: the answer if it wants it, or what went wrong.
fn outcome(fetch: &Fetch, result: Result<Answer, Refusal>) -> Option<Vec<u8>> {
    let ack = fetch.ack.as_deref();
    let refusal = match result {
        Ok(answer) if fetch.wants_reply => return Some(reply(fetch, &answer)),
        Ok(answer) if answer.status.as_u16() < 400 => return None,
        Ok(answer) => failed(format!("the upstream answered {}", answer.status)),
        Err(refusal) => refusal,
    };
    let mut payload = Vec::new();
    encode_refusal(&mut payload, &refusal, ack);
    Some(payload)
}

fn reply(fetch: &Fetch, answer: &Answer) -> Vec<u8> {
    let status = answer.status.as_str().as_bytes();
    let mut payload = [b"LHTTP/1.0 ", &*fetch.command, b"\r\nupstream-status:", status].concat();
    if let Some(content_type) = &answer.content_type {
        payload.extend_from_slice(b"\r\ncontent-type:");
        payload.extend_from_slice(content_type.as_bytes());
    }
    if let Some(token) = &fetch.ack {
        payload.extend_from_slice(b"\r\nack:");
        payload.extend_from_slice(token);
    }
    payload.extend_from_slice(b"\r\n\r\n");
    payload.extend_from_slice(&answer.body);
    payload
}

/// Posts a letter as soon as the core takes it. False if it does not for [`DELIVERY_TIME`], or will not any more.
fn wait_until_posted(mailbox: &Mailbox, mut letter: Letter, is_over: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + DELIVERY_TIME;
    loop {
        match mailbox.try_post(letter) {
            Ok(()) => return true,
            Err((PublishError::Full, back)) if Instant::now() < deadline && !is_over() => letter = back,
            Err(_) => return false,
        }
        thread::sleep(DELIVERY_RETRY);
    }
}

/// Nothing that holds one of these locks can panic half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        inbox::{inbox, waker},
        session::ConnectionKey,
    };

    #[test]
    fn what_a_core_does_not_take_is_waited_with_and_not_for_ever() {
        let poll = mio::Poll::new().unwrap();
        let (mailbox, inbox) = inbox(waker(poll.registry(), mio::Token(0)).unwrap());
        let letter =
            || Letter::Send { key: ConnectionKey { slot: 0, generation: 0 }, is_text: true, payload: vec![0; 5 << 20] };
        assert!(wait_until_posted(&mailbox, letter(), || false));
        assert!(!wait_until_posted(&mailbox, letter(), || true), "the inbox is full, and the server stops");
        thread::scope(|scope| {
            let posting = scope.spawn(|| wait_until_posted(&mailbox, letter(), || false));
            assert!(inbox.take().is_some(), "now there is room");
            assert!(posting.join().unwrap());
        });
        assert!(inbox.take().is_some());
        drop(inbox);
        assert!(!wait_until_posted(&mailbox, letter(), || false), "the core has ended");
    }
}
