//! Seals and opens TLS records of each suite (RFC 8446 §5.2, RFC 5288, RFC 7905), with a key schedule that is made for each
//! write, as lhttpd does, and with one that is kept.

use divan::{
    Bencher, black_box,
    counter::{BytesCount, ItemsCount},
};
use lhttp::bench::tls::{SUITE_NAMES, TlsRecords};

/// The suite and the bytes of plaintext.
const RECORDS: [(&str, usize); 9] = [
    ("1.3 AES-128-GCM", 64),
    ("1.3 AES-128-GCM", 1024),
    ("1.3 AES-128-GCM", 16_384),
    ("1.3 AES-256-GCM", 64),
    ("1.3 AES-256-GCM", 16_384),
    ("1.3 ChaCha20-Poly1305", 64),
    ("1.3 ChaCha20-Poly1305", 16_384),
    ("1.2 AES-128-GCM", 64),
    ("1.2 AES-128-GCM", 16_384),
];

/// Steps in one sample. The number is fixed because divan would choose it by the first step, which finds cold caches.
const STEPS: u32 = 1000;

fn main() {
    divan::main();
}

/// A connection, a plaintext, and the bytes of its record.
fn fixture((suite, len): (&str, usize)) -> (TlsRecords, Vec<u8>, usize) {
    let suite = SUITE_NAMES.iter().position(|name| *name == suite).expect("a suite");
    let mut records = TlsRecords::new(suite);
    let plaintext = vec![b'x'; len];
    let sealed = records.seal(&plaintext);
    assert!((len + 5 + 16..len + 5 + 25).contains(&sealed));
    (records, plaintext, sealed)
}

#[divan::bench(args = RECORDS, sample_size = STEPS)]
fn seal(bencher: Bencher<'_, '_>, record: (&str, usize)) {
    let (mut records, plaintext, sealed) = fixture(record);
    bencher
        .counter(BytesCount::new(record.1))
        .counter(ItemsCount::new(1usize))
        .bench_local(|| assert_eq!(records.seal(black_box(&plaintext)), sealed));
}

#[divan::bench(args = RECORDS, sample_size = STEPS)]
fn seal_with_a_kept_schedule(bencher: Bencher<'_, '_>, record: (&str, usize)) {
    let (mut records, plaintext, sealed) = fixture(record);
    bencher
        .counter(BytesCount::new(record.1))
        .counter(ItemsCount::new(1usize))
        .bench_local(|| assert_eq!(records.seal_kept(black_box(&plaintext)), sealed));
}

#[divan::bench(args = RECORDS, sample_size = STEPS)]
fn open(bencher: Bencher<'_, '_>, record: (&str, usize)) {
    let (mut records, plaintext, _) = fixture(record);
    bencher
        .counter(BytesCount::new(record.1))
        .counter(ItemsCount::new(1usize))
        .bench_local(|| assert_eq!(black_box(&mut records).open(), plaintext.len()));
}
