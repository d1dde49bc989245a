use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::protocol::channel::{Kind, STARS_MAX, check_publish, check_subscribe, matches};

/// Patterns with their names, like the table of subscriptions.
struct Named {
    patterns: Patterns,
    names: BTreeMap<u32, String>,
}

impl Named {
    fn new() -> Self {
        Self { patterns: Patterns::new(), names: BTreeMap::new() }
    }

    fn find(&self, pattern: &str) -> Option<u32> {
        self.patterns.find(pattern.as_bytes(), |id| self.names[&id] == pattern)
    }

    /// Returns false if the pattern is already in the set.
    fn insert(&mut self, pattern: &str, id: u32) -> bool {
        let is_new = self.find(pattern).is_none();
        if is_new {
            self.patterns.insert(pattern.as_bytes(), id);
            self.names.insert(id, pattern.to_owned());
        }
        is_new
    }

    fn remove(&mut self, pattern: &str) -> bool {
        let id = self.find(pattern);
        if let Some(id) = id {
            self.patterns.remove(pattern.as_bytes(), id);
            self.names.remove(&id);
        }
        id.is_some()
    }

    fn matching(&self, channel: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.patterns.matching(channel.as_bytes(), |id| self.names[&id].as_bytes(), &mut |id| ids.push(id));
        ids.sort_unstable();
        ids
    }
}

/// All shapes of this many tokens, with a `>` after them or without.
fn shapes(tokens: usize, has_tail: bool) -> Vec<Shape> {
    fn add(tokens: usize, from: usize, shape: Shape, all: &mut Vec<Shape>) {
        if shape.has_tail || shape.stars != 0 {
            all.push(shape);
        }
        if shape.stars().count() < STARS_MAX {
            (from..tokens)
                .for_each(|star| add(tokens, star + 1, Shape { stars: shape.stars | 1 << star, ..shape }, all));
        }
    }
    let mut all = Vec::new();
    add(tokens, 0, Shape { has_tail, tokens: tokens as u8, stars: 0 }, &mut all);
    all
}

/// The shapes that fit a channel of this many tokens.
fn fitting(tokens: usize) -> impl Iterator<Item = Shape> {
    shapes(tokens, false).into_iter().chain((0..tokens).flat_map(|before| shapes(before, true)))
}

/// A pattern of this shape with the same token at each plain position.
fn pattern(shape: Shape, token: &str) -> String {
    let is_star = |number: u8| shape.stars & 1 << number != 0;
    let mut tokens: Vec<_> = (0..shape.tokens).map(|number| if is_star(number) { "*" } else { token }).collect();
    tokens.extend(shape.has_tail.then_some(">"));
    tokens.join(".")
}

#[test]
fn every_matching_pattern_is_found_once() {
    let mut named = Named::new();
    for (id, pattern) in ["a.*", "*.b", "*.*", "a.>", ">", "*.>", "*", "a.b.>", "a.*.c"].into_iter().enumerate() {
        assert!(named.insert(pattern, id as u32));
        named.patterns.invariants();
    }
    assert_eq!(named.matching("a.b"), [0, 1, 2, 3, 4, 5]);
    assert_eq!(named.matching("a"), [4, 6]);
    assert_eq!(named.matching("a.b.c"), [3, 4, 5, 7, 8]);
    assert_eq!(named.matching("c.d"), [2, 4, 5]);
    assert_eq!(named.matching("$a.b"), [1; 0]);
}

#[test]
fn a_removed_pattern_leaves_nothing_behind() {
    let mut named = Named::new();
    named.insert("a.b.c.*.>", 1);
    named.insert("a.b.*", 2);
    assert!(named.remove("a.b.c.*.>"));
    assert!(!named.remove("a.b.c.*.>") && !named.remove("a.c.*"));
    named.patterns.invariants();
    assert_eq!((named.patterns.exact.len(), named.patterns.tailed.len()), (1, 0));
    assert!(named.remove("a.b.*"));
    assert!(named.patterns.is_empty());
}

#[test]
fn patterns_of_one_shape_cost_one_probe_however_many_they_are() {
    let mut named = Named::new();
    (0..10_000).for_each(|user| assert!(named.insert(&format!("user.{user}.*"), user)));
    assert_eq!((named.patterns.exact.len(), named.patterns.deep_shapes), (1, 0));
    assert_eq!(named.matching("user.77.mail"), [77]);
    assert_eq!(named.matching("user.mail.77"), [0; 0]);
}

#[test]
fn at_most_120_shapes_that_are_not_deep_fit_a_channel_and_tens_of_thousands_of_deep_ones() {
    let counts = (1..=TOKENS_MAX).map(|tokens| {
        let (deep, shallow): (Vec<_>, Vec<_>) = fitting(tokens).partition(|shape| shape.is_deep());
        assert!(tokens > 6 || deep.is_empty(), "a channel of {tokens} tokens meets no deep pattern");
        (shallow.len(), deep.iter().filter(|shape| !shape.has_tail).count())
    });
    let (shallow, deep): (Vec<_>, Vec<_>) = counts.unzip();
    assert_eq!((shallow.iter().max(), deep.iter().max()), (Some(&120), Some(&41_416)));
}

#[test]
fn a_channel_finds_the_pattern_of_each_fitting_shape_and_no_other() {
    let mut named = Named::new();
    for (id, shape) in fitting(9).enumerate() {
        assert_eq!(Shape::of(pattern(shape, "a").as_bytes()), shape);
        named.insert(&pattern(shape, "a"), 2 * id as u32);
        named.insert(&pattern(shape, "b"), 2 * id as u32 + 1);
    }
    named.patterns.invariants();
    let found = named.matching(&["a"; 9].join("."));
    let expected: Vec<u32> = named.names.iter().filter(|(_, name)| !name.contains('b')).map(|(&id, _)| id).collect();
    assert_eq!(found, expected);
}

/// Names over so few tokens that they often match. `aa` is among them because a token must not match as a prefix.
fn name(tokens: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(tokens), 1..9).prop_map(|tokens| tokens.join("."))
}

proptest! {
    #[test]
    fn finding_by_shape_agrees_with_matching_one_by_one(
        steps in prop::collection::vec((any::<bool>(), name(&["a", "aa", "b", "_a", "$", "*", "*", ">"])), 1..60),
        channels in prop::collection::vec(name(&["a", "aa", "b", "c", "a*", "_a", "$"]), 1..8),
    ) {
        let mut named = Named::new();
        let mut model = BTreeMap::new();
        for (id, (add, pattern)) in steps.into_iter().enumerate() {
            if check_subscribe(pattern.as_bytes()) != Ok(Kind::Pattern) {
                continue;
            }
            if add {
                let is_new = !model.contains_key(&pattern);
                prop_assert_eq!(named.insert(&pattern, id as u32), is_new);
                model.entry(pattern).or_insert(id as u32);
            } else {
                prop_assert_eq!(named.remove(&pattern), model.remove(&pattern).is_some());
            }
            named.patterns.invariants();
            prop_assert_eq!(named.patterns.len(), model.len());
        }
        for (pattern, &id) in &model {
            prop_assert_eq!(named.find(pattern), Some(id));
        }
        for channel in channels {
            prop_assert!(check_publish(channel.as_bytes()).is_ok());
            let is_match = |pattern: &str| matches(pattern.as_bytes(), channel.as_bytes());
            let mut expected: Vec<u32> = model.iter().filter(|(p, _)| is_match(p)).map(|(_, &id)| id).collect();
            expected.sort_unstable();
            prop_assert_eq!(named.matching(&channel), expected);
        }
        for pattern in model.keys() {
            prop_assert!(named.remove(pattern));
            named.patterns.invariants();
        }
        prop_assert!(named.patterns.is_empty() && named.patterns.exact.is_empty() && named.patterns.tailed.is_empty());
    }
}
