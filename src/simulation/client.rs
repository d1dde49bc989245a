//! One client: its requests, the answers it received, and the checks of what it must receive.

use std::collections::{HashMap, VecDeque};

use rand::{Rng, RngExt};
use tungstenite::protocol::frame::coding::Control;

use super::{
    bridge::Bridge,
    frames::{self, Incoming, Reader},
    guard::{Guard, Standing},
    oracle::{self, Interval, Publication},
};
use crate::engine::rules::Action;

/// The prefix of messages that another thread of the server sends to one client.
pub(crate) const SENT: &[u8] = b"to you alone ";
/// The code with which another thread of the server closes a connection.
pub(crate) const DISMISSED: u16 = 4000;

/// How a client ends its side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a close frame.
    Close,
    /// It shuts its sending side.
    Finish,
    /// It resets the connection.
    Reset,
    /// It breaks a rule of the protocol.
    Fault,
}

/// The kind of message that an answer belongs to.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A message that is sound; the subscriptions with these indices are live with its acknowledgement, these over.
    Sound(Sound),
    /// One that must be refused.
    Unsound,
}

/// What follows from a sound message, and what it needs.
#[derive(Debug)]
pub(crate) struct Sound {
    pub(crate) live: Vec<usize>,
    pub(crate) over: Vec<usize>,
    pub(crate) since: u64,
    pub(crate) publication: usize,
    pub(crate) questions: Vec<(Action, String)>,
    /// The standing that the message's token asks for.
    pub(crate) standing: Option<usize>,
}

/// A response that is to come.
pub(crate) struct Expected {
    pub(crate) status: u16,
    /// None if it is not known.
    pub(crate) body: Option<String>,
    /// What is published by the request.
    pub(crate) publication: Option<usize>,
}

/// What a client's words are held against.
#[derive(Clone, Copy)]
pub(crate) struct Known<'w> {
    pub(crate) clock: u64,
    pub(crate) publications: &'w [Publication],
    pub(crate) bridge: Option<&'w Bridge>,
    pub(crate) guard: Option<&'w Guard>,
}

/// A client.
pub(crate) struct SimulatedClient {
    pub(crate) number: usize,
    pub(crate) node: usize,
    pub(crate) socket: usize,
    pub(crate) is_http: bool,
    /// The client never sends the end of its first request.
    pub(crate) is_dawdling: bool,
    /// The client reads nothing.
    pub(crate) is_stalled: bool,
    /// The client was stalled while time passed, so the server may have given it up.
    pub(crate) was_silent: bool,
    /// The client's socket has refused bytes, so the server may have found a slow consumer.
    pub(crate) was_slow: bool,
    /// The server may end the connection for reasons that are not the client's fault.
    pub(crate) is_expendable: bool,
    pub(crate) ended: Option<End>,
    /// The server's close frame has come, with this code.
    pub(crate) closed: Option<Option<u16>>,
    pub(crate) is_over: bool,
    /// Bytes on their way to the server.
    pub(crate) to_send: Vec<u8>,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) asked: HashMap<String, Asked>,
    pub(crate) pongs: VecDeque<Vec<u8>>,
    /// To come over HTTP.
    pub(crate) responses: VecDeque<Expected>,
    /// The server has a limit on connections that this one may be over.
    pub(crate) is_limited: bool,
    /// It is within the limit: it was upgraded, or more than one request is read.
    pub(crate) is_admitted: bool,
    /// It was told that it is one too many.
    pub(crate) was_turned_away: bool,
    /// It was told so without a look at its request, since others had come.
    pub(crate) gave_way: bool,
    /// Its first request had come when it was accepted, and a turn reads all of that.
    pub(crate) is_in_time: bool,
    /// The bytes of that request, once it has sent all of them.
    pub(crate) first_request: Option<usize>,
    /// It was told that nothing more of what it sends is read.
    pub(crate) is_done: bool,
    /// Publications of its that are not carried out.
    pub(crate) void: Vec<usize>,
    /// Who it is, in order; nothing in a world without rules.
    pub(crate) standings: Vec<Standing>,
    /// The token of its requests.
    pub(crate) bearer: Option<String>,
    /// To come from other threads of the server, in order.
    pub(crate) sends: VecDeque<(bool, Vec<u8>)>,
    /// Another thread of the server closes the client.
    pub(crate) is_dismissed: bool,
    /// It was told that only this node knows of a subscription.
    pub(crate) was_offline: bool,
    /// How often it has received which publication.
    pub(crate) received: HashMap<usize, usize>,
    /// By publisher, the last publication that the client has received.
    last: HashMap<usize, usize>,
    /// The time at which the client had received everything that was due to it.
    pub(crate) caught_up: u64,
    reader: Reader,
    tokens: usize,
}

impl SimulatedClient {
    pub(crate) fn new(number: usize, node: usize, socket: usize, is_http: bool) -> Self {
        Self {
            number,
            node,
            socket,
            is_http,
            is_dawdling: false,
            is_stalled: false,
            was_silent: false,
            was_slow: false,
            is_expendable: false,
            ended: None,
            closed: None,
            is_over: false,
            to_send: Vec::new(),
            intervals: Vec::new(),
            asked: HashMap::new(),
            pongs: VecDeque::new(),
            responses: VecDeque::new(),
            is_limited: false,
            is_admitted: false,
            was_turned_away: false,
            gave_way: false,
            is_in_time: false,
            first_request: None,
            is_done: false,
            void: Vec::new(),
            standings: Vec::new(),
            bearer: None,
            sends: VecDeque::new(),
            is_dismissed: false,
            was_offline: false,
            received: HashMap::new(),
            last: HashMap::new(),
            caught_up: 0,
            reader: Reader::default(),
            tokens: 0,
        }
    }

    /// Whether the client may go on sending.
    pub(crate) fn is_alive(&self) -> bool {
        self.ended.is_none() && self.closed.is_none() && !self.is_over && !self.is_done
    }

    pub(crate) fn upgrade(&mut self) {
        let handshake = frames::HANDSHAKE.replacen("\r\n\r\n", &format!("\r\n{}\r\n", self.authorization()), 1);
        self.to_send.extend_from_slice(handshake.as_bytes());
        self.responses.push_back(Expected { status: 101, body: None, publication: None });
        self.has_asked(0);
    }

    /// The header line with its token, if it has one.
    pub(crate) fn authorization(&self) -> String {
        self.bearer.as_ref().map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"))
    }

    /// A request was added to what is on its way, of which there were so many bytes before.
    pub(crate) fn has_asked(&mut self, before: usize) {
        self.first_request.get_or_insert(self.to_send.len() - before);
    }

    pub(crate) fn dawdle(&mut self, bytes: usize) {
        self.to_send.extend_from_slice(&frames::HANDSHAKE.as_bytes()[..bytes]);
        self.is_dawdling = true;
    }

    pub(crate) fn token(&mut self) -> String {
        self.tokens += 1;
        format!("t{}-{}", self.number, self.tokens)
    }

    pub(crate) fn send_message(&mut self, rng: &mut impl Rng, is_text: bool, payload: &[u8]) {
        self.pongs.extend(frames::push_message(&mut self.to_send, rng, is_text, payload));
    }

    pub(crate) fn send_ping(&mut self, rng: &mut impl Rng) {
        let payload = vec![rng.random(); rng.random_range(0..=125)];
        self.send_control(rng, Control::Ping, &payload);
        self.pongs.push_back(payload);
    }

    pub(crate) fn send_control(&mut self, rng: &mut impl Rng, control: Control, payload: &[u8]) {
        frames::push_control(&mut self.to_send, rng, control, payload);
    }

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
        let is_forbidden = self.is_forbidden(&expected, status, known);
        assert!(is_forbidden || status == expected.status, "{status}, not {}", expected.status);
        if let Some(content) = expected.body.filter(|_| !is_forbidden) {
            assert_eq!(String::from_utf8_lossy(body), content);
        }
        if is_last {
            assert!(self.is_over_limit() && self.is_http, "client {} is told to go", self.number);
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
                Asked::Sound(Sound { live, over, since, questions, standing, .. }) => {
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
                    over.into_iter().for_each(|index| self.intervals[index].over_at(known.clock));
                }
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
        assert!(publication.payload == payload && publication.is_text == is_text, "publication {number} was changed");
        *self.received.entry(number).or_default() += 1;
        let last = self.last.insert(publication.publisher, number).unwrap_or(0);
        assert!(last <= number, "client {} got {number} of {} after {last}", self.number, publication.publisher);
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
    pub(crate) fn at_rest(&mut self, clock: u64, bridge: Option<&Bridge>) {
        for interval in &mut self.intervals {
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
