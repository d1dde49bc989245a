//! What the server tells of itself without asking its cores.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    config::{Config, Plan},
    engine::stats::{Measures, Stats},
};

/// The figures of a server. All methods are called on a core's thread: they read shared numbers, and do not wait.
pub(crate) trait Figures: Send + Sync {
    /// The metrics as OpenMetrics or in the older format of Prometheus, behind the content type.
    fn metrics(&self, is_openmetrics: bool) -> (&'static str, String);

    /// The sums of all cores and services.
    fn stats(&self) -> Stats;

    /// By core, its own numbers and times.
    fn cores(&self) -> Vec<(Stats, Measures)>;

    /// The options in use, and what they mean on this machine.
    fn running(&self) -> Arc<(Config, Plan)>;

    /// What the system says of the process.
    fn process(&self) -> Process;

    /// When the server started, and how long ago that is.
    fn started(&self) -> (SystemTime, Duration);
}

/// What the system says of the process. `None` where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Process {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) open_files_max: Option<u64>,
    /// When it started, in seconds since 1970.
    pub(crate) start_seconds: Option<f64>,
}

/// The figures of a server that does nothing.
#[cfg(test)]
pub(super) struct Nothing;

#[cfg(test)]
impl Figures for Nothing {
    fn metrics(&self, _: bool) -> (&'static str, String) {
        ("text/plain", String::new())
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    fn cores(&self) -> Vec<(Stats, Measures)> {
        Vec::new()
    }

    fn running(&self) -> Arc<(Config, Plan)> {
        let config = Config::default();
        let plan = config.resolve().expect("the default options fit this machine");
        Arc::new((config, plan))
    }

    fn process(&self) -> Process {
        Process::default()
    }

    fn started(&self) -> (SystemTime, Duration) {
        (SystemTime::UNIX_EPOCH, Duration::ZERO)
    }
}
