//! What every black-box test needs: a daemon, clients that may also misbehave, and a way to wait for a condition.
//!
//! Nothing here uses the library: these tests see what a client sees, over real sockets.

// Each test file is a crate of its own and uses its own part of this module.
#![allow(dead_code, unused_imports, unused_macros)]

pub(crate) mod client;
pub(crate) mod daemon;
pub(crate) mod frame;
pub(crate) mod http;
pub(crate) mod island;
pub(crate) mod message;
pub(crate) mod nats;
pub(crate) mod scratch;
pub(crate) mod wire;

use std::{
    env, thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rand::{SeedableRng, rngs::StdRng};

/// How long anything that must happen may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Makes two tests of each function `fn name(cores: usize)`: one against a daemon of one core, one of two.
///
/// A function that is left out of the list is dead code, so the compiler notices.
#[allow(unused_macros)]
macro_rules! on_one_and_two_cores {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn on_one_core() {
                super::$name(1);
            }

            #[test]
            fn on_two_cores() {
                if $crate::common::enough_cpus(2) {
                    super::$name(2);
                }
            }
        })+
    };
}
#[allow(unused_imports)]
pub(crate) use on_one_and_two_cores;

/// True if this machine can run a daemon of so many cores (it refuses more than there are); says so if not.
pub(crate) fn enough_cpus(cores: usize) -> bool {
    let cpus = thread::available_parallelism().map_or(1, |cpus| cpus.get());
    if cpus < cores {
        eprintln!("SKIPPED: {cores} cores asked for, this process may use {cpus}");
    }
    cpus >= cores
}

/// Waits until `condition` holds. The only sleep in these tests; false if `timeout` passed first.
#[must_use]
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool, timeout: Duration) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > timeout {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Lets time pass where time itself is what the test is about.
pub(crate) fn let_pass(duration: Duration) {
    let start = Instant::now();
    let _ = wait_until(|| start.elapsed() >= duration, duration * 2);
}

/// A generator whose seed is printed (cargo shows it when the test fails) and can be given again in `LHTTP_TEST_SEED`.
pub(crate) fn seeded_rng() -> StdRng {
    let seed = match env::var("LHTTP_TEST_SEED") {
        Ok(seed) => seed.parse().expect("LHTTP_TEST_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64,
    };
    println!("seed: run again with LHTTP_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
