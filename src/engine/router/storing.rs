//! Channels whose history a store keeps, too: a publish is numbered, and given to subscribers, only after it is kept.

use std::sync::{Arc, atomic::AtomicBool};

use crate::{
    engine::{
        history::Retention,
        router::{
            Router,
            receipts::{Known, Receipt},
            work::MESSAGE_UNITS,
        },
        slot::ConnectionKey,
        storing::{Batch, Origin, REFUSED, Record, is_available},
    },
    protocol::message::{MessageId, Unnumbered},
};

/// The publishes of this core that the store has not kept yet.
#[derive(Debug)]
pub(crate) struct Storing {
    /// The batch of this turn.
    open: Batch,
    /// A batch that came back, and how many of its publishes are carried out.
    taken: Option<(Batch, usize)>,
    /// The bytes of all publishes that wait, the most of them, and their number.
    bytes: usize,
    bytes_max: usize,
    waiting: usize,
    is_available: Arc<AtomicBool>,
    /// Publishers on this core whose messages were not kept, and who did not ask for an acknowledgement.
    failed: Vec<ConnectionKey>,
    /// Publishes that were refused.
    pub(crate) refused: u64,
    /// Channels whose messages an operator has deleted from the store, and whether it has worked.
    purged: Vec<(Box<[u8]>, bool)>,
}

impl Router {
    /// Keeps the history in a store, too, which may be behind by this many bytes.
    pub(crate) fn keep_in_store(&mut self, is_available: Arc<AtomicBool>, bytes_max: usize) {
        self.storing = Some(Box::new(Storing {
            open: Batch::default(),
            taken: None,
            bytes: 0,
            bytes_max,
            waiting: 0,
            is_available,
            failed: Vec::new(),
            refused: 0,
            purged: Vec::new(),
        }));
    }

    /// Whether publishes to channels with a history are taken now.
    pub(crate) fn is_store_available(&self) -> bool {
        self.storing.as_ref().is_none_or(|storing| storing.has_room())
    }

    /// Whether a publish waits for the store.
    pub(crate) fn is_storing(&self) -> bool {
        self.storing.as_ref().is_some_and(|storing| storing.waiting > 0)
    }

    /// The memory of publishes that wait, in bytes.
    pub(crate) fn storing_bytes(&self) -> usize {
        self.storing.as_ref().map_or(0, |storing| storing.bytes)
    }

    /// Publishes that were refused because the store could not keep them.
    pub(crate) fn store_refused(&self) -> u64 {
        self.storing.as_ref().map_or(0, |storing| storing.refused)
    }

    /// Hands a publish to the resolved channel over to the store.
    pub(super) fn put_into_store(
        &mut self,
        retention: Retention,
        is_text: bool,
        message: Unnumbered<'_>,
        origin: Origin,
    ) {
        if !self.is_store_available() {
            return self.refuse_stored(origin);
        }
        let channel = self.resolved_channel(retention);
        let after = self.history.extent(channel).newest;
        let Some(storing) = &mut self.storing else { return };
        storing.open.push((&self.resolved.name, retention, after), is_text, message, origin);
        storing.bytes += cost(&self.resolved.name, message.len());
        storing.waiting += 1;
        self.work.add(MESSAGE_UNITS + message.len() as u64 / 8);
    }

    /// Takes the batch of this turn, if there is one.
    pub(crate) fn take_store_batch(&mut self) -> Option<Batch> {
        let storing = self.storing.as_mut()?;
        (!storing.open.is_empty()).then(|| std::mem::take(&mut storing.open))
    }

    /// Takes back a batch for which the store has no room yet. It goes on growing.
    pub(crate) fn give_back_store_batch(&mut self, batch: Batch) {
        if let Some(storing) = &mut self.storing {
            storing.open = batch;
        }
    }

    /// Takes a batch that the store has kept, or could not keep. [`Router::go_on_storing`] carries it out; no other may be
    /// in progress.
    pub(crate) fn stored_batch(&mut self, batch: Batch) {
        if let Some(storing) = &mut self.storing {
            debug_assert!(storing.taken.is_none());
            storing.taken = Some((batch, 0));
        }
    }

    /// Whether a batch that came back is not carried out completely.
    pub(crate) fn has_stored_batch(&self) -> bool {
        self.storing.as_ref().is_some_and(|storing| storing.taken.is_some())
    }

    /// Carries out the next publish of the batch that came back.
    pub(crate) fn go_on_storing(&mut self) {
        let Some((batch, index)) = self.storing.as_mut().and_then(|storing| storing.taken.take()) else { return };
        if index < batch.len() {
            let (record, channel, message) = batch.get(index);
            let (origin, cost) = (record.origin, cost(channel, message.len()));
            match &batch.numbers {
                Some(numbers) if numbers[index] == REFUSED => self.refuse_stored(origin),
                // The stream itself brings the message.
                Some(numbers) if self.history.is_copy() => {
                    let id = MessageId { epoch: self.history.epoch(), offset: numbers[index] };
                    self.note_stored(origin, Some(id));
                }
                Some(numbers) => {
                    self.publish_stored(channel, record.retention, record.is_text, message, (numbers[index], origin))
                }
                None => self.refuse_stored(origin),
            }
            if let Some(storing) = &mut self.storing {
                storing.bytes -= cost;
                storing.waiting -= 1;
            }
        }
        if let Some(storing) = &mut self.storing {
            if index + 1 < batch.len() {
                storing.taken = Some((batch, index + 1));
            } else {
                let is_done = batch.numbers.is_some();
                storing.purged.extend(batch.purged.into_iter().map(|name| (name, is_done)));
            }
        }
    }

    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    /// Deletes all messages of a channel from the store, also those that it has not kept yet. [`Router::take_purged`] tells
    /// when they are gone. Returns false if there is no store.
    pub(crate) fn purge_store(&mut self, name: &[u8]) -> bool {
        self.storing.as_mut().map(|storing| storing.open.purged.push(name.into())).is_some()
    }

    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    /// Whether the store has deleted the messages of a channel; `None` as long as it has not answered. All messages from
    /// before are in the history by then.
    pub(crate) fn take_purged(&mut self, name: &[u8]) -> Option<bool> {
        let purged = &mut self.storing.as_mut()?.purged;
        let index = purged.iter().position(|(other, _)| **other == *name)?;
        Some(purged.swap_remove(index).1)
    }

    /// Tells the publisher of a message that it was not kept.
    pub(super) fn refuse_stored(&mut self, origin: Origin) {
        if let Some(storing) = &mut self.storing {
            storing.refused += 1;
        }
        let Origin { core, publisher, receipt, .. } = origin;
        if let Some(core) = core {
            self.passed_on += self.relays.not_stored(core, receipt, publisher);
        } else {
            self.note_failure(Receipt::of(receipt), publisher);
        }
    }

    /// Notes that a publish of this core's connection was not kept.
    pub(crate) fn note_failure(&mut self, receipt: Option<Receipt>, publisher: Option<ConnectionKey>) {
        match (receipt, publisher) {
            (Some(receipt), _) => self.receipts.note(receipt, Known { has_failed: true, ..Known::default() }),
            (None, Some(publisher)) => {
                if let Some(storing) = &mut self.storing {
                    storing.failed.push(publisher);
                }
            }
            (None, None) => {}
        }
    }

    /// The publishers whose messages were not kept since the last call.
    pub(crate) fn take_failed(&mut self) -> Vec<ConnectionKey> {
        self.storing.as_mut().map_or_else(Vec::new, |storing| std::mem::take(&mut storing.failed))
    }

    /// Tells the store that channels are forgotten, and the number of the last message of each.
    pub(super) fn forget_stored(&mut self, channels: Vec<(Box<[u8]>, u64)>) {
        if let Some(storing) = self.storing.as_mut().filter(|_| !self.history.is_copy()) {
            storing.open.forgotten.extend(channels);
            storing.open.floor = self.history.floor();
        }
    }

    /// Notes a receipt's number, here or on the core that asks.
    pub(super) fn note_stored(&mut self, origin: Origin, id: Option<MessageId>) {
        match (origin.core, origin.receipt) {
            (_, 0) => {}
            (Some(core), receipt) => self.passed_on += self.relays.stored(core, receipt, id),
            (None, receipt) => {
                if let Some(receipt) = Receipt::of(receipt) {
                    self.receipts.note(receipt, Known { id, ..Known::default() });
                }
            }
        }
    }
}

impl Storing {
    fn has_room(&self) -> bool {
        is_available(&self.is_available) && self.bytes < self.bytes_max
    }
}

/// What a publish counts while it waits, in bytes: itself, twice because its buffers grow by doubling.
fn cost(channel: &[u8], message_len: usize) -> usize {
    2 * (channel.len() + message_len + size_of::<Record>())
}
