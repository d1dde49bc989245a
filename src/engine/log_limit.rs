//! Lines of the log that strangers can cause: each kind is written now and then, with how many more there were.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How often one kind of line is written.
const EVERY: Duration = Duration::from_secs(10);

/// One kind of line: a static of the place that writes it. No thread waits for another one here.
#[derive(Debug)]
pub(crate) struct LogLimit {
    /// When the next may be written, in milliseconds since [`start`].
    due: AtomicU64,
    /// Lines that were not written since the last that was.
    missed: AtomicU64,
}

/// How many lines were not written since the last one.
pub(crate) struct More(u64);

impl LogLimit {
    pub(crate) const fn new() -> Self {
        Self { due: AtomicU64::new(0), missed: AtomicU64::new(0) }
    }

    /// Lets `write` write a line, unless one was written a short time ago.
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

/// When the first line of the process was to be written.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_line_is_written_now_and_then_and_says_how_many_were_not() {
        let limit = LogLimit::new();
        let mut lines = Vec::new();
        for second in [0, 0, 1, 9, 10, 11, 30] {
            limit.say_at(Duration::from_secs(second), |more| lines.push(format!("{second}{more}")));
        }
        let more = |count| format!(" (and {count} more such lines were not written)");
        assert_eq!(lines, ["0".to_owned(), format!("10{}", more(3)), format!("30{}", more(1))]);
    }
}
