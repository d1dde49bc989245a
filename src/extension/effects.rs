//! The actions that a processor or filter asks for. They wait until the message is known to be valid.

use std::ops::Range;

use crate::{
    engine::{application::Application, hub::Hub, slot::Slot, stats::Why, subscriptions::Demand},
    protocol::{
        channel::{self, Kind},
        seen::Seen,
    },
};

/// A range of [`Effects::bytes`]: its start and its end.
type Span = (usize, usize);

enum Effect {
    Send { is_text: bool, payload: Span },
    Publish { channels: Span, is_text: bool, payload: Span },
    Subscribe { name: Span, kind: Kind },
    Unsubscribe { name: Span, kind: Kind },
    Close { code: u16, reason: Span },
}

/// The effects in order. Each message uses the same memory again.
#[derive(Default)]
pub(crate) struct Effects {
    list: Vec<Effect>,
    bytes: Vec<u8>,
    /// The demand of the new subscriptions, each name once: those that the connection does not hold yet.
    demand: Demand,
    /// The places of the list that are subscriptions, by name.
    subscribed: Seen,
    /// The places of the list that a processor's `on_open` has added.
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

    /// The number of effects.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Marks all effects from number `start` on as those of an `on_open`.
    pub(crate) fn opened_from(&mut self, start: usize) {
        self.opening = start..self.list.len();
    }

    /// Removes all effects but those of an `on_open`.
    pub(crate) fn keep_opening(&mut self) {
        self.list.truncate(self.opening.end);
        self.list.drain(..self.opening.start);
        self.subscribed.clear();
        self.opening = 0..self.list.len();
    }

    /// The demand of the subscriptions that the connection does not hold yet.
    pub(crate) fn demand(&self) -> &Demand {
        &self.demand
    }

    /// True if a subscription to this name is among the effects.
    pub(super) fn subscribes(&self, name: &str) -> bool {
        self.subscribed.contains(name.as_bytes(), |place| name_at(&self.list, &self.bytes, place))
    }

    /// Sends the bytes that `write` appends.
    pub(super) fn send(&mut self, is_text: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let payload = self.put(write);
        let is_text = is_text && self.is_utf8(payload);
        self.list.push(Effect::Send { is_text, payload });
    }

    /// Publishes the bytes that `write` appends to these checked channels, which are separated by spaces.
    pub(super) fn publish(&mut self, channels: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let channels = self.put(|bytes| bytes.extend_from_slice(channels.as_bytes()));
        let payload = self.put(write);
        let is_text = self.is_utf8(payload);
        self.list.push(Effect::Publish { channels, is_text, payload });
    }

    /// Subscribes to a checked name. `demand` is that of all subscriptions so far, with this one.
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

    /// Carries out all effects, in order.
    pub(crate) fn commit(&mut self, app: &mut dyn Application, hub: &mut Hub, slot: Slot) {
        let bytes = |span: Span| &self.bytes[span.0..span.1];
        for effect in &self.list {
            match *effect {
                Effect::Send { is_text, payload } => hub.send(slot, is_text, bytes(payload)),
                Effect::Publish { channels, is_text, payload } => {
                    hub.publish(channel::split(bytes(channels)), is_text, bytes(payload), None);
                }
                Effect::Subscribe { name, kind } => {
                    hub.subscribe_for_server(slot, bytes(name), kind);
                }
                Effect::Unsubscribe { name, kind } => hub.unsubscribe(slot, bytes(name), kind),
                Effect::Close { code, reason } => {
                    let reason = std::str::from_utf8(bytes(reason)).unwrap_or_default();
                    hub.close(app, slot, (code, reason), Why::Server);
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

/// The name of the subscription at this place of the list.
fn name_at<'b>(list: &[Effect], bytes: &'b [u8], place: u32) -> &'b [u8] {
    match list[place as usize] {
        Effect::Subscribe { name, .. } => &bytes[name.0..name.1],
        _ => &[],
    }
}
