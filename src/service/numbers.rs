//! The numbers of a server: each core and each service writes its own, and any thread adds them up.

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
};

use crate::{
    engine::stats::{Measures, SharedNumbers, SharedStats, Stats},
    tls::Acceptor,
    token::Keys,
};

/// Adds the numbers that come from a service's state and not from counters.
pub(crate) type Report = Box<dyn Fn(&mut Stats) + Send + Sync>;

/// The numbers of one service.
pub(crate) struct ServiceNumbers {
    pub(crate) stats: Arc<SharedStats>,
    pub(crate) report: Option<Report>,
}

/// Where the numbers of a server stand.
pub(crate) struct Numbers {
    cores: Vec<Arc<SharedNumbers>>,
    services: OnceLock<Vec<ServiceNumbers>>,
    acceptor: Option<Acceptor>,
    keys: Weak<Keys>,
}

impl Numbers {
    pub(crate) fn new(cores: Vec<Arc<SharedNumbers>>, acceptor: Option<Acceptor>, keys: Weak<Keys>) -> Self {
        Self { cores, services: OnceLock::new(), acceptor, keys }
    }

    /// Adds the services, which have started. Only the first call counts.
    pub(crate) fn set_services(&self, services: Vec<ServiceNumbers>) {
        let _ = self.services.set(services);
    }

    /// The server's numbers so far. Those of a core are as of its last turn.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.cores.iter().for_each(|core| core.stats.add_to(&mut stats));
        for service in self.services.get().into_iter().flatten() {
            service.stats.add_to(&mut stats);
            if let Some(report) = &service.report {
                report(&mut stats);
            }
        }
        if let Some(acceptor) = &self.acceptor {
            (stats.tls_days_left, stats.tls_reloads_failed) = (acceptor.days_left(), acceptor.reloads_failed());
            stats.tls_expiry = acceptor.expiry();
        }
        if let Some(keys) = self.keys.upgrade() {
            stats.count_keys(keys.numbers());
        }
        stats
    }
}

#[cfg_attr(not(feature = "admin"), allow(dead_code))] // only the metrics ask
impl Numbers {
    /// The times of all cores.
    pub(crate) fn measures(&self) -> Measures {
        let mut sum = Measures::default();
        self.cores.iter().for_each(|core| core.measures.add_to(&mut sum));
        sum
    }

    /// By core, its own numbers and times.
    pub(crate) fn cores(&self) -> impl Iterator<Item = (Stats, Measures)> {
        self.cores.iter().map(|core| {
            let (mut stats, mut measures) = (Stats::default(), Measures::default());
            core.stats.add_to(&mut stats);
            core.measures.add_to(&mut measures);
            (stats, measures)
        })
    }

    /// Whether an address of the server speaks TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.acceptor.is_some()
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Numbers").field("cores", &self.cores.len()).finish_non_exhaustive()
    }
}
