//! The code that users plug in (processors, filters, a handler for messages that are not LHTTP), and what it can ask for.

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

/// Handles the messages of one command (the seed's `BaseProcessor`). Every method does nothing by default.
///
/// The methods run on the core that owns the connection, after a message is read and before its control headers are carried
/// out. They must not block: everything else on that core would wait. For slow work give a [`Context::replier`] to another
/// thread. All cores call the same processor, so state that connections share needs a lock or atomics. Keep the state of one
/// connection with [`Context::set_user`].
///
/// A processor's sends, publishes and subscriptions take effect after it has returned, if the message is valid. If it panics,
/// none of them takes effect, and the connection is closed with 1011.
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
    /// Called when a connection uses this command for the first time; [`Processor::on_message`] follows, with the same
    /// message. The effects of this call remain even if that message is refused.
    fn on_open(&self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// Called for each message with this command.
    fn on_message(&self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// Called once after the end of a connection that has used this command. The context has no message, and nothing can be
    /// sent to the connection any more.
    fn on_close(&self, context: &mut Context<'_>) {
        let _ = context;
    }
}

/// Sees every connection, and every LHTTP message that can be parsed, with any command (the seed's header filters). Every
/// method lets everything pass by default.
///
/// A filter sees neither messages that are not LHTTP nor those that come from `POST /publish` or a [`Publisher`]. Therefore a
/// server with filters refuses `POST /publish` without a key, see [`Builder::filter`](crate::Builder::filter). Filters run in
/// the order of their registration, on the core that owns the connection. Like a [`Processor`] they must not block.
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
    /// Called when a connection has opened. The context has its path and handshake headers.
    ///
    /// # Errors
    /// The client gets the refusal as an error message, and the connection is closed with 1008.
    fn on_open(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        let _ = context;
        Ok(())
    }

    /// Called for each message before the server checks its control headers, which may still be invalid.
    ///
    /// # Errors
    /// The client gets the refusal as an error message, and the message has no effect.
    fn before_request(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        let _ = context;
        Ok(())
    }

    /// Called after a message was carried out. Changes to it affect only the answers of [`Context::send`]. Not called if the
    /// message was refused, or if its processor closed the connection.
    fn after_request(&self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// Called once after the end of each connection, also of one that a filter's `on_open` has refused. As in
    /// [`Processor::on_close`], nothing can be sent to the connection any more.
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

/// The code that is plugged into a server. All cores share it.
#[derive(Default)]
pub(crate) struct Extensions {
    /// By command.
    pub(crate) processors: HashMap<Vec<u8>, Arc<dyn Processor>, foldhash::fast::RandomState>,
    pub(crate) filters: Vec<Arc<dyn Filter>>,
    pub(crate) raw: Option<Arc<RawHandler>>,
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

    /// True if nothing is plugged in. Then the server keeps no profiles of connections.
    pub(crate) fn is_empty(&self) -> bool {
        self.processors.is_empty() && self.filters.is_empty() && self.raw.is_none()
    }
}
