//! Sends the log of the process to a callback, line by line.
//!
//! The host's function runs on the thread that logs, which may be a core's, and on one thread at a time. So it must not
//! block, as lhttp.h says. `lhttpd` has a queue of its own instead.

use std::{
    cell::Cell,
    ffi::{c_char, c_int},
    sync::{Mutex, OnceLock, PoisonError},
};

use log::{LevelFilter, Log, Metadata, Record};

use crate::{
    ffi::{
        callback::{self, User},
        output,
        status::{Failure, LhttpStatus, guard},
    },
    one_line::OneLine,
};

/// `lhttp_log_callback`.
pub(super) type LhttpLogCallback =
    Option<unsafe extern "C" fn(level: c_int, target: *const c_char, line: *const c_char, user: User)>;

/// The callback for lines. It is locked during a call: lines come one by one, and no line comes after a change.
static SINK: Mutex<Option<Sink>> = Mutex::new(None);

/// Set if this process logs here.
static IS_OURS: OnceLock<bool> = OnceLock::new();

static LOGGER: Logger = Logger;

thread_local! {
    /// This thread is in the callback.
    static IN_LINE: Cell<bool> = const { Cell::new(false) };
}

struct Sink {
    callback: unsafe extern "C" fn(c_int, *const c_char, *const c_char, User),
    user: User,
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true // the level is checked before
    }

    fn log(&self, record: &Record<'_>) {
        // A line that the callback itself causes would wait for the callback for ever.
        if IN_LINE.get() {
            return;
        }
        let sink = SINK.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sink) = &*sink else { return };
        let (target, line) = (output::text(record.target()), output::text(OneLine(record.args()).to_string()));
        IN_LINE.set(true);
        // SAFETY: the host's function, with texts that live until it returns; lhttp.h says what it must bear.
        callback::inside(|| unsafe {
            (sink.callback)(record.level() as c_int, target.as_ptr(), line.as_ptr(), sink.user);
        });
        IN_LINE.set(false);
    }

    fn flush(&self) {}
}

#[unsafe(no_mangle)]
extern "C" fn lhttp_log(level: c_int, callback: LhttpLogCallback, user: User) -> LhttpStatus {
    guard(|| {
        if IN_LINE.get() {
            let sentence = "lhttp_log cannot be called inside of the log's callback: it would wait for itself";
            return Err(Failure::new(LhttpStatus::ERROR_CALLBACK, sentence));
        }
        let filter = usize::try_from(level).ok().and_then(|level| LevelFilter::iter().nth(level));
        let filter = filter.ok_or_else(|| Failure::argument(format!("level: {level} is none, only 0 to 5")))?;
        if !*IS_OURS.get_or_init(|| log::set_logger(&LOGGER).is_ok()) {
            let sentence = "the program has a logger of its own, of Rust's crate log, which gets the lines";
            return Err(Failure::new(LhttpStatus::ERROR_SYSTEM, sentence));
        }
        // Locked until both are set, so that one of two threads sets both.
        let mut sink = SINK.lock().unwrap_or_else(PoisonError::into_inner);
        *sink = callback.map(|callback| Sink { callback, user });
        log::set_max_level(if callback.is_some() { filter } else { LevelFilter::Off });
        Ok(())
    })
}
