//! What a processor or a filter asked for, kept until the message is known to be sound.

use std::ops::Range;

use crate::{
    engine::{
        hub::{Application, Hub},
        slot::Slot,
        subscriptions::Demand,
    },
    protocol::{
        channel::{self, Kind},
        seen::Seen,
    },
};

/// Where something lies in [`Effects::bytes`]: from the first to before the second.
type Span = (usize, usize);

enum Effect {
    Send { is_text: bool, payload: Span },
    Publish { channels: Span, is_text: bool, payload: Span },
    Subscribe { name: Span, kind: Kind },
    Unsubscribe { name: Span, kind: Kind },
    Close { code: u16, reason: Span },
}

/// Effects in order. Its memory is used again for each message.
#[derive(Default)]
pub(crate) struct Effects {
    list: Vec<Effect>,
    bytes: Vec<u8>,
    /// What the subscriptions among them take that the connection does not hold yet, each name once.
    demand: Demand,
    /// Where the list has subscriptions.
    subscribed: Seen,
    /// Those of the list that a processor's `on_open` asked for.
    opening: Range<usize>,
}

impl Effects {
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
        self.demand = Demand::default();
        self.subscribed.clear();
        self.opening = 0..0;
    }

    /// How many effects there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Notes that all effects from number `start` on are those of an `on_open`.
    pub(crate) fn opened_from(&mut self, start: usize) {
        self.opening = start..self.list.len();
    }

    /// Forgets all but what an `on_open` asked for.
    pub(crate) fn keep_opening(&mut self) {
        self.list.truncate(self.opening.end);
        self.list.drain(..self.opening.start);
        self.subscribed.clear();
        self.opening = 0..self.list.len();
    }

    /// What the subscriptions take that are asked for and that the connection does not hold yet.
    pub(crate) fn demand(&self) -> &Demand {
        &self.demand
    }

    /// Whether this name is among [`Effects::subscriptions`].
    pub(super) fn subscribes(&self, name: &str) -> bool {
        self.subscribed.contains(name.as_bytes(), |place| name_at(&self.list, &self.bytes, place))
    }

    /// Sends what `write` appends.
    pub(super) fn send(&mut self, is_text: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let payload = self.put(write);
        let is_text = is_text && self.is_utf8(payload);
        self.list.push(Effect::Send { is_text, payload });
    }

    /// Publishes what `write` appends to checked channels, joined by spaces.
    pub(super) fn publish(&mut self, channels: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let channels = self.put(|bytes| bytes.extend_from_slice(channels.as_bytes()));
        let payload = self.put(write);
        let is_text = self.is_utf8(payload);
        self.list.push(Effect::Publish { channels, is_text, payload });
    }

    /// Subscribes to a checked name; with all others before it that takes `demand`.
    pub(super) fn subscribe(&mut self, name: &str, kind: Kind, demand: Demand) {
        self.demand = demand;
        let span = self.put(|bytes| bytes.extend_from_slice(name.as_bytes()));
        self.list.push(Effect::Subscribe { name: span, kind });
        let Self { list, bytes, subscribed, .. } = self;
        let place = list.len() as u32 - 1;
        subscribed.is_new(name.as_bytes(), place, |place| name_at(list, bytes, place));
    }

    pub(super) fn unsubscribe(&mut self, name: &str, kind: Kind) {
        let name = self.put(|bytes| bytes.extend_from_slice(name.as_bytes()));
        self.list.push(Effect::Unsubscribe { name, kind });
    }

    pub(super) fn close(&mut self, code: u16, reason: &str) {
        let reason = self.put(|bytes| bytes.extend_from_slice(reason.as_bytes()));
        self.list.push(Effect::Close { code, reason });
    }

    /// Carries everything out, in order.
    pub(crate) fn commit(&mut self, app: &mut dyn Application, hub: &mut Hub, slot: Slot) {
        let bytes = |span: Span| &self.bytes[span.0..span.1];
        for effect in &self.list {
            match *effect {
                Effect::Send { is_text, payload } => hub.send(slot, is_text, bytes(payload)),
                Effect::Publish { channels, is_text, payload } => {
                    hub.publish(channel::split(bytes(channels)), is_text, bytes(payload), None);
                }
                Effect::Subscribe { name, kind } => {
                    hub.subscribe(slot, bytes(name), kind);
                }
                Effect::Unsubscribe { name, kind } => hub.unsubscribe(slot, bytes(name), kind),
                Effect::Close { code, reason } => {
                    hub.close(app, slot, code, std::str::from_utf8(bytes(reason)).unwrap_or_default());
                }
            }
        }
        self.clear();
    }

    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.bytes.len();
        write(&mut self.bytes);
        (start, self.bytes.len())
    }

    fn is_utf8(&self, span: Span) -> bool {
        simdutf8::basic::from_utf8(&self.bytes[span.0..span.1]).is_ok()
    }
}

/// The name of the subscription in this place of the list.
fn name_at<'b>(list: &[Effect], bytes: &'b [u8], place: u32) -> &'b [u8] {
    match list[place as usize] {
        Effect::Subscribe { name, .. } => &bytes[name.0..name.1],
        _ => &[],
    }
}
