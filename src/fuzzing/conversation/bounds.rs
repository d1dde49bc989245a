//! What input may cost: bounds per byte of it, and those that have a name of their own.

use crate::engine::{counters::Stats, limits::Limits, relay::BATCH_BYTES_MAX, router::TURN_BYTES_MAX};

/// Work for a byte of input, in units, but for what publishes reach: a name of two bytes is subscribed to, let go, and that
/// on each node.
const WORK_PER_BYTE: u64 = 300;
/// Work for a channel that is published to, and for each audience that it has.
const WORK_PER_LOOKUP: u64 = 300;
/// Work in one turn, in units: what a turn, a share and a piece may be, and one message of the largest size.
const TURN_WORK_MAX: u64 = 3 * 1024 * 1024;
/// What a name of two bytes takes in the table, and the connection's share of it, for each byte of it.
const TABLE_PER_BYTE: u64 = 200;
/// What is kept for a byte of input at most, beside the table: buffers grow by doubling.
const KEPT_PER_BYTE: u64 = 16;
/// What a connection may keep that has said nothing.
const KEPT_PER_CONNECTION: u64 = 1024;
/// An answer is longer than what is answered: an error says what is wrong in a sentence.
const ANSWER_PER_BYTE: u64 = 64;
/// A publisher that has said `no-echo` is charged for its own subscriptions, too: those that match one channel.
const OWN_MATCHES_MAX: u64 = 8;
/// What may be kept over the limit: what those who are told to go are still sent.
const KEPT_OVER_BYTES: usize = 4096;
/// A frame's header.
const HEADER_BYTES: u64 = 16;

/// What went in, and what came out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flow {
    /// Bytes of all clients that nodes could read, and of letters.
    pub(super) input: u64,
    /// Turns of all nodes.
    pub(super) turns: u64,
    /// Connections of all nodes so far.
    pub(super) accepted: u64,
    /// What was published at any node.
    pub(super) published: u64,
}

/// What one node has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) work: u64,
    /// Work of its last turn.
    pub(super) turn_work: u64,
    /// Bytes that it has handed to one peer.
    pub(super) batch_bytes: u64,
    /// Bytes that it has written to its sockets.
    pub(super) written: u64,
    /// The most subscriptions that it can have had at a time.
    pub(super) subscriptions: u64,
    /// The most names that it knew.
    pub(super) channels: u64,
}

/// Holds a node against all bounds.
pub(super) fn check(flow: &Flow, spent: &Spent, stats: &Stats, limits: &Limits) {
    let largest = limits.message_bytes_max as u64 + HEADER_BYTES;
    let reached = flow.published * spent.subscriptions;
    assert!(flow.published <= flow.input / 2, "more is published than was named: {flow:?}");
    assert!(stats.delivered <= reached, "more is delivered than subscriptions were met: {stats}, {flow:?}");
    let lookups = flow.published * (1 + spent.channels) * WORK_PER_LOOKUP;
    let deliveries = (stats.delivered + OWN_MATCHES_MAX * flow.published) * (8 + largest / 2);
    let work = WORK_PER_BYTE * flow.input + lookups + deliveries + 1024 * flow.accepted;
    assert!(spent.work <= work, "{} units of work for {flow:?}, {work} at most", spent.work);
    assert!(spent.turn_work <= TURN_WORK_MAX, "{} units of work in one turn", spent.turn_work);
    let table = stats.subscription_bytes;
    assert!(table <= TABLE_PER_BYTE * flow.input, "{table} bytes of subscriptions for {flow:?}");
    assert!(table <= limits.table_bytes_max as u64, "{table} bytes of subscriptions");
    let kept = stats.kept_bytes.saturating_sub(table);
    // What is kept for many is shared, but the list of what each is to get is not.
    let backlogs = flow.published * (largest + 64) + stats.delivered * 64;
    let most = KEPT_PER_BYTE * flow.input + KEPT_PER_CONNECTION * flow.accepted + backlogs;
    assert!(kept <= most, "{kept} bytes are kept for {flow:?}, {most} at most");
    assert!(
        stats.kept_bytes <= (limits.kept_bytes_max + KEPT_OVER_BYTES) as u64,
        "{} bytes are kept",
        stats.kept_bytes
    );
    let links = (limits.publish_channels_max as u64 + 2) * flow.input + 64 * flow.turns;
    assert!(spent.batch_bytes <= links, "{} bytes for a peer for {flow:?}, {links} at most", spent.batch_bytes);
    let written = ANSWER_PER_BYTE * flow.input + stats.delivered * largest + 16 * flow.turns * (1 + flow.accepted);
    assert!(spent.written <= written + 512 * flow.accepted, "{} bytes written for {flow:?}, {written}", spent.written);
}

/// Holds one batch against what a link may hold.
pub(super) fn check_batch(bytes: usize) {
    assert!(bytes <= BATCH_BYTES_MAX + 2 * TURN_BYTES_MAX, "a batch of {bytes} bytes");
}
