//! Reproducible randomness.

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

use rand::{SeedableRng, rngs::StdRng};

/// A generator whose seed is printed (cargo shows it when the test fails). `LHTTP_TEST_SEED` sets the seed again.
pub(crate) fn seeded_rng() -> StdRng {
    let seed = match env::var("LHTTP_TEST_SEED") {
        Ok(seed) => seed.parse().expect("LHTTP_TEST_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64,
    };
    println!("seed: run again with LHTTP_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
