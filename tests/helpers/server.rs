//! Servers in the test's own process.

use lhttp::{Builder, Handle, Server};

use super::enough_cpus;

/// A server with one core on a free port, with the extensions of `build`.
pub(crate) fn start(build: impl FnOnce(Builder) -> Builder) -> Handle {
    start_with_cores(1, build)
}

/// The same, with this many cores.
pub(crate) fn start_with_cores(cores: usize, build: impl FnOnce(Builder) -> Builder) -> Handle {
    let builder = build(Server::builder()).listen(([127, 0, 0, 1], 0).into()).cores(cores);
    builder.start().expect("the server starts")
}

/// One core, and also two if this machine can run a server of two. Prints a line if not.
pub(crate) fn one_and_two_cores() -> Vec<usize> {
    if enough_cpus(2) { vec![1, 2] } else { vec![1] }
}
