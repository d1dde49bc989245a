//! `resume`: all clients of a server come back at once, and each gets the messages that it has missed. Before, the server
//! delivers as many messages to the same clients live. Every client must get every message once and in order.

use std::path::PathBuf;

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;

use self::crowd::{Crowd, Phase, Rushed};
use super::rate::{self, RateArgs};
use crate::{
    bench::Bench,
    dialect::{Dialect, Role, counter::STAMP_BYTES},
    failure::Failure,
    kept::{KEEPERS, KEPT_MAX},
    load::Load,
    report::Outcome,
};

mod crowd;

/// The arguments of `resume`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ResumeArgs {
    /// How many clients. With the usual 20,000 open files, neither a server nor this process has room for more
    #[arg(long, default_value_t = 19_500, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) clients: usize,
    /// How many of them share a channel
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) per_channel: usize,
    /// Messages of each channel that its clients miss; the server keeps so many of each
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = kept_messages)]
    pub(crate) missed: usize,
    /// Bytes of a message's body, at least 16 for its number
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = rate::with_room_for_a_stamp)]
    pub(crate) body: usize,
    /// How many connect at the same time; when one has shaken hands, the next starts. More than fit into the server's
    /// listen backlog make the kernel drop some, which try again a second later
    #[arg(long, default_value_t = 3000, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) at_once: usize,
    /// Subscribers of another channel, whose messages are not kept
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) subs: usize,
    /// The other channel's messages a second
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// How long the other channel is measured alone
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = rate::seconds)]
    pub(crate) secs: f64,
    /// The server to start: lhttp, jetstream (a consumer for each client) or nchan (all that it keeps, over WebSocket)
    #[arg(long, value_enum, default_value_t = Dialect::Lhttp)]
    pub(crate) server: Dialect,
    /// lhttpd keeps the messages in this file, which must not be there yet
    #[arg(long, value_name = "FILE")]
    pub(crate) history_file: Option<PathBuf>,
    /// Over TLS; lhttpd only
    #[arg(long)]
    pub(crate) tls: bool,
}

pub(super) fn kept_messages(text: &str) -> Result<usize, String> {
    let messages = super::at_least_one(text)?;
    if messages > KEPT_MAX { Err(format!("must be at most {KEPT_MAX}")) } else { Ok(messages) }
}

impl ResumeArgs {
    pub(super) fn channels(&self) -> usize {
        self.clients.div_ceil(self.per_channel)
    }

    fn pace(&self) -> RateArgs {
        RateArgs { subs: self.subs, rate: self.rate, secs: self.secs, body: self.body.max(STAMP_BYTES) }
    }
}

/// Runs `resume`.
pub(crate) fn run(bench: &Bench, args: &ResumeArgs) -> Result<Outcome, Failure> {
    if !KEEPERS.contains(&args.server) {
        return Err(Failure::Usage(format!("{} keeps no messages", args.server)));
    }
    bench.check_descriptors(args.clients + args.channels() + args.subs + 1)?;
    super::new_file(args.history_file.as_deref())?;
    let keeper = bench.start_keeping(args.server, args.missed, args.history_file.as_deref(), args.tls)?;
    let target = &keeper.target;
    let rss_start = target.rss_bytes();
    let mut chat = bench.load(target)?;
    let mut calm = super::latency_histogram();
    measure_calm(bench, &mut chat, target, args.pace(), &mut calm)?;

    let mut crowd = Crowd::new(bench, target, args);
    let live = crowd.live()?;
    let connect = crowd.come_back(false, None)?;
    let publish = crowd.publish_to_nobody()?;
    let resume = crowd.come_back(true, None)?;
    let beside = crowd.come_back(true, Some((&mut chat, args.pace())))?;

    let mut outcome = Outcome::new("resume", target.name, &settings(args));
    outcome.set_known("rss_start_bytes", rss_start.map(|bytes| bytes as f64));
    report_live(&mut outcome, args, &live, &publish);
    report_resume(&mut outcome, args, &live, &connect, &resume);
    report_beside(&mut outcome, args, &calm, &beside);
    Ok(outcome)
}

fn measure_calm(
    bench: &Bench,
    chat: &mut Load,
    target: &crate::bench::Target,
    pace: RateArgs,
    calm: &mut Histogram<u64>,
) -> Result<(), Failure> {
    let mut roles = vec![Role::subscriber("room"); pace.subs];
    roles.push(Role::publisher("room"));
    chat.open(&roles, pace.body, |_| {})?;
    rate::paced(bench, chat, target, pace, rate::WARM_UP.as_secs_f64(), &mut |_| {})?;
    rate::paced(bench, chat, target, pace, pace.secs, &mut |latency| calm.saturating_record(latency))?;
    Ok(())
}

fn settings(args: &ResumeArgs) -> [(&'static str, serde_json::Value); 9] {
    [
        ("clients", json!(args.clients)),
        ("per_channel", json!(args.per_channel)),
        ("missed", json!(args.missed)),
        ("body_bytes", json!(args.body)),
        ("at_once", json!(args.at_once)),
        ("subscribers", json!(args.subs)),
        ("rate_per_s", json!(args.rate)),
        ("history_file", json!(args.history_file.is_some())),
        ("tls", json!(args.tls)),
    ]
}

fn report_live(outcome: &mut Outcome, args: &ResumeArgs, live: &Phase, publish: &Phase) {
    let deliveries = (args.clients * args.missed) as f64;
    outcome.set("live_deliveries_per_s", deliveries / live.time.as_secs_f64());
    outcome.set_known("live_cpu_ms", live.cpu_ms());
    outcome.set_known("live_server_ns_per_delivery", live.cpu_ms().map(|cpu_ms| cpu_ms * 1e6 / deliveries));
    outcome.set_known("publish_cpu_ms", publish.cpu_ms());
    outcome.text = format!(
        "{}: {} clients in {} channels, {} messages of {} bytes for each\nlive: {} deliveries, {} of server CPU, {} a \
         delivery; of it the publishes {}",
        outcome.server,
        args.clients,
        args.channels(),
        args.missed,
        args.body,
        outcome.show("live_deliveries_per_s"),
        outcome.show("live_cpu_ms"),
        outcome.show("live_server_ns_per_delivery"),
        outcome.show("publish_cpu_ms"),
    );
}

fn report_resume(outcome: &mut Outcome, args: &ResumeArgs, live: &Phase, connect: &Rushed, resume: &Rushed) {
    let clients = args.clients as f64;
    outcome.set("connects_per_s", clients / connect.phase.time.as_secs_f64());
    outcome.set_known("connect_cpu_ms", connect.phase.cpu_ms());
    outcome.set("resumes_per_s", clients / resume.phase.time.as_secs_f64());
    outcome.set("resume_ms", resume.phase.time.as_secs_f64() * 1e3);
    outcome.set_known("resume_cpu_ms", resume.phase.cpu_ms());
    outcome.set_known("resume_cpu_us", resume.phase.cpu_ms().map(|cpu_ms| cpu_ms * 1e3 / clients));
    outcome.set("whole_clients", resume.whole as f64);
    if let (Some(live), Some(connect), Some(resume)) = (live.cpu_ms(), connect.phase.cpu_ms(), resume.phase.cpu_ms()) {
        outcome.set("resume_messages_cpu_ms", resume - connect);
        outcome.set("cpu_ratio", (resume - connect) / live);
        outcome.set("cpu_with_connects_ratio", resume / (live + connect));
        outcome.set("cpu_to_live_ratio", resume / live);
    }
    outcome.set_known("rss_before_bytes", resume.rss_before.map(|bytes| bytes as f64));
    outcome.set_known("rss_peak_bytes", resume.rss_peak.map(|bytes| bytes as f64));
    let growth = resume.rss_peak.zip(resume.rss_before).map(|(peak, before)| peak.saturating_sub(before) as f64);
    outcome.set_known("rss_growth_bytes", growth);
    outcome.text += &format!(
        "\nback without a message missed: {} connects, {} of server CPU\nback with all of them: {} resumes, after {}; {} \
         of server CPU, {} without the connects: {} of the live delivery ({} with the connects on both sides, {} with \
         those of the resume alone)\nwhole: {} of {} clients, each message once and in order\nresident at the start {}, before they \
         came back {}, at most {}: {} more",
        outcome.show("connects_per_s"),
        outcome.show("connect_cpu_ms"),
        outcome.show("resumes_per_s"),
        outcome.show("resume_ms"),
        outcome.show("resume_cpu_ms"),
        outcome.show("resume_messages_cpu_ms"),
        outcome.show("cpu_ratio"),
        outcome.show("cpu_with_connects_ratio"),
        outcome.show("cpu_to_live_ratio"),
        resume.whole,
        args.clients,
        outcome.show("rss_start_bytes"),
        outcome.show("rss_before_bytes"),
        outcome.show("rss_peak_bytes"),
        outcome.show("rss_growth_bytes"),
    );
    if resume.refusals > 0 {
        outcome.text += &format!("\n{} tries were refused", resume.refusals);
    }
}

fn report_beside(outcome: &mut Outcome, args: &ResumeArgs, calm: &Histogram<u64>, beside: &Rushed) {
    let us = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    outcome.set("calm_p50_us", us(calm, 0.5));
    outcome.set("calm_p99_us", us(calm, 0.99));
    outcome.set("p50_us", us(&beside.latencies, 0.5));
    outcome.set("p99_us", us(&beside.latencies, 0.99));
    outcome.set("max_us", us(&beside.latencies, 1.0));
    outcome.set("p99_ratio", us(&beside.latencies, 0.99) / us(calm, 0.99));
    outcome.set("beside_ms", beside.phase.time.as_secs_f64() * 1e3);
    outcome.text += &format!(
        "\nanother channel with {} messages/s to {} subscribers: p50 {}, p99 {} alone; while all come back once more, in \
         {}: p50 {}, p99 {}, max {}: {} of the p99",
        args.rate,
        args.subs,
        outcome.show("calm_p50_us"),
        outcome.show("calm_p99_us"),
        outcome.show("beside_ms"),
        outcome.show("p50_us"),
        outcome.show("p99_us"),
        outcome.show("max_us"),
        outcome.show("p99_ratio"),
    );
}
