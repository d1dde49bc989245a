//! The server: the builder turns a configuration into running cores and gives the handle to them.

mod certificates;
mod cores;
#[cfg(feature = "admin")]
mod figures;
mod handle;
mod listening;
mod pages;
mod reload;

use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{Arc, Weak, atomic::AtomicUsize},
};

use crossbeam_channel::bounded;

#[cfg(feature = "admin")]
use crate::{
    application::{Admin, Figures},
    engine::inbox::Mailbox,
    metrics::Metrics,
};
use crate::{
    application::{Dispatch, Doorkeeper, Verify},
    config::{Config, Listen, Plan},
    engine::{
        busy_poll::BusyPoll,
        connection::TlsLayers,
        core::{Core, CoreLinks},
        hub::Hub,
        limits::Limits,
        listener::{Inherited, Listener},
        pace::Pace,
        reactor::Reactor,
        turn::{Places, Turn},
    },
    error::StartError,
    extension::{Context, Extensions, Filter, Processor},
    service::{Numbers, PreparedService},
    tls::{self, Acceptor},
    token::Keys,
};

#[cfg(feature = "admin")]
use self::figures::ServerFigures;
use self::{
    certificates::Watch,
    cores::{End, link, link_bridge, spawn},
    listening::Listening,
    pages::PagesPlan,
};

pub use self::{
    handle::{Handle, Stopper},
    reload::{Reloaded, Reloader},
};
pub use crate::engine::ending::Ending;

/// An LHTTP server. Start with [`Server::builder`].
#[derive(Debug)]
pub struct Server;

impl Server {
    /// A server with default options, nothing plugged in, and the address `127.0.0.1:8081`.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// Builds a server from its options and the code that is plugged in.
#[derive(Default)]
pub struct Builder {
    config: Config,
    has_listen: bool,
    handed: Vec<OwnedFd>,
    extensions: Extensions,
    pages: PagesPlan,
}

/// What clients and operators meet, the same on all cores.
#[derive(Clone, Copy)]
struct Doors<'a> {
    /// TLS, if an address speaks it.
    acceptor: Option<&'a Acceptor>,
    /// The keys of tokens, if the server takes some.
    keys: Option<&'a Keys>,
    /// What the server tells operators.
    #[cfg(feature = "admin")]
    figures: &'a Arc<dyn Figures>,
}

/// Prepares one service; gives none if the options do not ask for it.
type Prepare = fn(&Config, &Plan) -> Result<Option<Box<dyn PreparedService>>, StartError>;

/// The services of this build, in the order of their start and stop. If a build lacks one, [`Config::validate`] refuses its
/// options.
const SERVICES: &[Prepare] = &[
    #[cfg(feature = "sqlite")]
    crate::history_file::prepare,
    #[cfg(feature = "nats")]
    crate::nats::prepare,
    #[cfg(feature = "upstream")]
    crate::upstream::prepare,
];

/// Checks the options, and gives the plan for this machine and the services that the options ask for.
///
/// # Errors
/// [`StartError::Config`]: an option is invalid, or a file cannot be used.
fn prepare(config: &Config) -> Result<(Plan, Vec<Box<dyn PreparedService>>), StartError> {
    let plan = config.resolve()?;
    let services: Result<_, _> = SERVICES.iter().filter_map(|prepare| prepare(config, &plan).transpose()).collect();
    Ok((plan, services?))
}

impl Builder {
    /// Sets all options; earlier settings are lost. If the addresses are the default ones, the next [`Builder::listen`]
    /// replaces them.
    pub fn config(mut self, config: Config) -> Self {
        self.has_listen = config.listen != Config::default().listen;
        self.config = config;
        self
    }

    /// Adds an address to listen on; the first call replaces the default one. Port 0 takes a free port, see
    /// [`Handle::local_addrs`]. For a unix socket see [`Builder::listen_on`].
    pub fn listen(self, address: SocketAddr) -> Self {
        self.listen_on(Listen::Tcp(address))
    }

    /// As [`Builder::listen`], for an address or a unix socket.
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

    /// Accepts from a socket that listens already, such as one that systemd hands over: a [`TcpListener`](std::net::TcpListener)
    /// or a [`UnixListener`](std::os::unix::net::UnixListener). Call it for each of them. If the server also has an
    /// address or path that this socket listens on, the socket serves it; a socket for any other place keeps the server
    /// from starting. If no address was set, the server listens on these sockets alone.
    ///
    /// The cores share the socket: each new connection wakes all of them, and the kernel does not spread connections
    /// evenly. When the server ends, it accepts nothing more from the socket as soon as it closes its clients'
    /// connections. A client that connects from then on waits for the next process that takes the socket over.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use lhttp::Server;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let next = listener.try_clone()?; // as systemd keeps it
    /// let server = Server::builder().cores(1).take_over(listener).start()?;
    /// assert_eq!(server.local_addrs(), [next.local_addr()?]);
    /// drop(server);
    /// assert!(TcpStream::connect(next.local_addr()?).is_ok(), "it waits for the next server");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_over(mut self, socket: impl Into<OwnedFd>) -> Self {
        self.handed.push(socket.into());
        self
    }

    /// Sets the number of cores; see [`Config::cores`].
    pub fn cores(mut self, cores: usize) -> Self {
        self.config.cores = Some(cores);
        self
    }

    /// Adds a processor for the messages with exactly this command (the seed's `Regist`). It replaces an earlier processor for
    /// the command. If the program passes an `Arc`, it can still reach the processor's state.
    pub fn processor(mut self, command: impl Into<String>, processor: impl Processor + 'static) -> Self {
        self.extensions.processors.insert(command.into().into_bytes(), Arc::new(processor));
        self
    }

    /// Adds a filter, which runs after those that were added before.
    ///
    /// `POST /publish` passes no filter. So a server with a filter refuses it with 403, unless [`Config::publish_key`] is set
    /// or [`Builder::publish_past_filters`] allows it.
    pub fn filter(mut self, filter: impl Filter + 'static) -> Self {
        self.extensions.filters.push(Arc::new(filter));
        self
    }

    /// Allows `POST /publish` without a publish key although the server has filters. Then everyone who reaches the port can
    /// publish messages that no filter sees.
    pub fn publish_past_filters(mut self) -> Self {
        self.extensions.publishes_past_filters = true;
        self
    }

    /// Sets the handler of messages that are not LHTTP. [`Context::body`] is the whole message, and [`Context::send`] answers
    /// with bytes as they are. Without a handler the sender gets error 400 `not-lhttp`.
    pub fn raw(mut self, handler: impl Fn(&mut Context<'_>) + Send + Sync + 'static) -> Self {
        self.extensions.raw = Some(Arc::new(handler));
        self
    }

    /// Checks everything that [`Builder::start`] checks before it asks the system for anything: options, the files that they
    /// name, pages and commands. Gives the plan for this machine.
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
        self.pages.check()?;
        let (plan, _) = prepare(&self.config)?;
        tls::acceptor(&self.config)?;
        Keys::read(&self.config)?;
        Ok(plan)
    }

    /// Starts the cores, each on a thread of its own, and returns when all of them listen.
    ///
    /// Call it from a thread that is not pinned to a CPU: the cores share the CPUs that the calling thread may use.
    ///
    /// # Errors
    /// [`StartError`]: an option, a page or a processor's command is invalid, an address cannot be listened on, or the system
    /// refuses something.
    pub fn start(mut self) -> Result<Handle, StartError> {
        self.extensions.check()?;
        self.pages.check()?;
        let (plan, mut services) = prepare(&self.config)?;
        let acceptor = tls::acceptor(&self.config)?;
        let keys = Keys::read(&self.config)?.map(Arc::new);
        let cores = plan.cpus.len();
        let handed = std::mem::take(&mut self.handed).into_iter().map(Inherited::new).collect::<Result<_, _>>();
        let handed = handed.map_err(StartError::Config)?;
        let listening = Listening::start(&self.config, &self.pages.addresses, handed, cores)?;
        let addresses: Vec<_> = listening.places.iter().filter_map(Listen::tcp).collect();
        self.extensions.pages = std::mem::take(&mut self.pages).make(&addresses)?;
        let ends = (0..cores).map(|_| End::new()).collect::<io::Result<Vec<_>>>()?;
        let mailboxes: Vec<_> = ends.iter().map(|end| end.mailbox.clone()).collect();
        let limits = Limits::new(&self.config, plan.memory_budget_bytes, cores);
        let (alive, ended) = bounded(0);
        let numbers = ends.iter().map(|end| Arc::clone(&end.numbers)).collect();
        let numbers = Numbers::new(numbers, acceptor.clone(), keys.as_ref().map_or_else(Weak::new, Arc::downgrade));
        let numbers = Arc::new(numbers);
        let mut handle = Handle {
            services: Vec::with_capacity(services.len()),
            stop_by: Arc::default(),
            publish_bytes_max: Arc::clone(&limits.publish_bytes_max),
            addresses,
            pages: listening.pages,
            admin: listening.admin,
            places: listening.places,
            _socket_files: listening.socket_files,
            message_bytes_max: self.config.message_bytes_max,
            reloader: Reloader::new(
                mailboxes.clone(),
                (self.config.clone(), plan.clone()),
                services.iter().filter_map(|service| service.secret_files()).collect(),
                acceptor.clone(),
                keys.as_ref().map(Arc::downgrade),
            ),
            _certificates: acceptor.clone().map(Watch::start).transpose()?,
            _keys: keys.clone(),
            mailboxes,
            #[cfg(feature = "admin")]
            metrics: Metrics::new(Arc::clone(&numbers), &self.config),
            numbers,
            next_publisher: AtomicUsize::new(0),
            threads: Vec::new(),
            ended,
        };
        if let Some(keys) = &keys {
            keys.start()?;
        }
        #[cfg(feature = "admin")]
        let figures = ServerFigures::new(Arc::clone(&handle.numbers), handle.reloader(), handle.metrics.clone());
        let doors = Doors {
            acceptor: acceptor.as_ref(),
            keys: keys.as_deref(),
            #[cfg(feature = "admin")]
            figures: &(Arc::new(figures) as Arc<dyn Figures>),
        };
        let mut assembled = self.assemble(&plan, limits, ends, listening.listeners, &mut services, doors)?;
        let mut numbers = Vec::with_capacity(services.len());
        for service in services {
            let downlinks = service.uplink().map_or_else(Vec::new, |uplink| link_bridge(&mut assembled, uplink));
            numbers.push(handle.start_service(service, downlinks)?);
        }
        handle.numbers.set_services(numbers);
        for (number, core) in assembled.into_iter().enumerate() {
            handle.threads.push(spawn(number, core, plan.cpus[number], handle.stopper(), alive.clone())?);
        }
        Ok(handle)
    }

    /// Puts the cores together and links them with each other.
    fn assemble(
        self,
        plan: &Plan,
        limits: Limits,
        ends: Vec<End>,
        listeners: Vec<Vec<Listener>>,
        services: &mut [Box<dyn PreparedService>],
        doors: Doors<'_>,
    ) -> Result<Vec<Core>, StartError> {
        let extensions = Arc::new(self.extensions);
        let open = Arc::new(AtomicUsize::new(0));
        #[cfg(feature = "admin")]
        let mailboxes: Vec<_> = ends.iter().map(|end| end.mailbox.clone()).collect();
        let wakes: Vec<_> = ends.iter().map(|end| Arc::clone(&end.wake)).collect();
        let mut cores = Vec::with_capacity(ends.len());
        let (links, seed) = (link(&wakes), rand::random());
        for (number, ((end, listeners), links)) in ends.into_iter().zip(listeners).zip(links).enumerate() {
            let upstream = services.iter().find_map(|service| service.upstream(number as u32));
            let mut hub = Hub::with_seed(number as u32, wakes.len() as u32, limits.clone(), seed);
            let store = services.iter_mut().find_map(|service| service.store());
            let store = store.map(|store| store.attach(&mut hub, Arc::clone(&wakes[number]))).transpose()?;
            let verifier = doors.keys.map(|keys| Box::new(keys.verifier()) as Box<dyn Verify>);
            let app = Dispatch::new(number as u32, Arc::clone(&extensions), end.mailbox, upstream)
                .with_doorkeeper(Doorkeeper::new(verifier));
            #[cfg(feature = "admin")]
            let app = app.with_admin(admin(number, &limits, services, &mailboxes, doors.figures));
            let reactor = Reactor::new(end.poll, listeners, TlsLayers::new(doors.acceptor.cloned()))?;
            let places = Places::new(Arc::clone(&open), plan.connections_max);
            let links = CoreLinks { number: number as u32, peers: links, bridge: None, store };
            cores.push(Core {
                turn: Turn::new(hub, Box::new(app), reactor, links, end.inbox, places),
                shared: end.numbers,
                pace: Pace::new(self.config.coalesce),
                busy_poll: BusyPoll::new(self.config.busy_poll),
            });
        }
        Ok(cores)
    }
}

/// What answers operators on this core: the first one, if this node or others of its cluster may have some.
#[cfg(feature = "admin")]
fn admin(
    core: usize,
    limits: &Limits,
    services: &[Box<dyn PreparedService>],
    mailboxes: &[Mailbox],
    figures: &Arc<dyn Figures>,
) -> Option<Admin> {
    let nodes = services.iter().find_map(|service| service.nodes()).cloned();
    let answers = core == 0 && (limits.has_admin || nodes.is_some());
    answers.then(|| Admin::new(0, mailboxes.to_vec(), Arc::clone(figures)).with_nodes(nodes, limits.has_admin))
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}
