//! The thread that writes the lines.

use std::{
    io::{self, Write},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::Receiver;
use log::{Level, LevelFilter};

use super::{Counts, Item, format, line::Line};

/// How often the log reports dropped lines while more are dropped.
const DROPS_EVERY: Duration = Duration::from_secs(1);
/// How long the writer waits when stderr is non-blocking and full.
const WRITE_RETRY: Duration = Duration::from_millis(10);

/// Writes what comes, until nothing can log any more, at the end of the process.
pub(super) fn write_items(items: &Receiver<Item>, counts: &Counts, out: &mut impl Write) {
    let (mut told, mut told_at) = (0, None::<Instant>);
    for item in items {
        if let Item::Line(line) = &item {
            write_line(out, line);
            counts.bytes.fetch_sub(line.len(), Ordering::Relaxed);
        }
        let dropped = counts.dropped.load(Ordering::Relaxed);
        let is_due = items.is_empty() || told_at.is_none_or(|at| at.elapsed() >= DROPS_EVERY);
        if dropped > told && is_due && log::max_level() >= LevelFilter::Warn {
            write_line(out, &drops_line(dropped - told));
            (told, told_at) = (dropped, Some(Instant::now()));
        }
        if let Item::Flush(written) = item {
            drop(written);
        }
    }
}

/// The line about so many dropped ones.
fn drops_line(count: u64) -> Vec<u8> {
    let message = format_args!("{count} log lines were dropped: they came faster than stderr took them");
    let counters = &[("log_dropped", count)];
    Line { time: SystemTime::now(), level: Level::Warn, target: "lhttpd", message: &message, counters }.bytes(format())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::logger::{BYTES_MAX, LINES_MAX, Queue};

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
