//! `post`: messages published over HTTP.

use clap::Args;
use serde_json::json;

use crate::{
    bench::{Bench, Target},
    failure::Failure,
    http_load::HttpLoad,
    report::{Outcome, median, quantile},
};

/// The arguments of `post`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PostArgs {
    /// How many requests in a round
    #[arg(short, default_value_t = 100_000, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) n: usize,
    /// How many keep-alive connections
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) conns: u16,
    /// How many requests each connection has in flight; 1 means no pipelining
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) pipeline: u16,
    /// Bytes of a message's body
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    pub(crate) body: usize,
    /// How often to measure
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) rounds: usize,
    /// GET this path instead: measures any HTTP server
    #[arg(long, value_name = "PATH")]
    pub(crate) plain_get: Option<String>,
}

/// Runs `post`.
pub(crate) fn run(bench: &Bench, target: &Target, args: &PostArgs) -> Result<Outcome, Failure> {
    if target.tls.is_some() || target.tokens.is_some() {
        return Err(Failure::Usage("post knows neither TLS nor tokens".into()));
    }
    let host = target.address;
    let request = match &args.plain_get {
        Some(path) => format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        None => {
            let message = format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{}", "x".repeat(args.body));
            let length = message.len();
            format!("POST /publish HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{message}")
        }
    };
    let mut load = HttpLoad::connect(host, args.conns.into(), request.as_bytes(), args.pipeline.into())?;
    load.run(args.n / 5, bench.patience(), &bench.interrupted)?;
    let before = target.usage();
    let mut rates = Vec::new();
    for round in 1..=args.rounds {
        bench.progress.show(&format!("post: round {round} of {}", args.rounds));
        rates.push(args.n as f64 / load.run(args.n, bench.patience(), &bench.interrupted)?.as_secs_f64());
    }
    let after = target.usage();

    let settings = [
        ("requests", json!(args.n)),
        ("connections", json!(args.conns)),
        ("pipeline", json!(args.pipeline)),
        ("body_bytes", json!(args.body)),
        ("plain_get", json!(args.plain_get)),
        ("rounds", json!(args.rounds)),
    ];
    let mut outcome = Outcome::new("post", target.name, &settings);
    outcome.set("requests_per_s", median(&rates));
    outcome.set("min_requests_per_s", quantile(&rates, 0.0));
    outcome.set("max_requests_per_s", quantile(&rates, 1.0));
    super::set_usage(&mut outcome, "server_ns_per_request", before, after, args.n * args.rounds);
    outcome.text = format!(
        "{}: {} requests\n{} connections, {} under way on each: min {}, max {}; {} of server CPU each",
        target.name,
        outcome.show("requests_per_s"),
        args.conns,
        args.pipeline,
        outcome.show("min_requests_per_s"),
        outcome.show("max_requests_per_s"),
        outcome.show("server_ns_per_request"),
    );
    Ok(outcome)
}
