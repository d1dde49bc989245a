//! What the tests of the library and its examples need: servers in this process, WebSocket clients, a log that servers
//! write and tests read.

// Each test file is a crate of its own and uses its own part of this module.
#![allow(dead_code, unused_imports)]

pub(crate) mod backend;
#[cfg(feature = "nats")]
pub(crate) mod bridge;
mod client;
mod extensions;

use std::{
    panic, thread,
    time::{Duration, Instant},
};

use lhttp::{Builder, Handle, Server};

pub(crate) use self::{
    client::Client,
    extensions::{Log, Recorder, on_message},
};

/// How long anything that must happen may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The payload of a panic that a test wants.
pub(crate) const ON_PURPOSE: &str = "on purpose";

/// A server with one core on a free port, with what `build` plugs in.
pub(crate) fn start(build: impl FnOnce(Builder) -> Builder) -> Handle {
    start_with_cores(1, build)
}

/// The same, with this many cores.
pub(crate) fn start_with_cores(cores: usize, build: impl FnOnce(Builder) -> Builder) -> Handle {
    let builder = build(Server::builder()).listen(([127, 0, 0, 1], 0).into()).cores(cores);
    builder.start().expect("the server starts")
}

/// One core, and two if this machine can run a server of two; says so if not.
pub(crate) fn one_and_two_cores() -> Vec<usize> {
    if thread::available_parallelism().map_or(1, |cpus| cpus.get()) >= 2 {
        return vec![1, 2];
    }
    eprintln!("SKIPPED: the part with two cores, for this process may use one CPU");
    vec![1]
}

/// Waits until `condition` holds; fails the test if that takes too long. The only sleep in these tests.
#[track_caller]
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it took too long");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Keeps panics with [`ON_PURPOSE`] from being printed; all others are.
pub(crate) fn silence_panics_on_purpose() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&ON_PURPOSE) {
                print(info);
            }
        }));
    });
}
