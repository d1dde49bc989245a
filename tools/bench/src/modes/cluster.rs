//! `cluster`: from the clients of one node to those of another, with nats-server between them: publishes a second, and
//! the latency at a given rate.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde_json::json;
use tungstenite::Message;

use super::{
    broadcast,
    rate::{self, RateArgs},
};
use crate::{
    bench::{Bench, Target},
    dialect::{Dialect, Role},
    failure::Failure,
    load::{Flow, Load, Wait, Window},
    procfs::Usage,
    report::{Outcome, median, quantile},
};

/// A node that has not connected to its NATS server by then never will.
const ONLINE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of a publisher's block.
const BLOCK_BYTES_MAX: usize = 16 * 1024;

/// One of the two halves of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Publishes a second, as fast as possible.
    Throughput,
    /// The latency from one node's client to another's, at a fixed rate.
    Latency,
}

/// The arguments of `cluster`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ClusterArgs {
    /// How many clients publish on one node, each to a channel with one subscriber on the other
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = super::at_least_one)]
    publishers: usize,
    /// How many messages in a round, from all publishers together
    #[arg(short, default_value_t = 400_000, value_name = "N", value_parser = super::at_least_one)]
    n: usize,
    /// The most messages in flight: a bridge drops messages that exceed its buffers
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u64).range(2000..))]
    window: u64,
    /// How often to measure each
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = super::at_least_one)]
    rounds: usize,
    /// Messages a second while latency is measured
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long a round of latency lasts
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = rate::seconds)]
    secs: f64,
    /// Bytes of a message's body, at least 16 for the time stamp
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = rate::with_room_for_a_stamp)]
    body: usize,
    /// Measure only one of the two
    #[arg(long, value_enum, value_name = "PART")]
    only: Option<Part>,
    /// The CPU of the subscribers' node [default: the CPU of the publishers' node, see --server-cpu]
    #[arg(long, value_name = "N")]
    other_cpu: Option<usize>,
    /// The CPU of nats-server [default: for throughput this generator's, which sleeps then; for latency the nodes',
    /// because the generator polls]
    #[arg(long, value_name = "N")]
    nats_cpu: Option<usize>,
}

/// Two nodes and the NATS server between them.
struct Cluster {
    publishing: Target,
    subscribing: Target,
    nats: Target,
}

/// Runs `cluster`.
pub(crate) fn run(bench: &Bench, args: ClusterArgs) -> Result<Outcome, Failure> {
    let settings = [
        ("publishers", json!(args.publishers)),
        ("messages", json!(args.n)),
        ("window", json!(args.window)),
        ("rounds", json!(args.rounds)),
        ("rate_per_s", json!(args.rate)),
        ("secs", json!(args.secs)),
        ("body_bytes", json!(args.body)),
    ];
    let mut outcome = Outcome::new("cluster", "lhttpd", &settings);
    if args.only != Some(Part::Latency) {
        throughput(bench, args, &mut outcome)?;
    }
    if args.only != Some(Part::Throughput) {
        latency(bench, args, &mut outcome)?;
    }
    Ok(outcome)
}

fn throughput(bench: &Bench, args: ClusterArgs, outcome: &mut Outcome) -> Result<(), Failure> {
    let cluster = Cluster::start(bench, args, args.nats_cpu.unwrap_or(bench.generator_cpu))?;
    // A generator that polls would take the CPU from nats-server.
    let mut load = cluster.load(bench, Wait::Sleep)?;
    let channel = |number: usize| format!("room{number}");
    let roles = |role: fn(&str) -> Role| (0..args.publishers).map(|number| role(&channel(number))).collect::<Vec<_>>();
    load.open(&roles(Role::subscriber), args.body, |_| {})?;
    load.turn_to(cluster.publishing.address);
    let first = load.open(&roles(Role::publisher), args.body, |_| {})?;
    let share = args.n.div_ceil(args.publishers);
    let block = BLOCK_BYTES_MAX / args.publishers;
    let flow = |number| broadcast::flow(Dialect::Lhttp, &channel(number), first + number, args.body, share, block);
    let flows: Vec<Flow> = (0..args.publishers).map(flow).collect();
    let messages = (share * args.publishers) as u64;
    for _ in 0..(args.rounds / 5).max(1) {
        load.publish_within(&flows, messages, Window::All(args.window))?;
    }
    let before = cluster.usage();
    let mut rates = Vec::new();
    for round in 1..=args.rounds {
        bench.progress.show(&format!("cluster: round {round} of {}", args.rounds));
        rates.push(messages as f64 / load.publish_within(&flows, messages, Window::All(args.window))?.as_secs_f64());
    }
    let after = cluster.usage();
    outcome.set("publishes_per_s", median(&rates));
    outcome.set("min_publishes_per_s", quantile(&rates, 0.0));
    outcome.set("max_publishes_per_s", quantile(&rates, 1.0));
    let names = ["publishing_node_ns_per_publish", "nats_ns_per_publish", "subscribing_node_ns_per_publish"];
    for ((name, before), after) in names.into_iter().zip(before).zip(after) {
        let used = before.zip(after).map(|(before, after)| after.cpu_ns.saturating_sub(before.cpu_ns));
        outcome.set_known(name, used.map(|used| used as f64 / (messages as f64 * args.rounds as f64)));
    }
    let shown = names.map(|name| outcome.show(name));
    outcome.text += &format!(
        "lhttpd, nats-server, lhttpd: {} publishes from one node's clients to another's\n\
         {} publishers, {messages} messages of {} bytes, at most {} under way: min {}, max {} of {} rounds\n\
         CPU a publish: {} for the publishers' node, {} for nats-server, {} for the subscribers' node\n",
        outcome.show("publishes_per_s"),
        args.publishers,
        args.body,
        args.window,
        outcome.show("min_publishes_per_s"),
        outcome.show("max_publishes_per_s"),
        args.rounds,
        shown[0],
        shown[1],
        shown[2],
    );
    Ok(())
}

fn latency(bench: &Bench, args: ClusterArgs, outcome: &mut Outcome) -> Result<(), Failure> {
    let cluster = Cluster::start(bench, args, args.nats_cpu.unwrap_or(bench.server_cpu))?;
    let mut load = cluster.load(bench, Wait::Spin)?;
    load.open(&[Role::subscriber("room")], args.body, |_| {})?;
    load.turn_to(cluster.publishing.address);
    load.open(&[Role::publisher("room")], args.body, |_| {})?;
    let pace = RateArgs { subs: 1, rate: args.rate, secs: args.secs, body: args.body };
    rate::paced(bench, &mut load, &cluster.publishing, pace, rate::WARM_UP.as_secs_f64(), &mut |_| {})?;
    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        bench.progress.show(&format!("cluster: latency, round {round} of {}", args.rounds));
        let mut histogram = super::latency_histogram();
        let record = &mut |latency| histogram.saturating_record(latency);
        rate::paced(bench, &mut load, &cluster.publishing, pace, args.secs, record)?;
        rounds.push(histogram);
    }
    outcome.set_median_percentiles(&rounds);
    let p99s: Vec<f64> = rounds.iter().map(|round| round.value_at_quantile(0.99) as f64 / 1e3).collect();
    outcome.set("min_p99_us", quantile(&p99s, 0.0));
    outcome.set("max_p99_us", quantile(&p99s, 1.0));
    outcome.text += &format!(
        "{} messages/s from one node to another: p99 {}, the median of {} rounds of {} s (least {}, most {})\n\
         from due to received, {} deliveries, medians of the rounds: {}\n",
        args.rate,
        outcome.show("p99_us"),
        args.rounds,
        args.secs,
        outcome.show("min_p99_us"),
        outcome.show("max_p99_us"),
        rounds.iter().map(Histogram::len).sum::<u64>(),
        outcome.show_percentiles(),
    );
    Ok(())
}

impl Cluster {
    fn start(bench: &Bench, args: ClusterArgs, nats_cpu: usize) -> Result<Self, Failure> {
        bench.progress.show("cluster: starting");
        let nats = bench.start_nats(nats_cpu)?;
        let url = format!("nats://{}", nats.address);
        let node = |cpu| {
            let node = bench.start_on(cpu, Dialect::Lhttp, &["--nats", &url])?;
            wait_until_online(&node)?;
            Ok(node)
        };
        let publishing = node(bench.server_cpu)?;
        Ok(Self { publishing, subscribing: node(args.other_cpu.unwrap_or(bench.server_cpu))?, nats })
    }

    /// A generator that opens its next connections to the subscribers' node.
    fn load(&self, bench: &Bench, wait: Wait) -> Result<Load, Failure> {
        bench.load_waiting(&self.subscribing, wait)
    }

    fn usage(&self) -> [Option<Usage>; 3] {
        [&self.publishing, &self.nats, &self.subscribing].map(Target::usage)
    }
}

/// Waits until NATS confirms the subscriptions of a node.
fn wait_until_online(node: &Target) -> Result<(), Failure> {
    let broken = |error: tungstenite::Error| Failure::Server(format!("asked whether it is online: {error}"));
    let mut socket = node.client()?;
    let deadline = Instant::now() + ONLINE_TIMEOUT;
    while Instant::now() < deadline {
        socket.send(Message::text("LHTTP/1.0 probe\r\nsubscribe:probe\r\nack:1\r\n\r\n")).map_err(broken)?;
        let answer = socket.read().map_err(broken)?;
        if answer.to_text().is_ok_and(|text| text == "LHTTP/1.0 ack\r\nack:1\r\n\r\n") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(Failure::Server(format!("lhttpd has not found its NATS server after {ONLINE_TIMEOUT:?}")))
}
