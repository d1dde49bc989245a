//! Signals: SIGTERM and SIGINT stop the server gracefully, a second one ends it at once, SIGHUP reads the file again.
//!
//! A supervisor sends SIGTERM, and starts the server again, or another server is there: clients are told to come back. A
//! person at the terminal sends SIGINT.
//!
//! The thread that waits for signals waits for nothing else. A reload reads a file and waits for the cores, so it has its
//! own thread.

use std::{
    net::SocketAddr,
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, bounded};
use lhttp::{
    config::Config,
    server::{Ending, Reloaded, Reloader, Stopper},
};
use log::{Level, LevelFilter, error, info, warn};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level::signal_name,
};

use super::{
    args::Args,
    configure,
    logger::{self, say},
    notify,
};

/// Catches the signals from now on. They wait until [`Watch::start`].
///
/// # Errors
/// One sentence for people.
pub(crate) fn catch() -> Result<Signals, String> {
    Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|error| format!("cannot catch signals: {error}"))
}

/// Acts on signals.
pub(crate) struct Watch {
    pub(crate) stopper: Stopper,
    pub(crate) reloader: Reloader,
    /// The setting at the start.
    pub(crate) args: Args,
    pub(crate) demo: Option<SocketAddr>,
    /// The times as they are now. The reloader knows them too, but is locked during a reload.
    pub(crate) times: Mutex<Times>,
    /// Set when the server must end.
    pub(crate) asked: Arc<AtomicBool>,
}

/// The times of the server's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    delay: Duration,
    drain: Duration,
}

impl From<&Config> for Times {
    fn from(config: &Config) -> Self {
        Self { delay: config.drain_delay, drain: config.drain_timeout }
    }
}

impl Times {
    /// How the server ends after this signal.
    fn ending(self, signal: i32) -> Ending {
        let ending = Ending::within(self.drain);
        if signal == SIGINT { ending } else { ending.after(self.delay).restarts() }
    }
}

impl Watch {
    /// Starts the threads.
    ///
    /// # Errors
    /// One sentence for people.
    pub(crate) fn start(self, signals: Signals) -> Result<(), String> {
        let (watch, (reload, wishes)) = (Arc::new(self), bounded(1));
        let reloading = Arc::clone(&watch);
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
            spawned.map(drop).map_err(|error| format!("cannot start the thread {name}: {error}"))
        };
        spawn("reload", Box::new(move || reloading.reload_whenever(&wishes)))?;
        let ask_to_reload = move || {
            let _ = reload.try_send(());
        };
        spawn("signals", Box::new(move || watch.run(signals, ask_to_reload)))
    }

    /// `ask_to_reload` does not wait: a pending reload that has not begun reads the file for both.
    fn run(&self, mut signals: Signals, ask_to_reload: impl Fn()) {
        for signal in signals.forever() {
            match (signal, self.is_stopping()) {
                (SIGHUP, false) => ask_to_reload(),
                (SIGHUP, true) => warn!("SIGHUP: the server is stopping, the configuration is not read again"),
                (_, false) => self.stop(signal),
                // The exit code that a shell reports for a process that the signal killed.
                (_, true) => {
                    say(Level::Warn, "ended at once, unsent messages are lost");
                    process::exit(128 + signal);
                }
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    fn stop(&self, signal: i32) {
        let times = *self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, time) = (signal_name(signal).unwrap_or("a signal"), humantime::format_duration);
        let delay = match times.delay {
            delay if delay.is_zero() || signal == SIGINT => String::new(),
            delay => format!("serving for {} more, then ", time(delay)),
        };
        info!("{name}: {delay}draining for at most {}; a second signal ends at once", time(times.drain));
        self.asked.store(true, Ordering::Release);
        notify::stopping(times.delay + times.drain);
        self.stopper.end(times.ending(signal));
    }

    fn reload_whenever(&self, wishes: &Receiver<()>) {
        for () in wishes {
            notify::reloading();
            self.reload();
            *self.times.lock().unwrap_or_else(PoisonError::into_inner) = Times::from(&self.reloader.config());
            if !self.is_stopping() {
                notify::ready();
            }
        }
    }

    /// Reads the file, with the environment and flags of the start laid over it: the file cannot change what they set.
    fn reload(&self) {
        let Some(path) = &self.args.config else { return self.reload_secrets() };
        let reloaded = configure(self.args.clone()).and_then(|setting| {
            let mut reloaded =
                self.reloader.reload(&setting.config).map_err(|error| format!("{}: {error}", path.display()))?;
            if setting.demo != self.demo {
                reloaded.needs_restart.push("demo");
            }
            if setting.log_format != logger::format() {
                reloaded.needs_restart.push("log-format");
            }
            Ok((reloaded, setting.log, setting.exposed))
        });
        match reloaded {
            Ok((reloaded, level, exposed)) => {
                exposed.iter().for_each(|sentence| warn!("{sentence}"));
                report(&path.display().to_string(), reloaded, level);
            }
            Err(sentence) => error!("SIGHUP: not reloaded: {sentence}"),
        }
    }
}

impl Watch {
    /// Without a file of options there may still be files with certificates, or for the login to NATS.
    fn reload_secrets(&self) {
        let running = self.reloader.config();
        let read = match (running.tls_cert.is_empty(), running.nats.is_none()) {
            (true, true) => {
                return warn!("SIGHUP: there is no file to read again, lhttpd was started without --config");
            }
            (false, true) => "each file of TLS",
            (true, false) => "the login to NATS",
            (false, false) => "each file of TLS and of the login to NATS",
        };
        match self.reloader.reload(&running) {
            Ok(reloaded) => report(read, reloaded, log::max_level()),
            Err(error) => error!("SIGHUP: not reloaded: {error}"),
        }
    }
}

/// Sets the log's level, and says what has changed.
fn report(path: &str, mut reloaded: Reloaded, level: LevelFilter) {
    let before = log::max_level();
    if level != before {
        reloaded.applied.push("log");
    }
    log::set_max_level(level.max(before)); // a log that becomes quieter still logs the change
    if reloaded.applied.is_empty() {
        info!("SIGHUP: {path} was read again, nothing has changed");
    } else {
        info!("SIGHUP: {path} was read again, these have changed: {}", reloaded.applied.join(", "));
    }
    if !reloaded.needs_restart.is_empty() {
        warn!("SIGHUP: these have new values in {path} that need a restart: {}", reloaded.needs_restart.join(", "));
    }
    log::set_max_level(level);
}
