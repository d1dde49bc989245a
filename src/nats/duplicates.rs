//! Drops duplicates while one connection takes over from another: both bring the same messages, and each is delivered once.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tokio::time::Instant;

/// The most messages that one connection has brought and the other has not. Past it the old connection's are dropped.
const AHEAD_MAX: usize = 64 * 1024;

/// For each message, how many more times the old connection has brought it than the new one.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    /// When the new connection brings nothing more that the old one has brought; unknown until the new one is in use.
    pub(super) ends_at: Option<Instant>,
    ahead: HashMap<u64, i64, RandomState>,
}

impl Duplicates {
    /// Counts a message of a subscription. True if the other connection has brought it before.
    pub(super) fn is_duplicate(&mut self, is_old: bool, sid: u64, payload: &[u8]) -> bool {
        let key = self.ahead.hasher().hash_one((sid, payload));
        if is_old && self.ahead.len() >= AHEAD_MAX && !self.ahead.contains_key(&key) {
            return true;
        }
        let step = if is_old { 1 } else { -1 };
        let ahead = self.ahead.entry(key).or_default();
        let is_duplicate = ahead.signum() == -step;
        *ahead += step;
        if *ahead == 0 {
            self.ahead.remove(&key);
        }
        is_duplicate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_delivered_once_whichever_connection_is_first() {
        let mut duplicates = Duplicates::default();
        let mut are_duplicates = |order: &[(bool, &str)]| -> Vec<bool> {
            order.iter().map(|(is_old, payload)| duplicates.is_duplicate(*is_old, 1, payload.as_bytes())).collect()
        };
        assert_eq!(are_duplicates(&[(true, "a"), (false, "a"), (false, "b"), (true, "b")]), [false, true, false, true]);
        let same = [(true, "c"), (true, "c"), (false, "c"), (false, "c"), (false, "c"), (true, "c")];
        assert_eq!(are_duplicates(&same), [false, false, true, true, false, true], "the same said three times");
        assert!(duplicates.ahead.is_empty());
        assert!(
            !duplicates.is_duplicate(true, 1, b"d") && !duplicates.is_duplicate(false, 2, b"d"),
            "two subscriptions get two copies"
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut duplicates = Duplicates::default();
        for number in 0..2 * AHEAD_MAX as u64 {
            duplicates.is_duplicate(true, number, b"");
        }
        assert_eq!(duplicates.ahead.len(), AHEAD_MAX);
    }
}
