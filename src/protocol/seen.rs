//! Finds repeated names in a list of any length.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::RandomState;
use hashbrown::{HashTable, hash_table::Entry};

/// A larger table, in entries, is freed after use. 4096 names are as many as a head of 8 KiB can hold.
const KEPT_ENTRIES: usize = 8 * 1024;

/// The positions of the seen names in the list that holds them.
///
/// Cost: one word while there are no names, because the set moves together with its owner; then about 10 bytes for each
/// name. The memory is reused.
#[derive(Debug, Default)]
pub(crate) struct Seen(Option<Box<Table>>);

/// Each table has a new hash seed: a peer cannot choose names that collide.
#[derive(Debug, Default)]
struct Table {
    places: HashTable<u32>,
    state: RandomState,
}

impl Seen {
    /// Makes room for this many names in all.
    pub(crate) fn reserve(&mut self, names: usize) {
        let Table { places, .. } = &mut **self.0.get_or_insert_default();
        debug_assert!(places.is_empty());
        places.reserve(names, |_| 0); // the table is empty, so nothing is rehashed
    }

    /// Whether `key` is new. If so, it is noted as the key that `key_at(place)` returns. Cost: one probe.
    pub(crate) fn is_new<K: Hash + Eq>(&mut self, key: K, place: u32, key_at: impl Fn(u32) -> K) -> bool {
        let Table { places, state } = &mut **self.0.get_or_insert_default();
        let hash = state.hash_one(&key);
        match places.entry(hash, |&seen| key_at(seen) == key, |&seen| state.hash_one(key_at(seen))) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(place);
                true
            }
        }
    }

    /// Whether `key` was seen. Cost: one probe.
    pub(crate) fn contains<K: Hash + Eq>(&self, key: K, key_at: impl Fn(u32) -> K) -> bool {
        let find = |table: &Table| table.places.find(table.state.hash_one(&key), |&seen| key_at(seen) == key).is_some();
        self.0.as_deref().is_some_and(find)
    }

    /// Forgets all names. Costs nothing when there are none.
    pub(crate) fn clear(&mut self) {
        match &mut self.0 {
            Some(table) if table.places.capacity() <= KEPT_ENTRIES => table.places.clear(),
            _ => self.0 = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_new_once_as_in_a_set(names in proptest::collection::vec("[ab]{0,4}", 0..60)) {
            let (mut seen, mut model) = (Seen::default(), HashSet::new());
            let at = |place: u32| names[place as usize].as_str();
            for (place, name) in names.iter().enumerate() {
                prop_assert_eq!(seen.contains(name.as_str(), at), model.contains(name));
                prop_assert_eq!(seen.is_new(name.as_str(), place as u32, at), model.insert(name));
            }
            seen.clear();
            prop_assert!(names.iter().all(|name| !seen.contains(name.as_str(), at)));
        }
    }

    #[test]
    fn the_memory_of_a_long_list_is_given_back() {
        let mut seen = Seen::default();
        for place in 0..100_000 {
            assert!(seen.is_new(place, place, |place| place));
        }
        seen.clear();
        assert!(seen.0.is_none());
        seen.reserve(4096);
        (0..4096).for_each(|place| assert!(seen.is_new(place, place, |place| place)));
        seen.clear();
        let kept = seen.0.map_or(0, |table| table.places.capacity());
        assert!(kept >= 4096, "what a head of 8 KiB needs stays: {kept}");
    }
}
