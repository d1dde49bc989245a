//! `hostile`: a room on the same core as hostile clients. Measures messages at a fixed rate, first alone, then beside
//! each attack: the deliveries, their latency, and the server's memory.

mod attack;

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde_json::json;

use self::attack::{Attack, Attackers};
use super::rate::{seconds, with_room_for_a_stamp};
use crate::{
    bench::{Bench, Target},
    dialect::{Dialect, Role},
    failure::Failure,
    load::Load,
    report::{Outcome, show},
};

/// The latency that an attack may cause. Alternatively, [`RATIO_MAX`] times the latency without an attack.
const P99_MAX_MS: f64 = 10.0;
const RATIO_MAX: f64 = 3.0;
/// Resident memory may exceed the budget by a quarter.
const RESIDENT_MAX: f64 = 1.25;
/// If deliveries are missing this long after the last publish, they are lost.
const TAIL_MAX: Duration = Duration::from_secs(10);
/// The interval between samples of memory.
const SAMPLE: Duration = Duration::from_millis(100);

/// The arguments of `hostile`.
#[derive(Args, Clone, Debug)]
pub(crate) struct HostileArgs {
    /// Only these attacks [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    attacks: Vec<Attack>,
    /// How many subscribers the room has
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = super::at_least_one)]
    subs: usize,
    /// The room's messages a second
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long to measure each attack
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    secs: f64,
    /// Bytes of a message's body, at least 16 for the time stamp
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = with_room_for_a_stamp)]
    body: usize,
    /// The server's memory-budget in MiB
    #[arg(long, default_value_t = 64, value_name = "MIB", value_parser = super::at_least_one)]
    budget: usize,
}

/// The effect of one attack on the room.
struct Finding {
    attack: Attack,
    calm: Histogram<u64>,
    attacked: Histogram<u64>,
    resident_peak_bytes: u64,
    bytes: u64,
    connects: u64,
}

/// Runs `hostile`.
///
/// # Errors
/// A message of the room did not arrive, or one of its connections was closed.
pub(crate) fn run(bench: &Bench, args: &HostileArgs) -> Result<Outcome, Failure> {
    let all = Attack::value_variants();
    let attacks = if args.attacks.is_empty() { all } else { &args.attacks };
    let mut findings = Vec::new();
    for &attack in attacks {
        bench.progress.show(&format!("hostile: {}", name(attack)));
        findings.push(
            measure(bench, args, attack)
                .map_err(|failure| Failure::Server(format!("beside the attack {}: {failure}", name(attack))))?,
        );
    }
    let settings = [
        ("attacks", json!(attacks.iter().map(|&attack| name(attack)).collect::<Vec<_>>())),
        ("subscribers", json!(args.subs)),
        ("rate_per_s", json!(args.rate)),
        ("secs", json!(args.secs)),
        ("body_bytes", json!(args.body)),
        ("budget_mib", json!(args.budget)),
    ];
    let mut outcome = Outcome::new("hostile", "lhttpd", &settings);
    let noticed = findings.iter().filter(|finding| !finding.is_unnoticed()).count();
    let over = findings.iter().filter(|finding| !finding.is_in_budget(args)).count();
    let worst = findings.iter().map(|finding| finding.attacked.value_at_quantile(0.99)).max().unwrap_or_default();
    outcome.set("attacks", findings.len() as f64);
    outcome.set("attacks_noticed", noticed as f64);
    outcome.set("attacks_over_budget", over as f64);
    outcome.set("worst_p99_us", worst as f64 / 1e3);
    outcome.text = findings.iter().map(|finding| finding.line(args)).collect::<Vec<_>>().join("\n");
    outcome.text += &format!(
        "\n{} messages/s to {} subscribers, {} s alone and {} s beside each attack; all arrived. The room noticed {noticed} of \
         {} attacks (p99 over {P99_MAX_MS} ms and over {RATIO_MAX} times its own), memory passed the budget of {} MiB by \
         over a quarter in {over}\n",
        args.rate,
        args.subs,
        args.secs,
        args.secs,
        findings.len(),
        args.budget,
    );
    Ok(outcome)
}

fn measure(bench: &Bench, args: &HostileArgs, attack: Attack) -> Result<Finding, Failure> {
    let target = bench.start(Dialect::Lhttp, &["--memory-budget", &format!("{}MiB", args.budget)])?;
    let mut load = bench.load(&target)?;
    let mut roles = vec![Role::subscriber("room"); args.subs];
    roles.push(Role::publisher("room"));
    load.open(&roles, args.body, |_| {})?;
    paced(&mut load, &target, args, &mut || {})?; // warm-up
    let calm = paced(&mut load, &target, args, &mut || {})?;
    let mut attackers = Attackers::new(attack, target.address);
    let (mut peak, mut sampled) = (0, Instant::now());
    let attacked = paced(&mut load, &target, args, &mut || {
        attackers.step();
        if sampled.elapsed() > SAMPLE {
            sampled = Instant::now();
            peak = peak.max(target.rss_bytes().unwrap_or_default());
        }
    })?;
    let Attackers { bytes, connects, .. } = attackers;
    Ok(Finding { attack, calm, attacked, resident_peak_bytes: peak, bytes, connects })
}

/// Publishes to the room at its rate and calls `beside` again and again. Returns the latency of each delivery.
fn paced(
    load: &mut Load,
    target: &Target,
    args: &HostileArgs,
    beside: &mut dyn FnMut(),
) -> Result<Histogram<u64>, Failure> {
    let messages = (f64::from(args.rate) * args.secs).ceil() as usize;
    let expected = (messages * args.subs) as u64;
    let mut message = target.dialect.publish("room", &vec![b'x'; args.body], [0x12, 0x34, 0x56, 0x78]);
    let mut histogram = super::latency_histogram();
    let before = load.deliveries;
    let start = Instant::now();
    let due_ns = |number: usize| (number as u64) * 1_000_000_000 / u64::from(args.rate);
    let mut on_stamp = |stamp: u64| {
        histogram.saturating_record((start.elapsed().as_nanos() as u64).saturating_sub(stamp));
    };
    let mut next = 0;
    while next < messages || load.deliveries - before < expected {
        let now = start.elapsed();
        if next < messages && now.as_nanos() as u64 >= due_ns(next) {
            message.stamp(due_ns(next));
            load.write(args.subs, &message.bytes, Some(&mut on_stamp))?;
            next += 1;
        }
        load.turn(Some(Duration::ZERO), Some(&mut on_stamp))?;
        if load.lost > 0 || now > Duration::from_secs_f64(args.secs) + TAIL_MAX {
            return Err(load.missing(load.deliveries - before, expected));
        }
        beside();
    }
    Ok(histogram)
}

fn name(attack: Attack) -> String {
    attack.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl Finding {
    fn p99_ms(histogram: &Histogram<u64>) -> f64 {
        histogram.value_at_quantile(0.99) as f64 / 1e6
    }

    fn is_unnoticed(&self) -> bool {
        let (calm, attacked) = (Self::p99_ms(&self.calm), Self::p99_ms(&self.attacked));
        attacked <= P99_MAX_MS.max(RATIO_MAX * calm)
    }

    fn is_in_budget(&self, args: &HostileArgs) -> bool {
        self.resident_peak_bytes as f64 <= RESIDENT_MAX * (args.budget << 20) as f64
    }

    fn line(&self, args: &HostileArgs) -> String {
        let verdict = match (self.is_unnoticed(), self.is_in_budget(args)) {
            (true, true) => "",
            (false, true) => "  NOTICED",
            (true, false) => "  OVER BUDGET",
            (false, false) => "  NOTICED, OVER BUDGET",
        };
        format!(
            "{:<10} p99 {:>8} beside it, {:>8} alone; at most {:>8} resident; {} taken on {} connections{verdict}",
            name(self.attack),
            show("p99_ms", Self::p99_ms(&self.attacked)),
            show("p99_ms", Self::p99_ms(&self.calm)),
            show("resident_bytes", self.resident_peak_bytes as f64),
            show("taken_bytes", self.bytes as f64),
            self.connects,
        )
    }
}
