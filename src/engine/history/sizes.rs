//! The channels by their size, so that the budget finds one of those that hold most at once.
//!
//! A class has the channels whose frames take between one power of two and the next. Inside of a class they stand in the
//! order in which they came.

use slab::Slab;

use super::channel::Channel;

/// The end of a list.
const NONE: u32 = u32::MAX;
/// A class for each power of two of a `usize`, and one for channels without messages.
const CLASSES: usize = usize::BITS as usize + 1;

/// A channel's place in the list of its class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    class: u8,
    before: u32,
    after: u32,
}

impl Default for Place {
    fn default() -> Self {
        Self { class: 0, before: NONE, after: NONE }
    }
}

/// The lists of all classes.
#[derive(Debug)]
pub(super) struct Sizes {
    first: [u32; CLASSES],
    last: [u32; CLASSES],
    /// A bit for each class with a channel.
    used: u128,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { first: [NONE; CLASSES], last: [NONE; CLASSES], used: 0 }
    }
}

impl Sizes {
    /// The first channel of the highest class.
    pub(super) fn largest(&self) -> Option<u32> {
        (self.used != 0).then(|| self.first[self.used.ilog2() as usize])
    }

    /// Adds a channel behind the others of its class.
    pub(super) fn add(&mut self, channels: &mut Slab<Channel>, id: u32) {
        let class = class_of(channels[id as usize].bytes);
        let before = std::mem::replace(&mut self.last[class], id);
        channels[id as usize].place = Place { class: class as u8, before, after: NONE };
        match before {
            NONE => self.first[class] = id,
            before => channels[before as usize].place.after = id,
        }
        self.used |= 1 << class;
    }

    /// Removes a channel.
    pub(super) fn remove(&mut self, channels: &mut Slab<Channel>, id: u32) {
        let Place { class, before, after } = channels[id as usize].place;
        let class = usize::from(class);
        match before {
            NONE => self.first[class] = after,
            before => channels[before as usize].place.after = after,
        }
        match after {
            NONE => self.last[class] = before,
            after => channels[after as usize].place.before = before,
        }
        if self.first[class] == NONE {
            self.used &= !(1 << class);
        }
    }

    /// Moves a channel to the class of its present size.
    #[inline]
    pub(super) fn update(&mut self, channels: &mut Slab<Channel>, id: u32) {
        let channel = &channels[id as usize];
        if class_of(channel.bytes) != usize::from(channel.place.class) {
            self.remove(channels, id);
            self.add(channels, id);
        }
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl Sizes {
    /// Asserts that each channel is in the list of its class.
    pub(super) fn invariants(&self, channels: &Slab<Channel>) {
        let mut found = 0;
        for class in 0..CLASSES {
            let (mut before, mut id) = (NONE, self.first[class]);
            assert_eq!(self.used & 1 << class != 0, id != NONE);
            while id != NONE {
                let channel = &channels[id as usize];
                assert_eq!((class_of(channel.bytes), channel.place.before), (class, before));
                (before, id) = (id, channel.place.after);
                found += 1;
            }
            assert_eq!(self.last[class], before);
        }
        assert_eq!(found, channels.len());
    }
}

fn class_of(bytes: usize) -> usize {
    (usize::BITS - bytes.leading_zeros()) as usize
}
