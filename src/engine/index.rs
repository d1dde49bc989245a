//! A hash table from names to small ids. The owner of the ids stores the names.

use std::hash::{BuildHasher, Hasher};

#[cfg(not(test))]
use foldhash::quality::RandomState;
use hashbrown::HashTable;

#[cfg(test)]
use self::fixed::RandomState;
#[cfg(test)]
pub(crate) use self::fixed::with_fixed_hash;

/// Below this capacity a table is not worth shrinking.
const KEPT_ENTRIES: usize = 64;

/// Finds ids by the hash of their name; the caller compares the names.
///
/// An entry keeps 32 bits of its hash. So a probe that meets another name's entry almost never has to read that name (a
/// cache miss or two), and growing the table reads no names at all. The hash has another seed for each index, so a peer
/// cannot choose names that collide.
pub(super) struct Index {
    table: HashTable<Entry>,
    state: RandomState,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    id: u32,
}

impl Index {
    /// An empty index. It allocates memory with the first entry.
    pub(super) fn new() -> Self {
        Self { table: HashTable::new(), state: RandomState::default() }
    }

    /// The hash of a name below `parent`. It is the same during the whole life of this index.
    pub(super) fn hash(&self, parent: u32, name: &[u8]) -> u32 {
        let mut hasher = self.state.build_hasher();
        hasher.write_u32(parent);
        hasher.write(name);
        hasher.finish() as u32
    }

    /// The id with this hash that `is_it` accepts. Cost: one probe, for any size of the table.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.table.find(spread(hash), |entry| entry.hash == hash && is_it(entry.id)).map(|entry| entry.id)
    }

    /// Adds an id whose name is not in the index yet.
    pub(super) fn insert(&mut self, hash: u32, id: u32) {
        self.table.insert_unique(spread(hash), Entry { hash, id }, |entry| spread(entry.hash));
    }

    /// Removes an id that was added with this hash. If the table has become rather empty, this frees memory, once in
    /// many removals.
    pub(super) fn remove(&mut self, hash: u32, id: u32) {
        let found = self.table.find_entry(spread(hash), |entry| entry.id == id);
        debug_assert!(found.is_ok(), "id {id} is not in the index");
        if let Ok(entry) = found {
            entry.remove();
        }
        let (len, capacity) = (self.table.len(), self.table.capacity());
        if capacity > KEPT_ENTRIES && len < capacity / 8 {
            self.table.shrink_to(2 * len, |entry| spread(entry.hash));
        }
    }

    /// Its memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.table.allocation_size()
    }

    /// The capacity for ids.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// The number of ids.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

/// The table takes the position from a hash's low bits and the tag from its top 7. If the 32 bits are repeated, the two
/// are independent up to 2^25 entries; above, tags are merely less selective.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// For the simulation: fixed hashes, so that a seed always gives the same run.
#[cfg(test)]
mod fixed {
    use std::{cell::Cell, hash::BuildHasher};

    use foldhash::quality::{FoldHasher, SeedableRandomState};

    thread_local! {
        static IS_FIXED: Cell<bool> = const { Cell::new(false) };
    }

    /// All indexes that `of` creates have the same fixed hash.
    pub(crate) fn with_fixed_hash<T>(of: impl FnOnce() -> T) -> T {
        IS_FIXED.set(true);
        let made = of();
        IS_FIXED.set(false);
        made
    }

    /// A random state, except in [`with_fixed_hash`].
    pub(super) struct RandomState(SeedableRandomState);

    impl Default for RandomState {
        fn default() -> Self {
            Self(if IS_FIXED.get() { SeedableRandomState::fixed() } else { SeedableRandomState::random() })
        }
    }

    impl BuildHasher for RandomState {
        type Hasher = FoldHasher<'static>;

        fn build_hasher(&self) -> Self::Hasher {
            self.0.build_hasher()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_by_hash_and_name_until_removed() {
        let mut index = Index::new();
        let hash = |index: &Index, id: u32| index.hash(0, &id.to_le_bytes());
        for id in 0..10_000 {
            index.insert(hash(&index, id), id);
        }
        assert_eq!(index.len(), 10_000);
        for id in 0..10_000 {
            assert_eq!(index.find(hash(&index, id), |found| found == id), Some(id));
        }
        for id in 0..9_990 {
            index.remove(hash(&index, id), id);
            assert_eq!(index.find(hash(&index, id), |found| found == id), None);
        }
        for id in 9_990..10_000 {
            assert_eq!(index.find(hash(&index, id), |found| found == id), Some(id));
        }
    }

    #[test]
    fn the_caller_distinguishes_names_with_the_same_hash() {
        let mut index = Index::new();
        index.insert(7, 1);
        index.insert(7, 2);
        assert_eq!(index.find(7, |id| id == 2), Some(2));
        index.remove(7, 2);
        assert_eq!(index.find(7, |id| id == 2), None);
        assert_eq!(index.find(7, |id| id == 1), Some(1));
    }

    #[test]
    fn an_emptied_index_gives_its_memory_back() {
        let mut index = Index::new();
        (0..10_000).for_each(|id| index.insert(index.hash(0, &u32::to_le_bytes(id)), id));
        let mut capacities = Vec::new();
        for id in 0..10_000 {
            index.remove(index.hash(0, &u32::to_le_bytes(id)), id);
            capacities.push(index.capacity());
        }
        assert!(index.capacity() <= KEPT_ENTRIES);
        // A removal may lower the capacity by one; shrinking lowers it by more than half.
        let shrunk = capacities.windows(2).filter(|pair| pair[1] < pair[0] / 2).count();
        assert!((1..10).contains(&shrunk), "shrunk {shrunk} times");
    }

    #[test]
    fn two_indexes_hash_differently() {
        let (one, other) = (Index::new(), Index::new());
        assert!((0..8).any(|parent| one.hash(parent, b"name") != other.hash(parent, b"name")));
    }
}
