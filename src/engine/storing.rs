//! Publishes on their way to a store, which keeps them in a file before anybody gets them (PROTOCOL.md §10).
//!
//! A core collects a batch in each turn and hands it to the store's thread. The thread keeps the whole batch, gives each
//! message its number, and hands the batch back. At most [`BATCHES_MAX`] batches of a core are with the thread; the next
//! one grows until then, up to [`WAITING_BYTES_MAX`]. Past that, and while the store fails, publishes are refused.

// Without a store, the other end is never used.
#![cfg_attr(not(feature = "sqlite"), allow(dead_code))]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::{
    config::memory,
    engine::{history::Retention, slot::ConnectionKey, wake::Wake},
    protocol::message::Unnumbered,
};

/// The batches of one core that are with the store at a time.
pub(crate) const BATCHES_MAX: usize = 2;
/// The most bytes of publishes of one core that are not kept yet.
pub(crate) const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!(WAITING_BYTES_MAX <= memory::STORE_BYTES);

/// Stands for the number of a record that the store cannot keep.
pub(crate) const REFUSED: u64 = 0;

/// A publish.
#[derive(Debug)]
pub(crate) struct Record {
    /// Where the channel ends in the bytes of the batch. It begins where the record before ends.
    channel_end: u32,
    /// Where the message ends, which follows the channel.
    end: u32,
    pub(crate) is_text: bool,
    /// Its number must be greater than this.
    pub(crate) after: u64,
    pub(crate) retention: Retention,
    pub(crate) origin: Origin,
}

/// The publisher, and what it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The core of the publisher; `None` for the home itself.
    pub(crate) core: Option<u32>,
    /// The connection that is told of a failure.
    pub(crate) publisher: Option<ConnectionKey>,
    /// The connection that does not get the message.
    pub(crate) except: Option<ConnectionKey>,
    /// The number of a receipt; 0 for none.
    pub(crate) receipt: u64,
}

/// Publishes of one core, in their order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
    /// Channels that are forgotten, unless they have messages after this one by now.
    pub(crate) forgotten: Vec<(Box<[u8]>, u64)>,
    /// New channels get no number up to this.
    pub(crate) floor: u64,
    /// Channels whose messages go, those of this batch too.
    pub(crate) purged: Vec<Box<[u8]>>,
    /// The number of each record, or [`REFUSED`], after the batch was kept.
    pub(crate) numbers: Option<Box<[u64]>>,
}

impl Batch {
    /// Adds a publish.
    pub(crate) fn push(
        &mut self,
        (channel, retention, after): (&[u8], Retention, u64),
        is_text: bool,
        message: Unnumbered<'_>,
        origin: Origin,
    ) {
        self.bytes.extend_from_slice(channel);
        let channel_end = self.bytes.len() as u32;
        message.write(&mut self.bytes);
        let end = self.bytes.len() as u32;
        self.records.push(Record { channel_end, end, is_text, after, retention, origin });
    }

    /// The number of publishes.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is nothing to keep and nothing to forget.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.forgotten.is_empty() && self.purged.is_empty()
    }

    /// A publish with its channel and its message.
    pub(crate) fn get(&self, index: usize) -> (&Record, &[u8], &[u8]) {
        let start = index.checked_sub(1).map_or(0, |before| self.records[before].end) as usize;
        let record = &self.records[index];
        let (channel_end, end) = (record.channel_end as usize, record.end as usize);
        (record, &self.bytes[start..channel_end], &self.bytes[channel_end..end])
    }
}

/// A core's end of the way to the store and back.
pub(crate) struct StoreLink {
    to: Sender<Batch>,
    back: Receiver<Batch>,
    /// Batches that the store has not given back, or that were not taken since.
    away: usize,
    is_available: Arc<AtomicBool>,
    /// Tells the store that a batch has come, if it does not wait for that.
    tell: Option<Box<dyn Fn() + Send>>,
}

/// The store's end of the way from one core.
#[derive(Debug)]
pub(crate) struct StoreEnd {
    pub(crate) batches: Receiver<Batch>,
    back: Sender<Batch>,
    wake: Arc<Wake>,
}

/// A link between a core and the store. `is_available` says for all cores whether the store keeps messages.
pub(crate) fn link_store(wake: Arc<Wake>, is_available: Arc<AtomicBool>) -> (StoreLink, StoreEnd) {
    let ((to, batches), (back, from)) = (bounded(BATCHES_MAX), bounded(BATCHES_MAX));
    (StoreLink { to, back: from, away: 0, is_available, tell: None }, StoreEnd { batches, back, wake })
}

impl StoreLink {
    /// Calls `tell` whenever a batch is handed over.
    #[cfg_attr(not(feature = "nats"), allow(dead_code))]
    pub(crate) fn telling(self, tell: impl Fn() + Send + 'static) -> Self {
        Self { tell: Some(Box::new(tell)), ..self }
    }

    /// Hands a batch over.
    ///
    /// # Errors
    /// The batch, if the store has enough.
    pub(crate) fn send(&mut self, batch: Batch) -> Result<(), Batch> {
        if self.away == BATCHES_MAX {
            return Err(batch);
        }
        // Without its thread the server is about to end.
        self.to.try_send(batch).map_err(TrySendError::into_inner)?;
        self.away += 1;
        if let Some(tell) = &self.tell {
            tell();
        }
        Ok(())
    }

    /// The next batch that comes back.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        let batch = self.back.try_recv().ok()?;
        self.away -= 1;
        Some(batch)
    }

    /// Whether a batch has come back.
    pub(crate) fn has_batches(&self) -> bool {
        !self.back.is_empty()
    }

    /// The flag that says whether the store keeps messages.
    pub(crate) fn availability(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_available)
    }
}

impl StoreEnd {
    /// Hands a batch back.
    pub(crate) fn give_back(&self, batch: Batch) {
        // There is room for all batches that are away. The core may have ended.
        let _ = self.back.try_send(batch);
        self.wake.notify();
    }
}

/// Whether the store keeps messages.
pub(crate) fn is_available(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core that takes results more slowly than it hands over publishes must not lose any.
    #[test]
    fn a_core_that_takes_nothing_hands_nothing_over_and_no_batch_is_lost() {
        let (mut link, end) = link_store(Arc::new(Wake::silent()), Arc::default());
        let (mut sent, mut taken) = (0, 0);
        for round in 0..100 {
            sent += usize::from(link.send(Batch::default()).is_ok());
            end.batches.try_iter().for_each(|batch| end.give_back(batch));
            if round % 3 == 0 {
                taken += usize::from(link.take().is_some());
            }
            assert!(sent - taken <= BATCHES_MAX);
        }
        taken += std::iter::from_fn(|| link.take()).count();
        assert_eq!(sent, taken);
        assert!(sent > 30, "it goes on");
    }
}
