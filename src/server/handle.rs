//! The handle to a running server.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::certificates::Watch;
#[cfg(feature = "admin")]
use crate::metrics::Metrics;
use crate::{
    config::Listen,
    engine::{
        bridge_link::Downlink,
        ending::Ending,
        inbox::Mailbox,
        listener::SocketFile,
        stats::{SharedStats, Stats},
    },
    extension::Publisher,
    server::Reloader,
    service::{Numbers, PreparedService, Service, ServiceNumbers, Wiring},
    token::Keys,
};

/// A running server. Dropping it stops the server and waits for its end: at once, unless [`Handle::stop`] has given it time.
#[derive(Debug)]
pub struct Handle {
    pub(super) services: Vec<Box<dyn Service>>,
    /// The end of draining; set when the server is asked to stop.
    pub(super) stop_by: Arc<OnceLock<Instant>>,
    pub(super) publish_bytes_max: Arc<AtomicUsize>,
    pub(super) places: Vec<Listen>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) pages: Vec<SocketAddr>,
    pub(super) admin: Vec<Listen>,
    /// Removed when the cores have ended.
    pub(super) _socket_files: Vec<SocketFile>,
    pub(super) message_bytes_max: usize,
    /// The keys of tokens, which are fetched as long as the server runs.
    pub(super) _keys: Option<Arc<Keys>>,
    pub(super) reloader: Reloader,
    /// Reads the files of TLS again.
    pub(super) _certificates: Option<Watch>,
    pub(super) mailboxes: Vec<Mailbox>,
    /// The numbers of the cores and the services.
    pub(super) numbers: Arc<Numbers>,
    #[cfg(feature = "admin")]
    pub(super) metrics: Metrics,
    pub(super) next_publisher: AtomicUsize,
    pub(super) threads: Vec<JoinHandle<()>>,
    /// Closed when the last core has ended.
    pub(super) ended: Receiver<()>,
}

impl Handle {
    /// The TCP addresses that the server listens on for clients, in the order given, with the ports that were taken for 0.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses of [`Builder::pages_on`](super::Builder::pages_on), in the order given, with the ports that were taken
    /// for 0.
    pub fn pages_addrs(&self) -> &[SocketAddr] {
        &self.pages
    }

    /// The places of [`Config::admin`](crate::Config::admin), in the order given, with the ports that were taken for 0.
    pub fn admin(&self) -> &[Listen] {
        &self.admin
    }

    /// All addresses and unix sockets that the server listens on for clients, in the order given.
    pub fn listening(&self) -> &[Listen] {
        &self.places
    }

    /// The number of cores.
    pub fn cores(&self) -> usize {
        self.mailboxes.len()
    }

    /// A publisher, which works from any thread. Each call uses the next core, round robin.
    pub fn publisher(&self) -> Publisher {
        let turn = self.next_publisher.fetch_add(1, Ordering::Relaxed);
        let mailbox = self.mailboxes[turn % self.mailboxes.len()].clone();
        let channels_max = self.reloader.publish_channels_max();
        Publisher::new(mailbox, self.message_bytes_max, Arc::clone(&self.publish_bytes_max), channels_max)
    }

    /// The server's numbers so far. Those of a core are as of its last turn.
    pub fn stats(&self) -> Stats {
        self.numbers.stats()
    }

    /// The server's metrics. See docs/METRICS.md.
    #[cfg(feature = "admin")]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Begins to stop for good, and returns at once; see [`Handle::join`]. The server turns new clients away, `/healthz`
    /// answers 503, and every client gets 1001, a few after the others: the closes of many clients are spread over three
    /// quarters of `drain`. For at most `drain` the server still sends queued messages, to clients and to upstream
    /// servers. A message that any thread has published before this call goes to its subscribers on all cores before
    /// they get 1001. Only the first call counts.
    pub fn stop(&self, drain: Duration) {
        self.end(Ending::within(drain));
    }

    /// As [`Handle::stop`], and may first serve on for a while, or tell the clients to come back. The first call of
    /// either counts.
    pub fn end(&self, ending: Ending) {
        self.stopper().end(ending);
    }

    /// A handle that can only stop the server, such as for a thread that waits for signals.
    pub fn stopper(&self) -> Stopper {
        Stopper { mailboxes: self.mailboxes.clone(), stop_by: Arc::clone(&self.stop_by) }
    }

    /// A handle that can give the server new options while it runs.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Waits until every core has ended, but no longer than `time`. True if all have ended: then [`Handle::join`] waits only
    /// for the last messages to NATS and requests to upstream servers. It is for a program with periodic work.
    pub fn wait(&self, time: Duration) -> bool {
        self.ended.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }

    /// Waits until the server has stopped, and gives its final numbers. It does not ask the server to stop.
    pub fn join(mut self) -> Stats {
        self.join_threads();
        self.stats()
    }

    /// Starts a service, and gives its numbers. The cores start after it.
    pub(super) fn start_service(
        &mut self,
        service: Box<dyn PreparedService>,
        downlinks: Vec<Downlink>,
    ) -> io::Result<ServiceNumbers> {
        let (stats, stopper) = (Arc::new(SharedStats::default()), self.stopper());
        let service = service.start(Wiring {
            mailboxes: self.mailboxes.clone(),
            downlinks,
            stats: Arc::clone(&stats),
            publish_bytes_max: Arc::clone(&self.publish_bytes_max),
            outbox_bytes_max: self.reloader.outbox_bytes_max(),
            stop_server: Box::new(move || stopper.stop(Duration::ZERO)),
        })?;
        let report = service.report();
        self.services.push(service);
        Ok(ServiceNumbers { stats, report })
    }

    fn join_threads(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a core has panicked");
            }
        }
        let stop_by = self.stop_by.get().copied().unwrap_or_else(Instant::now);
        // After the cores: the services send their last messages and requests.
        self.services.iter_mut().for_each(|service| service.stop(stop_by));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
        self.join_threads();
    }
}

/// Stops a server, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    mailboxes: Vec<Mailbox>,
    stop_by: Arc<OnceLock<Instant>>,
}

impl Stopper {
    /// See [`Handle::stop`].
    pub fn stop(&self, drain: Duration) {
        self.end(Ending::within(drain));
    }

    /// See [`Handle::end`].
    pub fn end(&self, ending: Ending) {
        let now = Instant::now();
        self.stop_by.get_or_init(|| now.checked_add(ending.time()).unwrap_or(now));
        self.mailboxes.iter().for_each(|mailbox| mailbox.stop(ending));
    }
}
