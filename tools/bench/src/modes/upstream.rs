//! `upstream`: the effect of a hanging backend on a chat on the same core. Messages at a fixed rate, as in `rate`,
//! while other clients send messages with an `upstream` header that is never answered. Beside it the same with messages
//! that have no such header.

use std::{
    io::ErrorKind,
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;
use tungstenite::{Message, WebSocket};

use super::rate::{self, RateArgs};
use crate::{
    bench::{Bench, Target},
    dialect::{Dialect, Role},
    failure::Failure,
    load::Load,
    report::{Outcome, median},
    servers,
};

/// This many requests hang at the same time; the others wait in lhttpd's queue.
const WORKERS: usize = 16;
/// The reason of a refusal when the queue is full (PROTOCOL.md §6).
const BUSY: &str = "upstream-busy";
/// By then every worker hangs.
const HANG_TIMEOUT: Duration = Duration::from_secs(10);
/// The others send one message after this many messages of the chat.
const CHAT_PER_ASK: u64 = 20;

/// The arguments of `upstream`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct UpstreamArgs {
    #[command(flatten)]
    pace: RateArgs,
    /// How often to measure each of the two
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = super::at_least_one)]
    rounds: usize,
    /// How many clients send the other messages; a server's workers never work for one client at the same time
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u64).range(WORKERS as u64..))]
    askers: u64,
}

/// Clients that send a message each in turn, and count the refusals.
struct Askers {
    sockets: Vec<WebSocket<TcpStream>>,
    message: Message,
    asked: u64,
    refused: u64,
}

/// A daemon with its chat, and the clients beside the chat.
struct Side {
    target: Target,
    load: Load,
    askers: Askers,
    rounds: Vec<Histogram<u64>>,
}

/// Runs `upstream`.
pub(crate) fn run(bench: &Bench, args: UpstreamArgs) -> Result<Outcome, Failure> {
    // The system accepts connections for it, and it stays silent.
    let backend = TcpListener::bind(servers::free_address()?).map_err(Failure::io("the backend"))?;
    let prefix = format!("http://{}/", backend.local_addr().map_err(Failure::io("the backend"))?);
    let start = |headers: &str| Side::start(bench, args, &prefix, headers);
    let mut hanging = start(&format!("upstream:POST {prefix}record\r\n"))?;
    let mut calm = start("publish:nobody\r\n")?;
    let held = hang(&backend, &mut hanging.askers)?;
    for round in 1..=args.rounds {
        bench.progress.show(&format!("upstream: round {round} of {}", args.rounds));
        calm.measure(bench, args.pace)?;
        hanging.measure(bench, args.pace)?;
    }
    drop(held);

    let settings = [
        ("subscribers", json!(args.pace.subs)),
        ("rate_per_s", json!(args.pace.rate)),
        ("secs", json!(args.pace.secs)),
        ("body_bytes", json!(args.pace.body)),
        ("rounds", json!(args.rounds)),
        ("askers", json!(args.askers)),
    ];
    let mut outcome = Outcome::new("upstream", "lhttpd", &settings);
    outcome.set_median_percentiles(&hanging.rounds);
    outcome.set("calm_p50_us", calm.median_us(0.5));
    outcome.set("calm_p99_us", calm.median_us(0.99));
    outcome.set("upstream_messages", hanging.askers.asked as f64);
    outcome.set("upstream_refused", hanging.askers.refused as f64);
    outcome.text = format!(
        "lhttpd: {} messages/s to {} subscribers, and {} upstream messages to a backend that hangs, of which {} found the \
         queue full: p50 {}, p99 {}\n\
         without the backend: p50 {}, p99 {}\n\
         from due to received, medians of {} rounds of {} s each, in turn\n",
        args.pace.rate,
        args.pace.subs,
        outcome.show("upstream_messages"),
        outcome.show("upstream_refused"),
        outcome.show("p50_us"),
        outcome.show("p99_us"),
        outcome.show("calm_p50_us"),
        outcome.show("calm_p99_us"),
        args.rounds,
        args.pace.secs,
    );
    Ok(outcome)
}

/// Sends messages until every worker of the server waits for an answer. Returns the workers' connections.
fn hang(backend: &TcpListener, askers: &mut Askers) -> Result<Vec<TcpStream>, Failure> {
    backend.set_nonblocking(true).map_err(Failure::io("the backend"))?;
    for _ in 0..askers.sockets.len() {
        askers.ask()?;
    }
    let (mut held, deadline) = (Vec::new(), Instant::now() + HANG_TIMEOUT);
    while held.len() < WORKERS {
        match backend.accept() {
            Ok((stream, _)) => held.push(stream),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(Failure::io("the backend")(error)),
            Err(_) if Instant::now() > deadline => {
                return Err(Failure::Server(format!("lhttpd sent {} of {WORKERS} upstream requests", held.len())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Ok(held)
}

impl Side {
    fn start(bench: &Bench, args: UpstreamArgs, prefix: &str, headers: &str) -> Result<Self, Failure> {
        // While one side is measured, nobody answers the pings of the other.
        let calm = ["--idle-timeout", "0", "--ping-interval", "0"];
        let workers = WORKERS.to_string();
        let upstream = ["--upstream-allow", prefix, "--upstream-workers", &workers];
        let target = bench.start(Dialect::Lhttp, &[calm, upstream].concat())?;
        let mut load = bench.load(&target)?;
        let mut roles = vec![Role::subscriber("room"); args.pace.subs];
        roles.push(Role::publisher("room"));
        load.open(&roles, args.pace.body, |_| {})?;
        let text = format!("LHTTP/1.0 chat\r\n{headers}\r\n{}", "x".repeat(args.pace.body));
        let askers = Askers::connect(&target, args.askers as usize, text)?;
        let mut side = Self { target, load, askers, rounds: Vec::new() };
        rate::paced(bench, &mut side.load, &side.target, args.pace, rate::WARM_UP.as_secs_f64(), &mut |_| {})?;
        Ok(side)
    }

    fn measure(&mut self, bench: &Bench, pace: RateArgs) -> Result<(), Failure> {
        let mut histogram = super::latency_histogram();
        let (askers, mut failed) = (&mut self.askers, None);
        let ask_every = CHAT_PER_ASK * pace.subs as u64;
        let mut record = |latency| {
            histogram.saturating_record(latency);
            if histogram.len().is_multiple_of(ask_every) {
                failed = askers.ask().err().or(failed.take());
            }
        };
        rate::paced(bench, &mut self.load, &self.target, pace, pace.secs, &mut record)?;
        self.rounds.push(histogram);
        failed.map_or(Ok(()), Err)
    }

    fn median_us(&self, quantile: f64) -> f64 {
        let values: Vec<f64> = self.rounds.iter().map(|round| round.value_at_quantile(quantile) as f64 / 1e3).collect();
        median(&values)
    }
}

impl Askers {
    fn connect(target: &Target, count: usize, text: String) -> Result<Self, Failure> {
        let open = |_| {
            let socket = target.client()?;
            socket.get_ref().set_nonblocking(true).map_err(Failure::io("a client beside the chat"))?;
            Ok(socket)
        };
        let sockets = (0..count).map(open).collect::<Result<_, Failure>>()?;
        Ok(Self { sockets, message: Message::text(text), asked: 0, refused: 0 })
    }

    /// The next client sends a message, and reads what has come for it.
    fn ask(&mut self) -> Result<(), Failure> {
        let count = self.sockets.len();
        let socket = &mut self.sockets[self.asked as usize % count];
        self.asked += 1;
        let mut done = socket.send(self.message.clone());
        while done.is_ok() {
            done = socket.read().map(|answer| {
                let is_refusal = answer.to_text().is_ok_and(|text| text.contains(BUSY));
                self.refused += u64::from(is_refusal);
            });
        }
        match done {
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            done => done.map_err(|error| Failure::Server(format!("to a client beside the chat: {error}"))),
        }
    }
}
