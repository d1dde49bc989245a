//! Looks up a channel among very many, and matches a channel against patterns (PROTOCOL.md §2).

use divan::{Bencher, black_box, counter::ItemsCount};
use lhttp::bench::Table;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

/// The order of the lookups is the same in each run.
const SEED: u64 = 17;

/// Steps in one sample. The number is fixed because divan would choose it by the first step, which finds cold caches.
const STEPS: u32 = 1000;

fn main() {
    divan::main();
}

/// Looks up each channel in turn, in an order that caches cannot predict: with a million channels, this measures
/// memory.
#[divan::bench(args = [1, 10_000, 1_000_000], sample_size = STEPS)]
fn lookup(bencher: Bencher<'_, '_>, channels: u32) {
    let table = rooms(channels);
    let mut names: Vec<[u8; 12]> = (0..channels).map(room).collect();
    names.shuffle(&mut StdRng::seed_from_u64(SEED));
    let mut next = names.iter().cycle();
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        let name = next.next().expect("at least one");
        assert_eq!(table.lookup(black_box(name)), Some(1));
    });
}

#[divan::bench(args = [1, 10_000, 1_000_000], sample_size = STEPS)]
fn lookup_of_what_nobody_hears(bencher: Bencher<'_, '_>, channels: u32) {
    let table = rooms(channels);
    let mut absent = (channels..channels + 10_000).map(room).collect::<Vec<_>>().into_iter().cycle();
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        let name = absent.next().expect("it cycles");
        assert_eq!(table.lookup(black_box(&name)), None);
    });
}

/// Three of the patterns match.
#[divan::bench(args = [1, 10_000], sample_size = STEPS)]
fn pattern_match(bencher: Bencher<'_, '_>, rooms: u32) {
    let mut table = Table::new();
    for number in 0..rooms {
        table.subscribe(number, format!("room.{number}.*").as_bytes());
        table.subscribe(number, format!("*.{number}.chat").as_bytes());
        table.subscribe(number, format!("room.{number}.files.>").as_bytes());
    }
    table.subscribe(0, b"room.>");
    assert_eq!(table.len(), 3 * rooms as usize + 1);
    let channel = format!("room.{}.chat", rooms / 2);
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        assert_eq!(table.matching(black_box(channel.as_bytes())), 3);
    });
}

/// The most patterns that match a channel of this many tokens: one of each shape that is not deep, and 64 of the deep
/// ones. 65,000 more patterns have the same shapes and match nothing.
#[divan::bench(args = [2, 6, 8, 32], sample_size = STEPS)]
fn pattern_match_of_all(bencher: Bencher<'_, '_>, tokens: usize) {
    let mut table = Table::new();
    let (mut shallow, mut deep) = (Vec::new(), Vec::new());
    let fitting = (0..tokens).map(|before| (before, true)).chain([(tokens, false)]);
    for (before, has_tail) in fitting {
        for stars in placements(before).filter(|stars| has_tail || !stars.is_empty()) {
            let mut pattern = vec!["a"; before];
            stars.iter().for_each(|&star| pattern[star] = "*");
            pattern.extend(has_tail.then_some(">"));
            let is_deep = pattern.len() > 6 && stars.len() + usize::from(has_tail) > 1;
            if is_deep { &mut deep } else { &mut shallow }.push(pattern.join("."));
        }
    }
    deep.shuffle(&mut StdRng::seed_from_u64(SEED));
    let patterns: Vec<String> = shallow.into_iter().chain(deep.into_iter().take(64)).collect();
    patterns.iter().for_each(|pattern| table.subscribe(0, pattern.as_bytes()));
    let others = patterns.iter().filter(|pattern| pattern.contains('a')).cycle().zip(0..65_000);
    others.for_each(|(pattern, n)| table.subscribe(0, pattern.replacen('a', &format!("b{n}"), 1).as_bytes()));
    let channel = vec!["a"; tokens].join(".");
    bencher.counter(ItemsCount::new(patterns.len())).bench_local(|| {
        assert_eq!(table.matching(black_box(channel.as_bytes())), patterns.len());
    });
}

/// Every way to choose at most four of this many tokens.
fn placements(tokens: usize) -> impl Iterator<Item = Vec<usize>> {
    let mut all = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..4 {
        let last = all.len();
        for index in from..last {
            let chosen: Vec<usize> = all[index].clone();
            let next = chosen.last().map_or(0, |star| star + 1);
            all.extend((next..tokens).map(|star| [&chosen[..], &[star]].concat()));
        }
        from = last;
    }
    all.into_iter()
}

/// One channel for each of this many connections.
fn rooms(channels: u32) -> Table {
    let mut table = Table::new();
    (0..channels).for_each(|number| table.subscribe(number, &room(number)));
    assert_eq!(table.len(), channels as usize);
    table
}

fn room(number: u32) -> [u8; 12] {
    format!("room.{number:07}").into_bytes().try_into().expect("seven digits")
}
