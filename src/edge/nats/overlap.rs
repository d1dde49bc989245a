//! While one connection takes over from another, both bring the same messages: each is delivered once.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Messages that one connection has brought and the other has not, at most. Past it the old one's are dropped.
const AHEAD_MAX: usize = 64 * 1024;

/// By message, how many more times the old connection has brought it than the new one.
#[derive(Debug, Default)]
pub(super) struct Overlap {
    /// Which move it is of.
    pub(super) of: u64,
    ahead: HashMap<u64, i64, RandomState>,
}

impl Overlap {
    /// A move begins.
    pub(super) fn new(of: u64) -> Self {
        Self { of, ..Self::default() }
    }

    /// Whether the other connection has brought this message of a subscription before.
    pub(super) fn is_twin(&mut self, is_old: bool, sid: u64, payload: &[u8]) -> bool {
        let key = self.ahead.hasher().hash_one((sid, payload));
        if is_old && self.ahead.len() >= AHEAD_MAX && !self.ahead.contains_key(&key) {
            return true;
        }
        let step = if is_old { 1 } else { -1 };
        let ahead = self.ahead.entry(key).or_default();
        let is_twin = ahead.signum() == -step;
        *ahead += step;
        if *ahead == 0 {
            self.ahead.remove(&key);
        }
        is_twin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_delivered_once_whichever_connection_is_first() {
        let mut overlap = Overlap::default();
        let mut twins = |order: &[(bool, &str)]| -> Vec<bool> {
            order.iter().map(|(is_old, payload)| overlap.is_twin(*is_old, 1, payload.as_bytes())).collect()
        };
        assert_eq!(twins(&[(true, "a"), (false, "a"), (false, "b"), (true, "b")]), [false, true, false, true]);
        let same = [(true, "c"), (true, "c"), (false, "c"), (false, "c"), (false, "c"), (true, "c")];
        assert_eq!(twins(&same), [false, false, true, true, false, true], "the same said three times");
        assert!(overlap.ahead.is_empty());
        assert!(
            !overlap.is_twin(true, 1, b"d") && !overlap.is_twin(false, 2, b"d"),
            "two subscriptions get two copies"
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut overlap = Overlap::default();
        for number in 0..2 * AHEAD_MAX as u64 {
            overlap.is_twin(true, number, b"");
        }
        assert_eq!(overlap.ahead.len(), AHEAD_MAX);
    }
}
