//! Heads that do nothing but publish.

use crate::{
    application::control,
    engine::{hub::Hub, slot::Slot},
    protocol::message::{Control, Head, HeadLimits, Parsed},
};

/// The last head that did nothing but publish. What a head means depends on its bytes alone, so a message that starts
/// with the very same ones, as most of a busy publisher do, is neither parsed nor checked again.
#[derive(Default)]
pub(super) struct Plain {
    /// The head up to its empty line; none yet when it is empty.
    bytes: Vec<u8>,
    head: Head,
    /// What the head was held against.
    limits: Option<HeadLimits>,
    /// How many channels it names.
    channels: usize,
    no_echo: bool,
}

/// A longer head is not kept: comparing it would cost as much as parsing it.
const PLAIN_BYTES_MAX: usize = 256;

impl Plain {
    /// Whether a message begins with this head, and nothing has changed that it was held against.
    pub(super) fn matches(&self, hub: &Hub, payload: &[u8]) -> bool {
        self.limits == Some(hub.limits.head)
            && self.channels <= hub.limits.publish_channels_max
            && payload.starts_with(&self.bytes)
            && payload.len() <= hub.publish_bytes_max()
    }

    /// Keeps a head that was found sound; `head` gets the table of the one before.
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

    /// Carries out a message that has this head. The next ones need not come here if its channel is the only one.
    pub(super) fn carry_out(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]) {
        control::carry_out(hub, slot, Parsed { head: &self.head, payload, is_text }, None);
        if self.channels == 1 {
            hub.expect_repeats(&self.bytes, self.no_echo);
        }
    }
}
