//! What users plug in: processors, filters, a handler for messages that are not LHTTP; and what their code can ask for.

mod context;
mod effects;
mod profile;
pub(crate) mod publish;
mod publisher;
mod replier;
mod request;

use std::{collections::HashMap, sync::Arc};

use crate::{
    error::{Refusal, StartError},
    protocol::message::Message,
};

pub use self::{context::Context, profile::ConnectionId, publisher::Publisher, replier::Replier};

pub(crate) use self::{effects::Effects, profile::Profile, request::Request};

/// Handles the messages of one command. All methods do nothing unless they are written (the seed's `BaseProcessor`).
///
/// They run on the core that owns the connection, between reading a message and carrying out its control headers, so
/// they must not block: everything else on that core would wait. For slow work take a [`Context::replier`] along to
/// another thread. State that is shared between connections needs a lock or atomics, because each core calls the same
/// processor; what belongs to one connection is best kept with [`Context::set_user`].
///
/// What a processor sends, publishes and subscribes takes effect when it has returned and the message has been found
/// sound; if it panics, nothing of it does, and the connection is closed with 1011.
///
/// ```
/// use lhttp::{Context, Processor};
///
/// struct Chat;
///
/// impl Processor for Chat {
///     fn on_message(&self, context: &mut Context<'_>) {
///         context.send(context.body());
///     }
/// }
/// ```
pub trait Processor: Send + Sync {
    /// A connection uses this command for the first time; [`Processor::on_message`] follows, with the same message. What
    /// is asked for here takes effect even if that message is refused then.
    fn on_open(&self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// A message with this command has come.
    fn on_message(&self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// A connection that had used this command has ended. Called once. There is no message in the context any more, and
    /// nothing can be sent to the connection.
    fn on_close(&self, context: &mut Context<'_>) {
        let _ = context;
    }
}

/// Sees every connection and every LHTTP message that can be parsed, whatever its command (the seed's header filters).
/// All methods let everything pass unless they are written. It does not see messages that are not LHTTP, nor what is
/// published with `POST /publish` or a [`Publisher`]; that is why a server with filters refuses `POST /publish` without a
/// key, see [`Builder::filter`](crate::Builder::filter). Filters run in the order in which they were registered, on the core that
/// owns the connection: like a [`Processor`] they must not block.
///
/// ```
/// use lhttp::{Context, Filter, Refusal};
///
/// struct OnlyJson;
///
/// impl Filter for OnlyJson {
///     fn before_request(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
///         match context.header("content-type") {
///             Some("json") => Ok(()),
///             _ => Err(Refusal::new(415, "not-json", "this server takes json only")),
///         }
///     }
/// }
/// ```
pub trait Filter: Send + Sync {
    /// A connection has opened. Its path and handshake headers are in the context.
    ///
    /// # Errors
    /// The client gets this as an error message, and the connection ends with 1008.
    fn on_open(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        let _ = context;
        Ok(())
    }

    /// A message has come, before anything else is done with it. Its control headers may still be unsound.
    ///
    /// # Errors
    /// The client gets this as an error message, and nothing of the message happens.
    fn before_request(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        let _ = context;
        Ok(())
    }

    /// A message has been carried out. Changing it now changes only what [`Context::send`] answers. Not called for a
    /// message that was refused, nor for one whose processor closed the connection.
    fn after_request(&self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// A connection has ended. Called once for each, also for one that a filter's `on_open` did not want. As in
    /// [`Processor::on_close`], nothing can be sent to it any more.
    fn on_close(&self, context: &mut Context<'_>) {
        let _ = context;
    }
}

impl<P: Processor + ?Sized> Processor for Arc<P> {
    fn on_open(&self, context: &mut Context<'_>) {
        P::on_open(self, context);
    }

    fn on_message(&self, context: &mut Context<'_>) {
        P::on_message(self, context);
    }

    fn on_close(&self, context: &mut Context<'_>) {
        P::on_close(self, context);
    }
}

impl<F: Filter + ?Sized> Filter for Arc<F> {
    fn on_open(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        F::on_open(self, context)
    }

    fn before_request(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        F::before_request(self, context)
    }

    fn after_request(&self, context: &mut Context<'_>) {
        F::after_request(self, context);
    }

    fn on_close(&self, context: &mut Context<'_>) {
        F::on_close(self, context);
    }
}

/// What a server was given to plug in. One for all cores.
#[derive(Default)]
pub(crate) struct Extensions {
    /// By command.
    pub(crate) processors: HashMap<Vec<u8>, Arc<dyn Processor>, foldhash::fast::RandomState>,
    pub(crate) filters: Vec<Arc<dyn Filter>>,
    pub(crate) raw: Option<Arc<RawHandler>>,
}

/// Handles what is not LHTTP.
pub(crate) type RawHandler = dyn Fn(&mut Context<'_>) + Send + Sync;

impl Extensions {
    /// # Errors
    /// No message could have the command of one of the processors.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        for command in self.processors.keys().map(|command| String::from_utf8_lossy(command)) {
            if let Err(refusal) = Message::new(&*command) {
                let sentence = format!("a processor has the command {command:?}: {}", refusal.sentence());
                return Err(StartError::Config(sentence));
            }
        }
        Ok(())
    }

    /// Whether there is nothing to call, so that nothing need be kept about connections.
    pub(crate) fn is_empty(&self) -> bool {
        self.processors.is_empty() && self.filters.is_empty() && self.raw.is_none()
    }
}
