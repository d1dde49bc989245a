//! The code that sees every connection and message.

use std::sync::Arc;

use crate::{error::Refusal, extension::Context};

/// Sees every connection, and every LHTTP message that can be parsed, with any command (the seed's header filters). Every
/// method lets everything pass by default.
///
/// A filter sees neither messages that are not LHTTP nor those that come from `POST /publish` or a [`Publisher`]. Therefore a
/// server with filters refuses `POST /publish` without a key, see [`Builder::filter`]. Filters run in the order of their
/// registration, on the core that owns the connection. Like a [`Processor`] they must not block.
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
///
/// [`Publisher`]: crate::Publisher
/// [`Builder::filter`]: crate::Builder::filter
/// [`Processor`]: crate::Processor
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
    /// [`Processor::on_close`](crate::Processor::on_close), nothing can be sent to the connection any more.
    fn on_close(&self, context: &mut Context<'_>) {
        let _ = context;
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
