//! Looking a channel up among very many, and matching a channel against patterns (PROTOCOL.md §2).

use divan::{Bencher, black_box, counter::ItemsCount};
use lhttp::bench::Table;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

/// The order of the lookups is the same in each run.
const SEED: u64 = 17;

/// Steps in one sample. It is fixed because divan would choose it by the first step, which finds cold caches.
const STEPS: u32 = 1000;

fn main() {
    divan::main();
}

/// Each channel in turn, in an order that no cache foresees: with a million of them, this measures memory.
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

/// The worst that patterns can do: all of the 2^n that `a` and `*` make of n tokens match.
#[divan::bench(args = [2, 8], sample_size = STEPS)]
fn pattern_match_of_all(bencher: Bencher<'_, '_>, tokens: u32) {
    let mut table = Table::new();
    for bits in 0..1u32 << tokens {
        let pattern: Vec<_> = (0..tokens).map(|token| if bits >> token & 1 == 0 { "a" } else { "*" }).collect();
        table.subscribe(0, pattern.join(".").as_bytes());
    }
    let channel = vec!["a"; tokens as usize].join(".");
    // The channel itself is one of them.
    let expected = 1 << tokens;
    bencher.counter(ItemsCount::new(expected)).bench_local(|| {
        assert_eq!(table.matching(black_box(channel.as_bytes())), expected);
    });
}

/// A channel each for so many connections.
fn rooms(channels: u32) -> Table {
    let mut table = Table::new();
    (0..channels).for_each(|number| table.subscribe(number, &room(number)));
    assert_eq!(table.len(), channels as usize);
    table
}

fn room(number: u32) -> [u8; 12] {
    format!("room.{number:07}").into_bytes().try_into().expect("seven digits")
}
