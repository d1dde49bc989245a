//! The message that a program publishes: its channels, its size, its bytes.

use smallvec::SmallVec;

use crate::{
    error::{Reason, Refusal},
    protocol::{channel, message::Message},
};

/// Checks the channels that a program publishes to, and gives each once, in order. Channels of the system are allowed.
///
/// # Errors
/// `bad-channel`, `too-many-channels`.
pub(super) fn check_channels<'c>(channels: &[&'c str], channels_max: usize) -> Result<SmallVec<[&'c str; 4]>, Refusal> {
    let mut checked = SmallVec::new();
    for &name in channels {
        if checked.contains(&name) {
            continue;
        }
        if checked.len() == channels_max {
            return Err(too_many_channels(channels_max));
        }
        channel::check_publish(name.as_bytes())?;
        checked.push(name);
    }
    if checked.is_empty() {
        return Err(Refusal::because(Reason::BadChannel, "there is no channel to publish to"));
    }
    Ok(checked)
}

#[cold]
pub(crate) fn too_many_channels(channels_max: usize) -> Refusal {
    let sentence = format!("a message may be published to {channels_max} channels");
    Refusal::because(Reason::TooManyChannels, sentence)
}

/// Checks that every node takes a message of this size. NATS has its own limit (PROTOCOL.md §7).
///
/// # Errors
/// `message-too-big`.
pub(crate) fn check_publish_size(len: usize, publish_bytes_max: usize) -> Result<(), Refusal> {
    if len <= publish_bytes_max {
        return Ok(());
    }
    let sentence = format!("the message has {len} bytes, and NATS carries at most {publish_bytes_max}");
    Err(Refusal::because(Reason::MessageTooBig, sentence))
}

/// Encodes the message that publishes `body` to these checked channels, which are separated by spaces.
///
/// # Errors
/// `bad-start-line`, `bad-header`, `message-too-big`.
pub(super) fn encode_publish(
    channels: &str,
    command: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    message_bytes_max: usize,
) -> Result<Vec<u8>, Refusal> {
    let mut message = Message::new(command)?.header("publish", channels)?;
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
