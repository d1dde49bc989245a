//! The answers of the cores, put together.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    engine::{
        slot::ConnectionKey,
        survey::{Answered, Kept, Seen},
    },
    error::Refusal,
    extension::ConnectionId,
};

use super::{
    cluster::{Cluster, Place},
    kept::Page,
    nodes::name,
    said::Said,
    wanted::behind,
};

/// The answer to a request.
pub(crate) struct Gathered {
    pub(super) asker: Asker,
    pub(crate) said: Said,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    /// A connection of this core.
    Connection(ConnectionKey),
    /// Another node, with its number of the question.
    Node(u64, u32),
}

/// What a request is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Connections {
        limit: usize,
    },
    Connection,
    Channels {
        limit: usize,
    },
    Channel,
    /// The busiest channels and the slowest readers.
    Top {
        limit: usize,
    },
    /// So many connections were changed, under this word.
    Changed(&'static str),
    /// Messages that are kept.
    Messages,
    /// So many messages were dropped.
    Forgotten,
    /// Who is in a channel.
    Users,
}

/// A question that cores are answering.
pub(super) struct Gathering {
    pub(super) id: u32,
    pub(super) asker: Asker,
    kind: Kind,
    /// This node, in a cluster.
    own: Option<u64>,
    /// The other nodes, if they are asked.
    cluster: Option<Cluster>,
    pub(super) deadline: Duration,
    /// The cores that have not answered.
    missing: Vec<u32>,
    /// The cores that have no room for a question.
    failed: Vec<u32>,
    connections: Vec<(u32, Seen)>,
    channels: BTreeMap<Box<[u8]>, u64>,
    /// Messages a second by channel.
    rates: BTreeMap<Box<[u8]>, f64>,
    changed: u64,
    kept: Option<Kept>,
    page_bytes_max: usize,
    users: Option<Users>,
    refused: Option<Refusal>,
}

/// A connection, as it is shown.
#[derive(Serialize)]
struct Shown {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Box<str>>,
    transport: &'static str,
    subscriptions: usize,
    backlog_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
}

/// Who is in a channel, and how many more are.
#[derive(Serialize)]
struct Users {
    users: Box<RawValue>,
    more: usize,
}

impl Users {
    fn new(list: Vec<u8>, more: usize) -> Option<Self> {
        let users = String::from_utf8(list).ok().and_then(|list| RawValue::from_string(list).ok())?;
        Some(Self { users, more })
    }
}

impl Gathering {
    /// For the answers of these cores. A page of messages has at most so many bytes.
    pub(super) fn new(
        (id, asker): (u32, Asker),
        (kind, own): (Kind, Option<u64>),
        deadline: Duration,
        cores: Range<u32>,
        page_bytes_max: usize,
    ) -> Self {
        Self {
            id,
            asker,
            kind,
            own,
            cluster: None,
            deadline,
            missing: cores.collect(),
            failed: Vec::new(),
            connections: Vec::new(),
            channels: BTreeMap::new(),
            rates: BTreeMap::new(),
            changed: 0,
            kept: None,
            page_bytes_max,
            users: None,
            refused: None,
        }
    }

    /// These other nodes are asked, too.
    pub(super) fn of_cluster(&mut self, cluster: Cluster) {
        self.cluster = Some(cluster);
    }

    /// Takes a node's answer. Returns whether it was the last one.
    pub(super) fn take_of_node(&mut self, node: u64, status: u16, body: &RawValue) -> bool {
        if let Some(cluster) = &mut self.cluster {
            cluster.take(node, (self.kind, status), body);
        }
        self.is_whole()
    }

    fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.cluster.as_ref().is_none_or(Cluster::is_whole)
    }

    /// A core has no room for the question.
    pub(super) fn gives_up(&mut self, core: u32) {
        self.missing.retain(|&missing| missing != core);
        self.failed.push(core);
    }

    /// Takes a core's answer. Returns whether it was the last one.
    pub(super) fn take(&mut self, core: u32, answer: Answered) -> bool {
        self.missing.retain(|&missing| missing != core);
        match answer {
            Answered::Connections(seen) => self.connections.extend(seen.into_iter().map(|seen| (core, seen))),
            Answered::Channels(names) => {
                names.into_iter().for_each(|(name, count)| *self.channels.entry(name).or_default() += count);
            }
            Answered::Top { busiest, slowest } => {
                busiest.into_iter().for_each(|(name, rate)| *self.rates.entry(name).or_default() += rate);
                self.connections.extend(slowest.into_iter().map(|seen| (core, seen)));
            }
            Answered::Changed(changed) => self.changed += changed,
            Answered::Messages(kept) => self.kept = Some(kept),
            Answered::Users { list, more } => self.users = Users::new(list, more),
            Answered::Refused(refusal) => self.refused = Some(refusal),
        }
        self.is_whole()
    }

    /// The answer to the request.
    pub(super) fn finish(mut self) -> Gathered {
        let mut unanswered = std::mem::take(&mut self.missing);
        unanswered.append(&mut self.failed);
        unanswered.sort_unstable();
        if let Some(refusal) = self.refused {
            return Gathered { asker: self.asker, said: Said::refused("", &refusal) };
        }
        let mut cluster = self.cluster.take();
        if let Some(cluster) = &mut cluster {
            for (name, count) in std::mem::take(&mut cluster.channels) {
                let name: Box<[u8]> = name.into_bytes().into();
                // Of one channel that was asked for, another node cannot say the name.
                if !matches!(self.kind, Kind::Channel) || self.channels.contains_key(&name) {
                    let sum = self.channels.entry(name).or_default();
                    *sum = sum.saturating_add(count);
                }
            }
            self.changed = self.changed.saturating_add(cluster.changed);
        }
        let said = match self.kind {
            Kind::Connection => {
                let own = self.connections.pop().map(|(core, seen)| json(&shown((self.own, core), seen, true)));
                own.or_else(|| Some(cluster.as_mut()?.connections.pop_first()?.1))
            }
            Kind::Channel => self.channels.pop_first().map(|(name, count)| a_channel(&name, count)),
            Kind::Connections { limit } => {
                let others = cluster.as_mut().map(|cluster| std::mem::take(&mut cluster.connections));
                Some(self.all_connections(limit, others.unwrap_or_default()))
            }
            Kind::Channels { limit } => Some(self.all_channels(limit)),
            Kind::Top { limit } => Some(self.top(limit)),
            Kind::Changed(word) => Some(json!({ word: self.changed })),
            Kind::Messages => {
                let page = self.kept.map(|kept| Page::new(&kept, self.page_bytes_max));
                let said = page.map_or_else(unanswered_said, |page| Said::json(&page));
                return Gathered { asker: self.asker, said };
            }
            Kind::Users => {
                let said = self.users.map_or_else(unanswered_said, |users| Said::json(&users));
                return Gathered { asker: self.asker, said };
            }
            // One core alone was asked.
            Kind::Forgotten => unanswered.is_empty().then(|| json!({ "deleted": self.changed })),
        };
        let said = match said {
            None if unanswered.is_empty() => Said::error(404, "not-found", "there is no such connection"),
            None => unanswered_said(),
            Some(mut said) => {
                if let Some(said) = said.as_object_mut().filter(|_| !unanswered.is_empty()) {
                    said.insert("unanswered_cores".to_owned(), json!(unanswered));
                }
                if let Some((said, cluster)) = said.as_object_mut().zip(cluster) {
                    said.insert("nodes".to_owned(), cluster.nodes());
                }
                Said::json(&said)
            }
        };
        Gathered { asker: self.asker, said }
    }

    fn all_connections(&mut self, limit: usize, others: BTreeMap<Place, Value>) -> Value {
        let (own, mut all) = (self.own, Vec::from_iter(others));
        for (core, seen) in std::mem::take(&mut self.connections) {
            let place = (own.unwrap_or_default(), core, seen.key.slot);
            all.push((place, json(&shown((own, core), seen, false))));
        }
        all.sort_unstable_by_key(|(place, _)| *place);
        let has_more = all.len() >= limit;
        all.truncate(limit);
        let last = all.last().filter(|_| has_more);
        let next = last.map(|((node, core, slot), _)| behind(own.and(Some(*node)), *core, *slot));
        let all: Vec<Value> = all.into_iter().map(|(_, shown)| shown).collect();
        json!({ "connections": all, "next": next })
    }

    fn top(&mut self, limit: usize) -> Value {
        let mut busiest: Vec<_> = std::mem::take(&mut self.rates).into_iter().collect();
        busiest.sort_by(|(_, rate), (_, other)| other.total_cmp(rate));
        let busiest = busiest.iter().filter(|(_, rate)| *rate >= 0.05).take(limit).map(|(name, rate)| {
            json!({ "name": String::from_utf8_lossy(name), "messages_per_second": (rate * 10.0).round() / 10.0 })
        });
        let busiest: Vec<Value> = busiest.collect();
        let own = self.own;
        self.connections.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.backlog_bytes));
        let slowest = std::mem::take(&mut self.connections).into_iter().take(limit).map(|(core, seen)| {
            json!({
                "id": an_id((own, core), seen.key),
                "user": seen.user,
                "address": seen.address,
                "backlog_bytes": seen.backlog_bytes,
                "backlog_seconds": seen.backlog_millis as f64 / 1e3,
            })
        });
        let slowest: Vec<Value> = slowest.collect();
        json!({ "busiest": busiest, "slowest": slowest })
    }

    fn all_channels(&mut self, limit: usize) -> Value {
        let has_more = self.channels.len() >= limit;
        let all: Vec<_> = std::mem::take(&mut self.channels).into_iter().take(limit).collect();
        let next = all.last().filter(|_| has_more).map(|(name, _)| String::from_utf8_lossy(name).into_owned());
        let all: Vec<Value> = all.iter().map(|(name, count)| a_channel(name, *count)).collect();
        json!({ "channels": all, "next": next })
    }
}

fn unanswered_said() -> Said {
    Said::error(504, "unanswered", "a core did not answer in time")
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("its maps have texts as keys")
}

fn a_channel(name: &[u8], subscribers: u64) -> Value {
    json!({ "name": String::from_utf8_lossy(name), "subscribers": subscribers })
}

/// The id of a connection, which begins with its node in a cluster.
fn an_id((node, core): (Option<u64>, u32), key: ConnectionKey) -> String {
    let id = ConnectionId::new(core, key);
    node.map_or_else(|| id.to_string(), |node| format!("{}.{id}", name(node)))
}

fn shown((node, core): (Option<u64>, u32), seen: Seen, with_channels: bool) -> Shown {
    let channels = seen.channels.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    Shown {
        id: an_id((node, core), seen.key),
        user: seen.user,
        address: seen.address,
        transport: "websocket",
        subscriptions: seen.subscriptions,
        backlog_bytes: seen.backlog_bytes,
        channels: with_channels.then_some(channels),
    }
}
