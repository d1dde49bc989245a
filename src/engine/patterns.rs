//! The pattern trie of one core: which patterns match a channel, in the time of its tokens.

use memchr::memchr;
use slab::Slab;

use crate::{
    engine::index::Index,
    protocol::channel::{is_system, tokens},
};

/// The node where every pattern starts. It is never freed.
const ROOT: u32 = 0;

/// A map from patterns (PROTOCOL.md §2) to ids, asked by channel.
///
/// A node stands for the tokens on the way to it. Its literal children are in one hash table for all nodes, keyed by
/// node and token; its `*` child and the pattern that ends here in `>` are fields. A pattern that shares its first
/// tokens with others costs only the nodes behind them (48 bytes and a token each).
///
/// Names given to it must have passed `channel::check_subscribe` or `channel::check_publish`.
pub(crate) struct Patterns {
    nodes: Slab<Node>,
    /// From a node and a token to the child. Invariant: holds every node but the root and the `*` children.
    children: Index,
    /// Patterns stored.
    len: usize,
}

/// Invariant: every node but the root has a child or an id; the others are freed.
struct Node {
    /// The last token on the way here; empty for the root and for a `*` child.
    token: Box<[u8]>,
    parent: u32,
    /// Literal children.
    literals: u32,
    /// The `*` child.
    star: Option<u32>,
    /// The id of the pattern that ends here.
    here: Option<u32>,
    /// The id of the pattern that goes on with a last `>`.
    tail: Option<u32>,
}

/// Where a pattern ends: in a node, or in its `>`.
#[derive(Clone, Copy)]
struct End {
    node: u32,
    is_tail: bool,
}

impl Patterns {
    /// No patterns.
    pub(crate) fn new() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::below(ROOT, b""));
        Self { nodes, children: Index::new(), len: 0 }
    }

    /// Stores `id` for a pattern and returns the one it had. Cost: one probe per token.
    pub(crate) fn insert(&mut self, pattern: &[u8], id: u32) -> Option<u32> {
        let mut end = End { node: ROOT, is_tail: false };
        for token in tokens(pattern) {
            match token {
                b">" => end.is_tail = true,
                _ => end.node = self.child(end.node, token).unwrap_or_else(|| self.add_child(end.node, token)),
            }
        }
        let old = self.id_mut(end).replace(id);
        self.len += usize::from(old.is_none());
        old
    }

    /// The id of this very pattern; this is not matching.
    pub(crate) fn get(&self, pattern: &[u8]) -> Option<u32> {
        let End { node, is_tail } = self.end(pattern)?;
        let node = &self.nodes[node as usize];
        if is_tail { node.tail } else { node.here }
    }

    /// Removes a pattern and the nodes that only it needed, and returns its id.
    pub(crate) fn remove(&mut self, pattern: &[u8]) -> Option<u32> {
        let end = self.end(pattern)?;
        let id = self.id_mut(end).take()?;
        self.len -= 1;
        self.prune(end.node);
        if self.len == 0 {
            // The slab has kept the room of all nodes that ever were. The seed changes too, which harms nobody.
            *self = Self::new();
        }
        Some(id)
    }

    /// Calls `found` with the id of every pattern that matches a channel, once each, in no particular order.
    ///
    /// Cost: one step per node visited, no allocation. A step consumes one token and goes down one level, `>` ends a
    /// pattern and so never has to be tried at several lengths, and a node has one way to it: each node is visited at
    /// most once per call. Patterns such as `*.*.*.*` therefore share their steps, and making a call visit 2^n nodes
    /// takes storing 2^n of them, one subscription at a time. The recursion is as deep as the trie: 128 tokens at most
    /// (`CHANNEL_BYTES_MAX`).
    ///
    /// A wildcard in the first token does not stand for one of the system's (`channel::is_system`).
    pub(crate) fn matching(&self, channel: &[u8], found: &mut impl FnMut(u32)) {
        if !is_system(channel) {
            return self.visit(ROOT, Some(channel), found);
        }
        let end = memchr(b'.', channel).unwrap_or(channel.len());
        if let Some(child) = self.literal(ROOT, &channel[..end]) {
            self.visit(child, channel.get(end + 1..), found);
        }
    }

    /// The number of patterns.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Checks what must always hold; for tests and debug builds.
    ///
    /// # Panics
    /// If it does not hold.
    #[cfg(test)]
    pub(crate) fn invariants(&self) {
        let (mut ids, mut stars) = (0, 0);
        for (key, node) in &self.nodes {
            ids += usize::from(node.here.is_some()) + usize::from(node.tail.is_some());
            stars += usize::from(node.star.is_some());
            if key as u32 == ROOT {
                continue;
            }
            assert!(!node.is_bare(), "a node that nothing needs is still there");
            let parent = &self.nodes[node.parent as usize];
            let is_star = parent.star == Some(key as u32);
            assert_eq!(is_star, node.token.is_empty(), "a * child has no token, any other has one");
            assert!(is_star || self.child(node.parent, &node.token) == Some(key as u32), "a node cannot be found");
        }
        let literals: usize = self.nodes.iter().map(|(_, node)| node.literals as usize).sum();
        assert_eq!(ids, self.len, "patterns are counted wrongly");
        assert_eq!(literals, self.children.len(), "literal children are counted wrongly");
        assert_eq!(self.nodes.len(), 1 + stars + literals, "a node is nobody's child");
    }

    fn visit(&self, id: u32, rest: Option<&[u8]>, found: &mut impl FnMut(u32)) {
        let node = &self.nodes[id as usize];
        let Some(rest) = rest else {
            node.here.into_iter().for_each(found);
            return;
        };
        if let Some(tail) = node.tail {
            found(tail);
        }
        let (token, rest) = match memchr(b'.', rest) {
            Some(dot) => (&rest[..dot], Some(&rest[dot + 1..])),
            None => (rest, None),
        };
        if let Some(star) = node.star {
            self.visit(star, rest, found);
        }
        if node.literals > 0
            && let Some(child) = self.literal(id, token)
        {
            self.visit(child, rest, found);
        }
    }

    /// Where a pattern ends, if all of its nodes are there.
    fn end(&self, pattern: &[u8]) -> Option<End> {
        let mut end = End { node: ROOT, is_tail: false };
        for token in tokens(pattern) {
            match token {
                b">" => end.is_tail = true,
                _ => end.node = self.child(end.node, token)?,
            }
        }
        Some(end)
    }

    fn id_mut(&mut self, End { node, is_tail }: End) -> &mut Option<u32> {
        let node = &mut self.nodes[node as usize];
        if is_tail { &mut node.tail } else { &mut node.here }
    }

    fn child(&self, parent: u32, token: &[u8]) -> Option<u32> {
        if token == b"*" { self.nodes[parent as usize].star } else { self.literal(parent, token) }
    }

    fn literal(&self, parent: u32, token: &[u8]) -> Option<u32> {
        self.children.find(self.children.hash(parent, token), |id| {
            let node = &self.nodes[id as usize];
            node.parent == parent && *node.token == *token
        })
    }

    fn add_child(&mut self, parent: u32, token: &[u8]) -> u32 {
        let is_star = token == b"*";
        let id = self.nodes.insert(Node::below(parent, if is_star { b"" } else { token })) as u32;
        if is_star {
            self.nodes[parent as usize].star = Some(id);
        } else {
            self.nodes[parent as usize].literals += 1;
            self.children.insert(self.children.hash(parent, token), id);
        }
        id
    }

    /// Frees a node that nothing needs any more, and then its parent, and so on up.
    fn prune(&mut self, mut id: u32) {
        while id != ROOT && self.nodes[id as usize].is_bare() {
            let Node { token, parent, .. } = self.nodes.remove(id as usize);
            let above = &mut self.nodes[parent as usize];
            if above.star == Some(id) {
                above.star = None;
            } else {
                above.literals -= 1;
                if self.children.remove(self.children.hash(parent, &token), id) {
                    self.nodes.shrink_to_fit();
                }
            }
            id = parent;
        }
    }
}

impl Node {
    fn below(parent: u32, token: &[u8]) -> Self {
        Self { token: token.into(), parent, literals: 0, star: None, here: None, tail: None }
    }

    /// Whether no pattern ends here or goes through here.
    fn is_bare(&self) -> bool {
        self.literals == 0 && self.star.is_none() && self.here.is_none() && self.tail.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::protocol::channel::{check_publish, check_subscribe, matches};

    fn matching(patterns: &Patterns, channel: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        patterns.matching(channel.as_bytes(), &mut |id| ids.push(id));
        ids.sort_unstable();
        ids
    }

    #[test]
    fn every_matching_pattern_is_found_once() {
        let mut patterns = Patterns::new();
        for (id, pattern) in ["a.*", "*.b", "*.*", "a.>", ">", "*.>", "*", "a.b.>", "a.*.c"].into_iter().enumerate() {
            assert_eq!(patterns.insert(pattern.as_bytes(), id as u32), None);
            patterns.invariants();
        }
        assert_eq!(matching(&patterns, "a.b"), [0, 1, 2, 3, 4, 5]);
        assert_eq!(matching(&patterns, "a"), [4, 6]);
        assert_eq!(matching(&patterns, "a.b.c"), [3, 4, 5, 7, 8]);
        assert_eq!(matching(&patterns, "c.d"), [2, 4, 5]);
    }

    #[test]
    fn a_removed_pattern_leaves_no_node_behind() {
        let mut patterns = Patterns::new();
        patterns.insert(b"a.b.c.*.>", 1);
        patterns.insert(b"a.b.*", 2);
        assert_eq!(patterns.remove(b"a.b.c.*.>"), Some(1));
        assert_eq!(patterns.nodes.len(), 4, "the root, a, b and *");
        assert_eq!(patterns.remove(b"a.b.c.*.>"), None);
        assert_eq!(patterns.remove(b"a.b"), None, "a node on the way is no pattern");
        assert_eq!(patterns.remove(b"a.b.*"), Some(2));
        assert!(patterns.is_empty());
        assert_eq!((patterns.nodes.len(), patterns.children.len()), (1, 0));
    }

    #[test]
    fn stars_of_every_length_are_matched_in_as_many_steps_as_there_are_nodes() {
        let mut patterns = Patterns::new();
        for stars in 1..=128 {
            patterns.insert(vec!["*"; stars].join(".").as_bytes(), stars as u32);
            patterns.insert([vec!["*"; stars - 1], vec![">"]].concat().join(".").as_bytes(), 1000 + stars as u32);
        }
        assert_eq!(patterns.nodes.len(), 129);
        let found = matching(&patterns, &vec!["a"; 128].join("."));
        assert_eq!(found, [vec![128], (1001..=1128).collect()].concat());
    }

    #[test]
    fn a_mix_of_stars_and_names_costs_no_more_than_its_nodes() {
        // 2^12 patterns that all match, over one prefix tree: as many ids as patterns, each once.
        let mut patterns = Patterns::new();
        for bits in 0..1u32 << 12 {
            let tokens: Vec<_> = (0..12).map(|bit| if bits >> bit & 1 == 0 { "a" } else { "*" }).collect();
            patterns.insert(tokens.join(".").as_bytes(), bits);
        }
        assert_eq!(matching(&patterns, &["a"; 12].join(".")), (0..1 << 12).collect::<Vec<_>>());
    }

    /// Names over so few tokens that they meet; `aa` because a token is not a prefix.
    fn name(tokens: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(tokens), 1..5).prop_map(|tokens| tokens.join("."))
    }

    proptest! {
        #[test]
        fn the_trie_agrees_with_matching_one_by_one(
            steps in prop::collection::vec((any::<bool>(), name(&["a", "aa", "b", "_a", "$", "*", "*", ">"])), 1..60),
            channels in prop::collection::vec(name(&["a", "aa", "b", "c", "a*", "_a", "$"]), 1..8),
        ) {
            let mut patterns = Patterns::new();
            let mut model = BTreeMap::new();
            for (id, (add, pattern)) in steps.into_iter().enumerate() {
                if check_subscribe(pattern.as_bytes()).is_err() {
                    continue;
                }
                if add {
                    prop_assert_eq!(patterns.insert(pattern.as_bytes(), id as u32), model.insert(pattern, id as u32));
                } else {
                    prop_assert_eq!(patterns.remove(pattern.as_bytes()), model.remove(&pattern));
                }
                patterns.invariants();
                prop_assert_eq!(patterns.len(), model.len());
            }
            for (pattern, &id) in &model {
                prop_assert_eq!(patterns.get(pattern.as_bytes()), Some(id));
            }
            for channel in channels {
                prop_assert!(check_publish(channel.as_bytes()).is_ok());
                let is_match = |pattern: &str| matches(pattern.as_bytes(), channel.as_bytes());
                let mut expected: Vec<u32> = model.iter().filter(|(p, _)| is_match(p)).map(|(_, &id)| id).collect();
                expected.sort_unstable();
                prop_assert_eq!(matching(&patterns, &channel), expected);
            }
            for pattern in model.keys() {
                patterns.remove(pattern.as_bytes());
                patterns.invariants();
            }
            prop_assert_eq!(patterns.nodes.len(), 1);
        }
    }
}
