//! The queue from the cores to the upstream workers, and what a connection may have of it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    engine::session::ConnectionKey,
    extension::upstream::{Fetch, Full},
};

/// A connection may have as much waiting as this part of what is left free, and one request in any case. So one connection
/// gets a fifth of an empty queue, each further one less than the one before, and whoever has nothing waiting finds a
/// place until very many connections have taken all they can get.
const SHARE_OF_FREE: usize = 4;
/// Shares that are kept before the first look for those that nobody needs any more.
const SHARES_KEPT: usize = 64;

/// The cores' end. When all clones are gone, the workers' end is closed.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    fetches: Sender<Box<Fetch>>,
    room: Arc<Room>,
}

/// What waits, whether in the queue or already with the workers, behind other requests.
#[derive(Debug)]
pub(crate) struct Room {
    all: Amount,
    messages_max: usize,
    bytes_max: usize,
}

/// What waits of one connection.
#[derive(Debug, Default)]
pub(crate) struct Share(Amount);

#[derive(Debug, Default)]
struct Amount {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// A place in the queue. Dropped when its request waits no more.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    share: Arc<Share>,
    bytes: usize,
}

/// The shares of one core's connections that have something waiting, and of some that had.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    by_connection: HashMap<ConnectionKey, Arc<Share>>,
    tidy_at: usize,
}

impl Queue {
    /// A queue for this many requests, whose messages have this many bytes together; and its other end.
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> (Self, Receiver<Box<Fetch>>, Arc<Room>) {
        let (fetches, intake) = bounded(messages_max);
        let room = Arc::new(Room { all: Amount::default(), messages_max, bytes_max });
        (Self { fetches, room: Arc::clone(&room) }, intake, room)
    }

    /// Puts a request into the queue, if there is room for it; else it is not even made.
    ///
    /// # Errors
    /// What is full: the queue, or what its connection may have of it.
    pub(crate) fn push(
        &self,
        share: &Arc<Share>,
        bytes: usize,
        fetch: impl FnOnce(Place) -> Fetch,
    ) -> Result<(), Full> {
        let place = self.room.take(share, bytes)?;
        self.fetches.try_send(Box::new(fetch(place))).map_err(|_| Full::Queue)
    }
}

impl Room {
    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.all.messages.load(Ordering::Relaxed)
    }

    /// Takes room for a request. The first one of all gets it whatever it costs.
    fn take(self: &Arc<Self>, share: &Arc<Share>, bytes: usize) -> Result<Place, Full> {
        let (messages_before, bytes_before) = self.all.add(bytes);
        let (own_messages, own_bytes) = share.0.add(bytes);
        // From here on it is given back when this is dropped.
        let place = Place { room: Arc::clone(self), share: Arc::clone(share), bytes };
        if messages_before >= self.messages_max || (bytes_before > 0 && bytes_before + bytes > self.bytes_max) {
            return Err(Full::Queue);
        }
        let (messages_free, bytes_free) =
            (self.messages_max - messages_before, self.bytes_max.saturating_sub(bytes_before));
        let fits = own_messages < messages_free / SHARE_OF_FREE && own_bytes + bytes <= bytes_free / SHARE_OF_FREE;
        if own_messages == 0 || fits { Ok(place) } else { Err(Full::Share) }
    }
}

impl Amount {
    /// Adds a request, and gives what there was before.
    fn add(&self, bytes: usize) -> (usize, usize) {
        (self.messages.fetch_add(1, Ordering::Relaxed), self.bytes.fetch_add(bytes, Ordering::Relaxed))
    }

    fn remove(&self, bytes: usize) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.all.remove(self.bytes);
        self.share.0.remove(self.bytes);
    }
}

impl Shares {
    /// The share of a connection.
    pub(crate) fn of(&mut self, key: ConnectionKey) -> &Arc<Share> {
        // Those of connections that wait for nothing are found now and then, so each costs the time of one look.
        if self.by_connection.len() >= self.tidy_at.max(SHARES_KEPT) {
            self.by_connection.retain(|_, share| Arc::strong_count(share) > 1);
            self.tidy_at = 2 * self.by_connection.len();
        }
        self.by_connection.entry(key).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(messages_max: usize, bytes_max: usize) -> Arc<Room> {
        Queue::new(messages_max, bytes_max).2
    }

    /// Takes as many places as one connection gets.
    fn take_all(room: &Arc<Room>, bytes: usize) -> (Vec<Place>, Full) {
        let share = Arc::default();
        let mut places = Vec::new();
        loop {
            match room.take(&share, bytes) {
                Ok(place) => places.push(place),
                Err(full) => return (places, full),
            }
        }
    }

    #[test]
    fn room_is_bounded_in_messages_and_in_bytes_and_the_first_always_fits() {
        let room = room(3, 100);
        let take = |bytes| room.take(&Arc::default(), bytes);
        let huge = take(1000).expect("one over the limit, alone");
        assert_eq!(take(1).err(), Some(Full::Queue));
        drop(huge);
        let (large, _rest) = (take(60).unwrap(), take(40).unwrap());
        assert_eq!(take(1).err(), Some(Full::Queue));
        drop(large);
        let _small = (take(1).unwrap(), take(1).unwrap());
        assert_eq!(take(1).err(), Some(Full::Queue), "three messages");
        assert_eq!(room.waiting(), 3);
    }

    #[test]
    fn a_connection_gets_its_share_and_others_still_get_in() {
        let room = room(1024, 16 << 20);
        let (first, full) = take_all(&room, 100);
        assert_eq!((first.len(), full), (205, Full::Share));
        let (second, _) = take_all(&room, 100);
        assert_eq!(second.len(), 164, "a fifth of the rest");
        // Many greedy ones leave a place for the next that comes.
        let greedy: Vec<_> = (0..20).map(|_| take_all(&room, 100)).collect();
        assert!(greedy.iter().all(|(places, full)| !places.is_empty() && *full == Full::Share));
        assert!(room.take(&Arc::default(), 100).is_ok());
        drop((first, second, greedy));
        assert_eq!((room.waiting(), room.all.bytes.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn a_share_is_one_of_bytes_too_and_never_less_than_one_request() {
        let room = room(1024, 1000);
        let (places, full) = take_all(&room, 60);
        assert_eq!((places.len(), full), (3, Full::Share));
        let (large, larger) = (take_all(&room, 300).0, take_all(&room, 300).0);
        assert_eq!((large.len(), larger.len()), (1, 1));
        assert_eq!(take_all(&room, 300).1, Full::Queue);
        let tiny = self::room(2, 1000);
        let (_one, full) = take_all(&tiny, 1);
        assert_eq!((full, take_all(&tiny, 1).0.len()), (Full::Share, 1));
    }

    #[test]
    fn shares_that_nobody_needs_are_forgotten() {
        let room = room(1024, 1 << 20);
        let mut shares = Shares::default();
        let key = |generation| ConnectionKey { slot: 0, generation };
        let waiting: Vec<_> = (0..10).map(|number| room.take(shares.of(key(number)), 1).unwrap()).collect();
        (10..10_000).for_each(|number| drop(room.take(shares.of(key(number)), 1)));
        assert!(shares.by_connection.len() <= SHARES_KEPT, "{}", shares.by_connection.len());
        assert!((0..10).all(|number| Arc::strong_count(shares.of(key(number))) == 2));
        drop(waiting);
    }
}
