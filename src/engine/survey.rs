//! Questions of operators to the cores, and their answers. A core answers one in steps, a bounded number in each turn.

#![cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]

use std::net::IpAddr;

use crate::{
    engine::slot::{ConnectionKey, Slot},
    error::Refusal,
    protocol::{channel::Kind, message::MessageId},
};

/// A question to every core, or to the home of a channel.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// The connections that fit, in the order of their nodes, cores and slots, from these on.
    Connections { whose: Whose, from: (u32, Slot), from_node: Option<u64>, limit: usize },
    /// Channels and patterns with subscribers on this core, in the order of their names.
    Channels { wanted: Wanted, after: Box<[u8]>, limit: usize },
    /// The channels with the most messages, and the connections with the largest backlogs; at most `limit` of each.
    Top { limit: usize },
    /// Close the connections that fit.
    Close { whose: Whose, code: u16, reason: Box<str> },
    /// Subscribe the connections that fit to these checked names, or end that.
    Subscribe { whose: Whose, names: Vec<(Box<[u8]>, Kind)>, is_end: bool },
    /// The newest messages that are kept of a channel, before this one, newest first.
    Messages { name: Box<[u8]>, before: Option<MessageId>, last: usize },
    /// Drop the messages that are kept of a channel.
    Forget { name: Box<[u8]> },
    /// The users who are in a channel.
    Presence { name: Box<[u8]> },
}

impl Question {
    /// Whether it is asked in all nodes of a cluster.
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]
    pub(crate) fn is_for_nodes(&self) -> bool {
        self.of_home().is_none() && !matches!(self, Self::Top { .. })
    }

    /// The channel whose home answers alone.
    pub(crate) fn of_home(&self) -> Option<&[u8]> {
        match self {
            Self::Messages { name, .. } | Self::Forget { name } | Self::Presence { name } => Some(name),
            Self::Connections { .. }
            | Self::Top { .. }
            | Self::Channels { .. }
            | Self::Close { .. }
            | Self::Subscribe { .. } => None,
        }
    }
}

/// Open connections that fit. A condition that is not set is met by all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whose {
    /// The node of `connection`, in a cluster.
    pub(crate) node: Option<u64>,
    /// The number of the core, and the key.
    pub(crate) connection: Option<(u32, ConnectionKey)>,
    pub(crate) user: Option<Box<str>>,
    pub(crate) address: Option<IpAddr>,
    /// They are subscribed to exactly this channel or pattern.
    pub(crate) channel: Option<(Box<[u8]>, Kind)>,
}

/// Channels that are wanted.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    All,
    /// The channel or pattern of this name.
    Name(Box<[u8]>),
    /// The channels that match this pattern.
    Matching(Box<[u8]>),
}

/// A core's answer.
#[derive(Debug)]
pub(crate) enum Answered {
    Connections(Vec<Seen>),
    /// Names and the numbers of their subscribers.
    Channels(Vec<(Box<[u8]>, u64)>),
    /// Channels with their messages a second, and connections, largest first.
    Top {
        busiest: Vec<(Box<[u8]>, f64)>,
        slowest: Vec<Seen>,
    },
    /// So many connections were closed, subscribed or unsubscribed.
    Changed(u64),
    /// Messages, newest first.
    Messages(Kept),
    /// Users as a JSON array, and how many more there are.
    Users {
        list: Vec<u8>,
        more: usize,
    },
    /// The question has no answer.
    Refused(Refusal),
}

/// Some of the messages that are kept of a channel.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The messages as they are sent to clients, newest first.
    pub(crate) frames: Vec<(MessageId, Box<[u8]>)>,
    /// Older ones are kept, too.
    pub(crate) has_more: bool,
}

/// An open connection as an operator sees it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) key: ConnectionKey,
    /// The user of its token.
    pub(crate) user: Option<Box<str>>,
    /// The client's address, as far as it is known.
    pub(crate) address: Option<Box<str>>,
    pub(crate) subscriptions: usize,
    /// The names of some of its subscriptions, if only one connection was asked for.
    pub(crate) channels: Vec<Box<[u8]>>,
    /// Bytes that wait for it.
    pub(crate) backlog_bytes: usize,
    /// How long bytes have waited for it, in milliseconds; what its socket has taken makes this less.
    pub(crate) backlog_millis: u64,
}
