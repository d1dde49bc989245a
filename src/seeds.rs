//! The seeds of tests that make up their input. The environment variable `LHTTP_SEED` runs one again (`17`) or many
//! (`0..5000`); a failure prints its own.

use std::{env, ops::Range, thread};

/// The seeds of `LHTTP_SEED`, or else these.
///
/// # Panics
/// If `LHTTP_SEED` is neither a number nor a range.
pub(crate) fn seeds(otherwise: Range<u64>) -> Range<u64> {
    let Ok(text) = env::var("LHTTP_SEED") else { return otherwise };
    let number = |text: &str| text.parse().expect("LHTTP_SEED is a number, or two with .. between them");
    match text.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&text)..number(&text) + 1,
    }
}

/// Prints the seed of a run that panics.
pub(crate) struct Seed(pub(crate) u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("LHTTP_SEED={} fails", self.0);
        }
    }
}
