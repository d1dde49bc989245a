//! The messages of clients, and the notes about them for the oracle.

use rand::{RngExt, seq::IndexedRandom};

use super::{
    client::{Asked, DISMISSED, Expected, SENT, Sound},
    ledger::{Note, What},
    oracle::Publication,
    world::{OUTBOXES, World},
};
use crate::engine::{inbox::Letter, rules::Action};

pub(super) const CHANNELS: [&str; 6] = ["a", "b", "a.b", "a.c", "b.a.c", "c"];
const PATTERNS: [&str; 5] = [">", "a.*", "*", "*.b", "b.>"];
/// Each of these makes a message invalid.
const FLAWS: [&str; 15] = [
    "subscribe:a..b",
    "unsubscribe:a.>.b",
    "publish:*",
    "multipart:5 3",
    "upstream:GET http://x/",
    "publish:_a",
    "subscribe:a $a.>",
    "subscribe:*.*.*.*.*",
    "ack:another",
    "since:- -",
    "since:0123456789012345678901234567890123456789012345678901234567890123456789",
    "last:0",
    "last:1001\r\nsince:-",
    "no-echo:true\r\nno-echo:true",
    "publish:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33",
];
/// Header lines of names that the server writes itself.
const OWN_LINES: &str = "Message-Id:7\r\nchannel:zz\r\n";
/// Publishers that are not clients are numbered from here, by node.
pub(super) const LETTERS: usize = 1_000_000;
/// Publishers on the other node are numbered from here.
pub(crate) const ABROAD: usize = 2_000_000;

impl World {
    /// A message with any of the control headers.
    pub(super) fn send_message(&mut self, index: usize) {
        let (mut head, mut live, mut over) = (String::new(), Vec::new(), Vec::new());
        let (mut wishes, mut replaced) = (Vec::new(), Vec::new());
        if self.rng.random_bool(0.3) {
            let names = self.names(index);
            let separator = if self.rng.random_bool(0.2) { "\r\nsubscribe: " } else { " " };
            head += &format!("subscribe:{}\r\n", names.join(separator));
            let asked = self.wishes(index, &names);
            head += &asked.1;
            head += &self.presence_info();
            wishes = asked.0;
            (live, replaced) = self.subscribe(index, &wishes);
        }
        let channels = if self.rng.random_bool(0.7) { self.channels() } else { Vec::new() };
        let mut questions: Vec<_> =
            live.iter().map(|&at| (Action::Subscribe, self.clients[index].intervals[at].name.clone())).collect();
        questions.extend(channels.iter().map(|name| (Action::Publish, name.clone())));
        let token = self.next_token(index);
        let client = &self.clients[index];
        let open = client.intervals.iter().filter(|interval| interval.left.is_none());
        let own = open.map(|interval| interval.matches(&channels)).sum();
        if self.rng.random_bool(0.15) {
            let names = self.names(index);
            head += &format!("Unsubscribe: {}\r\n", names.join("  "));
            over = self.unsubscribe(index, &names);
        }
        let no_echo = self.rng.random_bool(0.2);
        if no_echo {
            head += "no-echo:true\r\n";
        }
        // Without an answer nobody knows whether the rules allow it. So that heads repeat, some messages have none.
        let only_publishes = live.is_empty() && over.is_empty() && token.is_none();
        if (self.guard.is_some() && !only_publishes) || self.rng.random_bool(0.5) {
            let ack = self.clients[index].token();
            head += &format!("ack:{ack}\r\n");
            let standing = token.as_ref().map(|_| self.clients[index].standings.len() - 1);
            let (since, publication) = (self.clock, self.publications.len());
            let sound = Sound { live, over, since, publication, questions, wishes, replaced, standing };
            self.clients[index].asked.insert(ack, Asked::Sound(sound));
        }
        let (is_text, payload) = self.publication(index, &head, channels);
        let payload = match token {
            Some(token) => with_token(&payload, &token), // nobody else sees it
            None => payload,
        };
        let publication = self.publications.last_mut().expect("just made");
        (publication.own, publication.no_echo) = (own, no_echo);
        self.clients[index].send_message(&mut self.rng, is_text, &payload);
    }

    /// Sends a message that must have no effect.
    pub(super) fn send_unsound(&mut self, index: usize) {
        let token = self.clients[index].token();
        let flaw = *FLAWS.choose(&mut self.rng).expect("some");
        let head = format!("ack:{token}\r\nsubscribe:zzz\r\n{flaw}\r\n");
        let channels = self.channels();
        let (is_text, payload) = self.publication(index, &head, channels);
        self.publications.last_mut().expect("just made").is_unsound = true;
        self.clients[index].asked.insert(token, Asked::Unsound);
        self.clients[index].send_message(&mut self.rng, is_text, &payload);
    }

    /// Posts a message over HTTP.
    pub(super) fn post(&mut self, index: usize) {
        let channels = self.channels();
        let count = channels.len();
        let (is_text, payload) = self.publication(index, "", channels);
        self.publications.last_mut().expect("just made").is_text = is_text || std::str::from_utf8(&payload).is_ok();
        let client = &mut self.clients[index];
        let before = client.to_send.len();
        if self.rng.random_bool(0.5) {
            let (len, token) = (payload.len(), client.authorization());
            let head = format!("POST /publish HTTP/1.1\r\nHost: x\r\n{token}Content-Length: {len}\r\n\r\n");
            client.to_send.extend_from_slice(head.as_bytes());
            client.to_send.extend_from_slice(&payload);
        } else {
            let token = client.authorization();
            let head = format!("POST /publish HTTP/1.1\r\nHost: x\r\n{token}Transfer-Encoding: chunked\r\n\r\n");
            client.to_send.extend(head.as_bytes());
            for chunk in payload.chunks(self.rng.random_range(1..2000)) {
                client.to_send.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                client.to_send.extend_from_slice(chunk);
                client.to_send.extend(b"\r\n");
            }
            client.to_send.extend(b"0\r\n\r\n");
        }
        let body = Some(format!("{{\"channels\":{count}}}"));
        let publication = Some(self.publications.len() - 1);
        client.responses.push_back(Expected { status: 200, body, publication });
        client.has_asked(before);
    }

    /// Asks over HTTP whether the server is well.
    pub(super) fn ask_health(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let before = client.to_send.len();
        client.to_send.extend(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        client.responses.push_back(Expected { status: 200, body: Some("ok".to_owned()), publication: None });
        client.has_asked(before);
    }

    /// Another thread publishes.
    pub(super) fn post_letter(&mut self, node: usize) {
        let channels = self.channels();
        let (_, payload) = self.publication(LETTERS + node, "", channels.clone());
        let publication = self.publications.last_mut().expect("just made");
        publication.is_text = std::str::from_utf8(&payload).is_ok();
        self.nodes[node].post_publish(channels.join(" ").into_bytes().into(), payload);
    }

    /// Another thread sends to a client, or closes it, or changes the limits of a node.
    pub(super) fn post_other_letter(&mut self, node: usize) {
        let index = self.rng.random_range(0..self.clients.len());
        let client = &mut self.clients[index];
        let is_upgraded = !client.is_http && !client.is_dawdling && client.responses.is_empty();
        match self.rng.random_range(0..10) {
            0 => {
                // A lower limit applies to the next bytes for a connection, not at once.
                let other = *OUTBOXES.choose(&mut self.rng).expect("some");
                self.limits.outbox_bytes_max = self.limits.outbox_bytes_max.max(other);
                self.nodes[node].post_limits(self.limits.clone(), self.crowd.connections_max);
            }
            // A message that is sent before the upgrade is done goes nowhere.
            1 if is_upgraded && client.is_alive() => {
                client.is_dismissed = true;
                let close = |key| Letter::Close { key, code: DISMISSED, reason: "enough".into() };
                self.nodes[client.node].post_to(client.socket, close);
            }
            2.. if is_upgraded && client.is_alive() && !client.is_dismissed => {
                let filler = *[&b"\xff"[..], "é".as_bytes()].choose(&mut self.rng).expect("some");
                let len = self.rng.random_range(0..self.body_bytes_max);
                let payload = [SENT, &filler.repeat(len / filler.len())].concat();
                let is_text = self.rng.random_bool(0.5);
                let goes_as_text = is_text && std::str::from_utf8(&payload).is_ok();
                client.sends.push_back((goes_as_text, payload.clone()));
                self.nodes[client.node].post_to(client.socket, |key| Letter::Send { key, is_text, payload });
            }
            _ => {}
        }
    }

    /// Makes up a message and notes it; without channels it is one that must not reach anybody.
    pub(super) fn publication(&mut self, publisher: usize, head: &str, channels: Vec<String>) -> (bool, Vec<u8>) {
        let is_text = self.rng.random_bool(0.6);
        let mut publish =
            if channels.is_empty() { String::new() } else { format!("publish:{}\r\n", channels.join(" ")) };
        if self.rng.random_bool(0.1) {
            publish = publish.repeat(self.rng.random_range(2..9)); // each name counts once
        }
        let lines = if self.rng.random_bool(0.05) { OWN_LINES } else { "" };
        let len = self.rng.random_range(0..self.body_bytes_max);
        let filler: &[u8] = if is_text { "é€".as_bytes() } else { &[0xff, 0, 0x80] };
        let body = filler.repeat(len / filler.len());
        let payload = |lines: &str| {
            let head = format!("LHTTP/1.0 m\r\n{publish}{lines}{head}\r\n{} ", self.publications.len());
            [head.as_bytes(), &body].concat()
        };
        let (payload, clean) = (payload(lines), payload(""));
        self.publications.push(Publication {
            publisher,
            channels,
            payload: payload.clone(),
            clean,
            is_text,
            no_echo: false,
            is_unsound: false,
            sent: self.clock,
            sent_at: self.now,
            settled: u64::MAX,
            is_certain: false,
            own: 0,
        });
        (is_text, payload)
    }

    pub(super) fn channels(&mut self) -> Vec<String> {
        let count = if self.rng.random_bool(0.8) { 1 } else { self.rng.random_range(2..4) };
        CHANNELS.sample(&mut self.rng, count).map(|name| name.to_string()).collect()
    }

    fn names(&mut self, index: usize) -> Vec<String> {
        let count = self.rng.random_range(1..3);
        let patterns = if self.clients[index].is_plain { &[][..] } else { &PATTERNS };
        let names: Vec<&str> = CHANNELS.iter().chain(patterns).copied().collect();
        names.sample(&mut self.rng, count).map(|name| name.to_string()).collect()
    }

    fn unsubscribe(&mut self, index: usize, names: &[String]) -> Vec<usize> {
        let (mut found, mut left) = (Vec::new(), Vec::new());
        names.iter().for_each(|name| self.clients[index].unfollow(name));
        for (position, interval) in self.clients[index].intervals.iter_mut().enumerate() {
            if interval.left.is_none() && names.contains(&interval.name) {
                interval.left = Some(self.clock);
                found.push(position);
                left.push(interval.name.clone());
            }
        }
        let (clock, now) = (self.clock, self.now);
        let left = left.into_iter().map(|name| Note { clock, now, name, what: What::Leaves });
        self.clients[index].notes.extend(left.filter(|_| self.keeper.is_some()));
        found
    }
}

/// A message with a token behind its start line.
fn with_token(payload: &[u8], token: &str) -> Vec<u8> {
    let line_end = payload.windows(2).position(|bytes| bytes == b"\r\n").expect("a start line") + 2;
    let (start, rest) = payload.split_at(line_end);
    [start, format!("Token: {token}\r\n").as_bytes(), rest].concat()
}
