//! The answers of other nodes, put together with those of this node's cores.

use std::collections::BTreeMap;

use serde_json::{Value, json, value::RawValue};

use super::{
    gathering::Kind,
    nodes::{TOO_BIG, name},
};
use crate::protocol::channel::CHANNEL_BYTES_MAX;

/// The most bytes of connections of other nodes that one question keeps. A list is cut to its limit, so only
/// strangers send more.
const BYTES_MAX: usize = 1024 * 1024;

/// A question's other nodes.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Those that have not answered.
    silent: Vec<u64>,
    answered: Vec<u64>,
    /// Those of which some cores have not answered.
    incomplete: Vec<u64>,
    /// The first connections of others, in order.
    pub(super) connections: BTreeMap<Place, Value>,
    /// The first channels.
    pub(super) channels: BTreeMap<String, u64>,
    pub(super) changed: u64,
}

/// The place of a connection in a list: its node, core and slot.
pub(super) type Place = (u64, u32, u32);

impl Cluster {
    /// For the answers of these nodes.
    pub(super) fn new(own: u64, nodes: Vec<u64>) -> Self {
        Self {
            silent: nodes,
            answered: vec![own],
            incomplete: Vec::new(),
            connections: BTreeMap::new(),
            channels: BTreeMap::new(),
            changed: 0,
        }
    }

    /// Whether all have answered.
    pub(super) fn is_whole(&self) -> bool {
        self.silent.is_empty()
    }

    /// Takes a node's answer.
    pub(super) fn take(&mut self, node: u64, (kind, status): (Kind, u16), body: &RawValue) {
        // Somebody may send answers that nobody waits for: those are not worth reading.
        if !self.silent.contains(&node) {
            return;
        }
        let Ok(body) = serde_json::from_str::<Value>(body.get()) else { return };
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        match kind {
            _ if status != 200 => {}
            Kind::Connections { limit } => {
                let list = body["connections"].as_array().into_iter().flatten().take(limit);
                let list = list.filter_map(|one| Some((place(node, one)?, one.clone())));
                self.connections.extend(list);
                while self.connections.len() > limit {
                    self.connections.pop_last();
                }
            }
            Kind::Connection => self.connections.extend(place(node, &body).map(|place| (place, body.clone()))),
            Kind::Channels { limit } => {
                let list = body["channels"].as_array().into_iter().flatten().take(limit);
                list.for_each(|one| self.add_channel(one));
                while self.channels.len() > limit {
                    self.channels.pop_last();
                }
            }
            Kind::Channel => self.add_channel(&body),
            Kind::Changed(word) => self.changed = self.changed.saturating_add(count(&body[word])),
            Kind::Messages | Kind::Forgotten | Kind::Users | Kind::Top { .. } => {}
        }
        if self.bytes() > BYTES_MAX {
            self.connections.retain(|(of, ..), _| *of != node);
            return; // it counts as silent
        }
        self.silent.retain(|silent| *silent != node);
        self.answered.push(node);
        if body["unanswered_cores"].is_array() || status == TOO_BIG {
            self.incomplete.push(node);
        }
    }

    fn add_channel(&mut self, channel: &Value) {
        if let Some(name) = channel["name"].as_str().filter(|name| name.len() <= CHANNEL_BYTES_MAX) {
            let sum = self.channels.entry(name.to_owned()).or_default();
            *sum = sum.saturating_add(channel["subscribers"].as_u64().unwrap_or_default());
        }
    }

    fn bytes(&self) -> usize {
        self.connections.values().map(|connection| connection.to_string().len()).sum()
    }

    /// Which nodes have answered, for the answer.
    pub(super) fn nodes(mut self) -> Value {
        let names = |nodes: &mut Vec<u64>| {
            nodes.sort_unstable();
            nodes.iter().map(|node| name(*node)).collect::<Vec<_>>()
        };
        let mut nodes = json!({ "answered": names(&mut self.answered), "silent": names(&mut self.silent) });
        if !self.incomplete.is_empty() {
            nodes["incomplete"] = json!(names(&mut self.incomplete));
        }
        nodes
    }
}

/// The place of a connection of a node that shows it.
fn place(node: u64, connection: &Value) -> Option<Place> {
    let (of, id) = connection["id"].as_str()?.split_once('.')?;
    let mut parts = id.split('-').map(|part| part.parse::<u32>().ok());
    let place = (node, parts.next()??, parts.next()??);
    (of == name(node) && parts.next()?.is_some() && parts.next().is_none()).then_some(place)
}
