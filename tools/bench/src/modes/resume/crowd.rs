//! The clients of `resume`: they listen, leave, and come back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::ResumeArgs;
use crate::{
    bench::{Bench, Target},
    connection::PORTS_PER_ADDRESS,
    dialect::{Resume, Role},
    failure::Failure,
    kept,
    load::{Flow, Load},
    modes::{
        latency_histogram,
        rate::{Pace, RateArgs},
    },
    opening::Rush,
    procfs::Usage,
};

/// How often the messages are delivered live. The first time is a warm-up: buffers grow, and compilers warm up.
const LIVE_ROUNDS: u32 = 3;
/// The most clients that start in a turn.
const STARTS: usize = 128;

/// What a phase cost.
pub(super) struct Phase {
    pub(super) time: Duration,
    before: Option<Usage>,
    after: Option<Usage>,
    /// How often it was done between `before` and `after`; `time` is of one.
    rounds: u32,
}

impl Phase {
    /// The server's CPU time of one round.
    pub(super) fn cpu_ms(&self) -> Option<f64> {
        let cpu_ns = self.after?.cpu_ns.saturating_sub(self.before?.cpu_ns);
        Some(cpu_ns as f64 / 1e6 / f64::from(self.rounds))
    }
}

/// How the clients came back.
pub(super) struct Rushed {
    pub(super) phase: Phase,
    /// Clients that got every message that they had missed, once and in order.
    pub(super) whole: usize,
    /// Tries that the server refused, after which the client tried again.
    pub(super) refusals: usize,
    pub(super) rss_before: Option<u64>,
    /// The most that was resident at any time.
    pub(super) rss_peak: Option<u64>,
    /// The other channel's latencies, in nanoseconds.
    pub(super) latencies: Histogram<u64>,
}

pub(super) struct Crowd<'a> {
    bench: &'a Bench,
    target: &'a Target,
    args: &'a ResumeArgs,
    /// The clients, while they are there.
    load: Option<Load>,
    rushes: usize,
    /// Messages in each channel so far.
    published: u64,
    /// Where the clients of each channel left.
    places: Vec<Arc<str>>,
}

impl<'a> Crowd<'a> {
    pub(super) fn new(bench: &'a Bench, target: &'a Target, args: &'a ResumeArgs) -> Self {
        Self { bench, target, args, load: None, rushes: 0, published: 0, places: Vec::new() }
    }

    fn channel_of(&self, client: usize) -> String {
        kept::channel(client / self.args.per_channel)
    }

    fn publishers(&self) -> Vec<Role> {
        (0..self.args.channels()).map(|number| Role::confirmed(&kept::channel(number))).collect()
    }

    /// The next messages of all channels, by the publishers from connection `first` on.
    fn flows(&mut self, first: usize) -> Vec<Flow> {
        let numbers = self.published..self.published + self.args.missed as u64;
        self.published = numbers.end;
        let channels = (0..self.args.channels()).map(|number| {
            kept::numbered(self.target.dialect, &kept::channel(number), first + number, self.args.body, numbers.clone())
        });
        channels.collect()
    }

    /// All clients listen, and get the messages as they are published.
    pub(super) fn live(&mut self) -> Result<Phase, Failure> {
        let (bench, args) = (self.bench, self.args);
        let mut load = bench.load(self.target)?;
        let mut roles: Vec<Role> =
            (0..args.clients).map(|client| Role::numbered(&self.channel_of(client), 0)).collect();
        roles.extend(self.publishers());
        load.open(&roles, args.body, |open| bench.progress.show(&format!("resume: {open} of {}", roles.len())))?;
        // Each publish is answered.
        let expected = ((args.clients + args.channels()) * args.missed) as u64;
        let (mut before, mut time) = (None, Duration::ZERO);
        for round in 0..LIVE_ROUNDS {
            bench.progress.show("resume: live deliveries");
            if round == 1 {
                before = self.target.rest();
            }
            let flows = self.flows(args.clients);
            let taken = load.publish(&flows, expected)?;
            time += if round == 0 { Duration::ZERO } else { taken };
        }
        let after = self.target.rest();
        self.load = Some(load);
        Ok(Phase { time: time / (LIVE_ROUNDS - 1), before, after, rounds: LIVE_ROUNDS - 1 })
    }

    /// All clients leave, and miss the next messages.
    pub(super) fn publish_to_nobody(&mut self) -> Result<Phase, Failure> {
        drop(self.load.take());
        self.target.rest();
        let (bench, args) = (self.bench, self.args);
        self.places = kept::places(&mut bench.load(self.target)?, args.channels(), self.published)?;
        let mut load = bench.load(self.target)?;
        load.open(&self.publishers(), args.body, |_| {})?;
        let before = self.target.rest();
        let flows = self.flows(0);
        let time = load.publish(&flows, (args.channels() * args.missed) as u64)?;
        Ok(Phase { time, before, after: self.target.rest(), rounds: 1 })
    }

    /// All clients leave if they are there, and come back at once: to what they have missed if `resumes`, and beside the
    /// other channel if there is one.
    pub(super) fn come_back(
        &mut self,
        resumes: bool,
        mut beside: Option<(&mut Load, RateArgs)>,
    ) -> Result<Rushed, Failure> {
        let args = self.args;
        let mut load = self.leave()?;
        let roles: Vec<Role> = (0..args.clients).map(|client| self.role(client, resumes)).collect();
        let before = self.target.rest();
        let rss_before = self.target.restart_rss_peak();
        let is_beside = beside.is_some();
        let mut latencies = latency_histogram();
        let mut on_latency = |latency| latencies.saturating_record(latency);
        let start = Instant::now();
        let mut pace = beside.as_ref().map(|(chat, args)| Pace::start(chat, self.target, *args));
        let mut step = || match (&mut beside, &mut pace) {
            (Some((chat, _)), Some(pace)) => pace.step(chat, true, &mut on_latency),
            _ => Ok(()),
        };
        let patience = if is_beside { Some(Duration::ZERO) } else { self.bench.patience() };
        let starts = if is_beside { 1 } else { STARTS };
        // Beside the other channel, the generator looks at it after each event.
        load.limit_turns(is_beside.then_some(1));
        let rush = Rush { at_once: args.at_once, starts, patience: patience.unwrap_or_default() };
        load.rush(&roles, args.body, rush, |_| step())?;
        if resumes {
            wait_for_all(&mut load, (args.clients * args.missed) as u64, patience, &mut step)?;
        }
        let time = start.elapsed();
        if let (Some((chat, _)), Some(pace)) = (beside, pace) {
            pace.finish(chat, &mut on_latency)?;
        }
        load.limit_turns(None);
        let after = self.target.rest();
        let rss_peak = self.target.rss_peak_bytes();
        // Whatever comes twice has come by now, and is a fault of its connection.
        load.turn(Some(Duration::ZERO), None)?;
        let end = Some(self.published);
        let whole = load.connections.iter().filter(|client| client.counter.next_number() == end).count();
        if resumes && whole != args.clients {
            return Err(load.missing(load.deliveries, (args.clients * args.missed) as u64));
        }
        let refusals = load.refusals;
        self.load = Some(load);
        let phase = Phase { time, before, after, rounds: 1 };
        Ok(Rushed { phase, whole, refusals, rss_before, rss_peak, latencies })
    }

    /// Lets all clients go, and returns the generator for the next ones.
    fn leave(&mut self) -> Result<Load, Failure> {
        drop(self.load.take());
        let args = self.args;
        let mut load = self.bench.load(self.target)?;
        // The server may still have connections of the last time, and then be full.
        load.refused = Some(Vec::new());
        // The ports of the addresses before are not free at once.
        self.rushes += 1;
        load.source = self.rushes * args.clients.next_multiple_of(PORTS_PER_ADDRESS);
        if let Some(tls) = &self.target.tls {
            tls.tickets.keeps.store(false, Ordering::Relaxed);
            // A client's first message is made before it is needed, so that the server is the slower side.
            let sessions = (0..args.clients).map(|_| tls.session());
            load.prepared = sessions.collect::<Result<_, _>>().map_err(Failure::io("TLS"))?;
        }
        Ok(load)
    }

    fn role(&self, client: usize, resumes: bool) -> Role {
        let channel = self.channel_of(client);
        if !resumes {
            return Role::numbered(&channel, self.published);
        }
        let since = Arc::clone(&self.places[client / self.args.per_channel]);
        // JetStream's consumers of the last time may still be there.
        let client = self.rushes * self.args.clients + client;
        let first = self.published - self.args.missed as u64;
        Role { resumes: Some(Resume { since, client }), ..Role::numbered(&channel, first) }
    }
}

/// Waits until all deliveries have come. `beside` is called after each turn.
fn wait_for_all(
    load: &mut Load,
    expected: u64,
    patience: Option<Duration>,
    mut beside: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut progress = (Instant::now(), load.deliveries);
    while load.deliveries < expected {
        load.turn(patience, None)?;
        beside()?;
        if load.deliveries != progress.1 {
            progress = (Instant::now(), load.deliveries);
        } else if load.lost > 0 || progress.0.elapsed() > load.silence {
            return Err(load.missing(load.deliveries, expected));
        }
    }
    Ok(())
}
