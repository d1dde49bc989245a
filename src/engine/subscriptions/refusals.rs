//! Names that get no publishes of other nodes, although they have subscribers here.

use super::{AudienceId, Subscriptions};
use crate::protocol::channel::{self, Kind};

/// A generation of refusals. Only refusals of the table's current generation count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refusals(u32);

impl Refusals {
    /// The value of an audience that is not refused.
    pub(super) const NONE: Self = Self(0);
    pub(super) const FIRST: Self = Self(1);
}

impl Subscriptions {
    /// Whether this name gets no publishes of other nodes.
    pub(crate) fn is_refused(&self, id: AudienceId) -> bool {
        self.audiences[id.0 as usize].refused == self.refusals
    }

    /// Notes that the name gets none, until it has its first subscriber anew or until
    /// [`forget_refusals`](Self::forget_refusals).
    pub(crate) fn set_refused(&mut self, id: AudienceId) {
        self.audiences[id.0 as usize].refused = self.refusals;
    }

    /// Notes that a name gets them again.
    pub(crate) fn accept(&mut self, name: &[u8], kind: Kind) {
        if let Some(id) = self.find_name(name, kind) {
            self.audiences[id.0 as usize].refused = Refusals::NONE;
        }
    }

    /// Whether the first token of the name is a wildcard. If so, only a subscription to everything can replace it.
    pub(crate) fn begins_with_wildcard(&self, id: AudienceId) -> bool {
        channel::begins_with_wildcard(&self.audiences[id.0 as usize].name)
    }

    /// Ends all refusals.
    pub(crate) fn forget_refusals(&mut self) {
        self.refusals = Refusals(self.refusals.0.checked_add(1).unwrap_or(Refusals::FIRST.0));
    }
}
