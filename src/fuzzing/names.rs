//! Names of channels, patterns, and their matching.

use std::collections::BTreeMap;

use super::dice::Dice;
use crate::{
    engine::patterns::Patterns,
    protocol::channel::{
        CHANNEL_BYTES_MAX, Kind, STARS_MAX, TOKENS_MAX, check_publish, check_subscribe, kind, matches, split, tokens,
    },
};

const WORDS: [&[u8]; 28] = [
    b"a",
    b".",
    b"*",
    b">",
    b"a.",
    b"*.",
    b".>",
    b".*",
    b"b",
    b"c.",
    b"a.b",
    b"..",
    b"$",
    b"_",
    b"\xff",
    b"\x00",
    b"\xc2\xa0",
    b"**",
    b">>",
    b"a*",
    b"\x7f",
    b"*.*.*.*",
    b"a.a.a.a.a.a.a.",
    b"*.a.*.a.*.",
    b"x.y.",
    b"$a.",
    b"aaaaaaaaaaaaaaaa",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Each accepted name keeps the limits of names. The table of patterns agrees with the definition of matching, whatever
/// was added to it and removed.
pub fn names(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let removals = dice.take(4);
    let text = dice.text(&[WORDS.as_slice(), &[b" ", b" a", b" *", b"\t"]].concat());
    let names: Vec<&[u8]> = split(&text).take(64).collect();
    let (mut patterns, mut table) = (Patterns::new(), BTreeMap::new());
    for (id, name) in names.iter().enumerate() {
        check_name(name);
        let is_it = |id: u32| table.get(&id).is_some_and(|other: &Vec<u8>| other == name);
        if check_subscribe(name) == Ok(Kind::Pattern) && patterns.find(name, is_it).is_none() {
            assert!(!table.values().any(|other| other == name), "a pattern is not found again");
            patterns.insert(name, id as u32);
            table.insert(id as u32, name.to_vec());
        }
    }
    check_matches(&patterns, &table, &names);
    for &number in removals {
        let Some(&id) = table.keys().nth(usize::from(number) % table.len().max(1)) else { break };
        let name = table.remove(&id).expect("it was found");
        patterns.remove(&name, id);
        assert_eq!(patterns.find(&name, |other| other == id), None, "a removed pattern is found");
    }
    check_matches(&patterns, &table, &names);
}

fn check_name(name: &[u8]) {
    let publish = check_publish(name);
    let subscribe = check_subscribe(name);
    assert!(publish.is_err() || subscribe == Ok(Kind::Exact), "a channel cannot be subscribed to");
    if let Ok(of) = subscribe {
        assert_eq!(kind(name), of);
        assert_eq!(publish.is_ok(), of == Kind::Exact);
        assert!((1..=CHANNEL_BYTES_MAX).contains(&name.len()) && tokens(name).count() <= TOKENS_MAX);
        assert!(tokens(name).all(|token| !token.is_empty()) && !name.iter().any(|&byte| byte <= b' ' || byte == 0x7f));
        assert!(tokens(name).filter(|token| *token == b"*").count() <= STARS_MAX || of == Kind::Exact);
        assert!(of == Kind::Pattern || matches(name, name));
    }
}

fn check_matches(patterns: &Patterns, table: &BTreeMap<u32, Vec<u8>>, names: &[&[u8]]) {
    patterns.invariants();
    for channel in names.iter().filter(|name| check_publish(name).is_ok()) {
        let mut found = Vec::new();
        patterns.matching(channel, |id| table[&id].as_slice(), &mut |id| found.push(id));
        found.sort_unstable();
        let expected = table.iter().filter(|(_, pattern)| matches(pattern, channel)).map(|(&id, _)| id);
        assert_eq!(found, expected.collect::<Vec<_>>(), "{}", channel.escape_ascii());
    }
}
