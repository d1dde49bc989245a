//! The works of `compare` for servers that keep messages: publishes to them, and clients that come back for what they have
//! missed. Each server keeps as many messages of a channel as a client misses, in memory, and is used as it is fastest:
//! JetStream delivers live to plain subscriptions, and a client that resumes makes a consumer of its own without
//! acknowledgements; Nchan sends bare messages over WebSocket, and a client that resumes gets all that is kept, so that the
//! server need not look for a place.

use super::{
    Contender::{JetStream, Lhttp, Nchan},
    Run, Work, less, more,
};
use crate::{
    dialect::Dialect,
    failure::Failure,
    modes::{
        confirmed::{self, ConfirmedArgs},
        resume::{self, ResumeArgs},
    },
    report::Outcome,
};

const KEEPERS: &[super::Contender] = &[Lhttp, JetStream, Nchan];

/// Both works; `share` makes each smaller by that factor.
pub(super) fn all(share: usize) -> Vec<Work> {
    let publish = ConfirmedArgs { publishers: 10, n: 10_000 / share, body: 64, window: 1000, kept: 1000, rounds: 5 };
    let resume = ResumeArgs {
        clients: 5000 / share,
        per_channel: 100,
        missed: 100,
        body: 64,
        at_once: 500,
        subs: 10,
        rate: 1000,
        secs: 2.0 / share as f64,
        server: Dialect::Lhttp,
        history_file: None,
        tls: false,
    };
    vec![
        Work {
            group: "history",
            title: "publishes that are kept",
            servers: KEEPERS,
            run: with_keeper(move |bench, server| confirmed::run(bench, server, publish)),
            rows: vec![
                more("publishes that are kept and answered", "publishes_per_s", &[(Nchan, 5.0)]),
                less("– server CPU a publish", "server_ns_per_publish", &[]),
            ],
        },
        Work {
            group: "history",
            title: "5,000 come back to 100 messages",
            servers: KEEPERS,
            run: with_keeper(move |bench, server| resume::run(bench, &ResumeArgs { server, ..resume.clone() })),
            rows: vec![
                more("kept and delivered live, 1→100", "live_deliveries_per_s", &[(Nchan, 5.0)]),
                less("– server CPU a delivery", "live_server_ns_per_delivery", &[]),
                more("5,000 come back to 100 messages each", "resumes_per_s", &[(Nchan, 5.0)]),
                less("– server CPU a resume", "resume_cpu_us", &[]),
                less("– resident at most", "rss_peak_bytes", &[]),
                less("– another channel's p99 beside it", "p99_us", &[]),
            ],
        },
    ]
}

fn with_keeper(work: impl Fn(&crate::bench::Bench, Dialect) -> Result<Outcome, Failure> + 'static) -> Run {
    Box::new(move |bench, contender| {
        let server = match contender {
            JetStream => Dialect::JetStream,
            Nchan => Dialect::Nchan,
            _ => Dialect::Lhttp,
        };
        work(bench, server)
    })
}
