//! Messages that are carried out in pieces, see [`crate::engine::router::Unfinished`].

use crate::engine::{
    hub::Hub,
    router::{Message, Step},
    slot::Slot,
};

impl Hub {
    /// Ends a message. If it was cut, the rest of it is put off.
    #[inline]
    pub(crate) fn message_done(&mut self, sender: Option<Slot>) {
        if self.router.unfinished.is_cut() {
            self.put_off(sender);
        }
        if self.router.receipts.has_complete() {
            self.send_receipts();
        }
    }

    #[inline(never)]
    fn put_off(&mut self, sender: Option<Slot>) {
        self.stats.cut += 1;
        let sender = sender.and_then(|slot| self.sessions.pause_for_rest(slot));
        self.router.unfinished.put_off(sender);
    }

    /// Continues the messages that were cut, until the turn is full or this many units of work are done.
    pub(super) fn finish_messages(&mut self, units: u64) {
        let until = self.router.work.done() + units;
        while self.router.work.done() < until
            && !self.router.is_full()
            && let Some(mut message) = self.router.unfinished.next()
        {
            self.do_piece(&mut message);
            if !message.steps.is_empty() {
                self.router.unfinished.put_back(message);
            } else if let Some(key) = message.sender {
                self.sessions.unpause(key);
            }
        }
        self.send_receipts();
    }

    /// Carries out steps until the piece is large enough.
    fn do_piece(&mut self, message: &mut Message) {
        let begun = self.router.work.done();
        while let Some(step) = self.router.unfinished.next_step(message) {
            self.do_step(step, begun);
            self.router.unfinished.put_first(message);
            if self.router.has_done_piece(begun) {
                break;
            }
        }
    }

    fn do_step(&mut self, step: Step, begun: u64) {
        match step {
            Step::Publish { names, frame, except, own } => {
                let except = except.filter(|&key| self.sessions.is_current(key));
                self.router.publish_rest(&names, frame, except, own, begun);
            }
            Step::Carried { receipt, awaited } => self.router.receipts.carried_out(receipt, awaited),
            Step::Deliver { names, frame, except } => {
                let except = except.filter(|&key| self.sessions.is_current(key));
                self.router.deliver_to_names(names, frame, except);
            }
            Step::Unsubscribe { key, name, kind } if self.sessions.is_current(key) => {
                self.unsubscribe(key.slot, &name, kind);
            }
            Step::Acknowledge { key, token, awaited } if self.sessions.is_current(key) => {
                self.acknowledge(key.slot, &token, awaited);
            }
            Step::Send { key, unit } if self.sessions.is_current(key) && self.sessions.is_open(key.slot) => {
                self.router.push(key.slot, |turn| turn.extend_from_slice(&unit));
            }
            Step::Unsubscribe { .. } | Step::Acknowledge { .. } | Step::Send { .. } => {} // the connection is gone
        }
    }
}
