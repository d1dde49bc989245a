//! What outlives a client: were it to end, the next one begins with this.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use async_nats::ServerInfo;
use tokio::sync::Notify;

use crate::engine::{
    counters::{Shared as SharedStats, Stats},
    uplink::Uplink,
};

use super::{
    Ends, Prepared,
    backlog::Backlog,
    dial::{Dialed, Dialer},
    drops::Drops,
    inbound::Inbound,
    lock,
    options::Options,
    refusal::Refusals,
    server::Server,
    table::Table,
    watch::Progress,
};

/// A server that takes less does not decide how large messages between clients of this node may be.
const PUBLISH_BYTES_MIN: usize = 1024;

/// What outlives a client.
pub(super) struct Kept {
    pub(super) options: Arc<Options>,
    /// In front of a channel's name in a subject: with the dot.
    pub(super) prefix: Option<String>,
    pub(super) dialer: Dialer,
    pub(super) uplink: Uplink,
    /// What has come by it while NATS was away or slow.
    pub(super) backlog: Arc<Mutex<Backlog>>,
    pub(super) table: Mutex<Table>,
    pub(super) inbound: Mutex<Inbound>,
    /// The connection to a server, if there is one.
    pub(super) server: Mutex<Option<Arc<Server>>>,
    /// The last connection that has ended, and why.
    pub(super) last_end: Mutex<(String, String)>,
    /// There are publishes to take from the uplink.
    pub(super) publishes: Arc<Notify>,
    /// Messages of the batch that is being published which are still to come.
    pub(super) at_hand: AtomicU64,
    /// There is interest to take from the uplink.
    pub(super) interest: Arc<Notify>,
    /// A server has confirmed what the cores want: for who waits for the next one to.
    pub(super) moved: Notify,
    /// What the bridge has counted; `stats` is what other threads see of it.
    pub(super) counts: Mutex<Stats>,
    pub(super) stats: Arc<SharedStats>,
    pub(super) progress: Mutex<Progress>,
    /// What the server has refused.
    pub(super) refusals: Mutex<Refusals>,
    pub(super) drops: Mutex<Drops>,
    pub(super) publish_bytes_max: Arc<AtomicUsize>,
}

impl Kept {
    pub(super) fn new(prepared: Prepared, ends: Ends) -> Self {
        let Ends { downlinks, stats, publish_bytes_max, outbox_bytes_max } = ends;
        let Prepared { options, prefix, names_max, uplink, publishes, interest } = prepared;
        let backlog = Arc::new(Mutex::new(Backlog::new()));
        let of_cores = Arc::clone(&backlog);
        uplink.sort_by(move |uplink| {
            if let Ok(mut backlog) = of_cores.try_lock() {
                backlog.gather(uplink);
            }
        });
        Self {
            dialer: Dialer::new(&options.addresses, options.is_tls),
            options,
            prefix,
            uplink,
            backlog,
            table: Mutex::new(Table::new(downlinks.len(), names_max)),
            inbound: Mutex::new(Inbound::new(downlinks, outbox_bytes_max)),
            server: Mutex::default(),
            last_end: Mutex::default(),
            publishes,
            at_hand: AtomicU64::new(0),
            interest,
            moved: Notify::new(),
            counts: Mutex::default(),
            stats,
            progress: Mutex::default(),
            refusals: Mutex::default(),
            drops: Mutex::default(),
            publish_bytes_max,
        }
    }

    /// The connection to a server, if there is one.
    pub(super) fn server(&self) -> Option<Arc<Server>> {
        lock(&self.server).clone()
    }

    /// The largest message that a server takes: a core refuses larger ones. What is within [`PUBLISH_BYTES_MIN`] and too large
    /// for the server is lost for other nodes only.
    pub(super) fn take_publish_bytes_max(&self, max_payload: usize) {
        self.publish_bytes_max.store(max_payload.max(PUBLISH_BYTES_MIN), Ordering::Relaxed);
    }

    /// The subject of a name.
    pub(super) fn subject(&self, name: &str) -> String {
        format!("{}{name}", self.prefix.as_deref().unwrap_or_default())
    }

    /// The name of a subject.
    pub(super) fn channel<'s>(&self, subject: &'s str) -> &'s str {
        subject.strip_prefix(self.prefix.as_deref().unwrap_or_default()).unwrap_or(subject)
    }

    /// A server has let the client in.
    pub(super) fn established(&self, server: &Arc<Server>, dialed: &Dialed) {
        self.dialer.learn_of(&dialed.info.connect_urls);
        *lock(&self.server) = Some(Arc::clone(server));
        lock(&self.table).connected();
        lock(&self.progress).retract();
        self.interest.notify_one();
    }

    /// A connection to a server has ended.
    pub(super) fn has_ended(&self, server: &Arc<Server>, why: Option<String>) {
        let mut current = lock(&self.server);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, server)) {
            *current = None;
            let why = why.unwrap_or_else(|| "it does not answer".to_owned());
            *lock(&self.last_end) = (server.url.clone(), why);
        }
    }

    /// The last connection that has ended, and why.
    pub(super) fn last_end(&self) -> (String, String) {
        lock(&self.last_end).clone()
    }

    /// What a server says of itself and others has changed.
    pub(super) fn servers_changed(&self, server: &Server, json: &[u8]) {
        if let Ok(info) = serde_json::from_slice::<ServerInfo>(json) {
            self.dialer.learn_of(&info.connect_urls);
            server.is_lame.fetch_or(info.lame_duck_mode, Ordering::Relaxed);
        }
    }

    /// Clients are not to wait for what no client of NATS brings.
    pub(super) fn client_has_ended(&self) {
        *lock(&self.server) = None;
        let (mut table, mut inbound) = (lock(&self.table), lock(&self.inbound));
        table.forget_told();
        inbound.overlap = None;
        inbound.be_absent();
        inbound.send();
        let lost = lock(&self.progress).give_up() + self.at_hand.swap(0, Ordering::Relaxed);
        self.count(|counts| {
            counts.nats_restarts += 1;
            counts.nats_possibly_lost += lost;
        });
    }

    /// Counts something, and shows the numbers to other threads.
    pub(super) fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut counts = lock(&self.counts);
        change(&mut counts);
        counts.nats_publish_dropped = self.uplink.dropped() + lock(&self.refusals).publishes.count();
        self.stats.store(&counts);
    }
}
