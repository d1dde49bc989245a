//! The bridge's thread: its start, its end, and a new client when one ends.

use std::{
    io,
    ops::{Deref, DerefMut},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use crate::{config::Config, error::StartError};

use super::{
    lasting::{Ends, Lasting, Prepared},
    run::run,
    stop::Stop,
};

/// How long the runtime may take to end.
const RUNTIME_STOP_TIME: Duration = Duration::from_millis(200);
/// The pause between the end of a client and the start of the next one. It doubles each time, up to the longest.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);

/// The bridge's thread, as the server holds it.
#[derive(Debug)]
pub(crate) struct Bridge {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Bridge {
    /// Reads the files that the configuration names, and makes the cores' link to the bridge.
    ///
    /// # Errors
    /// [`StartError::Config`]: a file that cannot be read or used.
    pub(crate) fn prepare(config: &Config, memory_budget_bytes: u64) -> Result<Prepared, StartError> {
        Prepared::new(config, memory_budget_bytes)
    }

    /// Starts the bridge's thread. Calls `lost` if the thread ends by itself, which only a bug of ours can cause.
    ///
    /// # Errors
    /// The system refuses the thread or its poll.
    pub(crate) fn start(prepared: Prepared, ends: Ends, lost: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(Stop::new(Arc::clone(&prepared.wake)));
        let stopped = Arc::clone(&stop);
        let first = runtime()?;
        let work = move || {
            let guard = Lost(Some(lost));
            let lasting = Box::new(Lasting::new(prepared, ends));
            let lasting = live(first, lasting, &stopped, |mut lent, stop| async move { run(&mut lent, &stop).await });
            if lasting.stream.is_hopeless {
                log::error!(
                    "nats: rules for channels keep a history, and there is no JetStream for it; the server ends"
                );
            } else {
                guard.disarm();
            }
        };
        let thread = thread::Builder::new().name("lhttp-nats".to_owned()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops the bridge. It first sends the messages that the cores have handed over, until `by` or somewhat longer; it
    /// sends nothing if NATS is away.
    pub(crate) fn stop(&mut self, by: Instant) {
        self.stop.ask(by);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the NATS bridge has panicked");
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop(Instant::now());
    }
}

/// Calls its function when it is dropped, unless it was disarmed before.
struct Lost<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Lost<F> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for Lost<F> {
    fn drop(&mut self) {
        if let Some(lost) = self.0.take() {
            lost();
        }
    }
}

/// The state while a task has it. It goes back when this is dropped, even if the task panics.
pub(super) struct Lent {
    /// None once it is back.
    lasting: Option<Box<Lasting>>,
    back: mpsc::Sender<Box<Lasting>>,
}

impl Deref for Lent {
    type Target = Lasting;

    fn deref(&self) -> &Lasting {
        self.lasting.as_ref().expect(STILL_LENT)
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Lasting {
        self.lasting.as_mut().expect(STILL_LENT)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let _ = self.lasting.take().map(|lasting| self.back.send(lasting));
    }
}

/// The reason for the `expect`s of [`Lent`].
const STILL_LENT: &str = "it goes back only when this is dropped";

/// The runtime of one client and its task.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Runs the bridge to its end; if a client ends, the next one takes its place. Gives the state back.
pub(super) fn live<F: Future<Output = Result<(), String>> + Send + 'static>(
    first: Runtime,
    mut lasting: Box<Lasting>,
    stop: &Arc<Stop>,
    run: impl Fn(Lent, Arc<Stop>) -> F,
) -> Box<Lasting> {
    let (mut next, mut pause) = (Ok(first), RESTART_PAUSE_MIN);
    loop {
        let began = Instant::now();
        let why = match next {
            Ok(runtime) => {
                let (back, returned) = mpsc::channel();
                let lent = Lent { lasting: Some(lasting), back };
                let task = run(lent, Arc::clone(stop));
                // Spawned, since the runtime would make a system call before each turn of the future that it blocks on.
                let ended = runtime.block_on(async { tokio::spawn(task).await });
                // The client's own tasks end with the runtime, whatever state they are in.
                runtime.shutdown_timeout(RUNTIME_STOP_TIME);
                lasting = returned.recv().expect("a task that has ended gives the state back");
                match ended {
                    Ok(Ok(())) => return lasting,
                    Ok(Err(why)) => why,
                    Err(_) => "it has panicked".to_owned(),
                }
            }
            Err(error) => format!("the system refuses a poll: {error}"),
        };
        if began.elapsed() > RESTART_PAUSE_MAX {
            pause = RESTART_PAUSE_MIN;
        }
        log::error!("NATS: the client has ended ({why}); the next one begins in {pause:?}");
        lasting.client_has_ended();
        if stop.wait_blocking(pause) {
            return lasting;
        }
        pause = (pause * 2).min(RESTART_PAUSE_MAX);
        next = runtime();
    }
}
