//! Publishing from any thread.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    engine::inbox::{Letter, Mailbox},
    error::PublishError,
    extension::publish::{check_channels, check_publish_size, encode_publish},
};

/// Publishes from any thread of the program that embeds the server (the seed's `Publish` of tools.go). Made by
/// [`Handle::publisher`](crate::Handle::publisher). A publisher and its clones use the same core, so their messages to a
/// channel arrive in the order of the calls.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = lhttp::Server::builder().listen(([127, 0, 0, 1], 0).into()).cores(1).start()?;
/// server.publisher().publish(&["mike"], "chat", &[], "hello mike!")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Publisher {
    mailbox: Mailbox,
    message_bytes_max: usize,
    /// Shared with the cores.
    publish_bytes_max: Arc<AtomicUsize>,
    /// Shared with the reloader, which sets it.
    publish_channels_max: Arc<AtomicUsize>,
}

impl Publisher {
    pub(crate) fn new(
        mailbox: Mailbox,
        message_bytes_max: usize,
        publish_bytes_max: Arc<AtomicUsize>,
        publish_channels_max: Arc<AtomicUsize>,
    ) -> Self {
        Self { mailbox, message_bytes_max, publish_bytes_max, publish_channels_max }
    }

    /// Publishes one message to all these channels, once to each. It has this command, a `publish` header with the channels,
    /// then these headers and this body. It is text if it is UTF-8, else binary. Never waits: it copies the message into the
    /// inbox of a core. Unlike clients, a publisher may name channels that begin with `$` or `_`, and the rules for channels
    /// do not bind it.
    ///
    /// # Errors
    /// The message is not published. [`PublishError::Invalid`] says what is wrong with it (also `message-too-big`, and
    /// `too-many-channels` above [`publish_channels_max`](crate::Config::publish_channels_max)). [`PublishError::Full`]: the
    /// core is behind, try again later. [`PublishError::Stopped`]. A message that a server takes while it stops may reach no
    /// subscriber.
    pub fn publish(
        &self,
        channels: &[&str],
        command: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<(), PublishError> {
        let channels = check_channels(channels, self.publish_channels_max.load(Ordering::Relaxed))
            .map_err(PublishError::Invalid)?
            .join(" ");
        let payload = encode_publish(&channels, command, headers, body.as_ref(), self.message_bytes_max)
            .and_then(|payload| {
                check_publish_size(payload.len(), self.publish_bytes_max.load(Ordering::Relaxed)).map(|()| payload)
            })
            .map_err(PublishError::Invalid)?;
        self.mailbox.post(Letter::Publish { channels: channels.into_bytes().into_boxed_slice(), payload })
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}
