//! What a client must get of a channel with a history, from the moment at which it subscribes (PROTOCOL.md §10).
//!
//! A client's notes about a channel fall into *stretches*: each begins with a subscription that says where, and goes on to
//! the next one. In a stretch the numbers follow each other, from the message after `since`; those up to the position come
//! before the acknowledgement.

use std::time::Duration;

use super::{
    client::SimulatedClient,
    keeper::{Keeper, is_pattern},
    ledger::{Ledger, Note, Numbers, Since, What, Wish},
    oracle::Publication,
    talk::CHANNELS,
};
use crate::{engine::history::Retention, protocol::channel};

/// Holds what clients received of channels with a history against the numbers of all messages.
pub(super) struct Judge<'w> {
    pub(super) ledger: &'w mut Ledger,
    pub(super) publications: &'w [Publication],
    pub(super) keeper: &'w Keeper,
}

/// A part of a client's notes about a channel.
struct Stretch<'w> {
    wish: &'w Wish,
    asked: &'w Note,
    notes: Vec<&'w Note>,
    /// Nothing of an earlier subscription may come.
    is_clean: bool,
    /// The server may have ended it, or the client has.
    is_doubtful: bool,
    /// The server has ended it. By then the client may have subscribed again.
    is_ended: bool,
    is_last: bool,
}

impl Judge<'_> {
    /// Checks all that a client has got.
    pub(super) fn check(&mut self, client: &SimulatedClient) {
        for name in CHANNELS {
            self.check_acknowledgements(client, name);
            let reaches = |other: &str| is_pattern(other) && channel::matches(other.as_bytes(), name.as_bytes());
            if client.intervals.iter().any(|interval| reaches(&interval.name)) {
                // Nobody can say for which subscription a message came.
                check_order(client, name);
                continue;
            }
            let numbers = self.ledger.of(name);
            let case = Case { client, name, numbers, publications: self.publications, keeper: self.keeper };
            let stretches = stretches(client, name);
            stretches.iter().for_each(|stretch| case.check(stretch));
        }
        for note in client.notes.iter().filter(|note| is_pattern(&note.name)) {
            assert!(!matches!(note.what, What::Told { position: Some(_), .. }), "a pattern has a position");
        }
    }

    /// Whether a name has a number, a position, or is lost, is a matter of the rules.
    fn check_acknowledgements(&self, client: &SimulatedClient, name: &str) {
        let notes = || client.notes.iter().filter(|note| note.name == name);
        for note in notes() {
            match &note.what {
                What::Stored { id, publication } => {
                    let publication = &self.publications[*publication];
                    let (may, must) = self.keeper.keeps(name, publication.sent, note.clock);
                    assert!(
                        if id.is_some() { may } else { !must },
                        "{name} says {id:?} of a publication: {may} {must}"
                    );
                }
                What::Told { wish: number, position, is_lost } => {
                    let asked = notes().find_map(|note| match &note.what {
                        What::Asks(wish) if wish.number == *number => Some((note.clock, wish)),
                        _ => None,
                    });
                    let (from, wish) = asked.expect("what was asked for");
                    let is_cut = notes().any(|other| {
                        let ends = match &other.what {
                            What::Asks(wish) => wish.is_resume(),
                            what => matches!(what, What::Leaves | What::Ended),
                        };
                        ends && (from..=note.clock).contains(&other.clock) && !is_asks(other, *number)
                    });
                    let (may, must) = self.keeper.keeps(name, from, note.clock);
                    let is_right = if position.is_some() { may } else { !must };
                    assert!(is_right, "client {}: {name} has {position:?}, {may} {must}", client.number);
                    let must_be_lost = wish.since == Since::Unknown || (wish.since != Since::None && !may);
                    assert!(*is_lost || is_cut || !must_be_lost, "client {}: {name} is not lost", client.number);
                    let has_resumed = notes().take_while(|other| !std::ptr::eq(*other, note)).any(is_resume);
                    assert!(!*is_lost || has_resumed, "client {}: {name} is lost", client.number);
                }
                _ => {}
            }
        }
    }
}

/// All copies of a message come before the next message of its channel.
fn check_order(client: &SimulatedClient, name: &str) {
    let notes = || client.notes.iter().filter(|note| note.name == name);
    if notes().any(is_resume) {
        return;
    }
    let mut last = 0;
    for note in notes() {
        if let What::Got { id, .. } = note.what {
            assert!(id.offset >= last, "client {} gets {} of {name} after {last}", client.number, id.offset);
            last = id.offset;
        }
    }
}

fn is_resume(note: &Note) -> bool {
    matches!(&note.what, What::Asks(wish) if wish.is_resume())
}

fn is_asks(note: &Note, number: usize) -> bool {
    matches!(&note.what, What::Asks(wish) if wish.number == number)
}

/// The stretches of a channel in a client's notes.
fn stretches<'c>(client: &'c SimulatedClient, name: &str) -> Vec<Stretch<'c>> {
    let refused =
        |number: usize| client.notes.iter().any(|note| matches!(note.what, What::Refused(of) if of == number));
    let mut found: Vec<Stretch<'_>> = Vec::new();
    // Whether a subscription may still bring messages, and whether it is there.
    let (mut is_over, mut is_there, mut is_left) = (true, false, false);
    for note in client.notes.iter().filter(|note| note.name == name) {
        match &note.what {
            What::Asks(wish) if refused(wish.number) => {
                is_over = false;
                found.iter_mut().for_each(|stretch| stretch.is_doubtful = true);
            }
            What::Asks(wish) if wish.is_resume() || !is_there => {
                found.iter_mut().for_each(|stretch| stretch.is_last = false);
                let (notes, is_clean) = (Vec::new(), is_over);
                found.push(Stretch {
                    wish,
                    asked: note,
                    notes,
                    is_clean,
                    is_doubtful: false,
                    is_ended: false,
                    is_last: true,
                });
                (is_over, is_there, is_left) = (false, true, false);
            }
            what => {
                match what {
                    What::Leaves => (is_there, is_left) = (false, true),
                    What::Left if is_left => (is_over, is_left) = (true, false),
                    What::Ended => is_there = false,
                    _ => {}
                }
                if let Some(stretch) = found.last_mut() {
                    stretch.is_doubtful |= matches!(what, What::Leaves | What::Ended);
                    stretch.is_ended |= matches!(what, What::Ended);
                    stretch.notes.push(note);
                }
            }
        }
    }
    found
}

/// A client and a channel.
struct Case<'w> {
    client: &'w SimulatedClient,
    name: &'w str,
    numbers: &'w Numbers,
    publications: &'w [Publication],
    keeper: &'w Keeper,
}

impl Case<'_> {
    fn check(&self, stretch: &Stretch<'_>) {
        let place = stretch
            .notes
            .iter()
            .position(|note| matches!(note.what, What::Told { wish, .. } if wish == stretch.wish.number));
        let told = place.map(|place| (place, stretch.notes[place]));
        let position = told.and_then(|(_, note)| match note.what {
            What::Told { position, .. } => position.map(|id| id.offset),
            _ => None,
        });
        let got = |notes: &[&Note]| -> Vec<u64> {
            let number = |note: &&Note| if let What::Got { id, .. } = note.what { Some(id.offset) } else { None };
            notes.iter().filter_map(number).collect()
        };
        let since = if let Since::Known(id) = stretch.wish.since { Some(id.offset) } else { None };
        let first = since.into_iter().chain(got(&stretch.notes)).next();
        let lost = match told {
            Some((_, note)) => matches!(note.what, What::Told { is_lost: true, .. }),
            // Nobody would say so.
            None => first.is_none_or(|first| !self.is_served(stretch, first)),
        };
        let since = since.filter(|_| !lost);
        if told.is_some() && position.is_none() {
            return; // it has no history for a while
        }
        let is_over = |note: &&Note| matches!(note.what, What::Leaves | What::Ended);
        // What the server ends, it acknowledges first.
        let was_left = stretch.is_ended || place.is_some_and(|place| stretch.notes[..place].iter().any(is_over));
        if was_left && !stretch.is_clean {
            return; // the position may say how far the client had come, and more may have come before
        }
        let (mut before, after) = place.map_or((got(&stretch.notes), Vec::new()), |place| {
            (got(&stretch.notes[..place]), got(&stretch.notes[place..]))
        });
        if !stretch.is_clean {
            // What an earlier subscription has left comes first.
            let first = since.and_then(|since| self.numbers.all.range(since + 1..).next()).map(|(&number, _)| number);
            let start = first.and_then(|first| before.iter().rposition(|&number| number == first));
            match (start, position) {
                (Some(start), _) => _ = before.drain(..start),
                (None, Some(position)) => before.retain(|&number| number > position),
                (None, None) => before.clear(),
            }
        }
        let is_from_position =
            !stretch.is_clean && position.is_some_and(|position| before.iter().all(|&got| got > position));
        if is_from_position {
            before.iter().fold(position, |last, &number| Some(self.follow(stretch, last, number, false)));
        }
        let mut last = since.filter(|_| stretch.is_clean || !before.is_empty());
        for &number in &before {
            last = Some(self.follow(stretch, last, number, lost));
        }
        if let (Some((_, note)), Some(position)) = (told, position) {
            if !was_left {
                self.check_position(stretch, note, &before, position);
            }
            if let Some(last) = last.filter(|_| !lost) {
                self.has_all(stretch, last, position, "before the acknowledgement");
            }
            last = Some(last.map_or(position, |last| last.max(position)));
        }
        for &number in &after {
            assert!(position.is_none_or(|position| number > position), "{}: {number} comes late", self.says(stretch));
            last = Some(self.follow(stretch, last, number, false));
        }
        for (number, note) in self.later_positions(stretch) {
            let got = stretch.notes.iter().take_while(|other| !std::ptr::eq(**other, note));
            let got: Vec<&Note> = got.copied().collect();
            let best = self::best(&got, last.and(position.or(since)));
            best.into_iter().for_each(|best| self.has_all(stretch, best, number, "before a later acknowledgement"));
        }
        // Nobody has told a slow client whether messages were dropped before it had read that far.
        let may_have_lost = told.is_none() && stretch.wish.is_resume() && self.client.was_slow;
        let is_due = stretch.is_last && !stretch.is_doubtful && stretch.asked.clock < self.client.caught_up;
        let is_due = is_due && !may_have_lost;
        if let Some(last) = last.filter(|_| is_due) {
            self.has_all_that_was_due(stretch, last);
        }
    }

    /// Whether what is newer than this was surely kept until the client had read the most of it.
    fn is_served(&self, stretch: &Stretch<'_>, since: u64) -> bool {
        let Some(last) = stretch.notes.last() else { return false };
        let retentions = self.keeper.retentions(self.name, stretch.asked.clock, last.clock);
        let [Some(retention)] = retentions[..] else { return false };
        self.keeper.is_steady() && self.is_kept_from(since, retention, last)
    }

    /// A number comes after the last one. Returns it.
    fn follow(&self, stretch: &Stretch<'_>, last: Option<u64>, number: u64, lost: bool) -> u64 {
        if let Some(last) = last {
            assert!(number > last, "{}: {number} comes after {last}", self.says(stretch));
            if !lost {
                self.has_all(stretch, last, number - 1, "in between");
            }
        }
        number
    }

    /// There is nothing between two numbers that the client should have got.
    fn has_all(&self, stretch: &Stretch<'_>, after: u64, to: u64, when: &str) {
        if stretch.is_ended {
            return;
        }
        for (&number, &(publication, _)) in self.numbers.all.range(after + 1..).take_while(|(number, _)| **number <= to)
        {
            assert!(self.is_own(publication), "{}: {number} is missing {when}", self.says(stretch));
        }
    }

    fn has_all_that_was_due(&self, stretch: &Stretch<'_>, last: u64) {
        for (&number, &(index, _)) in self.numbers.all.range(last + 1..) {
            let publication = &self.publications[index];
            let is_due = publication.settled <= self.client.caught_up && publication.is_certain;
            assert!(!is_due || self.is_own(index), "{}: {number} does not come", self.says(stretch));
        }
    }

    /// Whether the client does not want it.
    fn is_own(&self, publication: usize) -> bool {
        let publication = &self.publications[publication];
        publication.no_echo && publication.publisher == self.client.number
    }

    /// Acknowledgements of subscriptions to the same name that change nothing.
    fn later_positions<'s>(&self, stretch: &'s Stretch<'_>) -> impl Iterator<Item = (u64, &'s Note)> {
        let number = stretch.wish.number;
        // What is on its way when the client leaves does not come, but counts.
        let until = stretch.notes.iter().take_while(|note| !matches!(note.what, What::Leaves | What::Ended));
        until.filter_map(move |note| match note.what {
            What::Told { wish, position: Some(id), is_lost: false } if wish > number => Some((id.offset, *note)),
            _ => None,
        })
    }

    fn check_position(&self, stretch: &Stretch<'_>, told: &Note, got: &[u64], position: u64) {
        let Stretch { wish, asked, .. } = stretch;
        let before = self.numbers.all.iter().filter(|(_, (_, seen))| *seen < asked.clock).map(|(&number, _)| number);
        let newest = before.max().unwrap_or(0);
        assert!(position >= newest, "{}: the position is {position}, not {newest}", self.says(stretch));
        if stretch.is_clean && wish.since == Since::None {
            let old = got.iter().filter(|&&number| number <= newest).count();
            assert!(old as u64 <= wish.last, "{}: {old} old messages come", self.says(stretch));
            let is_lost = matches!(told.what, What::Told { is_lost: true, .. });
            assert!(!is_lost || !got.is_empty(), "{}: nothing is lost", self.says(stretch));
        }
        let retentions = self.keeper.retentions(self.name, asked.clock, told.clock);
        let [Some(retention)] = retentions[..] else { return };
        if !self.keeper.is_steady() {
            return;
        }
        let is_lost = matches!(told.what, What::Told { is_lost: true, .. });
        if let Since::Known(since) = wish.since
            && self.is_kept_from(since.offset, retention, told)
        {
            assert!(!is_lost, "{}: {} is lost", self.says(stretch), since.offset);
        }
        if stretch.is_clean && wish.last > 0 && (is_lost || wish.since == Since::None) {
            let least = position.saturating_sub(wish.last) + 1;
            for (&number, &(publication, _)) in
                self.numbers.all.range(least..).take_while(|(number, _)| **number <= position)
            {
                let is_kept = self.is_young(publication, retention, told.now)
                    && self.newer(number, told.clock) < retention.messages as usize;
                assert!(got.contains(&number) || !is_kept, "{}: {number} is not among the last", self.says(stretch));
            }
        }
        if stretch.is_clean && wish.last == 0 && wish.since == Since::None {
            let old = got.iter().filter(|&&number| number <= position).count();
            assert_eq!(old, 0, "{}: old messages come unasked", self.says(stretch));
        }
    }

    /// Whether this message was there and all newer ones are surely kept.
    fn is_kept_from(&self, since: u64, retention: Retention, told: &Note) -> bool {
        let young = |(_, (publication, _)): (&u64, &(usize, u64))| self.is_young(*publication, retention, told.now);
        self.numbers.all.contains_key(&since)
            && self.numbers.all.range(since..).all(young)
            && self.newer(since, told.clock) <= retention.messages as usize
    }

    fn is_young(&self, publication: usize, retention: Retention, now: Duration) -> bool {
        let age = now.saturating_sub(self.publications[publication].sent_at);
        age + Duration::from_secs(1) < Duration::from_secs(retention.age.into())
    }

    /// How many messages are newer than this one at a time.
    fn newer(&self, number: u64, clock: u64) -> usize {
        self.numbers.all.range(number + 1..).filter(|(_, (index, _))| self.publications[*index].sent <= clock).count()
    }

    fn says(&self, stretch: &Stretch<'_>) -> String {
        let what: Vec<String> =
            stretch.notes.iter().map(|note| format!("\n{} {:?} {:?}", note.clock, note.now, note.what)).collect();
        let Stretch { wish, asked, is_clean, .. } = stretch;
        format!(
            "client {}, {}, {wish:?} at {} {:?}, clean: {is_clean}{}",
            self.client.number,
            self.name,
            asked.clock,
            asked.now,
            what.concat()
        )
    }
}

/// The highest number that has come.
fn best(notes: &[&Note], start: Option<u64>) -> Option<u64> {
    let numbers = notes.iter().filter_map(|note| match note.what {
        What::Got { id, .. } => Some(id.offset),
        _ => None,
    });
    start.and_then(|start| numbers.chain([start]).max())
}
