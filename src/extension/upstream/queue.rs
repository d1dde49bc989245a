//! The queue from the cores to the upstream workers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::extension::upstream::Fetch;

/// The cores' end. When all clones are gone, the workers' end is closed.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    fetches: Sender<Box<Fetch>>,
    room: Arc<Room>,
}

/// What waits, whether in the queue or already with the workers, behind other requests of the same connection.
#[derive(Debug)]
pub(crate) struct Room {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    messages_max: usize,
    bytes_max: usize,
}

impl Queue {
    /// A queue for this many requests, whose messages have this many bytes together; and its other end.
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> (Self, Receiver<Box<Fetch>>, Arc<Room>) {
        let (fetches, intake) = bounded(messages_max);
        let (messages, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let room = Arc::new(Room { messages, bytes, messages_max, bytes_max });
        (Self { fetches, room: Arc::clone(&room) }, intake, room)
    }

    /// Puts a request into the queue, if there is room for it; else it is not even made.
    pub(crate) fn push(&self, cost: usize, fetch: impl FnOnce() -> Fetch) -> bool {
        if !self.room.take(cost) {
            return false;
        }
        let is_sent = self.fetches.try_send(Box::new(fetch())).is_ok();
        if !is_sent {
            self.room.give_back(cost);
        }
        is_sent
    }
}

impl Room {
    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// A request of this cost waits no more.
    pub(crate) fn give_back(&self, cost: usize) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(cost, Ordering::Relaxed);
    }

    /// Takes room for a request. The first one gets it whatever it costs.
    fn take(&self, cost: usize) -> bool {
        let messages = self.messages.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(cost, Ordering::Relaxed);
        let fits = messages < self.messages_max && (bytes == 0 || bytes + cost <= self.bytes_max);
        if !fits {
            self.give_back(cost);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_in_messages_and_in_bytes_and_the_first_always_fits() {
        let (_, _, room) = Queue::new(3, 100);
        assert!(room.take(1000) && !room.take(1), "one over the limit, alone");
        room.give_back(1000);
        assert!(room.take(60) && room.take(40) && !room.take(1));
        room.give_back(60);
        assert!(room.take(1) && room.take(1) && !room.take(1), "three messages");
        assert_eq!(room.waiting(), 3);
    }
}
