//! Connections that enter and leave channels whose presence is known.

use crate::{
    engine::{router::Router, slot::Slot},
    protocol::channel::Kind,
};

/// A connection that has entered a channel, or has left it.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) slot: Slot,
    pub(crate) name: Box<[u8]>,
    pub(crate) has_entered: bool,
    /// What the client wants to show, as JSON.
    pub(crate) info: Option<Box<str>>,
}

/// The moves since they were taken last.
#[derive(Debug, Default)]
pub(super) struct Moves {
    list: Vec<Move>,
    /// What the client of the current message wants to show.
    info: Option<Box<str>>,
}

impl Router {
    /// Sets what clients show who subscribe from now on, as JSON.
    pub(crate) fn set_presence_info(&mut self, info: Option<Box<str>>) {
        self.moves.info = info;
    }

    /// Notes a subscription that has begun, or that exists and may be shown with other information.
    #[inline]
    pub(super) fn note_entered(&mut self, slot: Slot, name: &[u8], kind: Kind, is_new: bool) {
        if self.rules.has_presence() && kind == Kind::Exact && (is_new || self.moves.info.is_some()) {
            self.note_move(slot, name, true);
        }
    }

    /// Notes a subscription that has ended.
    #[inline]
    pub(super) fn note_left(&mut self, slot: Slot, name: &[u8], kind: Kind) {
        if self.rules.has_presence() && kind == Kind::Exact {
            self.note_move(slot, name, false);
        }
    }

    /// Notes that all subscriptions of a connection end.
    pub(super) fn note_all_left(&mut self, slot: Slot) {
        self.note_all(slot, false);
    }

    /// Notes that a connection is in all of its channels, because it may be shown as somebody else, or the rules are new.
    pub(crate) fn note_all_entered(&mut self, slot: Slot) {
        self.note_all(slot, true);
    }

    fn note_all(&mut self, slot: Slot, has_entered: bool) {
        if self.rules.has_presence() {
            let names = self.subscriptions.of(slot).filter(|(_, kind)| *kind == Kind::Exact);
            let names: Vec<Box<[u8]>> = names.map(|(name, _)| name.into()).collect();
            names.iter().for_each(|name| self.note_move(slot, name, has_entered));
        }
    }

    #[inline(never)]
    fn note_move(&mut self, slot: Slot, name: &[u8], has_entered: bool) {
        if self.rules.presence(name).is_some() {
            let info = self.moves.info.clone().filter(|_| has_entered);
            self.moves.list.push(Move { slot, name: name.into(), has_entered, info });
        }
    }

    /// Whether there are moves.
    pub(crate) fn has_moves(&self) -> bool {
        !self.moves.list.is_empty()
    }

    /// Takes the moves, in their order.
    pub(crate) fn take_moves(&mut self) -> Vec<Move> {
        std::mem::take(&mut self.moves.list)
    }
}
