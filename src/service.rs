//! Services run beside the cores on their own threads: the bridge to other nodes, and the upstream workers. The server
//! knows them only by these traits.

mod numbers;
#[cfg(feature = "admin")]
pub(crate) mod process;

use std::{
    fmt::Debug,
    io,
    sync::{Arc, atomic::AtomicUsize},
    time::Instant,
};

use crate::{
    application::Upstream,
    engine::{
        bridge_link::{Downlink, Uplink},
        hub::Hub,
        inbox::Mailbox,
        node_link::NodeLink,
        stats::SharedStats,
        storing::StoreLink,
        wake::Wake,
    },
    error::StartError,
};

pub(crate) use self::numbers::{Numbers, Report, ServiceNumbers};

/// A service whose options and files were read and found sound. Dropping it has no effect.
pub(crate) trait PreparedService {
    /// The files that it logs in with, if it has any.
    fn secret_files(&self) -> Option<Arc<dyn SecretFiles>> {
        None
    }

    /// The path of core number `core` to upstream servers, if this service has it.
    fn upstream(&self, _core: u32) -> Option<Box<dyn Upstream>> {
        None
    }

    /// The link to the service for the cores' publishes and interest, if it is a bridge to other nodes.
    fn uplink(&self) -> Option<&Uplink> {
        None
    }

    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]
    /// The way of operators' questions to other nodes, if this is a bridge to them.
    fn nodes(&self) -> Option<&NodeLink> {
        None
    }

    /// The keeper of the history, if this is one.
    fn store(&mut self) -> Option<&mut dyn Store> {
        None
    }

    /// Starts its threads.
    ///
    /// # Errors
    /// The system refuses a thread or another resource.
    fn start(self: Box<Self>, wiring: Wiring) -> io::Result<Box<dyn Service>>;
}

/// The keeper of the channels' history.
pub(crate) trait Store {
    /// Gives a core its link, and the channels that are kept and whose home it is. `wake` is the core's.
    ///
    /// # Errors
    /// [`StartError::Config`]: what is kept cannot be read.
    fn attach(&mut self, hub: &mut Hub, wake: Arc<Wake>) -> Result<StoreLink, StartError>;
}

/// The connections between a starting service and the server.
#[allow(dead_code)] // a build without one of the services does not read all of it
pub(crate) struct Wiring {
    /// The path to each core, by number.
    pub(crate) mailboxes: Vec<Mailbox>,
    /// By core, the path back from a service that has an uplink.
    pub(crate) downlinks: Vec<Downlink>,
    /// The service's counters.
    pub(crate) stats: Arc<SharedStats>,
    /// The largest message that may be published, which the bridge sets.
    pub(crate) publish_bytes_max: Arc<AtomicUsize>,
    /// `outbox-max`, which a reload changes.
    pub(crate) outbox_bytes_max: Arc<AtomicUsize>,
    /// Stops the server. A service calls it if its thread ends before it was asked to.
    pub(crate) stop_server: Box<dyn FnOnce() + Send>,
}

/// A service that runs. Dropping it stops it at once.
pub(crate) trait Service: Debug + Send + Sync {
    /// Adds the numbers that come from its state and not from counters, if there are any. The server may outlive it.
    fn report(&self) -> Option<Report> {
        None
    }

    /// Finishes the work that the cores have left to it, until `deadline` or a little longer, and ends. The cores must
    /// have ended.
    fn stop(&mut self, deadline: Instant);
}

/// The files that a service logs in with.
pub(crate) trait SecretFiles: Debug + Send + Sync {
    /// Reads the files again, and uses their contents from now on. Gives the options whose files have changed.
    ///
    /// # Errors
    /// One sentence that names the option and the file, and no secret; the last contents stay in use.
    fn reread(&self) -> Result<Vec<&'static str>, String>;
}
