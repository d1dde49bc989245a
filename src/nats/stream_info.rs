//! The state of the cluster's stream, as a server of NATS tells it, and whether that can be true.
//!
//! A server that was away for a moment is behind the others. While the stream has no leader, each of its servers answers
//! with what it has itself; a new leader answers before it has all messages that the old one has acknowledged. So an
//! answer counts only if there is a leader, and the stream has all messages of which this node knows.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::protocol::message::Epoch;

use super::stream_api::number;

/// A leader that is behind for so long has lost messages: it has what it has.
const BEHIND_MAX: Duration = Duration::from_secs(30);

/// The state of the stream.
#[derive(Clone, Debug)]
pub(super) struct StreamInfo {
    pub(super) config: Value,
    pub(super) epoch: Epoch,
    /// The number of its first message, and of the last one that it ever had.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The messages of a channel that it keeps.
    pub(super) messages_per_channel: u64,
    /// The server that answers knows of a leader, or the stream needs none.
    has_leader: bool,
}

impl StreamInfo {
    /// The answer to `INFO`, `CREATE` or `UPDATE`.
    pub(super) fn parse(value: Value) -> Option<Self> {
        let (created, state, cluster) = (value["created"].as_str()?, &value["state"], &value["cluster"]);
        let (first, last) = (number(&state["first_seq"])?, number(&state["last_seq"])?);
        let limit = value["config"]["max_msgs_per_subject"].as_i64().filter(|limit| *limit > 0);
        let messages_per_channel = limit.map_or(u64::MAX, |limit| limit as u64);
        let has_leader = !cluster.is_object() || cluster["leader"].as_str().is_some_and(|leader| !leader.is_empty());
        let epoch = epoch(created);
        let mut value = value;
        let (config, first) = (value["config"].take(), first.max(1));
        Some(Self { config, epoch, first, last, messages_per_channel, has_leader })
    }
}

/// The epoch of a stream that was created at this time (FNV-1a): all nodes know the same one.
fn epoch(created: &str) -> Epoch {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    Epoch::new(created.bytes().fold(0xcbf2_9ce4_8422_2325, hash))
}

/// Whether an answer shows the stream as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    /// It may be.
    Current,
    /// The server that has answered knows of no leader.
    Leaderless,
    /// The stream has had messages after those of the answer.
    Behind,
    /// So it was for long: they are lost.
    Lost,
}

/// What this node knows of the stream.
#[derive(Debug, Default)]
pub(super) struct Known {
    epoch: Option<Epoch>,
    /// The highest number of a message that the stream has had.
    last: u64,
    /// Since when the leader's answers lack messages.
    behind_since: Option<Instant>,
}

impl Known {
    /// Notes a message of the stream.
    pub(super) fn saw(&mut self, number: u64) {
        self.last = self.last.max(number);
    }

    /// The highest number that is known.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Judges an answer, and notes what is in it if it counts.
    pub(super) fn judge(&mut self, info: &StreamInfo, now: Instant) -> Truth {
        if !info.has_leader {
            return Truth::Leaderless;
        }
        let is_behind = self.epoch == Some(info.epoch) && info.last < self.last;
        if is_behind && now < *self.behind_since.get_or_insert(now) + BEHIND_MAX {
            return Truth::Behind;
        }
        *self = Self { epoch: Some(info.epoch), last: info.last, behind_since: None };
        if is_behind { Truth::Lost } else { Truth::Current }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn info(created: &str, last: u64, cluster: Value) -> StreamInfo {
        let state = json!({ "first_seq": 0, "last_seq": last });
        let value = json!({ "created": created, "config": { "max_msgs_per_subject": 101 }, "state": state,
            "cluster": cluster });
        StreamInfo::parse(value).expect("it is whole")
    }

    #[test]
    fn what_a_server_tells_of_the_stream_is_read() {
        let info = info("2026-11-30T10:00:00Z", 0, Value::Null);
        assert_eq!((info.first, info.last, info.messages_per_channel), (1, 0, 101));
    }

    #[test]
    fn a_server_that_knows_of_no_leader_or_is_behind_is_not_believed_until_it_is_so_for_long() {
        let (mut known, now, leader) = (Known::default(), Instant::now(), json!({ "name": "c", "leader": "server" }));
        for cluster in [json!({ "name": "c" }), json!({ "leader": "" })] {
            assert_eq!(known.judge(&info("a", 9, cluster), now), Truth::Leaderless);
        }
        assert_eq!(known.judge(&info("a", 9, leader.clone()), now), Truth::Current);
        known.saw(12);
        known.saw(11);
        assert_eq!(known.judge(&info("a", 11, leader.clone()), now), Truth::Behind);
        assert_eq!(known.judge(&info("a", 12, Value::Null), now + BEHIND_MAX), Truth::Current, "one server needs none");
        known.saw(13);
        assert_eq!(known.judge(&info("b", 1, leader.clone()), now), Truth::Current, "it is another stream");
        known.saw(5);
        for (seconds, truth) in [(0, Truth::Behind), (29, Truth::Behind), (30, Truth::Lost), (31, Truth::Current)] {
            let now = now + Duration::from_secs(seconds);
            assert_eq!(known.judge(&info("b", 4, leader.clone()), now), truth, "after {seconds} s");
        }
        assert_eq!(known.last(), 4);
    }
}
