//! Clients that come back, and want what they have missed.

use std::collections::BTreeMap;

use rand::{RngExt, seq::IndexedRandom};

use super::{
    client::{Known, SimulatedClient, Sound},
    keeper::is_pattern,
    ledger::{Note, Since, What, Wish},
    oracle::Interval,
    world::World,
};
use crate::protocol::message::MessageId;

/// Ids that no server gives.
const UNKNOWN: [&str; 4] =
    ["zzz", "0123456789ab-5", "0123456789ab-05", "another_server's_id_of_a_channel_0123456789_0123456789"];
/// Larger than any number.
const FAR: u64 = 1 << 40;

impl World {
    /// A new client may be one that was here before. It knows the ids that it had.
    pub(super) fn remember(&mut self, index: usize) {
        if self.keeper.is_none() {
            return;
        }
        self.clients[index].is_plain = self.rng.random_bool(0.6);
        if index > 0 && self.rng.random_bool(0.7) {
            let before = self.rng.random_range(0..index);
            self.clients[index].memory = self.clients[before].memory.clone();
        }
    }

    /// What a client asks of the history of these names, and the headers that say so.
    pub(super) fn wishes(&mut self, index: usize, names: &[String]) -> (Vec<Wish>, String) {
        let (mut wishes, mut head) = (Vec::new(), String::new());
        let has_since = self.keeper.is_some() && self.rng.random_bool(0.5);
        let has_last = self.keeper.is_some() && self.rng.random_bool(0.2);
        let last = if has_last { self.rng.random_range(1..=25) } else { 0 };
        let mut ids = Vec::new();
        for name in names {
            let (since, id) = if has_since { self.since(index, name) } else { (Since::None, String::new()) };
            ids.push(id);
            self.clients[index].wishes += 1;
            wishes.push(Wish { name: name.clone(), number: self.clients[index].wishes, since, last });
        }
        if has_since {
            head += &format!("since:{}\r\n", ids.join(" "));
        }
        if has_last {
            head += &format!("last:{last}\r\n");
        }
        (wishes, head)
    }

    fn since(&mut self, index: usize, name: &str) -> (Since, String) {
        let own = self.clients[index].memory.get(name).copied();
        let of_others: Vec<MessageId> =
            self.clients.iter().filter_map(|client| client.memory.get(name)).copied().collect();
        let of_any: Vec<(String, MessageId)> =
            self.clients[index].memory.iter().map(|(name, &id)| (name.clone(), id)).collect();
        match self.rng.random_range(0..20) {
            0..13 if own.is_some() => own.map_or((Since::None, String::new()), known),
            13..15 if !of_others.is_empty() => known(*of_others.choose(&mut self.rng).expect("some")),
            15 => (Since::Unknown, (*UNKNOWN.choose(&mut self.rng).expect("some")).to_owned()),
            16 if own.is_some() => {
                let far = own.map(|id| MessageId { offset: id.offset + FAR, ..id });
                (Since::Unknown, far.map_or(String::new(), text))
            }
            17 if !of_any.is_empty() => {
                let (other, id) = of_any.choose(&mut self.rng).expect("some");
                if other == name { known(*id) } else { (Since::Foreign, text(*id)) }
            }
            _ => (Since::None, "-".to_owned()),
        }
    }

    /// Notes the subscriptions of a client that begin with a message. Returns their intervals, and those that they replace.
    pub(super) fn subscribe(&mut self, index: usize, wishes: &[Wish]) -> (Vec<usize>, Vec<usize>) {
        let (clock, now) = (self.clock, self.now);
        let client = &mut self.clients[index];
        let (mut live, mut replaced) = (Vec::new(), Vec::new());
        for wish in wishes {
            if self.keeper.is_some() {
                let what = What::Asks(wish.clone());
                client.notes.push(Note { clock, now, name: wish.name.clone(), what });
            }
            let is_open = |interval: &Interval| interval.name == wish.name && interval.left.is_none();
            let open = client.intervals.iter().position(is_open);
            let is_anew = wish.is_resume() && !is_pattern(&wish.name);
            if is_anew {
                client.unfollow(&wish.name);
            }
            if let Some(open) = open.filter(|_| !is_anew) {
                live.push(open);
                continue;
            }
            // A refusal may have left more than one.
            for (position, interval) in client.intervals.iter_mut().enumerate() {
                if is_anew && is_open(interval) {
                    interval.replace(clock);
                    replaced.push(position);
                }
            }
            let mut interval = Interval::new(wish.name.clone(), clock);
            interval.is_resumed = is_anew;
            client.intervals.push(interval);
            live.push(client.intervals.len() - 1);
        }
        (live, replaced)
    }
}

fn known(id: MessageId) -> (Since, String) {
    (Since::Known(id), text(id))
}

fn text(id: MessageId) -> String {
    let mut text = Vec::new();
    id.write(&mut text);
    String::from_utf8(text).expect("letters and digits")
}

impl SimulatedClient {
    pub(super) fn note(&mut self, known: Known<'_>, name: &str, what: What) {
        if known.keeper.is_none() {
            return;
        }
        self.notes.push(Note { clock: known.clock, now: known.now, name: name.to_owned(), what });
    }

    /// Notes what an acknowledgement says of the history.
    pub(super) fn told(&mut self, sound: &Sound, value: impl Fn(&str) -> Option<String>, known: Known<'_>) {
        let ids = |name: &str, count: usize| match value(name) {
            None => vec![None; count],
            Some(value) => {
                let ids: Vec<_> = value.split(' ').map(id_or_none).collect();
                assert!(ids.len() == count && ids.iter().any(Option::is_some), "{name}:{value} for {count} names");
                ids
            }
        };
        let lost = value("lost").unwrap_or_default();
        let mut lost: Vec<&str> = lost.split(' ').filter(|name| !name.is_empty()).collect();
        for (wish, position) in sound.wishes.iter().zip(ids("position", sound.wishes.len())) {
            let at = lost.iter().position(|name| *name == wish.name);
            let is_lost = at.map(|at| lost.remove(at)).is_some();
            self.note(known, &wish.name, What::Told { wish: wish.number, position, is_lost });
            position.into_iter().for_each(|id| self.remembers(&wish.name, id));
        }
        assert!(lost.is_empty(), "names that were not asked for are lost: {lost:?}");
        let channels = &known.publications[sound.publication].channels;
        for (name, id) in channels.iter().zip(ids("message-id", channels.len())) {
            self.note(known, name, What::Stored { id, publication: sound.publication });
        }
    }

    pub(super) fn remembers(&mut self, name: &str, id: MessageId) {
        self.memory.insert(name.to_owned(), id);
    }

    /// Takes a message apart that begins with a number. Returns the message as it was published.
    pub(super) fn numbered(&mut self, payload: &[u8]) -> Option<(MessageId, String, Vec<u8>)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a head is text");
        let mut lines = payload.splitn(4, |&byte| byte == b'\n');
        let (start, id, channel, rest) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
        let id = id.strip_prefix(b"message-id:")?.strip_suffix(b"\r")?;
        let channel = channel.strip_prefix(b"channel:").and_then(|line| line.strip_suffix(b"\r"));
        let id = MessageId::parse(id).expect("an id of the server");
        Some((id, text(channel.expect("a channel follows the number")), [start, b"\n", rest].concat()))
    }
}

fn id_or_none(text: &str) -> Option<MessageId> {
    (text != "-").then(|| MessageId::parse(text.as_bytes()).expect("an id"))
}

/// How often a client has asked for what it has missed of each channel, with the time of each.
pub(super) fn resumes(client: &SimulatedClient) -> BTreeMap<&str, Vec<u64>> {
    let mut found: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for note in &client.notes {
        if let What::Asks(wish) = &note.what
            && wish.is_resume()
        {
            found.entry(&note.name).or_default().push(note.clock);
        }
    }
    found
}
