//! How tests wait: for a condition, and never for ever.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long anything that must happen may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `condition` holds; false if `timeout` passes first. Nearly the only sleep in these tests.
#[must_use]
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool, timeout: Duration) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > timeout {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `condition` holds. Fails the test if that takes longer than [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_for(condition: impl FnMut() -> bool) {
    assert!(wait_until(condition, PATIENCE), "it took too long");
}

/// Lets time pass, for tests that are about time itself.
pub(crate) fn let_pass(duration: Duration) {
    let start = Instant::now();
    let _ = wait_until(|| start.elapsed() >= duration, duration * 2);
}
