//! Publishes whose messages are kept in memory, each answered by the server. A work of `compare`.

use serde_json::json;

use crate::{
    bench::Bench,
    dialect::{Dialect, Role},
    failure::Failure,
    kept,
    load::{Flow, Window},
    report::{Outcome, median},
};

/// What is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConfirmedArgs {
    /// Each with a channel of its own.
    pub(super) publishers: usize,
    /// Messages of each in a round.
    pub(super) n: usize,
    pub(super) body: usize,
    /// The most messages of a publisher that are not answered yet.
    pub(super) window: u64,
    /// Messages of a channel that are kept.
    pub(super) kept: usize,
    pub(super) rounds: usize,
}

/// Starts a server that keeps messages, and publishes to it.
pub(super) fn run(bench: &Bench, server: Dialect, args: ConfirmedArgs) -> Result<Outcome, Failure> {
    let keeper = bench.start_keeping(server, args.kept, None, false)?;
    let target = &keeper.target;
    let mut load = bench.load(target)?;
    let roles: Vec<Role> = (0..args.publishers).map(|number| Role::confirmed(&kept::channel(number))).collect();
    load.open(&roles, args.body, |_| {})?;
    let flows: Vec<Flow> = (0..args.publishers)
        .map(|number| {
            let block = (args.window as usize / 4).max(1);
            super::broadcast::confirmed_flow(server, &kept::channel(number), number, args.body, args.n, block)
        })
        .collect();
    let messages = args.publishers * args.n;
    let mut publish = || load.publish_within(&flows, messages as u64, Window::Each(args.window));
    publish()?;
    let before = target.usage();
    let mut seconds = Vec::new();
    for _ in 0..args.rounds {
        seconds.push(publish()?.as_secs_f64());
    }
    let after = target.usage();
    let settings = [
        ("publishers", json!(args.publishers)),
        ("messages", json!(args.n)),
        ("body_bytes", json!(args.body)),
        ("window", json!(args.window)),
        ("kept", json!(args.kept)),
        ("rounds", json!(args.rounds)),
    ];
    let mut outcome = Outcome::new("confirmed", target.name, &settings);
    outcome.set("publishes_per_s", messages as f64 / median(&seconds));
    super::set_usage(&mut outcome, "server_ns_per_publish", before, after, messages * args.rounds);
    Ok(outcome)
}
