//! Signals: SIGTERM and SIGINT stop the server gracefully, a second one ends it at once, SIGHUP reads the file again.

use std::{
    net::SocketAddr,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use lhttp::server::{Reloaded, Reloader, Stopper};
use log::{LevelFilter, error, info, warn};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level::signal_name,
};

use super::{args::Args, configure, notify, say};

/// Catches the signals from now on. They wait until [`Watch::start`].
///
/// # Errors
/// One sentence for people.
pub(crate) fn catch() -> Result<Signals, String> {
    Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(|error| format!("cannot catch signals: {error}"))
}

/// Acts on signals, on a thread of its own.
pub(crate) struct Watch {
    pub(crate) stopper: Stopper,
    pub(crate) reloader: Reloader,
    /// What the server was started with.
    pub(crate) args: Args,
    pub(crate) demo: Option<SocketAddr>,
    /// Set when the server is to end.
    pub(crate) asked: Arc<AtomicBool>,
}

impl Watch {
    /// Starts the thread.
    ///
    /// # Errors
    /// One sentence for people.
    pub(crate) fn start(self, signals: Signals) -> Result<(), String> {
        let spawned = thread::Builder::new().name("signals".to_owned()).spawn(move || self.run(signals));
        spawned.map(drop).map_err(|error| format!("cannot start the thread that waits for signals: {error}"))
    }

    fn run(self, mut signals: Signals) {
        for signal in signals.forever() {
            let is_stopping = self.asked.load(Ordering::Acquire);
            match (signal, is_stopping) {
                (SIGHUP, false) => {
                    notify::reloading();
                    self.reload();
                    notify::ready();
                }
                (SIGHUP, true) => warn!("SIGHUP: the server is stopping, the configuration is not read again"),
                (_, false) => self.stop(signal),
                // The exit code that a shell gives to a process which the signal killed.
                (_, true) => {
                    say("ended at once, what was not sent is lost");
                    process::exit(128 + signal);
                }
            }
        }
    }

    fn stop(&self, signal: i32) {
        let drain = self.reloader.config().drain_timeout;
        let (name, time) = (signal_name(signal).unwrap_or("a signal"), humantime::format_duration(drain));
        info!("{name}: draining for at most {time}; a second signal ends at once");
        self.asked.store(true, Ordering::Release);
        notify::stopping();
        self.stopper.stop(drain);
    }

    /// The file, and over it the same environment and flags as at the start: what these say, the file cannot change.
    fn reload(&self) {
        let Some(path) = &self.args.config else { return self.reload_secrets() };
        let reloaded = configure(self.args.clone()).and_then(|setting| {
            let mut reloaded =
                self.reloader.reload(&setting.config).map_err(|error| format!("{}: {error}", path.display()))?;
            if setting.demo != self.demo {
                reloaded.needs_restart.push("demo");
            }
            Ok((reloaded, setting.log))
        });
        match reloaded {
            Ok((reloaded, level)) => report(&path.display().to_string(), reloaded, level),
            Err(sentence) => error!("SIGHUP: not reloaded: {sentence}"),
        }
    }
}

impl Watch {
    /// Without a file of options there may still be those that NATS is logged in to with.
    fn reload_secrets(&self) {
        let running = self.reloader.config();
        if running.nats.is_none() {
            return warn!("SIGHUP: there is no file to read again, lhttpd was started without --config");
        }
        match self.reloader.reload(&running) {
            Ok(reloaded) => report("what NATS is logged in to with", reloaded, log::max_level()),
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
    log::set_max_level(level.max(before)); // the one that becomes quieter still says so
    if reloaded.applied.is_empty() {
        info!("SIGHUP: {path} is read again, nothing has changed");
    } else {
        info!("SIGHUP: {path} is read again, these have changed: {}", reloaded.applied.join(", "));
    }
    if !reloaded.needs_restart.is_empty() {
        warn!("SIGHUP: these are changed in {path} and need a restart: {}", reloaded.needs_restart.join(", "));
    }
    log::set_max_level(level);
}
