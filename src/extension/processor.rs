//! The code for one command.

use std::sync::Arc;

use crate::extension::Context;

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
