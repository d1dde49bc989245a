//! Answers to requests with an idempotency key. A backend that has not got its answer sends the request again, and nothing is
//! published twice.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use super::Said;
use crate::config::memory::ADMIN_KEYS_BYTES;

/// How long an answer is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(5 * 60);
/// The most keys. The oldest ones go first.
const KEYS_MAX: usize = 10_000;
/// The memory of a key beside its letters and the answer's body, in bytes.
const ENTRY_BYTES: usize = 256;

/// The keys of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    by_key: HashMap<Arc<str>, Kept>,
    /// All keys, oldest first, and when they came.
    order: VecDeque<(Duration, Arc<str>)>,
    bytes: usize,
    /// Of requests.
    hasher: RandomState,
}

#[derive(Debug)]
struct Kept {
    /// Of the request.
    hash: u64,
    said: Said,
}

/// What is known of a key.
#[derive(Debug)]
pub(super) enum Known {
    Nothing,
    /// The same request has had this answer.
    Answered(Said),
    /// Another request has this key.
    OfAnother,
}

impl Remembered {
    /// What is known of this key of a request, at this time.
    pub(super) fn find(&mut self, now: Duration, key: &str, request: (bool, &[u8])) -> Known {
        while self.order.front().is_some_and(|(since, _)| *since + REMEMBERED_FOR <= now) {
            self.forget_oldest();
        }
        match self.by_key.get(key) {
            None => Known::Nothing,
            Some(kept) if kept.hash == self.hasher.hash_one(request) => Known::Answered(kept.said.clone()),
            Some(_) => Known::OfAnother,
        }
    }

    /// Remembers the answer to a request with a key that is not known.
    pub(super) fn keep(&mut self, now: Duration, key: &str, request: (bool, &[u8]), said: Said) {
        let bytes = cost(key, &said);
        while self.order.len() >= KEYS_MAX || (self.bytes + bytes > ADMIN_KEYS_BYTES && !self.order.is_empty()) {
            self.forget_oldest();
        }
        let key: Arc<str> = key.into();
        self.bytes += bytes;
        self.order.push_back((now, Arc::clone(&key)));
        self.by_key.insert(key, Kept { hash: self.hasher.hash_one(request), said });
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front()
            && let Some(Kept { said, .. }) = self.by_key.remove(&key)
        {
            self.bytes -= cost(&key, &said);
        }
    }
}

fn cost(key: &str, said: &Said) -> usize {
    ENTRY_BYTES + key.len() + said.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn keep(remembered: &mut Remembered, now: Duration, key: &str) {
        remembered.keep(now, key, (false, b"{}"), Said::json(&key));
    }

    fn is_known(remembered: &mut Remembered, now: Duration, key: &str) -> bool {
        matches!(remembered.find(now, key, (false, b"{}")), Known::Answered(_))
    }

    #[test]
    fn a_key_is_known_for_five_minutes_and_only_with_its_request() {
        let mut remembered = Remembered::default();
        keep(&mut remembered, SECOND, "a");
        assert!(is_known(&mut remembered, 300 * SECOND, "a"));
        assert!(matches!(remembered.find(SECOND, "a", (false, b"{ }")), Known::OfAnother));
        assert!(matches!(remembered.find(SECOND, "a", (true, b"{}")), Known::OfAnother));
        assert!(matches!(remembered.find(301 * SECOND, "a", (false, b"{}")), Known::Nothing));
        assert_eq!((remembered.bytes, remembered.by_key.len()), (0, 0));
    }

    #[test]
    fn the_oldest_keys_go_first_at_the_limit_of_keys_and_of_bytes() {
        let mut remembered = Remembered::default();
        for number in 0..2 * KEYS_MAX {
            keep(&mut remembered, SECOND, &number.to_string());
            assert!(remembered.bytes <= ADMIN_KEYS_BYTES && remembered.by_key.len() <= KEYS_MAX);
            assert_eq!(remembered.by_key.len(), remembered.order.len());
        }
        let (kept, newest) = (remembered.by_key.len(), 2 * KEYS_MAX);
        assert!(!is_known(&mut remembered, SECOND, &(newest - kept - 1).to_string()));
        assert!(is_known(&mut remembered, SECOND, &(newest - kept).to_string()));
        let long = "k".repeat(128);
        (0..KEYS_MAX).for_each(|number| keep(&mut remembered, SECOND, &format!("{number}{long}")));
        assert!(remembered.by_key.len() < kept && remembered.bytes <= ADMIN_KEYS_BYTES);
    }
}
