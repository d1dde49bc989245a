//! The bridge to other nodes (PROTOCOL.md §7): one helper thread with a tokio runtime of its own, and on it async-nats.
//!
//! ```text
//!           uplink: publishes ──► publish ──► ┌──────────┐
//!   cores           interest  ──► table       │async-nats│
//!     ▲                             │         └────┬─────┘ loopback
//!     │                      asking │             gate
//!     │  downlink                   └───────► ┌────┴─────┐
//!     └──────── to_cores ◄─ messages ◄────────┤connection│ ◄──► a NATS server
//!                                             └──────────┘
//! ```
//!
//! One task owns all of it as plain data (`lasting`, `task`). Its loop (`run`) waits for an event: a connection has sent
//! or received, the cores have sent something, the client has news, a login has ended, or some work is due. Logins and
//! dials are tasks of their own that give the loop their result; the client is not ours. There is a lock only where
//! another thread takes part: a core may sort the backlog, and a reload reads the login's files again.
//! The client's callbacks write atomics.
//!
//! - async-nats logs in and publishes. It hears nothing but the answers to its own `PING`s: its parser ends connections, or
//!   panics, at messages that any other client of the server may send.
//! - `gate` is the listener that async-nats connects to. It dials a server and passes the login on.
//! - `connection` puts our `SUB`s and `PING`s between the client's commands, and reads what the server sends. An answered
//!   `PING` proves that everything before it has reached the server: a subscription is live, a message is not lost.
//! - `table` holds the names that the cores want, with a NATS subscription for each, or wide ones for many.
//! - `messages` gives each message to the cores that want it. It says which name it is for, since a node that is subscribed to
//!   `c.room` and `c.*` gets two copies, one for each.
//! - `stream` keeps the history of channels in JetStream: `puts` brings publishes there, `loads` old messages back.
//! - `members` tells other nodes who is present here, and `nodes` the cores who is there.
//! - `operators` carries questions of operators to other nodes, and the answers.
//! - `health` tells the cores when not to wait, `moves` changes to another server before this one closes, `reconnect`
//!   decides when the client connects again.
//!
//! If the client ends or panics all the same, its runtime ends with it, and `thread` starts the next client with the same
//! table.
//!
//! A file uses only files to its left, and none of its own group; `tests/tidy.rs` reads this:
//!
//! ```text
//! backlog, bursts, client_lines, client_room, duplicates, groups, member_lines, progress, puts, random, secrets, server_lines,
//! stop, stream_api, tally ← access, candidates, commands, loads, refusals, stream_info, table ← audience, dial, reconnect, widening ← connection,
//! gate, publish, subscriptions, to_cores, wanted ← nodes, operators, stream ← members ← lasting, stream_replies ← drop_log, task ← asking, moves ← health, messages ← run ← thread ← service
//! ```

mod access;
mod asking;
mod audience;
mod backlog;
mod bursts;
mod candidates;
mod client_lines;
mod client_room;
mod commands;
mod connection;
mod dial;
mod drop_log;
mod duplicates;
mod gate;
mod groups;
mod health;
mod lasting;
mod loads;
mod member_lines;
mod members;
mod messages;
mod moves;
mod nodes;
mod operators;
mod progress;
mod publish;
mod puts;
mod random;
mod reconnect;
mod refusals;
mod run;
mod secrets;
pub(crate) mod server_lines;
mod service;
mod stop;
mod stream;
mod stream_api;
mod stream_info;
mod stream_replies;
mod subscriptions;
mod table;
mod tally;
mod task;
#[cfg(test)]
mod tests;
mod thread;
mod to_cores;
mod wanted;
mod widening;

pub(crate) use self::service::prepare;
