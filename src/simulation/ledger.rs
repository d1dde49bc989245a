//! The numbers of messages, as clients and the history of the nodes show them.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    keeper::Keeper,
    oracle::{self, Publication},
    talk::CHANNELS,
    world::World,
};
use crate::protocol::{
    encoding::Encoding,
    frame,
    message::{Epoch, MessageId, numbered},
};

/// The last message that a client claims to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// It does not say.
    None,
    /// An id of the channel.
    Known(MessageId),
    /// An id that the server has never given.
    Unknown,
    /// An id of another channel. The server may take it for one of this channel.
    Foreign,
}

/// What a client asks of a name's history when it subscribes.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) name: String,
    /// Distinguishes it from the client's others.
    pub(crate) number: usize,
    pub(crate) since: Since,
    pub(crate) last: u64,
}

impl Wish {
    /// Whether the subscription begins at another place than now.
    pub(crate) fn is_resume(&self) -> bool {
        self.since != Since::None || self.last > 0
    }
}

/// Something that has happened between a client and a channel.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) clock: u64,
    pub(crate) now: Duration,
    pub(crate) name: String,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The client has subscribed.
    Asks(Wish),
    /// The wish of this number was acknowledged.
    Told { wish: usize, position: Option<MessageId>, is_lost: bool },
    /// The message with the wish of this number was refused.
    Refused(usize),
    /// A message has come.
    Got { id: MessageId, publication: usize },
    /// The client has unsubscribed.
    Leaves,
    /// That was acknowledged.
    Left,
    /// The server has ended the subscription.
    Ended,
    /// A publication of the client's was acknowledged.
    Stored { id: Option<MessageId>, publication: usize },
}

/// The numbers of one channel.
#[derive(Default)]
pub(crate) struct Numbers {
    epoch: Option<Epoch>,
    /// By number: the publication, and when it was seen first.
    pub(crate) all: BTreeMap<u64, (usize, u64)>,
    by_publication: HashMap<usize, u64>,
}

impl Numbers {
    /// Whether a message had this number or a higher one.
    fn has_up_to(&self, number: u64) -> bool {
        self.all.last_key_value().is_some_and(|(&last, _)| last >= number)
    }
}

/// The numbers of all channels.
#[derive(Default)]
pub(crate) struct Ledger {
    channels: BTreeMap<String, Numbers>,
}

impl Ledger {
    /// The numbers of a channel.
    pub(crate) fn of(&mut self, name: &str) -> &Numbers {
        self.channels.entry(name.to_owned()).or_default()
    }

    /// A message of a channel was seen.
    pub(crate) fn add(&mut self, name: &str, id: MessageId, publication: usize, clock: u64) {
        self.add_epoch(name, id);
        let numbers = self.channels.entry(name.to_owned()).or_default();
        let (known, seen) = numbers.all.entry(id.offset).or_insert((publication, clock));
        assert_eq!(*known, publication, "number {} of {name} stands for two messages", id.offset);
        *seen = clock.min(*seen);
        let number = *numbers.by_publication.entry(publication).or_insert(id.offset);
        assert_eq!(number, id.offset, "publication {publication} has two numbers in {name}");
    }

    /// Notes the epoch of a channel, which never changes.
    fn add_epoch(&mut self, name: &str, id: MessageId) {
        let epoch = &mut self.channels.entry(name.to_owned()).or_default().epoch;
        assert_eq!(*epoch.get_or_insert(id.epoch), id.epoch, "the history of {name} is another one");
    }

    /// Adds what a client has seen.
    pub(crate) fn add_notes(&mut self, notes: &[Note]) {
        for note in notes {
            match note.what {
                What::Got { id, publication } | What::Stored { id: Some(id), publication } => {
                    self.add(&note.name, id, publication, note.clock);
                }
                What::Told { position: Some(id), .. } => self.add_epoch(&note.name, id),
                _ => {}
            }
        }
    }

    /// Checks that numbers follow each other, and that each publisher's messages to a channel keep their order.
    pub(crate) fn check(&self, publications: &[Publication], keeper: &Keeper) {
        for (name, numbers) in &self.channels {
            let mut last: HashMap<usize, usize> = HashMap::new();
            let mut before: (u64, Duration) = Default::default();
            for (&number, &(index, seen)) in &numbers.all {
                let publication = &publications[index];
                assert!(!publication.is_unsound, "publication {index} was kept in {name}");
                assert!(publication.channels.contains(name), "publication {index} was not for {name}");
                let earlier = last.insert(publication.publisher, index).unwrap_or(0);
                assert!(earlier <= index, "{name} has {index} of {} after {earlier}", publication.publisher);
                let missing = number - before.0 - 1;
                let unseen = publications.iter().enumerate().filter(|(index, other)| {
                    other.sent <= seen && other.channels.contains(name) && !numbers.by_publication.contains_key(index)
                });
                // A channel that is forgotten goes on with a higher number.
                let is_forgotten = || {
                    let age = keeper.retention(name).map_or(0, |retention| retention.age);
                    !keeper.is_steady() || publication.sent_at.saturating_sub(before.1).as_secs() + 1 >= age.into()
                };
                let missing = missing.saturating_sub(unseen.count() as u64);
                // A new channel goes on behind the numbers of those that are forgotten.
                let others = self.channels.iter().filter(|(other, _)| *other != name);
                let is_new = || before.0 == 0 && others.into_iter().any(|(_, other)| other.has_up_to(missing));
                let is_whole = missing == 0 || is_forgotten() || is_new();
                assert!(is_whole, "{missing} numbers are missing in {name} before {number}");
                before = (number, publication.sent_at);
            }
        }
    }
}

impl World {
    /// Looks at what the nodes keep, while nothing is on its way.
    pub(super) fn look_at_histories(&mut self) {
        let Some(keeper) = &self.keeper else { return };
        for name in CHANNELS {
            let mut homes = 0;
            for node in &self.nodes {
                let router = &node.hub().router;
                let Some(channel) = router.history.find(name.as_bytes()) else { continue };
                let (mut ranges, mut frames) = (Vec::new(), 0);
                let last = router.history.read(channel, 0, usize::MAX, &mut ranges);
                for range in ranges {
                    let mut bytes = router.outboxes.arena_ref().bytes(range);
                    while !bytes.is_empty() {
                        let (one, rest) = bytes.split_at(Encoding::Frame.unit_len(bytes));
                        let (id, of) = numbered::of_frame(one).expect("a message with a number");
                        assert_eq!(of, name.as_bytes(), "a message of another channel");
                        self.ledger.add(name, id, oracle::number(frame::payload(one)), self.clock);
                        (bytes, frames) = (rest, frames + 1);
                        assert!(id.offset <= last, "a number that is not given yet");
                    }
                }
                let retention = keeper.retention(name).expect("the history of a channel without one is still there");
                assert!(frames <= retention.messages, "{name} keeps {frames} messages");
                homes += 1;
            }
            assert!(homes <= 1, "{name} has {homes} homes");
        }
    }
}
