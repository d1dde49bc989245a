//! Checks a token (PROTOCOL.md §8): with its signature, and one that the core has verified before.

use divan::{Bencher, black_box, counter::ItemsCount};
use lhttp::bench::Tokens;

fn main() {
    divan::main();
}

fn tokens(algorithm: &str) -> Tokens {
    if algorithm == "ES256" { Tokens::es256() } else { Tokens::hs256() }
}

#[divan::bench(args = ["HS256", "ES256"], sample_size = 100)]
fn verify(bencher: Bencher<'_, '_>, algorithm: &str) {
    let mut tokens = tokens(algorithm);
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| assert_eq!(black_box(&mut tokens).verify(), Some(4)));
}

#[divan::bench(args = ["HS256", "ES256"], sample_size = 1000)]
fn verify_again(bencher: Bencher<'_, '_>, algorithm: &str) {
    let mut tokens = tokens(algorithm);
    assert_eq!(tokens.verify(), Some(4));
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| assert_eq!(black_box(&mut tokens).verify_again(), Some(4)));
}
