//! The code that users plug in (processors, filters, a handler for messages that are not LHTTP), and what it can ask for.

mod context;
mod effects;
mod filter;
mod processor;
mod profile;
pub(crate) mod publish;
mod publisher;
mod replier;
mod request;

use std::{collections::HashMap, sync::Arc};

use crate::{
    error::StartError,
    protocol::{http::Pages, message::Message},
};

pub use self::{
    context::Context, filter::Filter, processor::Processor, profile::ConnectionId, publisher::Publisher,
    replier::Replier,
};

pub(crate) use self::{effects::Effects, profile::Profile, request::Request};

/// The code that is plugged into a server. All cores share it.
#[derive(Default)]
pub(crate) struct Extensions {
    /// By command.
    pub(crate) processors: HashMap<Vec<u8>, Arc<dyn Processor>, foldhash::fast::RandomState>,
    pub(crate) filters: Vec<Arc<dyn Filter>>,
    pub(crate) raw: Option<Arc<RawHandler>>,
    /// `POST /publish` may pass the filters by without a key.
    pub(crate) publishes_past_filters: bool,
    /// For listeners of pages.
    pub(crate) pages: Pages,
}

/// Handles messages that are not LHTTP.
pub(crate) type RawHandler = dyn Fn(&mut Context<'_>) + Send + Sync;

impl Extensions {
    /// # Errors
    /// [`StartError::Config`]: a processor has a command that no message can have.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        for command in self.processors.keys().map(|command| String::from_utf8_lossy(command)) {
            if let Err(refusal) = Message::new(&*command) {
                let sentence = format!("a processor has the command {command:?}: {}", refusal.sentence());
                return Err(StartError::Config(sentence));
            }
        }
        Ok(())
    }

    /// Whether a `POST /publish` is refused as long as no publish key is set: it would pass filters by.
    pub(crate) fn refuses_unkeyed_publish(&self) -> bool {
        !self.filters.is_empty() && !self.publishes_past_filters
    }

    /// True if nothing is plugged in. Then the server keeps no profiles of connections.
    pub(crate) fn is_empty(&self) -> bool {
        self.processors.is_empty() && self.filters.is_empty() && self.raw.is_none()
    }
}
