//! The bridge, as the server starts and stops it.

use std::{io, sync::Arc, time::Instant};

use crate::{
    config::{Config, Plan},
    engine::{bridge_link::Uplink, node_link::NodeLink},
    error::StartError,
    service::{PreparedService, SecretFiles, Service, Store, Wiring},
};

use super::{
    access::Access,
    lasting::{Ends, Prepared},
    thread::Bridge,
};

/// The bridge that the options ask for; none without the option `nats`.
///
/// # Errors
/// [`StartError::Config`]: a file that cannot be read or used.
pub(crate) fn prepare(config: &Config, plan: &Plan) -> Result<Option<Box<dyn PreparedService>>, StartError> {
    if config.nats.is_none() {
        return Ok(None);
    }
    Ok(Some(Box::new(Bridge::prepare(config, plan.memory_budget_bytes)?)))
}

impl PreparedService for Prepared {
    fn secret_files(&self) -> Option<Arc<dyn SecretFiles>> {
        Some(Arc::clone(&self.access) as Arc<dyn SecretFiles>)
    }

    fn uplink(&self) -> Option<&Uplink> {
        Some(&self.uplink)
    }

    fn nodes(&self) -> Option<&NodeLink> {
        Some(&self.nodes)
    }

    fn store(&mut self) -> Option<&mut dyn Store> {
        Some(self)
    }

    fn start(self: Box<Self>, wiring: Wiring) -> io::Result<Box<dyn Service>> {
        let Wiring { mailboxes, downlinks, stats, publish_bytes_max, outbox_bytes_max, stop_server } = wiring;
        let operators = mailboxes.into_iter().next();
        let ends = Ends { downlinks, operators, stats, publish_bytes_max, outbox_bytes_max };
        Ok(Box::new(Bridge::start(*self, ends, stop_server)?))
    }
}

impl Service for Bridge {
    fn stop(&mut self, deadline: Instant) {
        Bridge::stop(self, deadline);
    }
}

impl SecretFiles for Access {
    fn reread(&self) -> Result<Vec<&'static str>, String> {
        Access::reread(self)
    }
}
