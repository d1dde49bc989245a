//! What a client is told, and the checks of what it must receive.

use std::time::Duration;

use rand::{Rng, RngExt};
use tungstenite::protocol::frame::coding::Control;

use super::{
    bridge::Bridge,
    client::{Asked, DISMISSED, End, Known, SENT, SimulatedClient, Sound},
    frames::Incoming,
    keeper::Keeper,
    ledger::{Note, What},
    oracle,
};

impl SimulatedClient {
    /// Takes what the server has sent.
    pub(crate) fn receive(&mut self, bytes: &[u8], rng: &mut impl Rng, known: Known<'_>) {
        self.reader.feed(bytes);
        while let Some(incoming) = self.reader.next() {
            match incoming {
                Incoming::Response { status, body, is_last } => self.response(status, &body, is_last, known),
                Incoming::Message { is_text, payload } => self.message(is_text, &payload, known),
                Incoming::Ping(payload) if self.is_alive() => self.send_control(rng, Control::Pong, &payload),
                Incoming::Ping(_) => {}
                Incoming::Pong(payload) => assert_eq!(self.pongs.pop_front(), Some(payload), "{}", self.number),
                Incoming::Close(code) => self.closed(code, rng),
            }
        }
    }

    fn response(&mut self, status: u16, body: &[u8], is_last: bool, known: Known<'_>) {
        assert!(!self.is_done, "client {} has had its last response", self.number);
        self.is_done = is_last;
        if status == 408 {
            assert!(self.was_silent);
            return;
        }
        if status == 503 && self.is_over_limit() {
            self.was_turned_away = true;
            self.gave_way = body.is_empty();
            assert!(!(self.gave_way && self.is_in_time), "the request of client {} is not looked at", self.number);
            assert!(is_last, "client {} is told that it is one too many, and goes on", self.number);
            return self.give_up_requests();
        }
        let expected = self.responses.pop_front().expect("a response to nothing");
        if status == 503 && self.is_leaving {
            self.void.extend(expected.publication);
        } else {
            let is_forbidden = self.is_forbidden(&expected, status, known);
            assert!(is_forbidden || status == expected.status, "{status}, not {}", expected.status);
            if let Some(content) = expected.body.filter(|_| !is_forbidden) {
                assert_eq!(String::from_utf8_lossy(body), content);
            }
        }
        if is_last {
            let may_go = (self.is_over_limit() && self.is_http) || self.is_leaving;
            assert!(may_go, "client {} is told to go", self.number);
            self.give_up_requests();
        }
        self.is_admitted |= !is_last;
    }

    /// Whether it may have no place but a reserved one.
    fn is_over_limit(&self) -> bool {
        self.is_limited && !self.is_admitted
    }

    /// Nothing comes of the requests that were not answered.
    fn give_up_requests(&mut self) {
        self.void.extend(self.responses.drain(..).filter_map(|expected| expected.publication));
    }

    fn message(&mut self, is_text: bool, payload: &[u8], known: Known<'_>) {
        let answer = |word: &str| payload.starts_with(format!("LHTTP/1.0 {word}\r\n").as_bytes());
        if answer("presence") {
            return self.roll(std::str::from_utf8(payload).expect("our own words"), known);
        }
        if answer("presence-change") {
            return self.roll_changed(std::str::from_utf8(payload).expect("our own words"), known);
        }
        if answer("ack") || answer("error") {
            let text = std::str::from_utf8(payload).expect("our own words");
            let value = |name: &str| Some(text.split_once(&format!("\r\n{name}:"))?.1.split_once("\r\n")?.0);
            if let Some(name) = value("channel") {
                return self.subscription_ended(name, known);
            }
            let Some(token) = value("ack") else {
                // Of a message that only publishes: the oracle knows whether it may reach anybody.
                assert!(known.guard.is_some() && text.contains("\r\nreason:forbidden\r\n"), "{text}");
                return;
            };
            match self.asked.remove(token).expect("an answer to nothing, or twice") {
                Asked::Sound(sound) if answer("error") => return self.refused(text, sound, known),
                Asked::Sound(sound) => {
                    let of_header = |name: &str| value(name).map(str::to_owned);
                    self.told(&sound, of_header, known);
                    let Sound { live, over, since, questions, replaced, standing, .. } = sound;
                    if let Some(guard) = known.guard {
                        let (may, _) = self.may(guard, since, known.clock, &questions);
                        assert!(may, "client {} may not do this: {questions:?}", self.number);
                    }
                    assert_eq!(value("expires-in").is_some(), standing.is_some(), "{text}");
                    standing.into_iter().for_each(|index| self.standings[index].answered = Some(known.clock));
                    let is_offline = text.contains("\r\ncluster:offline\r\n");
                    let may_be = |bridge: &Bridge| !live.is_empty() && bridge.may_be_offline(since, known.clock);
                    assert!(!is_offline || known.bridge.is_some_and(may_be), "other nodes are there: {text}");
                    self.was_offline |= is_offline;
                    for index in live {
                        self.intervals[index].live_at(known.clock);
                        let interval = &mut self.intervals[index];
                        if !is_offline {
                            let is_refused = |bridge: &Bridge| bridge.is_refused_since(&interval.name, since);
                            assert!(!known.bridge.is_some_and(is_refused), "{} is refused: {text}", interval.name);
                            interval.live_abroad_at(known.clock);
                        }
                    }
                    for index in over {
                        self.intervals[index].over_at(known.clock);
                        let name = self.intervals[index].name.clone();
                        self.note(known, &name, What::Left);
                    }
                    replaced.into_iter().for_each(|index| self.intervals[index].over_at(known.clock));
                }
                Asked::Presence(roll_call) => self.roll_refused(text, roll_call, known),
                Asked::Unsound => assert!(answer("error"), "an invalid message was carried out"),
            }
            return;
        }
        if payload.starts_with(SENT) {
            assert_eq!(self.sends.pop_front().expect("one that was sent"), (is_text, payload.to_vec()));
            return;
        }
        let number = oracle::number(payload);
        let publication = &known.publications[number];
        *self.received.entry(number).or_default() += 1;
        if let Some((id, name, payload)) = self.numbered(payload) {
            let is_same = publication.clean == payload && publication.is_text == is_text;
            assert!(is_same, "publication {number} was changed");
            let keeps = |keeper: &Keeper| keeper.keeps(&name, 0, known.clock).0;
            assert!(known.keeper.is_some_and(keeps), "{name} has no history");
            self.note(known, &name, What::Got { id, publication: number });
            return self.remembers(&name, id);
        }
        // If one of its channels has a history, the client's own lines are gone from all copies.
        let is_kept = |name: &String| known.keeper.is_some_and(|keeper| keeper.keeps(name, 0, known.clock).0);
        let is_clean = publication.clean == payload && publication.channels.iter().any(is_kept);
        let is_same = (publication.payload == payload || is_clean) && publication.is_text == is_text;
        assert!(is_same, "publication {number} was changed");
        if known.keeper.is_none_or(Keeper::is_fixed) {
            let has_number = |name: &String| known.keeper.is_some_and(|keeper| keeper.retention(name).is_some());
            assert!(!publication.channels.iter().all(has_number), "publication {number} has come without a number");
            let last = self.last.insert(publication.publisher, number).unwrap_or(0);
            assert!(last <= number, "client {} got {number} of {} after {last}", self.number, publication.publisher);
        }
    }

    fn closed(&mut self, code: Option<u16>, rng: &mut impl Rng) {
        let is_expected = match code {
            Some(1000) => self.ended == Some(End::Close),
            Some(1001) => true,
            Some(1002) => self.ended == Some(End::Fault),
            Some(1008) => self.was_silent,
            Some(1013) => self.was_slow || self.is_expendable,
            Some(DISMISSED) => self.is_dismissed,
            _ => false,
        };
        assert!(is_expected, "client {} was closed with {code:?}", self.number);
        if self.is_alive() && rng.random_bool(0.7) {
            self.send_control(rng, Control::Close, &code.unwrap_or(1000).to_be_bytes());
            self.ended = Some(End::Close);
        }
        self.closed = Some(code);
    }

    /// The server has closed the connection, and all that has come was read. A reset if `is_cut`.
    pub(crate) fn end_of_input(&mut self, is_cut: bool) {
        self.is_over = true;
        let is_lost = self.ended == Some(End::Reset) || self.was_silent || self.is_expendable || self.was_slow;
        let is_lost = is_lost || (is_cut && self.is_over_limit());
        let is_told = self.closed.is_some() || self.ended == Some(End::Finish) || self.is_done;
        assert!(is_lost || is_told, "client {} was left without a word", self.number);
        assert!(is_lost || self.reader.is_at_boundary(), "client {} was left inside a frame", self.number);
    }

    /// Everything has come to rest, and nothing is on its way to this client.
    pub(crate) fn at_rest(&mut self, clock: u64, now: Duration, bridge: Option<&Bridge>) {
        let has_all = self.is_alive() && !self.is_stalled;
        for interval in self.intervals.iter_mut().filter(|interval| has_all || !interval.is_resumed) {
            if has_all && interval.has_just_left() {
                self.notes.push(Note { clock, now, name: interval.name.clone(), what: What::Left });
            }
            interval.at_rest(clock, bridge);
        }
        if self.is_alive() && !self.is_stalled {
            self.standings.iter_mut().for_each(|standing| _ = standing.answered.get_or_insert(clock));
            self.caught_up = clock;
            assert!(self.reader.is_at_boundary(), "client {} waits for the rest of a frame", self.number);
            assert!(self.pongs.is_empty(), "client {} misses pongs", self.number);
            assert!(self.asked.is_empty(), "client {} misses answers: {:?}", self.number, self.asked);
            assert!(self.responses.is_empty(), "client {} misses responses", self.number);
            assert!(self.sends.is_empty(), "client {} misses what was sent to it alone", self.number);
            assert!(!self.is_dismissed, "client {} was not closed", self.number);
        }
    }
}
