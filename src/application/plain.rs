//! The fast path for heads that only publish.

use crate::{
    application::control,
    engine::{hub::Hub, slot::Slot},
    protocol::message::{Control, Head, HeadLimits, Parsed},
};

/// The last head that only publishes. A head's meaning depends on its bytes alone. So a message that starts with the same
/// bytes, like most of a busy publisher, needs no parsing and no checks.
#[derive(Default)]
pub(super) struct Plain {
    /// The bytes of the head, with its empty line; empty if no head is kept yet.
    bytes: Vec<u8>,
    head: Head,
    /// The limits that the head was checked against.
    limits: Option<HeadLimits>,
    /// The number of its channels.
    channels: usize,
    no_echo: bool,
}

/// A longer head is not kept, because a comparison would cost as much as parsing.
const PLAIN_BYTES_MAX: usize = 256;

impl Plain {
    /// True if the message begins with this head, and the limits still allow it.
    pub(super) fn matches(&self, hub: &Hub, payload: &[u8]) -> bool {
        self.limits == Some(hub.limits.head)
            && self.channels <= hub.limits.publish_channels_max
            && payload.starts_with(&self.bytes)
            && payload.len() <= hub.publish_bytes_max()
    }

    /// Keeps a valid head if it only publishes. `head` gets the table of the head that was kept before.
    pub(super) fn keep(&mut self, limits: HeadLimits, head: &mut Head, payload: &[u8]) {
        if head.only_publishes() && head.body_start() <= PLAIN_BYTES_MAX {
            self.bytes.clear();
            self.bytes.extend_from_slice(&payload[..head.body_start()]);
            std::mem::swap(&mut self.head, head);
            self.limits = Some(limits);
            self.channels = self.head.names(payload, Control::Publish).count();
            self.no_echo = control::is_no_echo(&self.head, payload);
        }
    }

    /// Carries out a message with this head. If it has one channel, the hub may repeat it for the next ones by itself.
    pub(super) fn carry_out(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]) {
        control::carry_out(hub, slot, Parsed { head: &self.head, payload, is_text }, None);
        if self.channels == 1 {
            hub.expect_repeats(&self.bytes, self.no_echo);
        }
    }
}
