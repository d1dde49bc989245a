//! `burst`, `fanout` and `rooms`: publish as fast as the server accepts, and wait for every delivery.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use crate::{
    bench::{Bench, Target},
    dialect::{Dialect, Role},
    failure::Failure,
    load::{Flow, Wait},
    procfs,
    report::{Outcome, median, quantile},
};

/// The most bytes of a flow's prepared frames; the flow repeats them.
const BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// How the generator writes messages to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Writes {
    /// In writes as large as the socket takes.
    All,
    /// One write for each message.
    One,
}

/// One publisher, one subscriber, many messages.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct BurstArgs {
    /// How many messages
    #[arg(short, default_value_t = 10_000, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) n: usize,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub(crate) body: usize,
    /// How often to measure
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) rounds: usize,
    /// How to write the messages to the kernel
    #[arg(long, value_enum, default_value_t = Writes::All)]
    pub(crate) write: Writes,
}

/// One publisher, many subscribers of one channel.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct FanoutArgs {
    /// How many subscribers
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) subs: usize,
    /// How many messages in a round
    #[arg(short, default_value_t = 200, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) n: usize,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub(crate) body: usize,
    /// How often to measure
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) rounds: usize,
}

/// Many channels, each with a publisher and its members.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RoomsArgs {
    /// How many channels
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) rooms: usize,
    /// Subscribers of each channel
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) members: usize,
    /// How many messages a channel gets in a round
    #[arg(short, default_value_t = 100, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) n: usize,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub(crate) body: usize,
    /// How often to measure
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) rounds: usize,
}

/// Runs `burst`.
pub(crate) fn burst(bench: &Bench, target: &Target, args: BurstArgs) -> Result<Outcome, Failure> {
    let work = Work { rooms: 1, members: 1, messages: args.n, body: args.body, rounds: args.rounds, write: args.write };
    let mut outcome = work.run("burst", bench, target)?;
    let writes = if args.write == Writes::All { "large writes" } else { "one write each" };
    let seconds = outcome.figures["median_ms"] / 1e3;
    // Two significant digits.
    let decimals = (1.0 - seconds.log10().floor()).clamp(2.0, 9.0) as usize;
    outcome.text = format!(
        "{server}: fast, publish {n} messages using {seconds:.decimals$}s (single-core CPU)\n\
         {n} messages of {body} bytes, {writes}: median {median}, min {min}, p90 {p90} of {rounds} rounds\n{usage}",
        server = outcome.server,
        n = args.n,
        body = args.body,
        median = outcome.show("median_ms"),
        min = outcome.show("min_ms"),
        p90 = outcome.show("p90_ms"),
        rounds = args.rounds,
        usage = outcome.show_server(),
    );
    Ok(outcome)
}

/// Runs `fanout`.
pub(crate) fn fanout(bench: &Bench, target: &Target, args: FanoutArgs) -> Result<Outcome, Failure> {
    let FanoutArgs { subs, n, body, rounds } = args;
    let work = Work { rooms: 1, members: subs, messages: n, body, rounds, write: Writes::All };
    let mut outcome = work.run("fanout", bench, target)?;
    let what = format!("1 publisher, {subs} subscribers, {n} messages of {body} bytes");
    outcome.text = throughput_text(&outcome, &what, rounds);
    Ok(outcome)
}

/// Runs `rooms`.
pub(crate) fn rooms(bench: &Bench, target: &Target, args: RoomsArgs) -> Result<Outcome, Failure> {
    let RoomsArgs { rooms, members, n, body, rounds } = args;
    let work = Work { rooms, members, messages: n, body, rounds, write: Writes::All };
    let mut outcome = work.run("rooms", bench, target)?;
    let what = format!("{rooms} rooms, each with a publisher and {members} members, {n} messages of {body} bytes");
    outcome.text = throughput_text(&outcome, &what, rounds);
    Ok(outcome)
}

fn throughput_text(outcome: &Outcome, what: &str, rounds: usize) -> String {
    format!(
        "{}: {} deliveries\n{what}: median {}, min {}, p90 {} of {rounds} rounds\n{}",
        outcome.server,
        outcome.show("deliveries_per_s"),
        outcome.show("median_ms"),
        outcome.show("min_ms"),
        outcome.show("p90_ms"),
        outcome.show_server(),
    )
}

/// The common part of the three modes.
#[derive(Clone, Copy, Debug)]
struct Work {
    rooms: usize,
    members: usize,
    messages: usize,
    body: usize,
    rounds: usize,
    write: Writes,
}

impl Work {
    fn run(self, mode: &'static str, bench: &Bench, target: &Target) -> Result<Outcome, Failure> {
        let mut load = bench.load(target)?;
        let name = |room: usize| if self.rooms == 1 { "room".to_owned() } else { format!("room{room}") };
        let members = (0..self.rooms).flat_map(|room| vec![Role::subscriber(&name(room)); self.members]);
        let publishers = (0..self.rooms).map(|room| Role::publisher(&name(room)));
        let roles: Vec<Role> = members.chain(publishers).collect();
        load.open(&roles, self.body, |open| {
            bench.progress.show(&format!("{mode}: {open} of {} connections", roles.len()));
        })?;
        let flows: Vec<Flow> = (0..self.rooms)
            .map(|room| self.flow(target.dialect, &name(room), self.rooms * self.members + room))
            .collect();
        let expected = (self.rooms * self.members * self.messages) as u64;
        // Warm-up rounds: buffers grow, caches fill and compilers warm up before the count.
        for _ in 0..(self.rounds / 5).max(1) {
            load.publish(&flows, expected)?;
        }
        let (before, own_before) = (target.usage(), procfs::own_cpu_ns());
        let mut times = Vec::new();
        for round in 1..=self.rounds {
            bench.progress.show(&format!("{mode}: round {round} of {}", self.rounds));
            times.push(load.publish(&flows, expected)?);
        }
        let (own_after, after) = (procfs::own_cpu_ns(), target.usage());
        let mut outcome = self.outcome(mode, bench, target, &times, expected);
        if bench.wait == Wait::Sleep {
            // A generator that polls never rests, so its CPU time says nothing.
            outcome.set(
                "generator_ns_per_delivery",
                (own_after - own_before) as f64 / (expected as usize * self.rounds) as f64,
            );
        }
        super::set_usage(&mut outcome, "server_ns_per_delivery", before, after, expected as usize * self.rounds);
        Ok(outcome)
    }

    fn outcome(self, mode: &'static str, bench: &Bench, target: &Target, times: &[Duration], expected: u64) -> Outcome {
        let settings = [
            ("rooms", json!(self.rooms)),
            ("members", json!(self.members)),
            ("messages", json!(self.messages)),
            ("body_bytes", json!(self.body)),
            ("rounds", json!(self.rounds)),
            ("write", json!(self.write)),
            ("wait", json!(bench.wait)),
        ];
        let mut outcome = Outcome::new(mode, target.name, &settings);
        let times_ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        outcome.set("median_ms", median(&times_ms));
        outcome.set("min_ms", quantile(&times_ms, 0.0));
        outcome.set("p90_ms", quantile(&times_ms, 0.9));
        outcome.set("best_deliveries_per_s", expected as f64 / (quantile(&times_ms, 0.0) / 1e3));
        outcome.set("deliveries_per_s", expected as f64 / (median(&times_ms) / 1e3));
        outcome
    }

    fn flow(self, dialect: Dialect, channel: &str, connection: usize) -> Flow {
        let flow = flow(dialect, channel, connection, self.body, self.messages, BLOCK_BYTES_MAX);
        Flow { one_each: self.write == Writes::One, ..flow }
    }
}

/// The publishes of a connection to a channel: this many messages, in blocks of limited size.
pub(super) fn flow(
    dialect: Dialect,
    channel: &str,
    connection: usize,
    body_bytes: usize,
    messages: usize,
    block_bytes_max: usize,
) -> Flow {
    let body = body(body_bytes);
    made(messages, connection, (block_bytes_max, usize::MAX), |mask| dialect.publish(channel, &body, mask).bytes)
}

/// The same, and each is confirmed; a block has at most `block_max` messages.
pub(super) fn confirmed_flow(
    dialect: Dialect,
    channel: &str,
    connection: usize,
    body_bytes: usize,
    messages: usize,
    block_max: usize,
) -> Flow {
    let body = body(body_bytes);
    made(messages, connection, (BLOCK_BYTES_MAX, block_max), |mask| {
        dialect.publish_confirmed(channel, &body, mask).bytes
    })
}

/// The publishes of a connection to a channel of lhttpd, of which only the last one is confirmed: one block.
pub(super) fn flow_with_one_answer(channel: &str, connection: usize, body_bytes: usize, messages: usize) -> Flow {
    let plain = flow(Dialect::Lhttp, channel, connection, body_bytes, messages, usize::MAX);
    let last = confirmed_flow(Dialect::Lhttp, channel, connection, body_bytes, 1, 1);
    let block = [&plain.block[..plain.block.len() - plain.frame_bytes], &last.block[..]].concat();
    Flow { connection, frame_bytes: block.len(), block: block.into(), frames: 1, one_each: false }
}

fn body(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| b'a' + (index % 26) as u8).collect()
}

fn made(
    messages: usize,
    connection: usize,
    (block_bytes_max, block_max): (usize, usize),
    frame: impl Fn([u8; 4]) -> Vec<u8>,
) -> Flow {
    let frame_bytes = frame([0; 4]).len();
    let in_block = (block_bytes_max / frame_bytes).min(block_max).clamp(1, messages.max(1));
    let masks = (1_u32..).map(|number| number.wrapping_mul(0x9e37_79b9).to_ne_bytes());
    let block: Vec<u8> = masks.take(in_block).flat_map(frame).collect();
    Flow { connection, block: block.into(), frame_bytes, frames: messages, one_each: false }
}
