//! Messages that wait for NATS, in the order in which they were published, within `nats-buffer`.
//!
//! When they do not fit, the channel that takes the most loses its oldest messages: a flood pushes out itself, and messages
//! of other channels stay. A hash assigns channels to lanes; channels of one lane lose messages together.

use std::{collections::VecDeque, hash::BuildHasher};

use foldhash::fast::RandomState;

use crate::engine::{
    bridge_link::{self, Uplink},
    relay::{self, Item},
};

/// Lanes that channels are assigned to.
const LANES: usize = 1024;
/// This part of `nats-buffer` is never dropped. The backlog cannot free all memory that is in use: one batch is being
/// published, and cores send more at the same time. Without this part it would drop the messages of all channels to make
/// room for them.
const KEPT_PART: usize = 8;

/// Batches of publishes.
#[derive(Debug)]
pub(super) struct Backlog {
    batches: VecDeque<Batch>,
    /// The number of the batch in front; those behind it count on.
    front: u64,
    lanes: Vec<Lane>,
    /// The sum of the lanes' bytes.
    bytes: usize,
    hasher: RandomState,
}

#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    /// Bytes of messages that have not been dropped.
    live: usize,
}

/// The channels of one hash: the numbers of the batches with messages of these channels, and the messages' bytes. A batch that
/// is not listed has lost them.
#[derive(Debug, Default)]
struct Lane {
    bytes: usize,
    parts: VecDeque<(u64, usize)>,
}

/// Messages that did not fit, and a channel of one of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) messages: u64,
    pub(super) channel: Box<[u8]>,
}

impl Backlog {
    pub(super) fn new() -> Self {
        let lanes = (0..LANES).map(|_| Lane::default()).collect();
        Self { batches: VecDeque::new(), front: 0, lanes, bytes: 0, hasher: RandomState::default() }
    }

    /// Takes in the batches that the cores have sent, and drops messages that do not fit. If the bridge is behind, a core
    /// does this too.
    pub(super) fn gather(&mut self, uplink: &Uplink) {
        // Take all batches first: those that stay in the uplink count, and would push out messages here.
        for _ in 0..uplink.waiting() {
            let Some(batch) = uplink.take() else { break };
            self.push(batch);
        }
        while uplink.is_over()
            && self.bytes > uplink.bytes_max() / KEPT_PART
            && let Some((dropped, bytes)) = self.shrink()
        {
            uplink.release(bytes);
            uplink.note_dropped(dropped.messages, &dropped.channel);
        }
    }

    /// Appends a batch.
    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        let number = self.front + self.batches.len() as u64;
        let (mut live, mut rest) = (0, &bytes[..]);
        while let Some((lane, _, len)) = take(&self.hasher, &mut rest) {
            let lane = &mut self.lanes[lane];
            live += len;
            lane.bytes += len;
            self.bytes += len;
            match lane.parts.back_mut() {
                Some((last, bytes)) if *last == number => *bytes += len,
                _ => lane.parts.push_back((number, len)),
            }
        }
        self.batches.push_back(Batch { bytes, live });
    }

    /// Takes the rest of the oldest batch out. Gives it and its cost.
    pub(super) fn pop(&mut self) -> Option<(Vec<u8>, usize)> {
        let mut batch = self.batches.pop_front()?;
        let cost = cost(&batch);
        if batch.live < batch.bytes.len() {
            batch.bytes = self.rest(self.front, &batch.bytes);
        }
        let mut rest = &batch.bytes[..];
        while let Some((lane, ..)) = take(&self.hasher, &mut rest) {
            let lane = &mut self.lanes[lane];
            if let Some(&(number, bytes)) = lane.parts.front()
                && number == self.front
            {
                lane.parts.pop_front();
                lane.bytes -= bytes;
                self.bytes -= bytes;
            }
        }
        self.front += 1;
        Some((batch.bytes, cost))
    }

    /// Drops the oldest messages of the channel that takes the most: those of one batch. Gives the dropped messages and how
    /// many bytes are free again. None if the backlog is empty.
    pub(super) fn shrink(&mut self) -> Option<(Dropped, usize)> {
        let largest = (0..LANES).max_by_key(|&lane| self.lanes[lane].bytes)?;
        let (number, bytes) = self.lanes[largest].parts.pop_front()?;
        self.lanes[largest].bytes -= bytes;
        self.bytes -= bytes;
        let at = (number - self.front) as usize;
        let mut dropped = Dropped::default();
        let batch = &mut self.batches[at];
        let mut rest = &batch.bytes[..];
        while let Some((lane, item, _)) = take(&self.hasher, &mut rest) {
            if lane == largest
                && let Item::Publish { channels, .. } = item
            {
                dropped.messages += relay::names(channels).count() as u64;
                dropped.channel = relay::names(channels).next().unwrap_or_default().into();
            }
        }
        batch.live -= bytes;
        let before = cost(batch);
        // Dropping frees memory only when the batch is copied, so copy it only when half of it is dropped.
        if batch.live * 2 < batch.bytes.len() {
            let bytes = std::mem::take(&mut batch.bytes);
            self.batches[at].bytes = self.rest(number, &bytes);
        }
        Some((dropped, before - cost(&self.batches[at])))
    }

    /// The messages of a batch that were not dropped.
    fn rest(&self, number: u64, bytes: &[u8]) -> Vec<u8> {
        let (mut kept, mut rest) = (Vec::new(), bytes);
        loop {
            let at = bytes.len() - rest.len();
            let Some((lane, _, len)) = take(&self.hasher, &mut rest) else { return kept };
            if self.lanes[lane].parts.front().is_some_and(|(first, _)| *first <= number) {
                kept.extend_from_slice(&bytes[at..at + len]);
            }
        }
    }
}

/// The cost of a batch; none if all of it was dropped.
fn cost(batch: &Batch) -> usize {
    if batch.bytes.is_empty() { 0 } else { bridge_link::cost(&batch.bytes) }
}

/// The next message of a batch: its lane, the message, and its bytes.
fn take<'b>(hasher: &RandomState, rest: &mut &'b [u8]) -> Option<(usize, Item<'b>, usize)> {
    let before = rest.len();
    let item = relay::next(rest)?;
    let name = match item {
        Item::Publish { channels, .. } => relay::names(channels).next().unwrap_or_default(),
        _ => b"",
    };
    Some((lane_of(hasher, name), item, before - rest.len()))
}

fn lane_of(hasher: &RandomState, name: &[u8]) -> usize {
    hasher.hash_one(name) as usize % LANES
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::engine::relay::Relays;

    /// A batch of one message of 100 bytes to each of these channels.
    fn batch(channels: &[&str]) -> Vec<u8> {
        let mut relays = Relays::new(0, 1);
        let bridge = relays.add_bridge();
        for channel in channels {
            relays.publish(bridge, [channel.as_bytes()].into_iter(), &[b'x'; 100]);
        }
        relays.take(bridge).expect("a batch")
    }

    fn channels(batch: &[u8]) -> Vec<String> {
        let (mut channels, mut rest) = (Vec::new(), batch);
        while let Some(Item::Publish { channels: names, .. }) = relay::next(&mut rest) {
            channels.extend(relay::names(names).map(|name| String::from_utf8_lossy(name).into_owned()));
        }
        channels
    }

    /// A channel that shares its lane with none of these.
    fn apart_from(backlog: &Backlog, others: &[&str]) -> String {
        let lane = |name: &str| lane_of(&backlog.hasher, name.as_bytes());
        let mut names = (0..).map(|number| format!("room.{number}"));
        names.find(|name| others.iter().all(|other| lane(other) != lane(name))).expect("there are many lanes")
    }

    #[test]
    fn a_flood_pushes_out_its_own_oldest_messages() {
        let mut backlog = Backlog::new();
        let room = apart_from(&backlog, &["flood"]);
        for _ in 0..10 {
            backlog.push(batch(&["flood", "flood", "flood", &room, "flood"]));
        }
        let mut freed = 0;
        for _ in 0..7 {
            let (dropped, bytes) = backlog.shrink().expect("there is a flood");
            assert_eq!(dropped, Dropped { messages: 4, channel: b"flood".as_slice().into() });
            freed += bytes;
        }
        assert!(freed >= 7 * 4 * 100, "{freed}");
        for _ in 0..7 {
            assert_eq!(channels(&backlog.pop().expect("a batch").0), [&*room]);
        }
        let newest = batch(&["flood", "flood", "flood", &room, "flood"]);
        let cost = bridge_link::cost(&newest);
        assert_eq!([backlog.pop(), backlog.pop(), backlog.pop()][2], Some((newest, cost)), "the newest");
        assert!(backlog.pop().is_none() && backlog.shrink().is_none());
        assert!(backlog.bytes == 0 && backlog.lanes.iter().all(|lane| lane.bytes == 0 && lane.parts.is_empty()));
    }

    #[test]
    fn a_core_sorts_when_the_bridge_has_no_turn() {
        let backlog = Backlog::new();
        let room = apart_from(&backlog, &["flood"]);
        let backlog = Arc::new(Mutex::new(backlog));
        let (uplink, of_cores) = (Uplink::new(64 * 1024, || {}), Arc::clone(&backlog));
        uplink.sort_by(move |uplink| of_cores.try_lock().expect("nobody has it").gather(uplink));
        let flood = batch(&["flood"; 1000]);
        let count = (16 << 20) / flood.len();
        for number in 0..count {
            uplink.send(0, None, [if number % 10 == 0 { batch(&[&room]) } else { flood.clone() }].into_iter());
        }
        let mut backlog = backlog.lock().expect("nobody has it");
        backlog.gather(&uplink);
        assert!(!uplink.is_over() && uplink.dropped() > 0);
        let kept = std::iter::from_fn(|| backlog.pop()).flat_map(|(batch, _)| channels(&batch));
        let rooms = kept.filter(|name| *name == room).count();
        assert_eq!(rooms, count.div_ceil(10), "all of them");
    }

    #[test]
    fn memory_that_the_backlog_cannot_free_does_not_push_out_everything() {
        const LIMIT: usize = 64 * 1024;
        let (uplink, mut backlog) = (Uplink::new(LIMIT, || {}), Backlog::new());
        let floods: Vec<String> = (0..40).map(|number| format!("flood.{number}")).collect();
        let floods: Vec<&str> = floods.iter().map(String::as_str).collect();
        let (flood, room) = (batch(&floods), apart_from(&backlog, &floods));
        uplink.send(0, None, std::iter::repeat_n(flood.clone(), 20));
        while uplink.take().is_some() {} // all of them are at hand
        assert!(uplink.is_over());
        for sent in [batch(&[&room])].into_iter().chain(std::iter::repeat_n(flood, 100)) {
            uplink.send(0, None, std::iter::once(sent));
            backlog.gather(&uplink);
        }
        assert!(uplink.dropped() > 3500 && backlog.bytes <= LIMIT / KEPT_PART, "{} bytes", backlog.bytes);
        assert_eq!(channels(&backlog.pop().expect("a batch").0), [room]);
    }

    #[test]
    fn messages_taken_out_and_messages_dropped_are_all_messages_in_order() {
        let seed = rand::random::<u64>();
        println!("seed {seed}");
        let mut next = seed;
        let mut random = |below: u64| {
            next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (next >> 33) % below
        };
        let (mut backlog, mut pushed, mut out, mut dropped, mut costs) = (Backlog::new(), 0, 0, 0, 0);
        for _ in 0..2000 {
            match random(4) {
                0 => {
                    if let Some((batch, cost)) = backlog.pop() {
                        out += channels(&batch).len();
                        costs -= cost;
                    }
                }
                1 => {
                    if let Some((news, bytes)) = backlog.shrink() {
                        dropped += news.messages as usize;
                        costs -= bytes;
                    }
                }
                _ => {
                    let names: Vec<String> = (0..1 + random(6)).map(|_| format!("c{}", random(5))).collect();
                    pushed += names.len();
                    let batch = batch(&names.iter().map(String::as_str).collect::<Vec<_>>());
                    costs += bridge_link::cost(&batch);
                    backlog.push(batch);
                }
            }
        }
        while let Some((batch, cost)) = backlog.pop() {
            out += channels(&batch).len();
            costs -= cost;
        }
        assert_eq!((out + dropped, costs), (pushed, 0));
        assert!(backlog.bytes == 0 && backlog.lanes.iter().all(|lane| lane.bytes == 0 && lane.parts.is_empty()));
    }
}
