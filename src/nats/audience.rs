//! The receivers of a message that NATS has brought.

use crate::protocol::channel::{self, Kind};

use super::table::{State, Table};

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'t> {
    /// Ignore it: another subscription brings it as well, or nobody is subscribed any more.
    Nobody,
    /// Drop and count it: a wide subscription brought it, and nobody here is subscribed.
    Unwanted,
    /// Drop and count it: its subject is no channel.
    Odd,
    /// Give it to these cores, for this audience.
    Cores(u64, Audience<'t>),
}

/// The subscribers on a core that a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience<'t> {
    /// The subscribers of exactly this name.
    Name(&'t str, Kind),
    /// The subscribers of this channel and of matching patterns: of all patterns if true, else of those that begin with a
    /// plain token.
    Channel(&'t [u8], bool),
}

impl Table {
    /// The receivers of a message. A connection that is leaving still brings messages of subscriptions that the next one
    /// was not asked for yet.
    pub(super) fn target<'t>(&'t self, sid: u64, channel: &'t [u8], is_leaving: bool) -> Target<'t> {
        if channel::is_system(channel) {
            return Target::Unwanted;
        }
        let entry = self.entries.get(&sid);
        // An exact name equals the subject, and was checked when it was wanted.
        if entry.is_none_or(|entry| entry.kind == Kind::Pattern) && !is_channel(channel) {
            return Target::Odd;
        }
        if let Some(entry) = entry {
            return match entry.state {
                State::Wanted if !is_leaving => Target::Nobody,
                State::Wanted | State::Asked | State::Live if entry.cores == 0 => Target::Unwanted, // it lingers
                State::Wanted | State::Asked | State::Live => {
                    Target::Cores(entry.cores, Audience::Name(&entry.name, entry.kind))
                }
                _ => Target::Nobody,
            };
        }
        let Some((pattern_cores, is_all)) = self.groups.by_wide(sid) else { return Target::Nobody };
        let exact = std::str::from_utf8(channel).ok().and_then(|name| self.find(name));
        let exact = exact.filter(|entry| matches!(entry.state, State::Covered | State::Returning | State::Returned));
        match exact.map_or(0, |entry| entry.cores) | pattern_cores {
            0 => Target::Unwanted,
            cores => Target::Cores(cores, Audience::Channel(channel, is_all)),
        }
    }
}

/// True if a subject is a channel that clients may know.
fn is_channel(subject: &[u8]) -> bool {
    simdutf8::basic::from_utf8(subject).is_ok() && channel::check_publish(subject).is_ok()
}
