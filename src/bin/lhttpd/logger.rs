//! The log, which never blocks the thread that logs.
//!
//! stderr may be a pipe that nobody reads, and then a write to it lasts for ever. So each line goes into a bounded queue,
//! and a separate thread writes it. Lines that do not fit are dropped and counted. We have our own, because the crates
//! for this bring a subscriber framework, bound their queue only in lines, or block when it is full.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    panic::{self, PanicHookInfo},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use env_logger::{Builder, Target};
use log::{LevelFilter, error};

/// Lines that wait to be written.
const LINES_MAX: usize = 1024;
/// Bytes of these lines.
const BYTES_MAX: usize = 256 * 1024;
/// A longer line is cut.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// How often the log reports dropped lines while more are dropped.
const DROPS_EVERY: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the last lines.
const FLUSH_TIME: Duration = Duration::from_millis(250);
/// How long the writer waits when stderr is non-blocking and full.
const WRITE_RETRY: Duration = Duration::from_millis(10);
/// The shortest time between two logged panics: a bug that a stranger can trigger could otherwise fill a disk.
const PANICS_EVERY: Duration = Duration::from_secs(1);

/// The process has one log.
static LOG: OnceLock<Queue> = OnceLock::new();

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

/// Starts the log, on stderr.
///
/// # Errors
/// One sentence for people.
pub(crate) fn start(level: LevelFilter) -> Result<(), String> {
    let (queue, items) = Queue::new();
    let counts = Arc::clone(&queue.counts);
    let write = move || write_items(&items, &counts, &mut io::stderr());
    let spawned = thread::Builder::new().name("log".to_owned()).spawn(write);
    spawned.map_err(|error| format!("cannot start the thread that writes the log: {error}"))?;
    // The logger lets everything through, and `log` has the level: so a reload can change it.
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Trace).format_indent(None);
    builder.target(Target::Pipe(Box::new(queue.clone()))).init();
    log::set_max_level(level);
    let _ = LOG.set(queue);
    panic::set_hook(Box::new(panicked));
    Ok(())
}

/// Writes one line to stderr at any log level. Waits a moment for the write, but not for ever.
pub(crate) fn say(sentence: &str) {
    let mut line = Vec::new();
    escape(format!("lhttpd: {sentence}").as_bytes(), &mut line);
    match LOG.get() {
        Some(queue) => {
            queue.push(line);
            flush();
        }
        // Unlike `eprintln!` this does not panic when stderr is closed.
        None => drop(io::stderr().write_all(&line)),
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

/// The target of env_logger, which writes each record in one piece.
impl Write for Queue {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let mut line = Vec::new();
        escape(record.strip_suffix(b"\n").unwrap_or(record), &mut line);
        self.push(line);
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends a record as one line. Text from a client, a neighbour or a backend can neither begin another line, nor command
/// a terminal, nor change the direction of the text.
fn escape(record: &[u8], line: &mut Vec<u8>) {
    for chunk in record.utf8_chunks() {
        for char in chunk.valid().chars() {
            // Quotes and backslashes are harmless, and lines are easier to read if they are not escaped.
            let is_plain = matches!(char, ' '..='~');
            let written = if is_plain { write!(line, "{char}") } else { write!(line, "{}", char.escape_debug()) };
            debug_assert!(written.is_ok(), "a Vec takes everything");
            if line.len() >= LINE_BYTES_MAX {
                line.extend_from_slice(b"... (cut)\n");
                return;
            }
        }
        line.extend(chunk.invalid().iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()));
    }
    line.push(b'\n');
}

/// The thread that writes. It runs until nothing can log any more, at the end of the process.
fn write_items(items: &Receiver<Item>, counts: &Counts, out: &mut impl Write) {
    let (mut told, mut told_at) = (0, None::<Instant>);
    for item in items {
        if let Item::Line(line) = &item {
            write_line(out, line);
            counts.bytes.fetch_sub(line.len(), Ordering::Relaxed);
        }
        let dropped = counts.dropped.load(Ordering::Relaxed);
        let is_due = items.is_empty() || told_at.is_none_or(|at| at.elapsed() >= DROPS_EVERY);
        if dropped > told && is_due && log::max_level() >= LevelFilter::Warn {
            let now = humantime::format_rfc3339_seconds(SystemTime::now());
            let count = dropped - told;
            let sentence = format!(
                "[{now} WARN  lhttpd] {count} log lines were dropped: they came faster than stderr took them\n"
            );
            write_line(out, sentence.as_bytes());
            (told, told_at) = (dropped, Some(Instant::now()));
        }
        if let Item::Flush(written) = item {
            drop(written);
        }
    }
}

/// A line that cannot be written is lost: stderr is closed, or its disk is full.
fn write_line(out: &mut impl Write, mut line: &[u8]) {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return,
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_room(),
            Err(_) => return,
        }
    }
}

fn wait_for_room() {
    thread::sleep(WRITE_RETRY);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(record: &[u8]) -> String {
        let mut line = Vec::new();
        escape(record, &mut line);
        let line = String::from_utf8(line).expect("a line is UTF-8");
        line.strip_suffix('\n').expect("it ends").to_owned()
    }

    #[test]
    fn no_record_is_more_than_a_line_and_none_commands_a_terminal() {
        for (record, line) in [
            ("plain \"text\" it's C:\\x".as_bytes(), "plain \"text\" it's C:\\x"),
            ("grüße ✓".as_bytes(), "grüße ✓"),
            (b"a\n[forged\r\nline", "a\\n[forged\\r\\nline"),
            (b"\x1b[2Jgone\x07\0\x7f", "\\u{1b}[2Jgone\\u{7}\\0\\u{7f}"),
            ("\u{85}\u{9b}31m\u{2028}\u{2029}".as_bytes(), "\\u{85}\\u{9b}31m\\u{2028}\\u{2029}"),
            ("\u{202e}\u{2066}\u{200d}\u{a0}\u{feff}".as_bytes(), "\\u{202e}\\u{2066}\\u{200d}\\u{a0}\\u{feff}"),
            (b"\xff\xfe ok \xc3", "\\xff\\xfe ok \\xc3"),
        ] {
            assert_eq!(escaped(record), line);
        }
        for char in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let line = escaped(char.to_string().as_bytes());
            assert!(
                !line.chars().any(|char| char.is_control() || "\u{2028}\u{2029}\u{202e}".contains(char)),
                "{line:?}"
            );
        }
        let long = escaped(&vec![b'\n'; 10 * LINE_BYTES_MAX]);
        assert!(long.len() < LINE_BYTES_MAX + 16 && long.ends_with("(cut)"), "{}", long.len());
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_at_once_and_reported_later() {
        log::set_max_level(LevelFilter::Info);
        for (line, kept) in [(b"x\n".to_vec(), LINES_MAX), ([vec![b'x'; 1023], vec![b'\n']].concat(), BYTES_MAX / 1024)]
        {
            let (queue, items) = Queue::new();
            (0..kept + 7).for_each(|_| queue.push(line.clone()));
            assert_eq!(queue.counts.dropped.load(Ordering::Relaxed), 7);
            let counts = Arc::clone(&queue.counts);
            drop(queue);
            let mut out = Vec::new();
            write_items(&items, &counts, &mut out);
            let written = String::from_utf8(out).expect("it is UTF-8");
            let (told, lines): (Vec<&str>, Vec<&str>) = written.lines().partition(|line| line.contains("dropped"));
            assert!(told.len() == 1 && told[0].contains(" 7 log lines were dropped"), "{told:?}");
            assert_eq!(lines.len(), kept);
            assert_eq!(counts.bytes.load(Ordering::Relaxed), 0, "there is room again");
        }
    }

    #[test]
    fn a_line_survives_short_writes_and_is_lost_if_it_cannot_be_written() {
        struct Odd(Vec<io::Result<usize>>, Vec<u8>);
        impl Write for Odd {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let taken = self.0.pop().unwrap_or(Ok(bytes.len()))?;
                self.1.extend_from_slice(&bytes[..taken]);
                Ok(taken)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = |kind: io::ErrorKind| Err(io::Error::from(kind));
        let mut out =
            Odd(vec![Ok(3), error(io::ErrorKind::WouldBlock), Ok(1), error(io::ErrorKind::Interrupted)], vec![]);
        write_line(&mut out, b"hello\n");
        assert_eq!(out.1, b"hello\n");
        let mut closed = Odd(vec![error(io::ErrorKind::BrokenPipe)], vec![]);
        write_line(&mut closed, b"hello\n");
        assert_eq!(closed.1, b"");
    }
}
