//! LHTTP messages (PROTOCOL.md §1): the head, parsed in place, and the owned message that programs build.

mod answers;
mod control;
mod head;
mod names;
pub(crate) mod numbered;
mod owned;
mod parsed;
mod rewrite;

pub(crate) use answers::{acknowledgement, encode_ended_subscription, encode_refusal, presence_change, presence_list};
pub(crate) use control::Control;
pub(crate) use head::{Head, HeadLimits, find_ack};
pub(crate) use names::Span;
pub(crate) use numbered::{Epoch, MessageId, Series, Unnumbered};
pub use owned::Message;
pub(crate) use parsed::Parsed;

/// The first bytes of every LHTTP message.
pub(crate) const VERSION: &[u8] = b"LHTTP/1.0";
/// The longest command, in bytes.
pub(crate) const COMMAND_BYTES_MAX: usize = 64;
/// The longest header name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64;
/// The longest `ack` token, in bytes (PROTOCOL.md §2).
pub(crate) const ACK_BYTES_MAX: usize = 64;

/// Whether a message is LHTTP at all. The raw handler gets all others.
pub(crate) fn is_lhttp(payload: &[u8]) -> bool {
    payload.starts_with(VERSION)
}

/// Whether these bytes are a command: 1 to 64 visible ASCII characters.
pub(crate) fn is_command(command: &[u8]) -> bool {
    (1..=COMMAND_BYTES_MAX).contains(&command.len()) && command.iter().all(u8::is_ascii_graphic)
}

/// Whether these bytes are a header's name: 1 to 64 token characters (RFC 9110 §5.6.2).
pub(crate) fn is_name(name: &[u8]) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.iter().all(|&byte| is_token(byte))
}

/// Whether a header's value may contain this byte (RFC 9110 §5.5): anything but control characters; tabs are allowed.
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    (byte >= 0x20 && byte != 0x7f) || byte == b'\t'
}

/// Whether a header's name may contain this byte (RFC 9110 §5.6.2). A table, because names are read byte by byte.
pub(crate) fn is_token(byte: u8) -> bool {
    const TOKENS: [bool; 256] = {
        let mut tokens = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            tokens[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let marks = b"!#$%&'*+-.^_`|~";
        let mut at = 0;
        while at < marks.len() {
            tokens[marks[at] as usize] = true;
            at += 1;
        }
        tokens
    };
    TOKENS[usize::from(byte)]
}

/// The value without the spaces and tabs around it.
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    let mut value = trim_start(value);
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The value without the spaces and tabs before it.
pub(crate) fn trim_start(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    value
}
