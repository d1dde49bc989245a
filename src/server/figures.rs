//! The server's figures for its listeners of `admin`.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    application::{Figures, Process},
    config::{Config, Plan},
    engine::stats::{Measures, Stats},
    metrics::Metrics,
    server::Reloader,
    service::{Numbers, process::Reader},
};

/// The figures of a server. It keeps no core alive.
pub(super) struct ServerFigures {
    numbers: Arc<Numbers>,
    reloader: Reloader,
    metrics: Metrics,
    process: Reader,
    started: (SystemTime, Instant),
}

impl ServerFigures {
    /// For a server that starts now.
    pub(super) fn new(numbers: Arc<Numbers>, reloader: Reloader, metrics: Metrics) -> Self {
        Self { numbers, reloader, metrics, process: Reader::new(), started: (SystemTime::now(), Instant::now()) }
    }
}

impl Figures for ServerFigures {
    fn metrics(&self, is_openmetrics: bool) -> (&'static str, String) {
        if is_openmetrics {
            (Metrics::CONTENT_TYPE, self.metrics.text())
        } else {
            (Metrics::PLAIN_CONTENT_TYPE, self.metrics.plain_text())
        }
    }

    fn stats(&self) -> Stats {
        self.numbers.stats()
    }

    fn cores(&self) -> Vec<(Stats, Measures)> {
        self.numbers.cores().collect()
    }

    fn running(&self) -> Arc<(Config, Plan)> {
        self.reloader.shown()
    }

    fn process(&self) -> Process {
        self.process.read(self.numbers.stats().connections)
    }

    fn started(&self) -> (SystemTime, Duration) {
        let (at, since) = self.started;
        (at, since.elapsed())
    }
}
