//! The other nodes of a cluster: questions go to all of them, and each answers as it would answer its own operators.
//!
//! Each node says hello when it has connected, and one that has operators of its own every ten seconds. It knows the nodes that
//! it hears, and waits for their answers. Everything here may come from a stranger that may publish to the subjects: nothing is taken for granted.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::engine::{
    log_limit::LogLimit,
    node_link::{Frame, NodeLink},
};

use super::Said;

const VERSION: u8 = 1;
/// The status of an answer that is too large for a message between nodes.
pub(super) const TOO_BIG: u16 = 413;
/// How often a node with operators says hello.
const HELLO_EVERY: Duration = Duration::from_secs(10);
/// A node that has said nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(24);
/// The most other nodes.
const NODES_MAX: usize = 64;

/// What this node knows of the others.
#[derive(Debug)]
pub(super) struct Nodes {
    link: NodeLink,
    /// The others, and when they were heard last.
    known: Vec<(u64, Duration)>,
    /// This node has operators of its own.
    asks: bool,
    /// When to say hello next.
    hello_at: Option<Duration>,
}

/// A message between nodes, in JSON.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    version: u8,
    from: String,
    /// The sender's number of the question, or the receiver's in an answer.
    #[serde(default)]
    id: u32,
    /// Who is there?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    hello: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    question: Option<Asking>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Answering>,
}

/// A request as it came to a node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Asking {
    pub(super) method: String,
    pub(super) target: String,
    #[serde(default)]
    pub(super) body: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Answering {
    status: u16,
    body: Box<RawValue>,
}

/// What another node has sent.
#[derive(Debug)]
pub(super) enum Heard {
    Nothing,
    Question { node: u64, id: u32, asking: Asking },
    Answer { node: u64, id: u32, status: u16, body: Box<RawValue> },
}

impl Nodes {
    /// `asks`: this node has operators of its own.
    pub(super) fn new(link: NodeLink, asks: bool) -> Self {
        Self { link, known: Vec::new(), asks, hello_at: None }
    }

    /// This node.
    pub(super) fn own(&self) -> u64 {
        self.link.node()
    }

    /// The other nodes.
    pub(super) fn known(&self) -> Vec<u64> {
        self.known.iter().map(|(node, _)| *node).collect()
    }

    /// When to call [`Nodes::say_hello`].
    pub(super) fn next_hello(&self) -> Option<Duration> {
        self.hello_at
    }

    /// Says hello if that is due, and forgets the nodes that are gone.
    pub(super) fn say_hello(&mut self, now: Duration) {
        if self.hello_at.is_none_or(|at| at > now) {
            return;
        }
        self.hello_at = self.asks.then_some(now + HELLO_EVERY);
        self.known.retain(|(_, heard)| *heard + SILENCE_MAX > now);
        self.send(None, Line { hello: true, ..self.line(0) });
    }

    /// Asks all other nodes. Returns whether the question is on its way.
    pub(super) fn ask(&self, id: u32, asking: &Asking) -> bool {
        self.send(None, Line { question: Some(asking.clone()), ..self.line(id) })
    }

    /// Answers a node. Instead of an answer that does not fit, the node gets one that says so.
    pub(super) fn answer(&self, node: u64, id: u32, said: &Said) {
        if self.try_answer(node, id, said) {
            return;
        }
        static LIMIT: LogLimit = LogLimit::new();
        LIMIT.say(|more| log::warn!("admin: an answer to an operator of another node is too large, or waits{more}"));
        self.try_answer(node, id, &Said::error(TOO_BIG, "too-big", "the answer is too large: ask for less at once"));
    }

    fn try_answer(&self, node: u64, id: u32, said: &Said) -> bool {
        let answer = said.answer();
        let body = std::str::from_utf8(answer.body).ok().and_then(|body| serde_json::from_str(body).ok());
        body.is_some_and(|body| {
            let answer = Some(Answering { status: answer.status, body });
            self.send(Some(node), Line { answer, ..self.line(id) })
        })
    }

    /// Takes a message of another node. An empty one is the bridge's, which has connected.
    pub(super) fn hear(&mut self, now: Duration, message: &[u8]) -> Heard {
        if message.is_empty() {
            self.hello_at = Some(now);
            return Heard::Nothing;
        }
        let Ok(line) = serde_json::from_slice::<Line>(message) else { return Heard::Nothing };
        let Some(node) = node(&line.from).filter(|node| line.version == VERSION && *node != self.own()) else {
            return Heard::Nothing;
        };
        if let Some((_, heard)) = self.known.iter_mut().find(|(known, _)| *known == node) {
            *heard = now;
        } else if self.asks && self.known.len() < NODES_MAX {
            self.known.push((node, now));
        }
        if line.hello {
            self.send(Some(node), self.line(0));
        }
        if let Some(asking) = line.question {
            return Heard::Question { node, id: line.id, asking };
        }
        let Some(Answering { status, body }) = line.answer else { return Heard::Nothing };
        Heard::Answer { node, id: line.id, status, body }
    }

    fn line(&self, id: u32) -> Line {
        Line { version: VERSION, from: name(self.own()), id, hello: false, question: None, answer: None }
    }

    fn send(&self, to: Option<u64>, line: Line) -> bool {
        let bytes = serde_json::to_vec(&line).expect("its maps have texts as keys");
        self.link.send(Frame { to, bytes })
    }
}

/// The name of a node: 16 hexadecimal digits.
pub(super) fn name(node: u64) -> String {
    format!("{node:016x}")
}

/// The node of a name.
pub(super) fn node(name: &str) -> Option<u64> {
    let is_name = name.len() == 16 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(name, 16).ok().filter(|_| is_name)
}
