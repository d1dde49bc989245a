//! The other node: it gets all that the cores publish.

use std::collections::HashMap;

use super::{
    oracle::{self, Publication},
    talk,
};
use crate::{
    engine::relay::{self, Item},
    protocol::frame,
};

/// What it has got.
#[derive(Default)]
pub(crate) struct Far {
    /// By publication, the channels for which it came.
    received: HashMap<usize, Vec<String>>,
    /// By publisher, the publication that it has received last.
    last: HashMap<usize, usize>,
}

impl Far {
    /// A batch of a core comes.
    pub(super) fn take(&mut self, mut batch: &[u8], publications: &[Publication]) {
        while let Some(item) = relay::next(&mut batch) {
            let Item::Publish { channels, frame } = item else { panic!("no publish: {item:?}") };
            let (payload, is_text) = (frame::payload(frame), frame[0] & 0x0f == 1);
            let number = oracle::number(payload);
            let publication = &publications[number];
            assert!(publication.payload == payload && publication.is_text == is_text, "{number} was changed");
            let last = self.last.insert(publication.publisher, number).unwrap_or(0);
            assert!(last <= number, "the other node got {number} of {} after {last}", publication.publisher);
            let names = relay::names(channels).map(|name| String::from_utf8(name.to_vec()).expect("UTF-8"));
            self.received.entry(number).or_default().extend(names);
        }
    }

    /// How many publications it has got.
    pub(super) fn received(&self) -> usize {
        self.received.len()
    }

    /// Holds what it received against all that was ever published.
    pub(super) fn check(&self, publications: &[Publication], was_there: impl Fn(u64, u64) -> bool) {
        for (number, publication) in publications.iter().enumerate() {
            let mut received = self.received.get(&number).cloned().unwrap_or_default();
            let mut all = publication.channels.clone();
            received.sort();
            all.sort();
            let is_own = publication.publisher >= talk::ABROAD;
            if publication.is_unsound || is_own {
                assert!(received.is_empty(), "{number} of {} comes to the other node", publication.publisher);
            } else if publication.is_certain && was_there(publication.sent, publication.settled) {
                assert_eq!(received, all, "what the other node got of {number} of {}", publication.publisher);
            }
            received.iter().for_each(|name| {
                let place = all.iter().position(|other| other == name).expect("it comes once for each of its channels");
                all.remove(place);
            });
        }
    }
}
