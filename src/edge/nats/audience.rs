//! Who a message is for that has come by a subscription.

use crate::protocol::channel::{self, Kind};

use super::table::{State, Table};

/// What is to become of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'t> {
    /// It comes by another subscription as well, or nobody is subscribed any more.
    Nobody,
    /// Nobody here is subscribed to what a wide subscription has brought.
    Unwanted,
    /// Its subject is no channel.
    Odd,
    /// Cores, and whom they give it to.
    Cores(u64, Audience<'t>),
}

/// Whom a core gives a message to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience<'t> {
    /// The subscribers of this very name.
    Name(&'t str, Kind),
    /// The subscribers of this channel, and of patterns that match it: of all, or of those that begin with a token.
    Channel(&'t [u8], bool),
}

impl Table {
    /// Who a message is for. While another connection takes over, this one goes on bringing what that was not asked for yet.
    pub(super) fn target<'t>(&'t self, sid: u64, channel: &'t [u8], is_leaving: bool) -> Target<'t> {
        if channel::is_system(channel) {
            return Target::Unwanted;
        }
        let entry = self.entries.get(&sid);
        // An exact name is the subject, and was checked before.
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
        let exact = exact.filter(|entry| matches!(entry.state, State::Covered | State::Returning));
        match exact.map_or(0, |entry| entry.cores) | pattern_cores {
            0 => Target::Unwanted,
            cores => Target::Cores(cores, Audience::Channel(channel, is_all)),
        }
    }
}

/// Whether a subject is a channel that clients may know.
fn is_channel(subject: &[u8]) -> bool {
    simdutf8::basic::from_utf8(subject).is_ok() && channel::check_publish(subject).is_ok()
}
