//! The most that input may cost: bounds per byte of input, and some bounds of their own.

use crate::engine::{limits::Limits, relay::BATCH_BYTES_MAX, router::TURN_BYTES_MAX, stats::Stats};

/// Units of work for a byte of input, without the lookups and deliveries of publishes. The worst case is a name of two
/// bytes that is subscribed to and unsubscribed from, on each node.
const WORK_PER_BYTE: u64 = 300;
/// Units of work for a channel that is published to, and for each subscription that it matches.
const WORK_PER_LOOKUP: u64 = 300;
/// Units of work in one turn: the bounds of a turn, a share and a piece, plus one message of the largest size.
const TURN_WORK_MAX: u64 = 3 * 1024 * 1024;
/// Bytes of the table, with the connection's share of it, for each byte of input. The worst case is a name of two
/// bytes.
const TABLE_PER_BYTE: u64 = 200;
/// The most bytes that are kept for a byte of input, beside the table: buffers grow by doubling.
const KEPT_PER_BYTE: u64 = 16;
/// Bytes that a silent connection may keep.
const KEPT_PER_CONNECTION: u64 = 1024;
/// An answer is longer than the input that caused it: an error describes its cause in a sentence.
const ANSWER_PER_BYTE: u64 = 64;
/// A publisher with `no-echo` is charged for its own subscriptions, too: those that match one channel.
const OWN_MATCHES_MAX: u64 = 8;
/// Bytes that may be kept over the limit: the last bytes to clients that the server is closing.
const KEPT_OVER_BYTES: usize = 4096;
/// A frame's header.
const HEADER_BYTES: u64 = 16;

/// What a byte of input may cost besides, where channels have a history, or it is known who is present. The worst case is
/// again a name of two bytes that is subscribed to.
#[derive(Clone, Copy, Debug, Default)]
struct PerByte {
    work: u64,
    /// Changes that subscribers are told of.
    changes: u64,
    kept: u64,
    batch_bytes: u64,
    written: u64,
}

/// A catch-up, its questions and pieces, and [`super::KEPT_MAX`] messages of the largest size that come again, each from
/// another node.
const OF_HISTORY: PerByte = PerByte { work: 4000, changes: 0, kept: 128, batch_bytes: 7000, written: 7000 };
/// A room, and its list with all clients and what they show.
const OF_PRESENCE: PerByte = PerByte { work: 1000, changes: 1, kept: 512, batch_bytes: 2000, written: 2000 };
/// The largest message about changes: all clients, with what they show.
const CHANGES_BYTES_MAX: u64 = 24 * 1024;

impl PerByte {
    fn of(limits: &Limits) -> Self {
        let (keeps, counts) = (limits.rules.has_history(), limits.rules.has_presence());
        let both = [keeps.then_some(OF_HISTORY), counts.then_some(OF_PRESENCE)];
        both.into_iter().flatten().fold(Self::default(), |sum, one| Self {
            work: sum.work + one.work,
            changes: sum.changes + one.changes,
            kept: sum.kept + one.kept,
            batch_bytes: sum.batch_bytes + one.batch_bytes,
            written: sum.written + one.written,
        })
    }
}

/// The input and its effects.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flow {
    /// Bytes that nodes could read from all clients, and bytes of letters.
    pub(super) input: u64,
    /// Turns of all nodes.
    pub(super) turns: u64,
    /// Connections of all nodes so far.
    pub(super) accepted: u64,
    /// Publications at all nodes.
    pub(super) published: u64,
}

/// The costs of one node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) work: u64,
    /// The work of the last turn.
    pub(super) turn_work: u64,
    /// Bytes that the node has handed to one peer.
    pub(super) batch_bytes: u64,
    /// Bytes that the node has written to its sockets.
    pub(super) written: u64,
    /// The most subscriptions that the node can have had at the same time.
    pub(super) subscriptions: u64,
    /// The most names that the node has known.
    pub(super) channels: u64,
}

/// Checks a node against all bounds.
pub(super) fn check(flow: &Flow, spent: &Spent, stats: &Stats, limits: &Limits) {
    let per_byte = PerByte::of(limits);
    let changes_max = if per_byte.changes > 0 { CHANGES_BYTES_MAX } else { 0 };
    let largest = (limits.message_bytes_max as u64 + HEADER_BYTES).max(changes_max);
    let reached = (flow.published + per_byte.changes * flow.input) * spent.subscriptions;
    assert!(flow.published <= flow.input / 2, "more is published than the input can name: {flow:?}");
    assert!(stats.delivered <= reached, "more is delivered than subscriptions can match: {stats}, {flow:?}");
    let lookups = flow.published * (1 + spent.channels) * WORK_PER_LOOKUP;
    let deliveries = (stats.delivered + OWN_MATCHES_MAX * flow.published) * (8 + largest / 2);
    let work = (WORK_PER_BYTE + per_byte.work) * flow.input + lookups + deliveries + 1024 * flow.accepted;
    assert!(spent.work <= work, "{} units of work for {flow:?}, {work} at most", spent.work);
    assert!(spent.turn_work <= TURN_WORK_MAX, "{} units of work in one turn", spent.turn_work);
    let table = stats.subscription_bytes;
    assert!(table <= TABLE_PER_BYTE * flow.input, "{table} bytes of subscriptions for {flow:?}");
    assert!(table <= limits.table_bytes_max as u64, "{table} bytes of subscriptions");
    let kept = stats.kept_bytes.saturating_sub(table);
    // The bytes for many subscribers are shared, but each subscriber's list of ranges is not.
    let backlogs = flow.published * (largest + 64) + stats.delivered * 64;
    let most = (KEPT_PER_BYTE + per_byte.kept) * flow.input + KEPT_PER_CONNECTION * flow.accepted + backlogs;
    assert!(kept <= most, "{kept} bytes are kept for {flow:?}, {most} at most");
    assert!(
        stats.kept_bytes <= (limits.kept_bytes_max + KEPT_OVER_BYTES) as u64,
        "{} bytes are kept",
        stats.kept_bytes
    );
    let links = (limits.publish_channels_max as u64 + 2 + per_byte.batch_bytes) * flow.input + 64 * flow.turns;
    assert!(spent.batch_bytes <= links, "{} bytes for a peer for {flow:?}, {links} at most", spent.batch_bytes);
    let written = (ANSWER_PER_BYTE + per_byte.written) * flow.input
        + stats.delivered * largest
        + 16 * flow.turns * (1 + flow.accepted);
    assert!(spent.written <= written + 512 * flow.accepted, "{} bytes written for {flow:?}, {written}", spent.written);
}

/// Checks one batch against the capacity of a link.
pub(super) fn check_batch(bytes: usize) {
    assert!(bytes <= BATCH_BYTES_MAX + 2 * TURN_BYTES_MAX, "a batch of {bytes} bytes");
}
