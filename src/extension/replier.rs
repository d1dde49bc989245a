//! Answers from other threads.

use std::fmt;

use crate::{
    engine::inbox::{Letter, Mailbox},
    error::PublishError,
    extension::profile::ConnectionId,
    protocol::message::Message,
};

/// Answers one connection later, from any thread. It is for processors with slow work, since a processor must not block.
/// Made by [`Context::replier`](crate::Context::replier). An answer to a closed connection is dropped without an error, at no
/// cost.
///
/// ```
/// use lhttp::{Context, Processor};
///
/// struct Slow;
///
/// impl Processor for Slow {
///     fn on_message(&self, context: &mut Context<'_>) {
///         let (replier, question) = (context.replier(), context.body().to_vec());
///         std::thread::spawn(move || {
///             // … ask the database …
///             let _ = replier.send(question);
///         });
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Replier {
    mailbox: Mailbox,
    id: ConnectionId,
    is_text: bool,
    /// The request's command and headers, encoded; empty for a message that is not LHTTP.
    head: Vec<u8>,
}

impl Replier {
    pub(super) fn new(mailbox: Mailbox, id: ConnectionId, is_text: bool, head: Vec<u8>) -> Self {
        Self { mailbox, id, is_text, head }
    }

    /// The connection that gets the answers.
    pub fn connection_id(&self) -> ConnectionId {
        self.id
    }

    /// Answers with this body, and with the request's command and headers as they were when the replier was made.
    ///
    /// # Errors
    /// [`PublishError::Full`] if the core is behind (try again later), [`PublishError::Stopped`].
    pub fn send(&self, body: impl AsRef<[u8]>) -> Result<(), PublishError> {
        self.post([&self.head, body.as_ref()].concat())
    }

    /// Answers with this message.
    ///
    /// # Errors
    /// As [`Replier::send`].
    pub fn reply(&self, message: &Message) -> Result<(), PublishError> {
        self.post(message.encode())
    }

    /// Closes the connection, as [`Context::close`](crate::Context::close) does.
    ///
    /// # Errors
    /// As [`Replier::send`].
    pub fn close(&self, code: u16, reason: &str) -> Result<(), PublishError> {
        let code = if crate::protocol::frame::is_close_code(code) { code } else { 1000 };
        self.mailbox.post(Letter::Close { key: self.id.key(), code, reason: reason.into() })
    }

    fn post(&self, payload: Vec<u8>) -> Result<(), PublishError> {
        self.mailbox.post(Letter::Send { key: self.id.key(), is_text: self.is_text, payload })
    }
}

impl fmt::Debug for Replier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replier").field("connection_id", &self.id).finish_non_exhaustive()
    }
}
