//! Publishes on their way into the stream: batches of the cores, of which the stream acknowledges each message.
//!
//! A publish has a number of this node, by which JetStream knows it when it comes twice. It is sent again when an answer
//! is missing, until the stream has it or refuses it. Of the batches that wait, a bounded part is under way.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::engine::{
    slot::ConnectionKey,
    storing::{Batch, REFUSED, Record},
};

/// The most publishes and bytes that are sent and not acknowledged. One publish may be larger.
const MESSAGES_MAX: usize = 1024;
const BYTES_MAX: usize = 1024 * 1024;
/// After this time without an answer a publish is sent again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The most connections that are remembered because they do not get their own messages.
const EXCEPTS_MAX: usize = 8192;

/// A batch of a core.
#[derive(Debug)]
struct Open {
    core: usize,
    /// The number of its first publish; the others follow.
    first: u64,
    batch: Batch,
    numbers: Vec<u64>,
    /// Publishes that the stream has not acknowledged.
    left: usize,
}

/// A publish under way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    bytes: usize,
}

/// The publishes of all cores that the stream does not have.
#[derive(Debug, Default)]
pub(super) struct Puts {
    /// Ordered by `first`.
    open: VecDeque<Open>,
    /// The number of the next publish.
    next: u64,
    /// The next publish to be sent for the first time.
    unsent: u64,
    under_way: BTreeMap<u64, Sent>,
    bytes: usize,
    /// Publishes to be sent again.
    again: VecDeque<u64>,
    excepts: HashMap<u64, (u32, ConnectionKey), RandomState>,
    excepts_order: VecDeque<u64>,
}

impl Puts {
    /// Takes a batch of a core. One without publishes is given back.
    pub(super) fn add(&mut self, core: usize, batch: Batch) -> Option<(usize, Batch)> {
        let first = self.next;
        let left = batch.len();
        if left == 0 {
            return Some((core, done(batch, Vec::new())));
        }
        self.next += left as u64;
        self.open.push_back(Open { core, first, batch, numbers: vec![REFUSED; left], left });
        None
    }

    /// The connection that does not get the message of this publish, and its core.
    pub(super) fn except(&self, number: u64) -> Option<(u32, ConnectionKey)> {
        self.excepts.get(&number).copied()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The next publish to send, with its channel and its message.
    pub(super) fn next(&mut self, now: Instant) -> Option<(u64, &Record, &[u8], &[u8])> {
        let is_full = self.under_way.len() >= MESSAGES_MAX || self.bytes >= BYTES_MAX;
        while self.again.front().is_some_and(|number| !self.under_way.contains_key(number)) {
            self.again.pop_front(); // it was answered after all
        }
        let number = match self.again.pop_front() {
            Some(number) => number,
            None if is_full || self.unsent == self.next => return None,
            None => {
                self.unsent += 1;
                self.unsent - 1
            }
        };
        let at = self.find(number)?;
        let Open { core, first, batch, .. } = &self.open[at];
        let (record, channel, message) = batch.get((number - first) as usize);
        let bytes = channel.len() + message.len();
        if self.under_way.insert(number, Sent { at: now, bytes }).is_none() {
            self.bytes += bytes;
            // Not before: while NATS is away more messages wait than are remembered.
            if let Some(except) = record.origin.except {
                self.excepts.insert(number, (record.origin.core.unwrap_or(*core as u32), except));
                self.excepts_order.push_back(number);
                let is_over = self.excepts_order.len() > EXCEPTS_MAX;
                let oldest = is_over.then(|| self.excepts_order.pop_front()).flatten();
                oldest.map(|oldest| self.excepts.remove(&oldest));
            }
        }
        Some((number, record, channel, message))
    }

    /// Takes the stream's answer to a publish: its number, or that it is refused. Returns the batch if it is complete.
    pub(super) fn answered(&mut self, number: u64, stored: Option<u64>) -> Option<(usize, Batch)> {
        let sent = self.under_way.remove(&number)?;
        self.bytes -= sent.bytes;
        let at = self.find(number)?;
        let open = &mut self.open[at];
        open.numbers[(number - open.first) as usize] = stored.unwrap_or(REFUSED);
        open.left -= 1;
        if open.left > 0 {
            return None;
        }
        let open = self.open.remove(at)?;
        Some((open.core, done(open.batch, open.numbers)))
    }

    /// The publishes to a channel that are under way.
    pub(super) fn under_way_to(&self, channel: &[u8]) -> Vec<u64> {
        let is_to_channel = |number: &u64| {
            self.find(*number).map(|at| &self.open[at]).is_some_and(|open| {
                let (_, name, _) = open.batch.get((number - open.first) as usize);
                name == channel
            })
        };
        self.under_way.keys().copied().filter(is_to_channel).collect()
    }

    /// Sends everything that is under way again: the connection was lost, or the stream was not there.
    pub(super) fn send_again(&mut self) {
        self.again = self.under_way.keys().copied().collect();
    }

    /// Sends a publish again if the answer to the oldest one is missing for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.again.is_empty() && self.expires_at().is_some_and(|at| at <= now) {
            self.send_again();
        }
    }

    /// When an answer is missing for too long.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.under_way.values().map(|sent| sent.at + ANSWER_TIMEOUT).next()
    }

    /// Messages that are not acknowledged.
    pub(super) fn waiting(&self) -> usize {
        self.open.iter().map(|open| open.left).sum()
    }

    fn find(&self, number: u64) -> Option<usize> {
        let after = self.open.partition_point(|open| open.first <= number);
        let at = after.checked_sub(1)?;
        (number < self.open[at].first + self.open[at].batch.len() as u64).then_some(at)
    }
}

fn done(mut batch: Batch, numbers: Vec<u64>) -> Batch {
    batch.numbers = Some(numbers.into());
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{history::Retention, storing::Origin},
        protocol::message::Unnumbered,
    };

    fn batch(messages: usize, bytes: usize, except: Option<ConnectionKey>) -> Batch {
        let (mut batch, retention) = (Batch::default(), Retention { messages: 5, age: 60 });
        for _ in 0..messages {
            let message = vec![b'x'; bytes];
            let origin = Origin { except, ..Origin::default() };
            batch.push((b"room", retention, 0), true, Unnumbered::of_clean(&message), origin);
        }
        batch
    }

    fn send_all(puts: &mut Puts, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| puts.next(now).map(|(number, ..)| number)).collect()
    }

    #[test]
    fn a_batch_comes_back_when_all_of_it_is_stored_or_refused() {
        let (mut puts, now) = (Puts::default(), Instant::now());
        assert!(puts.add(0, batch(2, 1, None)).is_none() && puts.add(1, batch(1, 1, None)).is_none());
        assert_eq!(
            puts.add(1, batch(0, 1, None)).map(|(core, batch)| (core, batch.numbers)),
            Some((1, Some([].into())))
        );
        assert_eq!((send_all(&mut puts, now), puts.waiting()), (vec![0, 1, 2], 3));
        assert!(puts.answered(1, None).is_none());
        assert!(puts.answered(1, Some(9)).is_none(), "a second answer");
        assert_eq!(puts.answered(2, Some(8)).map(|(core, batch)| (core, batch.numbers)), Some((1, Some([8].into()))));
        let of_first = puts.answered(0, Some(7)).map(|(core, batch)| (core, batch.numbers));
        assert_eq!(of_first, Some((0, Some([7, REFUSED].into()))));
        assert!(puts.is_empty() && puts.bytes == 0 && puts.under_way.is_empty());
    }

    #[test]
    fn a_bounded_part_is_under_way_and_is_sent_again_in_its_order() {
        let (mut puts, now) = (Puts::default(), Instant::now());
        puts.add(0, batch(3 * MESSAGES_MAX, 1, None));
        let sent = send_all(&mut puts, now);
        assert_eq!(sent, (0..MESSAGES_MAX as u64).collect::<Vec<_>>());
        puts.answered(3, Some(1));
        assert_eq!(send_all(&mut puts, now), [MESSAGES_MAX as u64]);
        puts.expire(now);
        assert!(send_all(&mut puts, now).is_empty(), "it is not late yet");
        puts.expire(now + ANSWER_TIMEOUT);
        let again = send_all(&mut puts, now);
        assert_eq!((again.len(), &again[..4]), (MESSAGES_MAX, &[0, 1, 2, 4][..]));
        let mut large = Puts::default();
        large.add(0, batch(4, BYTES_MAX, None));
        assert_eq!(send_all(&mut large, now), [0], "one that is as large as the bound goes alone");
    }

    #[test]
    fn publishers_without_an_echo_are_remembered_for_a_while() {
        let (mut puts, key) = (Puts::default(), ConnectionKey { slot: 4, generation: 2 });
        puts.add(1, batch(1, 1, Some(key)));
        puts.add(0, batch(2 * EXCEPTS_MAX, 1, Some(key)));
        let now = Instant::now();
        assert_eq!(send_all(&mut puts, now), (0..MESSAGES_MAX as u64).collect::<Vec<_>>());
        assert_eq!((puts.except(0), puts.except(1)), (Some((1, key)), Some((0, key))), "however many wait");
        for number in 0..EXCEPTS_MAX as u64 {
            puts.answered(number, Some(1));
            send_all(&mut puts, now);
        }
        let newest = (EXCEPTS_MAX + MESSAGES_MAX) as u64 - 1;
        assert_eq!((puts.except(0), puts.except(newest)), (None, Some((0, key))));
        assert_eq!(puts.excepts.len(), EXCEPTS_MAX);
    }
}
