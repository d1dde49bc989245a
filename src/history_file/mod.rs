//! The history in a file (`--history-file`, PROTOCOL.md §10): SQLite on a thread of its own.
//!
//! ```text
//!   cores: publishes, a batch a turn ──► keeper thread ──► SQLite, one transaction for all that wait
//!     ▲                                       │
//!     └── numbers: only now subscribers get ──┘ them, and the publisher its acknowledgement
//! ```
//!
//! At the start the cores get the channels of the file. After that the file is only written.

mod database;
mod keeper;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::{
    config::{Config, Plan},
    engine::{
        hub::Hub,
        storing::{StoreEnd, StoreLink, WAITING_BYTES_MAX, link_store},
        wake::Wake,
    },
    error::StartError,
    protocol::message::Epoch,
    service::{PreparedService, Service, Store, Wiring},
};

use self::{
    database::{Database, Restored},
    keeper::{Keeper, unix_millis},
};

/// The time of the last commit at the end of the server.
const LAST_COMMIT: Duration = Duration::from_secs(1);

/// The store before it starts.
struct Prepared {
    path: PathBuf,
    database: Option<Database>,
    cores: Vec<StoreEnd>,
    is_available: Arc<AtomicBool>,
}

/// Prepares the store; gives none without the option `history-file`.
///
/// # Errors
/// [`StartError::Config`]: the file is not one of lhttp's, or cannot be used.
pub(crate) fn prepare(config: &Config, _: &Plan) -> Result<Option<Box<dyn PreparedService>>, StartError> {
    let Some(path) = &config.history_file else { return Ok(None) };
    Database::check(path).map_err(said)?;
    let (cores, is_available) = (Vec::new(), Arc::new(AtomicBool::new(true)));
    Ok(Some(Box::new(Prepared { path: path.clone(), database: None, cores, is_available })))
}

fn said(error: impl std::fmt::Display) -> StartError {
    StartError::Config(format!("history-file: {error}"))
}

impl Prepared {
    fn open(&mut self) -> Result<&Database, StartError> {
        if self.database.is_none() {
            let epoch = Epoch::new(rand::random()).to_string();
            self.database = Some(Database::open(&self.path, &epoch).map_err(said)?);
        }
        Ok(self.database.as_ref().expect("it was just opened"))
    }
}

impl PreparedService for Prepared {
    fn store(&mut self) -> Option<&mut dyn Store> {
        Some(self)
    }

    fn start(mut self: Box<Self>, wiring: Wiring) -> io::Result<Box<dyn Service>> {
        let Some(database) = self.database.take() else { return Err(io::Error::other("the history has no cores")) };
        let ((end, stop), (alive, ended)) = (bounded(0), bounded(0));
        let keeper = Keeper { database, cores: self.cores, is_available: self.is_available, stop };
        let stop_server = wiring.stop_server;
        let run = move || {
            let guard = StopServer(Some(stop_server));
            let _alive = alive;
            keeper.run();
            guard.disarm();
        };
        let thread = thread::Builder::new().name("lhttp-history".to_owned()).spawn(run)?;
        Ok(Box::new(Running { end: Some(end), ended, thread: Some(thread) }))
    }
}

impl Store for Prepared {
    fn attach(&mut self, hub: &mut Hub, wake: Arc<Wake>) -> Result<StoreLink, StartError> {
        let now = unix_millis();
        let database = self.open()?;
        let (epoch, floor) = database.epoch().map_err(said)?;
        let epoch = epoch.parse().map_err(said)?;
        hub.continue_history(epoch, floor);
        let age = |restored: &Restored| u64::try_from((now - restored.time) / 1000).unwrap_or(0);
        let homes = hub.router.homes();
        let is_here = |name: &str| homes.is_here(name.as_bytes());
        let restored = database.channels(is_here, |name, newest, messages| {
            let messages = messages.iter().map(|one| (age(one), one.is_text, &*one.message));
            hub.router.restore(name.as_bytes(), newest, messages);
        });
        restored.map_err(said)?;
        let (link, end) = link_store(wake, Arc::clone(&self.is_available));
        self.cores.push(end);
        hub.keep_in_store(link.availability(), WAITING_BYTES_MAX);
        Ok(link)
    }
}

/// The running store.
#[derive(Debug)]
struct Running {
    /// Dropped to end the thread.
    end: Option<Sender<()>>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Service for Running {
    fn stop(&mut self, deadline: Instant) {
        self.end = None;
        // What still waits is written even if there is no time: a commit is short, unless the disk hangs.
        let until = deadline.max(Instant::now() + LAST_COMMIT);
        if self.ended.recv_deadline(until) == Err(RecvTimeoutError::Disconnected)
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of the history has panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop(Instant::now());
    }
}

/// Stops the server if the thread panics: without it nothing could be published to these channels.
struct StopServer(Option<Box<dyn FnOnce() + Send>>);

impl StopServer {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for StopServer {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop();
        }
    }
}
