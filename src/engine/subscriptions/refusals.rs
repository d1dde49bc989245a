//! Names for which other nodes' publishes do not come, though they have subscribers here.

use super::{AudienceId, Subscriptions};
use crate::protocol::channel::{self, Kind};

/// Which refusals hold: those that were noted since all of them were forgotten last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refusals(u32);

impl Refusals {
    /// Of an audience that is not refused.
    pub(super) const NONE: Self = Self(0);
    pub(super) const FIRST: Self = Self(1);
}

impl Subscriptions {
    /// Whether other nodes' publishes to this name do not come.
    pub(crate) fn is_refused(&self, id: AudienceId) -> bool {
        self.audiences[id.0 as usize].refused == self.refusals
    }

    /// Notes that they do not, until the name has its first subscriber anew or [`forget_refusals`](Self::forget_refusals).
    pub(crate) fn set_refused(&mut self, id: AudienceId) {
        self.audiences[id.0 as usize].refused = self.refusals;
    }

    /// Notes that they come again.
    pub(crate) fn accept(&mut self, name: &[u8], kind: Kind) {
        if let Some(id) = self.find_name(name, kind) {
            self.audiences[id.0 as usize].refused = Refusals::NONE;
        }
    }

    /// Whether the first token of the name is a wildcard: then no wider subscription than to everything stands for it.
    pub(crate) fn begins_with_wildcard(&self, id: AudienceId) -> bool {
        channel::begins_with_wildcard(&self.audiences[id.0 as usize].name)
    }

    /// Nothing is refused any more.
    pub(crate) fn forget_refusals(&mut self) {
        self.refusals = Refusals(self.refusals.0.checked_add(1).unwrap_or(Refusals::FIRST.0));
    }
}
