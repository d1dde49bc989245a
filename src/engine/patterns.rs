//! The patterns of one core. Matching them with a channel takes a time that does not grow with their number.

mod shape;

#[cfg(test)]
mod tests;

use crate::{
    engine::index::Index,
    protocol::channel::{TOKENS_MAX, is_system},
};

pub(crate) use self::shape::Shape;
use self::shape::Tokens;

/// A set of the ids of patterns (PROTOCOL.md §2), searched by channel. It finds ids by hash; the caller has the names.
///
/// At most one pattern of each [`Shape`] matches a channel: the one that has the channel's tokens where it has no
/// wildcard. So a channel is looked up once for each shape that fits the number of its tokens, however many patterns
/// there are. The admission of subscriptions limits the shapes: see [`Shape::is_deep`].
///
/// A pattern costs one entry of an [`Index`], for any number of tokens; a shape costs 16 bytes.
///
/// Names given to it must have passed `channel::check_subscribe` or `channel::check_publish`.
pub(crate) struct Patterns {
    /// The shapes in use without a `>`, ordered by their tokens, and those with one.
    exact: Vec<InUse>,
    tailed: Vec<InUse>,
    ids: Index,
    /// How many of the shapes are deep.
    deep_shapes: usize,
    /// The number of patterns.
    len: usize,
}

/// A shape of at least one pattern.
struct InUse {
    shape: Shape,
    /// The part of the hash that distinguishes this shape's patterns from patterns of other shapes with the same plain
    /// tokens.
    hash: u32,
    /// The number of patterns of this shape.
    patterns: u32,
}

impl Patterns {
    /// No patterns.
    pub(crate) fn new() -> Self {
        Self { exact: Vec::new(), tailed: Vec::new(), ids: Index::new(), deep_shapes: 0, len: 0 }
    }

    /// Adds the id of a pattern that is not in the set. Cost: its tokens, and if its shape is new a shift of the
    /// shapes.
    pub(crate) fn insert(&mut self, pattern: &[u8], id: u32) {
        let shape = Shape::of(pattern);
        match self.position(shape) {
            Ok(at) => self.shapes_mut(shape)[at].patterns += 1,
            Err(at) => {
                let in_use = InUse { shape, hash: self.shape_hash(shape), patterns: 1 };
                self.shapes_mut(shape).insert(at, in_use);
                self.deep_shapes += usize::from(shape.is_deep());
            }
        }
        self.ids.insert(self.hash(shape, pattern), id);
        self.len += 1;
    }

    /// The id of exactly this pattern that `is_it` accepts. This does not match wildcards.
    pub(crate) fn find(&self, pattern: &[u8], is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        self.ids.find(self.hash(Shape::of(pattern), pattern), is_it)
    }

    /// Removes an id that was added for this pattern.
    pub(crate) fn remove(&mut self, pattern: &[u8], id: u32) {
        let shape = Shape::of(pattern);
        let Ok(at) = self.position(shape) else {
            debug_assert!(false, "a pattern that is not there");
            return;
        };
        self.len -= 1;
        let shapes = self.shapes_mut(shape);
        shapes[at].patterns -= 1;
        if shapes[at].patterns == 0 {
            shapes.remove(at);
            self.deep_shapes -= usize::from(shape.is_deep());
        }
        self.ids.remove(self.hash(shape, pattern), id);
    }

    /// Calls `found` with the id of every pattern that matches a channel, once each, in no particular order. `name` gives
    /// the pattern of an id.
    ///
    /// A wildcard in the first token does not stand for one of the system's (`channel::is_system`).
    ///
    /// Cost: one hash per token and one probe per shape that fits, no allocation.
    pub(crate) fn matching<'n>(&self, channel: &[u8], name: impl Fn(u32) -> &'n [u8], found: &mut impl FnMut(u32)) {
        let is_system = is_system(channel);
        let mut hashes = [0; TOKENS_MAX];
        // The sum of the hashes of the tokens before each one.
        let mut sums = [0_u32; TOKENS_MAX + 1];
        let tokens = Tokens::of(channel, |number, token| {
            hashes[number] = self.ids.hash(number as u32, token);
            sums[number + 1] = sums[number].wrapping_add(hashes[number]);
        });
        let count = tokens.count;
        let first = self.exact.partition_point(|in_use| usize::from(in_use.shape.tokens) < count);
        let exact = self.exact[first..].iter().take_while(|in_use| usize::from(in_use.shape.tokens) == count);
        let tailed = self.tailed.iter().take_while(|in_use| usize::from(in_use.shape.tokens) < count);
        for InUse { shape, hash, .. } in exact.chain(tailed) {
            if is_system && shape.begins_wild() {
                continue;
            }
            let plain = sums[usize::from(shape.tokens)];
            let hash = shape.stars().fold(hash.wrapping_add(plain), |hash, star| hash.wrapping_sub(hashes[star]));
            if let Some(id) = self.ids.find(hash, |id| shape.matches(name(id), channel, &tokens)) {
                found(id);
            }
        }
    }

    /// Whether a pattern has this shape.
    pub(crate) fn has_shape(&self, shape: Shape) -> bool {
        self.position(shape).is_ok()
    }

    /// The number of shapes in use.
    pub(crate) fn shapes(&self) -> usize {
        self.exact.len() + self.tailed.len()
    }

    /// The number of deep shapes in use.
    pub(crate) fn deep_shapes(&self) -> usize {
        self.deep_shapes
    }

    /// The number of patterns.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The capacity for patterns.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.ids.capacity()
    }

    /// Checks the invariants, for tests.
    ///
    /// # Panics
    /// If one of them does not hold.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn invariants(&self) {
        assert_eq!(self.ids.len(), self.len, "patterns are counted wrongly");
        let all = || self.exact.iter().chain(&self.tailed);
        assert_eq!(all().map(|in_use| in_use.patterns as usize).sum::<usize>(), self.len, "a shape is counted wrongly");
        assert!(all().all(|in_use| in_use.patterns > 0), "a shape that no pattern has is still there");
        assert_eq!(all().filter(|in_use| in_use.shape.is_deep()).count(), self.deep_shapes);
        for (shapes, has_tail) in [(&self.exact, false), (&self.tailed, true)] {
            assert!(shapes.is_sorted_by(|a, b| a.shape < b.shape), "shapes are out of order");
            assert!(shapes.iter().all(|in_use| in_use.shape.has_tail == has_tail));
        }
    }

    /// The position of a shape among those of its kind, or where to insert it.
    fn position(&self, shape: Shape) -> Result<usize, usize> {
        let shapes = if shape.has_tail { &self.tailed } else { &self.exact };
        shapes.binary_search_by(|in_use| in_use.shape.cmp(&shape))
    }

    fn shapes_mut(&mut self, shape: Shape) -> &mut Vec<InUse> {
        if shape.has_tail { &mut self.tailed } else { &mut self.exact }
    }

    /// A pattern's hash is the sum of the hashes of its shape and of its plain tokens. So a channel's tokens are hashed
    /// once for all shapes.
    fn hash(&self, shape: Shape, pattern: &[u8]) -> u32 {
        let mut hash = self.shape_hash(shape);
        Tokens::of(pattern, |number, token| {
            if !matches!(token, b"*" | b">") {
                hash = hash.wrapping_add(self.ids.hash(number as u32, token));
            }
        });
        hash
    }

    fn shape_hash(&self, shape: Shape) -> u32 {
        let kind = u32::from(shape.tokens) | u32::from(shape.has_tail) << 8;
        // No token has this number.
        self.ids.hash(u32::MAX, &(u64::from(kind) << 32 | u64::from(shape.stars)).to_le_bytes())
    }
}
