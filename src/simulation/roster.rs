//! What a client knows of who is present: questions, lists, and the changes behind them.

use std::collections::BTreeMap;

use rand::{RngExt, seq::IndexedRandom};
use serde_json::Value;

use super::{
    client::{Asked, Known, SimulatedClient},
    oracle::Interval,
    talk::CHANNELS,
    world::World,
};
use crate::{config::Presence, engine::rules::Action};

/// The nodes begin a second before this Unix time.
const STARTED_MAX: u64 = 1_800_000_001;
/// What clients show.
const INFOS: [&str; 3] = ["away", "", "\u{e9} \"\\\" <b>"];

/// A user as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) connections: u64,
    pub(super) since: u64,
    pub(super) info: Option<String>,
}

pub(super) type Users = BTreeMap<String, Seen>;

/// A question that is not answered.
#[derive(Debug)]
pub(crate) struct RollCall {
    name: String,
    sent: u64,
    /// The client is subscribed, and stays so: with the changes behind it the answer is what is true.
    follows: bool,
}

/// Who is where, and what they show, as a client knows it from a list and the changes behind that.
#[derive(Debug, Default)]
pub(crate) struct Rosters {
    known: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// The number of users of each channel that the client follows, also where it does not know all of them.
    counts: BTreeMap<String, usize>,
    /// The last list of each channel, and how many users it leaves out.
    pub(super) lists: BTreeMap<String, (Users, usize)>,
    /// Changes that came, and those that messages have only counted.
    pub(super) changes: usize,
    pub(super) unnamed: u64,
}

impl Rosters {
    /// The users of a channel, if the client follows it.
    pub(super) fn known(&self, name: &str) -> Option<&BTreeMap<String, Option<String>>> {
        self.known.get(name)
    }

    /// The number of users of a channel, if the client follows it.
    pub(super) fn count(&self, name: &str) -> Option<usize> {
        self.counts.get(name).copied()
    }
}

/// Reads a list of users: each once, and in order.
pub(super) fn users(json: &[u8]) -> Users {
    let list: Vec<Value> = serde_json::from_slice(json).expect("a list");
    let users: Vec<(String, Seen)> = list.iter().map(user).collect();
    assert!(users.is_sorted_by(|(one, _), (other, _)| one < other), "users twice, or not in order: {users:?}");
    users.into_iter().collect()
}

fn user(value: &Value) -> (String, Seen) {
    let fields = value.as_object().expect("a user");
    let known = ["user", "connections", "since", "info"];
    assert!(fields.keys().all(|name| known.contains(&&**name)), "{value}");
    let number = |name: &str| fields[name].as_u64().expect("a number");
    let info = fields.get("info").map(Value::to_string);
    (name(value), Seen { connections: number("connections"), since: number("since"), info })
}

fn name(value: &Value) -> String {
    value["user"].as_str().expect("a name").to_owned()
}

impl World {
    /// A client asks who is in a channel.
    pub(super) fn ask_who_is_somewhere(&mut self, index: usize) {
        let name = *CHANNELS.choose(&mut self.rng).expect("some");
        self.ask_who_is_there(index, name);
    }

    fn ask_who_is_there(&mut self, index: usize, name: &str) {
        let Some(attendance) = &self.attendance else { return };
        let client = &mut self.clients[index];
        if !client.is_alive() || client.is_http || client.is_dawdling {
            return;
        }
        let is_live = |interval: &Interval| interval.name == name && interval.is_certainly_live();
        let follows = attendance.is_settled() && client.intervals.iter().any(is_live);
        let token = client.token();
        let payload = format!("LHTTP/1.0 m\r\npresence:{name}\r\nack:{token}\r\n\r\n");
        let roll_call = RollCall { name: name.to_owned(), sent: self.clock, follows };
        client.asked.insert(token, Asked::Presence(roll_call));
        client.send_message(&mut self.rng, true, payload.as_bytes());
    }

    /// The header with which a client that subscribes says what it shows.
    pub(super) fn presence_info(&mut self) -> String {
        if self.attendance.is_none() || self.rng.random_bool(0.7) {
            return String::new();
        }
        format!("presence-info: {}\r\n", INFOS.choose(&mut self.rng).expect("some"))
    }
}

impl SimulatedClient {
    /// The client may miss changes in a channel from now on.
    pub(super) fn unfollow(&mut self, name: &str) {
        self.rosters.known.remove(name);
        self.rosters.counts.remove(name);
        for asked in self.asked.values_mut() {
            if let Asked::Presence(roll_call) = asked {
                roll_call.follows &= roll_call.name != name;
            }
        }
    }

    /// New rules are on their way: others may be counted, or told.
    pub(super) fn follow_nobody(&mut self) {
        CHANNELS.iter().for_each(|name| self.unfollow(name));
    }

    /// A list has come.
    pub(super) fn roll(&mut self, text: &str, known: Known<'_>) {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let value = |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(&format!("{name}:")));
        let asked = self.asked.remove(value("ack").expect("its token"));
        let Some(Asked::Presence(RollCall { name, sent, follows })) = asked else {
            panic!("a list that client {} has not asked for: {text}", self.number);
        };
        assert_eq!(value("channel"), Some(&*name));
        self.may_be_told(&name, sent, known);
        if let Some(guard) = known.guard {
            let (may, _) = self.may(guard, sent, known.clock, &[(Action::Subscribe, name.clone())]);
            assert!(may, "client {} may not know who is in {name}", self.number);
        }
        let more = value("more").map_or(0, |more| more.parse().expect("a number"));
        let users = users(body.as_bytes());
        for user in users.values() {
            assert!(user.since <= STARTED_MAX + known.now.as_secs(), "{name}: somebody has come at {}", user.since);
        }
        self.rosters.lists.insert(name.clone(), (users.clone(), more));
        if follows {
            self.rosters.counts.insert(name.clone(), users.len() + more);
        }
        if follows && more == 0 {
            let users = users.into_iter().map(|(user, seen)| (user, seen.info)).collect();
            self.rosters.known.insert(name, users);
        }
    }

    /// A question was refused, or taken for another message because nobody is counted anywhere.
    pub(super) fn roll_refused(&mut self, text: &str, RollCall { name, sent, .. }: RollCall, known: Known<'_>) {
        let shown = known.attendance.expect("somebody counts").shown(&name, sent, known.clock);
        if text.starts_with("LHTTP/1.0 ack\r\n") {
            assert!(shown.contains(&None), "{name}: no list: {text}");
        } else if text.contains("\r\ncode:404\r\nreason:no-presence\r\n") {
            assert!(shown.contains(&Some(None)), "{name}: {text}");
        } else {
            assert!(text.contains("\r\ncode:403\r\nreason:forbidden\r\n"), "{text}");
            let guard = known.guard.unwrap_or_else(|| panic!("there are no rules: {text}"));
            let (_, must) = self.may(guard, sent, known.clock, &[(Action::Subscribe, name.clone())]);
            assert!(!must, "client {} may know who is in {name}", self.number);
        }
    }

    /// Somebody has come or gone.
    pub(super) fn roll_changed(&mut self, text: &str, known: Known<'_>) {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let channel = head.strip_prefix("LHTTP/1.0 presence-change\r\nchannel:").expect("a channel").to_owned();
        let shown = known.attendance.expect("somebody counts").shown(&channel, 0, known.clock);
        assert!(shown.contains(&Some(Some(Presence::Events))), "nobody is told who comes to {channel}");
        let names = [channel];
        assert!(
            self.intervals.iter().any(|one| one.matches(&names) > 0),
            "{} is not for client {}",
            names[0],
            self.number
        );
        let changes: Value = serde_json::from_str(body).expect("JSON");
        let list = |of: &str| changes[of].as_array().expect("a list");
        let joined: Vec<(String, Seen)> = list("joined").iter().map(user).collect();
        let left: Vec<String> = list("left").iter().map(name).collect();
        assert!(!joined.is_empty() || !left.is_empty(), "nobody has come or gone");
        assert!(joined.iter().all(|(user, _)| !left.contains(user)), "somebody has come and gone: {body}");
        let users = changes["users"].as_u64().expect("a number") as usize;
        let more = changes.get("more").map_or(0, |more| more.as_u64().expect("a number"));
        assert!(changes.get("more").is_none() || more > 0, "{body}");
        self.rosters.changes += 1;
        self.rosters.unnamed += more;
        if let Some(count) = self.rosters.counts.get_mut(&names[0]) {
            *count = users;
        }
        if more > 0 {
            self.rosters.known.remove(&names[0]);
        }
        if let Some(roster) = self.rosters.known.get_mut(&names[0]) {
            roster.extend(joined.into_iter().map(|(user, seen)| (user, seen.info)));
            left.iter().for_each(|user| _ = roster.remove(user));
            assert_eq!(roster.len(), users, "client {} in {}: {body}", self.number, names[0]);
        }
    }
}
