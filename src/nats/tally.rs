//! Counts events of one cause and limits their lines in the log, so that clients cannot fill it.

use std::time::Duration;

use tokio::time::Instant;

/// The least time between two lines of the log about one cause.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// The most bytes of a subject that are kept for the log; a channel is no longer.
const SHOWN_BYTES_MAX: usize = 255;

/// Stands in the log for a channel that is not known.
const SOME_CHANNEL: &str = "some channel";

/// Events of one cause, and how many of them the log has told.
#[derive(Debug, Default)]
pub(super) struct Tally {
    count: u64,
    told: u64,
    told_at: Option<Instant>,
    /// An example that the log has not told.
    one: Option<Box<str>>,
}

impl Tally {
    /// Counts an event, with an example for the log.
    pub(super) fn add(&mut self, one: &str) {
        self.count += 1;
        self.one.get_or_insert_with(|| one.into());
    }

    /// As [`Tally::add`], for a subject of any bytes.
    pub(super) fn add_bytes(&mut self, one: &[u8]) {
        self.count += 1;
        self.one.get_or_insert_with(|| shown(one));
    }

    /// The number of events.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Sets the number of events that are counted elsewhere.
    pub(super) fn set(&mut self, count: u64) {
        self.count = count;
    }

    /// The number of events that the log has not told, with an example. None if there are no such events, or the last
    /// line is too recent.
    pub(super) fn take(&mut self, when: When) -> Option<(u64, Box<str>)> {
        let is_due = when == When::Now || self.told_at.is_none_or(|at| at.elapsed() >= LOGGED_EVERY);
        if self.count == self.told || !is_due {
            return None;
        }
        self.told_at = Some(Instant::now());
        let news = self.count - std::mem::replace(&mut self.told, self.count);
        Some((news, self.one.take().unwrap_or_else(|| SOME_CHANNEL.into())))
    }
}

/// A subject in a form that is fit for the log.
fn shown(subject: &[u8]) -> Box<str> {
    let start = &subject[..subject.len().min(SHOWN_BYTES_MAX)];
    match std::str::from_utf8(start) {
        Ok(text) if !text.contains(char::is_control) => text.into(),
        _ => start.escape_ascii().to_string().into(),
    }
}

/// Decides if recent lines hold back further ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// No: tell everything now.
    Now,
    /// Yes: tell what is due.
    Due,
}
