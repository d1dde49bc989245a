//! The upstream proxy (PROTOCOL.md §5): worker threads that send HTTP requests for messages, and the way back.
//!
//! ```text
//!   cores: gate ──► queue ──► schedule ──► worker ──► ureq ◄──► an HTTP server
//!     ▲                          ▲ lanes     │
//!     └─ a core's inbox ◄─ post ◄┴───────────┘ what came of it
//! ```
//!
//! One idle worker at a time looks into the queue. What it finds goes to the schedule, which knows whose turn it is: so a
//! connection's requests to a server arrive in order, connections and servers take turns, and a server that hangs holds
//! no worker that another one needs.

mod client;
mod gate;
mod patience;
mod post;
mod queue;
mod resolver;
mod schedule;

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

use crossbeam_channel::{Receiver, RecvTimeoutError, Select, Sender, TryRecvError, bounded};

use crate::{
    application::Upstream,
    config::{Allow, Config, Plan},
    engine::{
        counters::{Shared as SharedStats, Stats},
        hub::acks::encode_refusal,
        inbox::Mailbox,
        log_limit::LogLimit,
    },
    error::{Reason, Refusal, StartError},
    service::{PreparedService, Service, Wiring},
};

use self::{
    client::{Answer, Client, failed},
    gate::{Fetch, Gate},
    post::Post,
    queue::{Queue, Room},
    schedule::Schedule,
};

/// How long a worker whose request was broken off may take to end.
const STOP_TIME: Duration = Duration::from_secs(1);
/// The stack of a worker; what it does is shallow, but for TLS.
const STACK_BYTES: usize = 512 * 1024;

/// The workers, as the server holds them.
#[derive(Debug)]
struct Pool {
    work: Arc<Work>,
    /// Closed when the last worker has ended.
    ended: Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

/// A client and a queue for [`Pool::start`], and the cores' way to it.
struct Prepared {
    client: Client,
    allow: Arc<Allow>,
    queue: Queue,
    intake: Receiver<Box<Fetch>>,
    room: Arc<Room>,
    workers: usize,
}

/// What the workers share.
#[derive(Debug)]
struct Work {
    client: Client,
    intake: Receiver<Box<Fetch>>,
    /// Held by the idle worker that waits for the intake, so that a request wakes one and not all.
    idle: Mutex<()>,
    /// Tells that worker that another one has left something in the schedule that may begin.
    more: (Sender<()>, Receiver<()>),
    schedule: Mutex<Schedule>,
    room: Arc<Room>,
    under_way: AtomicUsize,
    /// Requests that were under way when the time to stop was over.
    broken_off: AtomicUsize,
    post: Arc<Post>,
    tally: Arc<Tally>,
    is_over: AtomicBool,
}

/// What is counted, for other threads to read.
#[derive(Debug, Default)]
struct Tally {
    counts: Mutex<Stats>,
    stats: Arc<SharedStats>,
}

impl Tally {
    /// Counts something, and shows the numbers to other threads.
    fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut counts = lock(&self.counts);
        change(&mut counts);
        self.stats.store(&counts);
    }
}

/// The workers that the options ask for; none without a prefix. Loads the certificate authorities if a prefix is `https`.
///
/// # Errors
/// [`StartError::Config`].
pub(crate) fn prepare(config: &Config, _: &Plan) -> Result<Option<Box<dyn PreparedService>>, StartError> {
    if config.upstream_allow.is_empty() {
        return Ok(None);
    }
    let allow = Arc::new(config.upstream_allowed().map_err(StartError::Config)?);
    let client = Client::new(config, Arc::clone(&allow))?;
    let (queue, intake, room) = Queue::new(config.upstream_queue_max, Config::UPSTREAM_QUEUE_BYTES_MAX);
    Ok(Some(Box::new(Prepared { client, allow, queue, intake, room, workers: config.upstream_workers })))
}

impl PreparedService for Prepared {
    fn upstream(&self, core: u32) -> Option<Box<dyn Upstream>> {
        Some(Box::new(Gate::new(core, Arc::clone(&self.allow), self.queue.clone())))
    }

    fn start(self: Box<Self>, wiring: Wiring) -> io::Result<Box<dyn Service>> {
        Ok(Box::new(Pool::start(*self, wiring.mailboxes, wiring.stats)?))
    }
}

impl Pool {
    /// Starts the workers. They end when the cores have, and with them the gates to the queue.
    ///
    /// # Errors
    /// The system refuses a thread.
    fn start(prepared: Prepared, mailboxes: Vec<Mailbox>, stats: Arc<SharedStats>) -> io::Result<Self> {
        let Prepared { client, allow, intake, room, workers, .. } = prepared;
        let tally = Arc::new(Tally { counts: Mutex::default(), stats });
        let work = Arc::new(Work {
            client,
            intake,
            idle: Mutex::default(),
            more: bounded(1),
            schedule: Mutex::new(Schedule::new(workers, allow.servers())),
            room,
            under_way: AtomicUsize::new(0),
            broken_off: AtomicUsize::new(0),
            post: Post::new(mailboxes, Arc::clone(&tally)),
            tally,
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
}

impl Service for Pool {
    /// The requests that wait or are under way: all workers may be busy, and nobody counts meanwhile.
    fn report(&self, stats: &mut Stats) {
        stats.upstream_waiting += (self.work.room.waiting() + self.work.under_way.load(Ordering::Relaxed)) as u64;
    }

    /// Waits until all that the cores have queued is done. What is left at the deadline is given up.
    fn stop(&mut self, deadline: Instant) {
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
        self.work.post.close();
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
        while let Some(mut fetch) = self.take() {
            self.under_way.fetch_add(1, Ordering::Relaxed);
            fetch.place = None;
            self.carry_out(&fetch);
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            let mut schedule = lock(&self.schedule);
            // What has come first, or the lane would forget that it has more to do and be the first again.
            self.take_in(&mut schedule);
            schedule.done(fetch.lane());
        }
    }

    /// The next request that may begin; none when there will be no more for this worker.
    fn take(&self) -> Option<Box<Fetch>> {
        if let (Some(fetch), _) = self.begin() {
            return Some(fetch);
        }
        let _idle = lock(&self.idle);
        loop {
            match self.begin() {
                (Some(fetch), _) => return Some(fetch),
                // What still waits is for those who are busy: the end of a request lets one begin at most.
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

    /// Begins what is next. Says whether nothing more will come.
    fn begin(&self) -> (Option<Box<Fetch>>, bool) {
        let mut schedule = lock(&self.schedule);
        let is_closed = self.take_in(&mut schedule);
        if self.is_over() {
            return (None, is_closed);
        }
        let next = schedule.begin();
        // What this worker has moved to the schedule wakes nobody any more.
        if schedule.can_begin() {
            let _ = self.more.0.try_send(());
        }
        (next, is_closed)
    }

    /// Moves what has come to the schedule. Says whether nothing more will come. Only one worker at a time can, or the
    /// requests of a lane could change places on this way.
    fn take_in(&self, schedule: &mut Schedule) -> bool {
        loop {
            match self.intake.try_recv() {
                Ok(fetch) => schedule.enter(fetch),
                Err(error) => return error == TryRecvError::Disconnected,
            }
        }
    }

    fn carry_out(&self, fetch: &Fetch) {
        // A bug in what reads an upstream's bytes costs this one request.
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
            // Its core knows whether the connection is still there.
            self.post.send(fetch.core, fetch.key, payload);
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

/// Nothing that holds one of these locks can panic half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
