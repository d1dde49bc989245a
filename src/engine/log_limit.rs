//! A limit for log lines that strangers can cause: each kind of line is written at intervals, with the number of
//! skipped ones.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The shortest interval between two lines of one kind.
const EVERY: Duration = Duration::from_secs(10);

/// One kind of line: a static at the place that writes it. Threads do not wait for each other here.
#[derive(Debug)]
pub(crate) struct LogLimit {
    /// The earliest time of the next line, in milliseconds since [`start`].
    due: AtomicU64,
    /// The number of skipped lines since the last written one.
    missed: AtomicU64,
}

/// The number of skipped lines since the last written one.
pub(crate) struct More(u64);

impl LogLimit {
    pub(crate) const fn new() -> Self {
        Self { due: AtomicU64::new(0), missed: AtomicU64::new(0) }
    }

    /// Lets `write` write a line, unless one was written recently.
    pub(crate) fn say(&self, write: impl FnOnce(More)) {
        self.say_at(start().elapsed(), write);
    }

    fn say_at(&self, now: Duration, write: impl FnOnce(More)) {
        let (now, next) = (now.as_millis() as u64, (now + EVERY).as_millis() as u64);
        let is_due = |due| (now >= due).then_some(next);
        if self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).is_ok() {
            write(More(self.missed.swap(0, Ordering::Relaxed)));
        } else {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            more => write!(f, " (and {more} more such lines were not written)"),
        }
    }
}

/// The time of the process's first line of any kind.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_line_is_written_at_intervals_and_counts_the_skipped_ones() {
        let limit = LogLimit::new();
        let mut lines = Vec::new();
        for second in [0, 0, 1, 9, 10, 11, 30] {
            limit.say_at(Duration::from_secs(second), |more| lines.push(format!("{second}{more}")));
        }
        let more = |count| format!(" (and {count} more such lines were not written)");
        assert_eq!(lines, ["0".to_owned(), format!("10{}", more(3)), format!("30{}", more(1))]);
    }
}
