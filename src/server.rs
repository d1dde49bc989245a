//! The server: from a configuration to running cores, and the handle to them.

mod handle;
mod reload;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
    thread::{self, JoinHandle},
    time::Duration,
};

use core_affinity::CoreId;
use crossbeam_channel::{Sender, bounded};
use mio::Poll;

use crate::{
    config::{Config, Listen, Plan, memory},
    edge::{
        nats::{self, Bridge},
        upstream::{self, Pool},
    },
    engine::{
        core::{Core, CoreLinks, Link},
        counters::Shared,
        hub::{Hub, Limits},
        inbox::{Inbox, Mailbox, inbox},
        listener::{Buffers, Listener, listen},
        pace::Pace,
        reactor::{Reactor, WAKER},
        turn::Turn,
        uplink::{Downlink, Uplink, link_bridge},
        wake::{Wake, waker},
    },
    error::StartError,
    extension::{Context, Dispatch, Extensions, Filter, Processor},
    protocol::http::{Page, Pages},
};

pub use self::{
    handle::{Handle, Stopper},
    reload::{Reloaded, Reloader},
};

/// Batches on their way from one core to another. A core that is further behind makes its peers collect larger ones, and
/// then their publishers wait.
const BATCHES_PER_LINK: usize = 4;

const _: () = assert!(BATCHES_PER_LINK < memory::LINK_BATCHES); // one more is being collected

/// An LHTTP server. Start with [`Server::builder`].
#[derive(Debug)]
pub struct Server;

impl Server {
    /// A server with default options, nothing plugged in, and the address `127.0.0.1:8081`.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// Puts a server together.
#[derive(Default)]
pub struct Builder {
    config: Config,
    has_listen: bool,
    extensions: Extensions,
    publishes_past_filters: bool,
    pages: Vec<Page>,
}

/// What the options come to, and what is ready to be started of them.
///
/// # Errors
/// [`StartError::Config`]: an option that means nothing, a file that cannot be used.
fn prepare(config: &Config) -> Result<(Plan, Option<nats::Prepared>, Option<upstream::Prepared>), StartError> {
    let plan = config.resolve()?;
    let bridge = config.nats.is_some().then(|| Bridge::prepare(config, plan.memory_budget_bytes)).transpose()?;
    let upstream = (!config.upstream_allow.is_empty()).then(|| Pool::prepare(config)).transpose()?;
    Ok((plan, bridge, upstream))
}

impl Builder {
    /// Takes all options from here; what was set before is forgotten. If the addresses are the default ones, the next
    /// [`Builder::listen`] replaces them.
    pub fn config(mut self, config: Config) -> Self {
        self.has_listen = config.listen != Config::default().listen;
        self.config = config;
        self
    }

    /// Listens on this address, besides those that were given before; the first call replaces the default one. Port 0
    /// takes a free port, see [`Handle::local_addrs`]. For a unix socket see [`Builder::listen_on`].
    pub fn listen(self, address: SocketAddr) -> Self {
        self.listen_on(Listen::Tcp(address))
    }

    /// Listens here, as [`Builder::listen`] does on an address.
    ///
    /// ```
    /// use lhttp::Server;
    ///
    /// let path = std::env::temp_dir().join(format!("lhttp-{}.sock", std::process::id()));
    /// let server = Server::builder().cores(1).listen_on(format!("unix:{}", path.display()).parse()?).start()?;
    /// assert!(path.exists() && server.local_addrs().is_empty());
    /// drop(server);
    /// assert!(!path.exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listen_on(mut self, listen: Listen) -> Self {
        if !std::mem::replace(&mut self.has_listen, true) {
            self.config.listen.clear();
        }
        self.config.listen.push(listen);
        self
    }

    /// How many cores to run; see [`Config::cores`].
    pub fn cores(mut self, cores: usize) -> Self {
        self.config.cores = Some(cores);
        self
    }

    /// Handles the messages with this command (the seed's `Regist`), which compares exactly. A second processor for it
    /// takes the place of the first. The program keeps a way to a processor's state by giving an `Arc` of it.
    pub fn processor(mut self, command: impl Into<String>, processor: impl Processor + 'static) -> Self {
        self.extensions.processors.insert(command.into().into_bytes(), Arc::new(processor));
        self
    }

    /// Sees every connection and message, behind the filters that were given before.
    ///
    /// `POST /publish` passes no filter. So on a server that has one it is refused with 403 unless
    /// [`Config::publish_key`] is set, or [`Builder::publish_past_filters`] says that it may.
    pub fn filter(mut self, filter: impl Filter + 'static) -> Self {
        self.extensions.filters.push(Arc::new(filter));
        self
    }

    /// Lets everyone who reaches the port publish with `POST /publish` although the server has filters and no publish key:
    /// what comes that way passes no filter, and is published as it is.
    pub fn publish_past_filters(mut self) -> Self {
        self.publishes_past_filters = true;
        self
    }

    /// Handles messages that are not LHTTP: [`Context::body`] is all of such a message, [`Context::send`] answers with
    /// bytes as they are. Without a handler their sender gets error 400 `not-lhttp`.
    pub fn raw(mut self, handler: impl Fn(&mut Context<'_>) + Send + Sync + 'static) -> Self {
        self.extensions.raw = Some(Arc::new(handler));
        self
    }

    /// Serves this page, besides those that were given before, **and nothing else**: a server with pages has neither
    /// WebSocket nor `/publish` nor `/healthz`. It is a second server of the same process, on a port of its own, with the
    /// same limits, timeouts and reading of HTTP as the first; `lhttpd --demo` is one.
    ///
    /// ```no_run
    /// use lhttp::{Page, Server};
    ///
    /// let page = Page::new("/", "text/plain; charset=utf-8", b"hello".as_slice());
    /// let pages = Server::builder().listen("127.0.0.1:9090".parse().unwrap()).cores(1).page(page).start()?;
    /// # Ok::<(), lhttp::StartError>(())
    /// ```
    pub fn page(mut self, page: Page) -> Self {
        self.pages.push(page);
        self
    }

    /// Says what [`Builder::start`] would refuse before it asks the system for anything: options, the files that they name,
    /// pages and commands. Gives what the options come to on this machine.
    ///
    /// ```
    /// use lhttp::Server;
    ///
    /// let plan = Server::builder().cores(1).check()?;
    /// assert_eq!(plan.cpus.len(), 1);
    /// # Ok::<(), lhttp::StartError>(())
    /// ```
    ///
    /// # Errors
    /// [`StartError::Config`].
    pub fn check(&self) -> Result<Plan, StartError> {
        self.extensions.check()?;
        Pages::new(self.pages.clone()).map_err(StartError::Config)?;
        Ok(prepare(&self.config)?.0)
    }

    /// Starts the cores, each on a thread of its own, and returns when all of them listen.
    ///
    /// Call it from a thread that is not pinned to a CPU: the cores share the CPUs that the calling thread may use.
    ///
    /// # Errors
    /// [`StartError`]: an option, a page or a processor's command that means nothing, an address that cannot be listened
    /// on, or the system's refusal.
    pub fn start(mut self) -> Result<Handle, StartError> {
        self.extensions.check()?;
        let pages = Pages::new(std::mem::take(&mut self.pages)).map_err(StartError::Config)?;
        let (plan, bridge, upstream) = prepare(&self.config)?;
        let cores = plan.cpus.len();
        let mut listeners: Vec<Vec<Listener>> = (0..cores).map(|_| Vec::new()).collect();
        let (mut places, mut socket_files) = (Vec::new(), Vec::new());
        for index in 0..self.config.listen.len() {
            let listening = listen(&self.config.listen, index, cores, Buffers::from(&self.config))?;
            places.push(listening.at);
            socket_files.extend(listening.file);
            for (of_core, listener) in listeners.iter_mut().zip(listening.listeners) {
                of_core.push(listener);
            }
        }
        let ends = (0..cores).map(|_| End::new()).collect::<io::Result<Vec<_>>>()?;
        let mailboxes: Vec<_> = ends.iter().map(|end| end.mailbox.clone()).collect();
        let shared: Vec<_> = (0..cores).map(|_| Arc::new(Shared::default())).collect();
        let limits = Limits::new(&self.config, plan.memory_budget_bytes, cores);
        let (alive, ended) = bounded(0);
        let mut handle = Handle {
            bridge: None,
            upstream: None,
            stop_by: Arc::default(),
            publish_bytes_max: Arc::clone(&limits.publish_bytes_max),
            addresses: places.iter().filter_map(Listen::tcp).collect(),
            places,
            _socket_files: socket_files,
            message_bytes_max: self.config.message_bytes_max,
            reloader: Reloader::new(
                mailboxes.clone(),
                self.config.clone(),
                bridge.as_ref().map(|bridge| Arc::clone(&bridge.access)),
            ),
            mailboxes,
            shared,
            next_publisher: AtomicUsize::new(0),
            threads: Vec::new(),
            ended,
        };
        let uplink = bridge.as_ref().map(|bridge| &bridge.uplink);
        let has_filters = !self.extensions.filters.is_empty() && !self.publishes_past_filters;
        let mut assembled = self.assemble(&plan, limits, ends, listeners, &handle.shared, upstream.as_ref())?;
        for core in &mut assembled {
            core.turn.hub.pages = pages.clone();
            if pages.is_some() {
                core.turn.sockets.reserve_a_few();
            }
            core.turn.hub.has_filters = has_filters;
        }
        let downlinks = uplink.map_or_else(Vec::new, |uplink| link_bridges(&mut assembled, uplink));
        if let Some(bridge) = bridge {
            handle.start_bridge(bridge, downlinks)?;
        }
        if let Some(upstream) = upstream {
            handle.start_upstream(upstream)?;
        }
        for (number, core) in assembled.into_iter().enumerate() {
            handle.threads.push(spawn(number, core, plan.cpus[number], handle.stopper(), alive.clone())?);
        }
        Ok(handle)
    }

    /// Puts the cores together, and links each with each.
    fn assemble(
        self,
        plan: &Plan,
        limits: Limits,
        ends: Vec<End>,
        listeners: Vec<Vec<Listener>>,
        shared: &[Arc<Shared>],
        upstream: Option<&upstream::Prepared>,
    ) -> Result<Vec<Core>, StartError> {
        let extensions = Arc::new(self.extensions);
        let open = Arc::new(AtomicUsize::new(0));
        let wakes: Vec<_> = ends.iter().map(|end| Arc::clone(&end.wake)).collect();
        let mut cores = Vec::with_capacity(ends.len());
        let links = link(&wakes);
        for (number, ((end, listeners), links)) in ends.into_iter().zip(listeners).zip(links).enumerate() {
            let gate = upstream.map(|upstream| upstream.gate(number as u32));
            let hub = Hub::new(number as u32, wakes.len() as u32, limits.clone());
            let app = Box::new(Dispatch::new(number as u32, Arc::clone(&extensions), end.mailbox, gate));
            let reactor = Reactor::new(end.poll, listeners, Arc::clone(&open), plan.connections_max)?;
            let links = CoreLinks { number: number as u32, peers: links, bridge: None };
            cores.push(Core {
                turn: Turn::new(hub, app, reactor, links, end.inbox),
                shared: Arc::clone(&shared[number]),
                pace: Pace::new(self.config.coalesce),
                busy_poll: self.config.busy_poll,
            });
        }
        Ok(cores)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a core is reached by.
struct End {
    poll: Poll,
    wake: Arc<Wake>,
    mailbox: Mailbox,
    inbox: Inbox,
}

impl End {
    fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let wake = waker(poll.registry(), WAKER)?;
        let (mailbox, inbox) = inbox(Arc::clone(&wake));
        Ok(Self { poll, wake, mailbox, inbox })
    }
}

/// The links of each core to each other.
fn link(wakes: &[Arc<Wake>]) -> Vec<Vec<Link>> {
    let mut links: Vec<Vec<Link>> = wakes.iter().map(|_| Vec::new()).collect();
    for one in 0..wakes.len() {
        for other in one + 1..wakes.len() {
            let (to_other, from_one) = bounded(BATCHES_PER_LINK);
            let (to_one, from_other) = bounded(BATCHES_PER_LINK);
            let wake = |core: usize| Arc::clone(&wakes[core]);
            links[one].push(Link {
                peer: other as u32,
                batches_in: from_other,
                batches_out: to_other,
                wake: wake(other),
            });
            links[other].push(Link { peer: one as u32, batches_in: from_one, batches_out: to_one, wake: wake(one) });
        }
    }
    links
}

/// The links of each core to the bridge; gives the bridge's ends.
fn link_bridges(cores: &mut [Core], uplink: &Uplink) -> Vec<Downlink> {
    let link = |core: &mut Core| {
        let turn = &mut core.turn;
        let (downlink, link) = link_bridge(uplink, turn.hub.add_bridge(), turn.inbox.shared_wake());
        turn.links.bridge = Some(link);
        downlink
    };
    cores.iter_mut().map(link).collect()
}

/// `alive` is dropped when the core has ended, however that comes about.
fn spawn(
    number: usize,
    core: Core,
    cpu: Option<usize>,
    stopper: Stopper,
    alive: Sender<()>,
) -> io::Result<JoinHandle<()>> {
    let run = move || {
        let _alive = alive;
        let guard = StopWithCore(stopper);
        if let Some(id) = cpu
            && !core_affinity::set_for_current(CoreId { id })
        {
            log::warn!("core {number} cannot be pinned to CPU {id}, it runs wherever the system puts it");
        }
        if let Err(error) = core.run() {
            log::error!("core {number} has ended: {error}");
            guard.0.stop(Duration::ZERO);
        }
    };
    thread::Builder::new().name(format!("lhttp-core-{number}")).spawn(run)
}

/// A server that has lost a core would go on with part of its connections dead: it stops instead, so that whoever watches
/// over it can start it again.
struct StopWithCore(Stopper);

impl Drop for StopWithCore {
    fn drop(&mut self) {
        // Not when the core has ended because it was asked to: the others may not have heard yet how long they may drain.
        if thread::panicking() {
            self.0.stop(Duration::ZERO);
        }
    }
}
