//! The log, which never blocks the thread that logs.
//!
//! stderr may be a pipe that nobody reads, and then a write to it lasts for ever. So each line goes into a bounded queue,
//! and a separate thread writes it. Lines that do not fit are dropped and counted. We have our own, because the crates
//! for this bring a subscriber framework, bound their queue only in lines, or block when it is full.

mod line;
mod writer;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt::Display,
    io::{self, Write},
    panic::{self, PanicHookInfo},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{Level, LevelFilter, Log, Metadata, Record, error};

pub(crate) use self::line::Format;
use self::line::{Line, one_line};

/// Lines that wait to be written.
const LINES_MAX: usize = 1024;
/// Bytes of these lines.
const BYTES_MAX: usize = 256 * 1024;
/// How long the end of the process waits for the last lines.
const FLUSH_TIME: Duration = Duration::from_secs(1);
/// The shortest time between two logged panics: a bug that a stranger can trigger could otherwise fill a disk.
const PANICS_EVERY: Duration = Duration::from_secs(1);

/// The process has one log.
static LOG: OnceLock<Queue> = OnceLock::new();

/// Set if lines are JSON. The first lines of a process may come before its log starts.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// The queue to the thread that writes.
#[derive(Clone)]
struct Queue {
    items: Sender<Item>,
    counts: Arc<Counts>,
}

enum Item {
    Line(Vec<u8>),
    /// Dropped when everything before it is written.
    Flush(Sender<()>),
}

#[derive(Default)]
struct Counts {
    /// Bytes that wait.
    bytes: AtomicUsize,
    /// Lines that did not fit.
    dropped: AtomicU64,
}

/// Writes all further lines in this format.
pub(crate) fn set_format(format: Format) {
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
}

/// The format of the lines.
pub(crate) fn format() -> Format {
    if IS_JSON.load(Ordering::Relaxed) { Format::Json } else { Format::Text }
}

/// Starts the log, on stderr.
///
/// # Errors
/// One sentence for people.
pub(crate) fn start(level: LevelFilter) -> Result<(), String> {
    let (queue, items) = Queue::new();
    let counts = Arc::clone(&queue.counts);
    let write = move || writer::write_items(&items, &counts, &mut io::stderr());
    let spawned = thread::Builder::new().name("log".to_owned()).spawn(write);
    spawned.map_err(|error| format!("cannot start the thread that writes the log: {error}"))?;
    let queue = LOG.get_or_init(|| queue);
    log::set_logger(queue).map_err(|error| format!("cannot start the log: {error}"))?;
    log::set_max_level(level);
    panic::set_hook(Box::new(panicked));
    Ok(())
}

/// Writes one line to stderr at any log level. Waits a moment for the write, but not for ever.
pub(crate) fn say(level: Level, sentence: &str) {
    let line = match format() {
        Format::Text => format!("lhttpd: {}\n", one_line(&sentence)).into_bytes(),
        Format::Json => new_line(level, "lhttpd", &sentence, &[]),
    };
    match LOG.get() {
        Some(queue) => {
            queue.push(line);
            flush();
        }
        // Unlike `eprintln!` this does not panic when stderr is closed.
        None => drop(io::stderr().write_all(&line)),
    }
}

/// Logs a message with the numbers in it, each with its name: members of `counters` in JSON.
pub(crate) fn log_counters(level: Level, target: &str, message: &str, counters: &[(&'static str, u64)]) {
    if let Some(queue) = LOG.get().filter(|_| level <= log::max_level()) {
        queue.push(new_line(level, target, &message, counters));
    }
}

/// Waits a moment for the lines so far to be written. Used at the end of the process.
pub(crate) fn flush() {
    let Some(queue) = LOG.get() else { return };
    let deadline = Instant::now() + FLUSH_TIME;
    let (sender, written) = bounded(0);
    if queue.items.send_deadline(Item::Flush(sender), deadline).is_ok() {
        let _ = written.recv_deadline(deadline);
    }
}

/// Lines that were dropped since the start.
pub(crate) fn dropped() -> u64 {
    LOG.get().map_or(0, |queue| queue.counts.dropped.load(Ordering::Relaxed))
}

/// A line of this moment.
fn new_line(level: Level, target: &str, message: &dyn Display, counters: &[(&'static str, u64)]) -> Vec<u8> {
    Line { time: SystemTime::now(), level, target, message, counters }.bytes(format())
}

impl Queue {
    fn new() -> (Self, Receiver<Item>) {
        let (items, to_write) = bounded(LINES_MAX);
        (Self { items, counts: Arc::default() }, to_write)
    }

    /// Takes a line that ends in a line feed, or drops and counts it.
    fn push(&self, line: Vec<u8>) {
        let bytes = line.len();
        let waiting = self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > BYTES_MAX || self.items.try_send(Item::Line(line)).is_err() {
            self.counts.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The crate `log` has the level, so that a reload can change it, and checks it before.
impl Log for Queue {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.push(new_line(record.level(), record.target(), record.args(), &[]));
    }

    fn flush(&self) {}
}

/// Logs a panic. The standard hook would write to stderr itself, and block.
fn panicked(info: &PanicHookInfo<'_>) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static START: OnceLock<Instant> = OnceLock::new();
    let now = START.get_or_init(Instant::now).elapsed().as_millis() as u64;
    let next = now + PANICS_EVERY.as_millis() as u64;
    if NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| (now >= due).then_some(next)).is_err() {
        return;
    }
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = info.location().map_or_else(String::new, |location| format!(" at {location}"));
    error!("thread {name} panicked{place}: {}", info.payload_as_str().unwrap_or("no text"));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        backtrace.to_string().lines().for_each(|line| error!("{line}"));
    }
    if name == "main" {
        flush(); // the process may end with it
    }
}
