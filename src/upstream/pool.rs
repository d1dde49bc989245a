//! The workers' threads, from the start of the server to its end.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::{
    engine::{inbox::Mailbox, stats::SharedStats},
    service::{Report, Service},
};

use super::{Prepared, workers::Workers};

/// How long a worker may take to end after its request was broken off.
const STOP_TIME: Duration = Duration::from_secs(1);
/// The stack of a worker. Only TLS needs much of it.
const STACK_BYTES: usize = 512 * 1024;

/// The workers, as the server holds them.
#[derive(Debug)]
pub(super) struct Pool {
    workers: Arc<Workers>,
    /// Closed when the last worker has ended.
    ended: Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts the workers. They end after all gates to the queue are gone, which end with their cores.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(prepared: Prepared, mailboxes: Vec<Mailbox>, stats: Arc<SharedStats>) -> io::Result<Self> {
        let number_max = prepared.workers;
        let workers = Arc::new(Workers::new(prepared, mailboxes, stats));
        let (alive, ended) = bounded(0);
        let mut pool = Self { workers, ended, threads: Vec::with_capacity(number_max) };
        for number in 0..number_max {
            pool.threads.push(pool.spawn(number, alive.clone())?);
        }
        Ok(pool)
    }

    fn spawn(&self, number: usize, alive: Sender<()>) -> io::Result<JoinHandle<()>> {
        let workers = Arc::clone(&self.workers);
        let run = move || {
            workers.run();
            drop(alive);
        };
        thread::Builder::new().name(format!("lhttp-up-{number}")).stack_size(STACK_BYTES).spawn(run)
    }
}

impl Service for Pool {
    /// Adds the requests that wait or are under way. They are read here because no worker counts while all are busy.
    fn report(&self) -> Option<Report> {
        let workers = Arc::downgrade(&self.workers);
        Some(Box::new(move |stats| {
            stats.upstream_waiting += workers.upgrade().map_or(0, |workers| workers.waiting() as u64);
        }))
    }

    /// Waits until all queued requests are done. At the deadline it gives up the rest.
    fn stop(&mut self, deadline: Instant) {
        if self.threads.is_empty() {
            return;
        }
        if self.ended.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout) {
            self.workers.break_off();
            let _ = self.ended.recv_timeout(STOP_TIME);
            let (unsent, broken_off) = self.workers.given_up();
            if unsent + broken_off > 0 {
                log::warn!("upstream: {unsent} requests were not sent, {broken_off} more may not have arrived");
            }
        }
        self.workers.close();
        for thread in self.threads.drain(..) {
            // A worker that hangs in the system's connect is not waited for: it ends by itself at the time limit.
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
