//! One client: its requests, the answers it received, and the checks of what it must receive.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use rand::{Rng, RngExt};
use tungstenite::protocol::frame::coding::Control;

use super::{
    attendance::Attendance,
    bridge::Bridge,
    frames::{self, Reader},
    guard::{Guard, Standing},
    keeper::Keeper,
    ledger::{Note, Wish},
    oracle::{Interval, Publication},
    roster::{RollCall, Rosters},
};
use crate::{engine::rules::Action, protocol::message::MessageId};

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
    /// A question for who is in a channel.
    Presence(RollCall),
}

/// What follows from a sound message, and what it needs.
#[derive(Debug)]
pub(crate) struct Sound {
    pub(crate) live: Vec<usize>,
    pub(crate) over: Vec<usize>,
    pub(crate) since: u64,
    pub(crate) publication: usize,
    pub(crate) questions: Vec<(Action, String)>,
    /// What the message asks of the history: the names to which it subscribes, in order.
    pub(crate) wishes: Vec<Wish>,
    /// These names begin anew: what they had before is over with the acknowledgement.
    pub(crate) replaced: Vec<usize>,
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
    pub(crate) now: Duration,
    pub(crate) publications: &'w [Publication],
    pub(crate) bridge: Option<&'w Bridge>,
    pub(crate) guard: Option<&'w Guard>,
    pub(crate) keeper: Option<&'w Keeper>,
    pub(crate) attendance: Option<&'w Attendance>,
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
    /// Its node was asked to stop.
    pub(crate) is_leaving: bool,
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
    pub(super) last: HashMap<usize, usize>,
    /// The time at which the client had received everything that was due to it.
    pub(crate) caught_up: u64,
    /// All that has happened between it and channels with a history, in order.
    pub(crate) notes: Vec<Note>,
    /// The newest id of each channel.
    pub(crate) memory: BTreeMap<String, MessageId>,
    /// How many wishes it has had.
    pub(crate) wishes: usize,
    /// It does not subscribe to patterns.
    pub(crate) is_plain: bool,
    pub(crate) rosters: Rosters,
    pub(super) reader: Reader,
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
            is_leaving: false,
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
            notes: Vec::new(),
            memory: BTreeMap::new(),
            wishes: 0,
            is_plain: false,
            rosters: Rosters::default(),
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
}
