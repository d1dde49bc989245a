//! The tokens that a core has verified, by their SHA-256, so that a client that comes back costs no second check of its
//! signature.
//!
//! Only valid tokens get in, and none is given out after its end. A user has at most four places, so nobody pushes the
//! others out by making many tokens of one user. If all is full, tokens that were used again stay before those that were
//! used once (the CLOCK algorithm).

use std::{fmt, mem, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use ring::digest;
use slab::Slab;
use std::hash::BuildHasher;

use super::{
    Claims,
    claims::{is_early, is_over},
};

/// The most tokens of one user.
pub(super) const USER_TOKENS_MAX: usize = 4;
/// The cost of an entry, besides what its claims have on the heap: itself and its part of two tables that have just grown,
/// and the head of its claims.
const ENTRY_BYTES: usize = 2 * (mem::size_of::<Entry>() + 2 * (mem::size_of::<u32>() + 1)) + CLAIMS_BYTES;
const CLAIMS_BYTES: usize = mem::size_of::<Claims>() + 2 * mem::size_of::<usize>();
/// The allocator's share of one allocation.
const ALLOCATION_BYTES: usize = 16;

/// SHA-256 of a token: nobody can make two tokens that have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(token: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, token);
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// Verified tokens of one core.
pub(super) struct Cache {
    entries: Slab<Entry>,
    by_token: HashTable<u32>,
    by_user: HashTable<u32>,
    hasher: RandomState,
    /// The costs of all entries together.
    bytes: usize,
    bytes_max: usize,
    /// The entry at which the search for one that can go begins.
    hand: usize,
    /// The number of the next entry.
    next: u64,
}

struct Entry {
    token: Fingerprint,
    claims: Arc<Claims>,
    /// `nbf`, for a clock that is set back.
    not_before: u64,
    /// Its number: lower is older.
    number: u64,
    bytes: u32,
    /// It was used since the hand last passed it.
    is_used: bool,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            entries: Slab::new(),
            by_token: HashTable::new(),
            by_user: HashTable::new(),
            hasher: RandomState::default(),
            bytes: 0,
            bytes_max,
            hand: 0,
            next: 0,
        }
    }

    /// Forgets all tokens, and gives the memory back.
    pub(super) fn clear(&mut self) {
        *self = Self { hasher: self.hasher.clone(), ..Self::new(self.bytes_max) };
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What this token says, if it is here and valid at this time.
    pub(super) fn get(&mut self, token: &Fingerprint, now: u64) -> Option<Arc<Claims>> {
        let hash = self.hasher.hash_one(token);
        let key = *self.by_token.find(hash, |key| self.entries[*key as usize].token == *token)? as usize;
        let entry = &mut self.entries[key];
        if is_over(entry.claims.expires, now) {
            self.remove(key);
            return None;
        }
        if is_early(entry.not_before, now) {
            return None;
        }
        entry.is_used = true;
        Some(Arc::clone(&entry.claims))
    }

    /// Takes in a token that has just been verified and is not here.
    pub(super) fn insert(&mut self, token: Fingerprint, claims: &Arc<Claims>, not_before: u64, now: u64) {
        let bytes = ENTRY_BYTES + heap_bytes(claims);
        if bytes > self.bytes_max {
            return;
        }
        let user_hash = self.hasher.hash_one(&claims.user);
        while let Some(oldest) = self.oldest_of_too_many(user_hash, &claims.user) {
            self.remove(oldest);
        }
        while self.bytes + bytes > self.bytes_max {
            self.evict(now);
        }
        let entry = Entry {
            token,
            claims: Arc::clone(claims),
            not_before,
            number: self.next,
            bytes: bytes as u32,
            is_used: false,
        };
        self.next += 1;
        self.bytes += bytes;
        let key = self.entries.insert(entry) as u32;
        let Self { entries, by_token, by_user, hasher, .. } = self;
        by_token.insert_unique(hasher.hash_one(token), key, |key| hasher.hash_one(entries[*key as usize].token));
        by_user.insert_unique(user_hash, key, |key| hasher.hash_one(&entries[*key as usize].claims.user));
    }

    /// The oldest token of a user who has as many as a user may have.
    fn oldest_of_too_many(&self, hash: u64, user: &str) -> Option<usize> {
        let is_theirs = |key: &usize| *self.entries[*key].claims.user == *user;
        let theirs = || self.by_user.iter_hash(hash).map(|key| *key as usize).filter(is_theirs);
        if theirs().count() < USER_TOKENS_MAX {
            return None;
        }
        theirs().min_by_key(|key| self.entries[*key].number)
    }

    /// Removes one token: the first one from the hand on that has expired, or was not used since the hand last passed. Each
    /// step without a removal is paid for by a use of a token.
    fn evict(&mut self, now: u64) {
        while !self.entries.is_empty() {
            let key = self.hand;
            self.hand = if key + 1 < self.entries.capacity() { key + 1 } else { 0 };
            match self.entries.get_mut(key) {
                Some(entry) if entry.is_used && !is_over(entry.claims.expires, now) => entry.is_used = false,
                Some(_) => return self.remove(key),
                None => {}
            }
        }
    }

    fn remove(&mut self, key: usize) {
        let entry = self.entries.remove(key);
        self.bytes -= entry.bytes as usize;
        let hashes = [self.hasher.hash_one(entry.token), self.hasher.hash_one(&entry.claims.user)];
        for (table, hash) in [&mut self.by_token, &mut self.by_user].into_iter().zip(hashes) {
            if let Ok(place) = table.find_entry(hash, |other| *other as usize == key) {
                place.remove();
            }
        }
    }
}

/// Without the tokens.
impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("entries", &self.entries.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// The bytes that claims have on the heap, with the allocator's share.
fn heap_bytes(claims: &Claims) -> usize {
    let text = |text: &str| text.len() + ALLOCATION_BYTES;
    let list = |names: &[Box<str>]| {
        let pointers = mem::size_of_val(names) + ALLOCATION_BYTES;
        pointers + names.iter().map(|name| text(name)).sum::<usize>()
    };
    text(&claims.user) + list(&claims.subscribe) + list(&claims.publish) + claims.info.as_deref().map_or(0, text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 8 * (ENTRY_BYTES + 3 * ALLOCATION_BYTES + 8);

    fn token(number: u8) -> Fingerprint {
        Fingerprint::of(&[number])
    }

    fn claims(user: u8, expires: u64) -> Arc<Claims> {
        let user = format!("user-{user}").into();
        Arc::new(Claims { user, subscribe: Box::default(), publish: Box::default(), info: None, expires })
    }

    impl Cache {
        fn check(&self) {
            let entries = || self.entries.iter().map(|(_, entry)| entry);
            assert!(self.bytes <= self.bytes_max);
            assert_eq!(self.bytes, entries().map(|entry| entry.bytes as usize).sum::<usize>());
            assert_eq!((self.by_token.len(), self.by_user.len()), (self.entries.len(), self.entries.len()));
            let mut users = HashMap::new();
            entries().for_each(|entry| *users.entry(&entry.claims.user).or_insert(0) += 1);
            assert!(users.values().all(|count| *count <= USER_TOKENS_MAX), "{users:?}");
        }
    }

    #[test]
    fn a_user_who_makes_many_tokens_pushes_only_its_own_out() {
        let mut cache = Cache::new(BYTES_MAX);
        cache.insert(token(0), &claims(0, 1000), 0, 0);
        for number in 1..200 {
            cache.insert(token(number), &claims(1, 1000), 0, 0);
        }
        assert!(cache.get(&token(0), 0).is_some());
        let kept: Vec<u8> = (1..200).filter(|number| cache.get(&token(*number), 0).is_some()).collect();
        assert_eq!(kept, [196, 197, 198, 199], "the newest ones");
    }

    #[test]
    fn a_token_that_is_used_stays_before_those_that_are_not() {
        let mut cache = Cache::new(BYTES_MAX);
        for number in 0..200 {
            cache.insert(token(number), &claims(number, 1000), 0, 0);
            assert!(cache.get(&token(0), 0).is_some(), "at {number}");
        }
        assert_eq!(cache.entries.len(), 8);
        cache.clear();
        assert!(cache.get(&token(0), 0).is_none() && cache.bytes() == 0 && cache.entries.capacity() == 0);
    }

    #[test]
    fn a_token_that_is_larger_than_the_cache_is_not_kept() {
        let mut cache = Cache::new(ENTRY_BYTES);
        cache.insert(token(0), &claims(0, 1000), 0, 0);
        assert_eq!(cache.bytes(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The model remembers all tokens; the cache may forget, but gives out nothing else, and nothing at a wrong time.
        #[test]
        fn it_gives_only_what_was_put_in_and_only_while_it_is_valid(
            steps in proptest::collection::vec((any::<bool>(), 0_u8..30, 0_u8..6, 0_u64..100, 0_u64..100), 1..200),
        ) {
            let mut cache = Cache::new(BYTES_MAX);
            let mut model = HashMap::new();
            for (is_new, number, user, life, now) in steps {
                let found = cache.get(&token(number), now);
                if let Some(found) = found {
                    let (claims, not_before): &(Arc<Claims>, u64) = &model[&number];
                    prop_assert_eq!(&found, claims);
                    prop_assert!(!is_over(claims.expires, now) && !is_early(*not_before, now));
                } else if is_new && !model.contains_key(&number) {
                    let claims = claims(user, now + life);
                    let not_before = now.saturating_sub(life);
                    cache.insert(token(number), &claims, not_before, now);
                    prop_assert!(cache.get(&token(number), now).is_some());
                    model.insert(number, (claims, not_before));
                }
                cache.check();
            }
        }
    }
}
