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
    error::{PublishError, Reason, Refusal},
    extension::control::check_publish_size,
    protocol::{channel, message::Message},
};

/// Publishes from any thread of the program that embeds the server (the seed's `Publish` of tools.go). Made by
/// [`Handle::publisher`](crate::Handle::publisher); clones share one way in, so what is published through one of them to
/// a channel arrives in the order of the calls.
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
    /// The same as the cores'.
    publish_bytes_max: Arc<AtomicUsize>,
}

impl Publisher {
    pub(crate) fn new(mailbox: Mailbox, message_bytes_max: usize, publish_bytes_max: Arc<AtomicUsize>) -> Self {
        Self { mailbox, message_bytes_max, publish_bytes_max }
    }

    /// Publishes one message to all these channels: `command`, a `publish` header that names them, `headers` behind it,
    /// and `body`. It goes as text if it is UTF-8, else as binary. Never waits: it copies the message into the inbox of a
    /// core.
    ///
    /// # Errors
    /// [`PublishError::Invalid`] with what is wrong (also `message-too-big`), [`PublishError::Full`] when the core is
    /// behind (try again later), [`PublishError::Stopped`]. Nothing was published then. What a server takes while it
    /// stops may reach nobody.
    pub fn publish(
        &self,
        channels: &[&str],
        command: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<(), PublishError> {
        let payload = encode_publish(channels, command, headers, body.as_ref(), self.message_bytes_max)
            .and_then(|payload| {
                check_publish_size(payload.len(), self.publish_bytes_max.load(Ordering::Relaxed)).map(|()| payload)
            })
            .map_err(PublishError::Invalid)?;
        let channels = channels.join(" ").into_bytes().into_boxed_slice();
        self.mailbox.post(Letter::Publish { channels, payload })
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

/// The message that publishes `body` to `channels`.
pub(super) fn encode_publish(
    channels: &[&str],
    command: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    message_bytes_max: usize,
) -> Result<Vec<u8>, Refusal> {
    if channels.is_empty() {
        return Err(Refusal::because(Reason::BadChannel, "there is no channel to publish to"));
    }
    channels.iter().try_for_each(|name| channel::check_publish(name.as_bytes()))?;
    let mut message = Message::new(command)?.header("publish", channels.join(" "))?;
    for (name, value) in headers {
        message.add_header(*name, *value)?;
    }
    message.set_body(body);
    let payload = message.encode();
    if payload.len() > message_bytes_max {
        let sentence = format!("the message has {} bytes, at most {message_bytes_max} are allowed", payload.len());
        return Err(Refusal::because(Reason::MessageTooBig, sentence));
    }
    Ok(payload)
}
