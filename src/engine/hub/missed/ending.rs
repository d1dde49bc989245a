//! Catch-ups that end: with the last piece, or because the subscription or the connection has ended.

use super::{CatchUp, State};
use crate::engine::{hub::Hub, router::Known, slot::Slot};

impl Hub {
    /// Ends the catch-up of a subscription that has ended, if there is one. Its acknowledgement says how far the client has
    /// come, and is sent before that of the message which has ended the subscription, unless the home must say it.
    pub(in crate::engine::hub) fn end_catch_up(&mut self, slot: Slot, name: &[u8]) {
        let Some(id) = self.find_catch_up(slot, name) else { return };
        let CatchUp { state, position, receipts, wish, .. } = &mut self.missed.catch_ups[id as usize];
        match (*state, position) {
            (State::Asked(number), None) => {
                self.missed.questions.is_for_position(number, std::mem::take(receipts));
            }
            (State::Loading, None) => {
                let (wish, receipts) = (*wish, std::mem::take(receipts));
                self.note_begin_after_load(name, wish, receipts);
            }
            _ => {}
        }
        self.end(id);
        if !self.router.unfinished.is_cut() {
            self.send_receipts();
        }
    }

    /// Ends those of a connection that closes.
    pub(in crate::engine::hub) fn end_catch_ups(&mut self, slot: Slot) {
        if !self.missed.has_any() {
            return;
        }
        let ids = self.missed.by_slot.get(&slot).map(|of_slot| of_slot.ids.clone());
        ids.unwrap_or_default().into_iter().for_each(|id| self.end(id));
    }

    /// Ends one, and gives its position to those who wait for it.
    pub(super) fn end(&mut self, id: u32) {
        let catch_up = self.missed.remove(id);
        self.missed.lost += u64::from(catch_up.is_lost);
        let known = Known { id: catch_up.position, is_lost: catch_up.is_lost, has_failed: false };
        catch_up.receipts.into_iter().for_each(|receipt| self.router.receipts.note(receipt, known));
    }
}
