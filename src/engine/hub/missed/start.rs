//! Where a client begins that asks for messages of before, and why some of them are lost for it.

use std::fmt;

use crate::{
    engine::{
        history::{Extent, Retention},
        hub::Hub,
        log_limit::LogLimit,
        relay::{Since, Wish},
    },
    protocol::message::{Epoch, MessageId},
};

/// Where a catch-up begins.
pub(super) struct Start {
    /// The last message that the client has, or does not want.
    pub(super) after: MessageId,
    pub(super) is_lost: bool,
}

/// Why a client is told that messages are lost.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    /// It has sent no id of a server.
    Unknown,
    /// Its message is of another history: that of a server before its restart, or of another stream.
    Epoch { has: Epoch, is: Epoch },
    /// Messages after the one with this number are not kept any more.
    Dropped { after: u64, extent: Extent },
    /// It has a later message than this server.
    Later { has: u64, newest: u64 },
    /// The cluster's stream has not given the channel's messages in time.
    NotLoaded,
    /// The channel was loaded so many times, and each time something was missing at once.
    LoadedInVain { loads: u8 },
    /// No rule keeps messages of the channel any more.
    NoHistory,
}

impl Loss {
    /// Writes that a client is told so of this channel.
    pub(super) fn log(self, name: &[u8]) {
        static LIMIT: LogLimit = LogLimit::new();
        let name = String::from_utf8_lossy(name);
        LIMIT.say(|more| log::warn!("history: a client is told that messages of {name} are lost: {self}{more}"));
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unknown => write!(f, "it has sent an id that no server has written"),
            Self::Epoch { has, is } => write!(f, "it comes from the history {has}, and this one is {is}"),
            Self::Dropped { after, extent: Extent { dropped, newest } } => {
                write!(f, "it has message {after}, and only those after {dropped} up to {newest} are kept")
            }
            Self::Later { has, newest } => write!(f, "it has message {has}, and the last one here is {newest}"),
            Self::NotLoaded => write!(f, "JetStream has not given them in time"),
            Self::LoadedInVain { loads } => write!(f, "after {loads} loads some are missing"),
            Self::NoHistory => write!(f, "no rule keeps them any more"),
        }
    }
}

impl Hub {
    /// Where a client begins that wants this of a channel whose home is here.
    pub(super) fn start(&mut self, name: &[u8], retention: Retention, wish: Wish) -> Start {
        let history = &mut self.router.history;
        let channel = history.open(name, retention);
        let (extent, epoch) = (history.extent(channel), history.epoch());
        let id = |offset| MessageId { epoch, offset };
        let newest_ones = history.before_newest(channel, wish.last.into());
        let loss = match wish.since {
            Since::None => return Start { after: id(newest_ones), is_lost: false },
            Since::Unknown => Loss::Unknown,
            Since::Message(since) if since.epoch != epoch => Loss::Epoch { has: since.epoch, is: epoch },
            Since::Message(since) if since.offset < extent.dropped => Loss::Dropped { after: since.offset, extent },
            Since::Message(since) if since.offset > extent.newest => {
                Loss::Later { has: since.offset, newest: extent.newest }
            }
            Since::Message(since) => return Start { after: since, is_lost: false },
        };
        loss.log(name);
        Start { after: id(newest_ones), is_lost: true }
    }
}
