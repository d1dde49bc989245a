//! `comeback`: all clients of a server come back at once, as after a restart or a cut of the network, while a chat goes
//! on. With TLS they come back twice: with whole handshakes, and with the tickets that they were given.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;

use super::rate::{self, Pace, RateArgs};
use crate::{
    bench::{Bench, Target},
    connection::PORTS_PER_ADDRESS,
    dialect::Role,
    failure::Failure,
    load::Load,
    opening::Rush,
    procfs::Usage,
    report::Outcome,
};

/// Events of the clients that are handled between two looks at the chat, so that the generator's own work delays the
/// chat by no more than a handshake or two.
const EVENTS_A_TURN: usize = 1;

/// The arguments of `comeback`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ComebackArgs {
    /// How many clients. With the usual 20,000 open files, neither a server nor this process has room for more
    #[arg(long, default_value_t = 19_500, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) clients: usize,
    /// How many of them share a channel
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) per_channel: usize,
    /// How many are on their way at the same time; when one is back, the next starts. More than fit into the server's
    /// listen backlog make the kernel drop some, which try again a second later
    #[arg(long, default_value_t = 3000, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) at_once: usize,
    /// Subscribers of the chat
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) subs: usize,
    /// The chat's messages a second
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// How long the chat is measured alone
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = rate::seconds)]
    pub(crate) secs: f64,
}

/// The figures' names of a rush.
struct Names {
    what: &'static str,
    seconds: &'static str,
    cpu: &'static str,
    connect: &'static str,
    percentiles: [(&'static str, f64); 3],
    tickets: &'static str,
}

const PLAIN_OR_FULL: Names = Names {
    what: "handshakes in full",
    seconds: "back_after_ms",
    cpu: "cpu_ms",
    connect: "cpu_us_per_connect",
    percentiles: [("p50_us", 0.5), ("p99_us", 0.99), ("max_us", 1.0)],
    tickets: "tickets_used",
};
const RESUMED: Names = Names {
    what: "with tickets",
    seconds: "resumed_back_after_ms",
    cpu: "resumed_cpu_ms",
    connect: "resumed_cpu_us_per_connect",
    percentiles: [("resumed_p50_us", 0.5), ("resumed_p99_us", 0.99), ("resumed_max_us", 1.0)],
    tickets: "resumed_tickets_used",
};

/// Runs `comeback`.
pub(crate) fn run(bench: &Bench, target: &Target, args: ComebackArgs) -> Result<Outcome, Failure> {
    bench.check_descriptors(args.clients + args.subs + 1)?;
    let pace = RateArgs { subs: args.subs, rate: args.rate, secs: args.secs, body: 64 };
    let mut chat = bench.load(target)?;
    let mut roles = vec![Role::subscriber("room"); args.subs];
    roles.push(Role::publisher("room"));
    chat.open(&roles, pace.body, |_| {})?;
    rate::paced(bench, &mut chat, target, pace, rate::WARM_UP.as_secs_f64(), &mut |_| {})?;
    let mut calm = super::latency_histogram();
    rate::paced(bench, &mut chat, target, pace, args.secs, &mut |latency| calm.saturating_record(latency))?;

    let mut crowd = Crowd { bench, target, args, pace, chat, load: None, rushes: 0 };
    let mut outcome = Outcome::new("comeback", target.name, &settings(args));
    outcome.set("calm_p50_us", us(&calm, 0.5));
    outcome.set("calm_p99_us", us(&calm, 0.99));
    outcome.text = format!(
        "{}: {} clients come back, {} at once, beside a chat of {} messages/s to {} subscribers\n\
         the chat alone: p50 {}, p99 {}",
        target.name,
        args.clients,
        args.at_once,
        args.rate,
        args.subs,
        outcome.show("calm_p50_us"),
        outcome.show("calm_p99_us")
    );
    crowd.rush(false)?;
    let full = crowd.rush(false)?;
    report(&mut outcome, args, &PLAIN_OR_FULL, &full, target.tls.is_some());
    if target.tls.is_some() {
        let resumed = crowd.rush(true)?;
        report(&mut outcome, args, &RESUMED, &resumed, true);
    }
    Ok(outcome)
}

fn settings(args: ComebackArgs) -> [(&'static str, serde_json::Value); 6] {
    [
        ("clients", json!(args.clients)),
        ("per_channel", json!(args.per_channel)),
        ("at_once", json!(args.at_once)),
        ("subscribers", json!(args.subs)),
        ("rate_per_s", json!(args.rate)),
        ("secs", json!(args.secs)),
    ]
}

fn us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

fn report(outcome: &mut Outcome, args: ComebackArgs, names: &Names, rush: &Rushed, is_tls: bool) {
    outcome.set(names.seconds, rush.time.as_secs_f64() * 1e3);
    if let (Some(before), Some(after)) = (rush.before, rush.after) {
        let cpu_ns = after.cpu_ns.saturating_sub(before.cpu_ns) as f64;
        outcome.set(names.cpu, cpu_ns / 1e6);
        outcome.set(names.connect, cpu_ns / 1e3 / args.clients as f64);
        outcome.set("rss_bytes", after.rss_bytes as f64);
    }
    for (name, quantile) in names.percentiles {
        outcome.set(name, us(&rush.latencies, quantile));
    }
    if is_tls {
        outcome.set(names.tickets, rush.tickets as f64);
    }
    let [p50, p99, max] = names.percentiles.map(|(name, _)| outcome.show(name));
    let what = if is_tls { names.what } else { "without TLS" };
    outcome.text += &format!(
        "\n{what}: all back after {}, {} of server CPU with the chat's, {} a client; the chat's p50 {p50}, p99 {p99}, \
         max {max}",
        outcome.show(names.seconds),
        outcome.show(names.cpu),
        outcome.show(names.connect),
    );
    if is_tls {
        outcome.text += &format!("; {} tickets used", outcome.show(names.tickets));
    }
    if rush.refusals > 0 {
        outcome.text += &format!("; {} tries were refused", rush.refusals);
    }
}

/// The clients and the chat.
struct Crowd<'a> {
    bench: &'a Bench,
    target: &'a Target,
    args: ComebackArgs,
    pace: RateArgs,
    chat: Load,
    /// The clients, while they are there.
    load: Option<Load>,
    rushes: usize,
}

/// How the clients came back.
struct Rushed {
    time: Duration,
    before: Option<Usage>,
    after: Option<Usage>,
    /// The chat's latencies, in nanoseconds.
    latencies: Histogram<u64>,
    /// Clients that used a ticket.
    tickets: usize,
    /// Tries that the server refused, after which the client tried again.
    refusals: usize,
}

impl Crowd<'_> {
    /// All clients go if they are there, and come at once. They keep the tickets for the next time, and use those that
    /// they have if `resumes`.
    fn rush(&mut self, resumes: bool) -> Result<Rushed, Failure> {
        let args = self.args;
        drop(self.load.take());
        let mut load = self.bench.load(self.target)?;
        // The ports of the addresses before are not free at once.
        // The server may still have connections of the last time, and then be full.
        load.refused = Some(Vec::new());
        load.source = self.rushes * self.args.clients.next_multiple_of(PORTS_PER_ADDRESS);
        self.rushes += 1;
        if let Some(tls) = &self.target.tls {
            tls.tickets.keeps.store(true, Ordering::Relaxed);
            tls.tickets.gives.store(resumes, Ordering::Relaxed);
            if !resumes {
                tls.tickets.forget();
            }
            // A client's first message is made before it is needed, so that the server is the slower side.
            let sessions = (0..args.clients).map(|_| tls.session());
            load.prepared = sessions.collect::<Result<_, _>>().map_err(Failure::io("TLS"))?;
        }
        load.limit_turns(Some(EVENTS_A_TURN));
        let role = |index: usize| Role::subscriber(&format!("channel{}", index / args.per_channel));
        let roles: Vec<Role> = (0..args.clients).map(role).collect();
        let before = self.target.rest();
        let mut latencies = super::latency_histogram();
        let mut on_latency = |latency| latencies.saturating_record(latency);
        let start = Instant::now();
        let mut pace = Pace::start(&self.chat, self.target, self.pace);
        let (chat, progress) = (&mut self.chat, &self.bench.progress);
        let rush = Rush { at_once: args.at_once, starts: 1, patience: Duration::ZERO };
        let mut shown = 0;
        load.rush(&roles, 0, rush, |open| {
            if open >= shown + 1000 {
                shown = open;
                progress.show(&format!("comeback: {open} of {}", args.clients));
            }
            pace.step(chat, true, &mut on_latency)
        })?;
        let time = start.elapsed();
        pace.finish(chat, &mut on_latency)?;
        let after = self.target.usage();
        let refusals = load.refusals;
        let tickets = load.connections.iter().filter(|connection| connection.wire.is_resumed()).count();
        load.limit_turns(None);
        self.load = Some(load);
        Ok(Rushed { time, before, after, latencies, tickets, refusals })
    }
}
