//! Clients that wait until the copy of a channel is loaded, which the nodes of a cluster share.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::{Loss, Start, State};
use crate::{
    engine::{
        history::Retention,
        hub::Hub,
        relay::{ClusterItem, MissedPart, Since, Wish},
        router::{Awaited, Home, Known, Receipt, work::MESSAGE_UNITS},
        slot::Slot,
    },
    protocol::channel::Kind,
};

/// Those that wait, by channel.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_name: HashMap<Box<[u8]>, List, RandomState>,
}

/// Those that wait for one channel.
#[derive(Debug, Default)]
struct List {
    /// Catch-ups. Some may have ended, and others may have their ids.
    catch_ups: Vec<u32>,
    questions: Vec<Question>,
    /// Acknowledgements of clients that are subscribed already.
    receipts: Vec<Receipt>,
    /// Those of clients that have left before, and what these had asked for.
    of_leavers: Vec<(Wish, SmallVec<[Receipt; 1]>)>,
}

/// A question of another core.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) peer: u32,
    pub(super) request: u32,
    pub(super) wish: Wish,
    pub(super) bytes_max: u32,
    /// How often it has waited for a load.
    pub(super) loads: u8,
}

impl Waiting {
    fn of(&mut self, name: &[u8]) -> &mut List {
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.into(), List::default());
        }
        self.by_name.get_mut(name).expect("it was just inserted")
    }
}

impl Hub {
    /// Whether a client must wait before it gets messages of a channel whose home is here. It is loaded then.
    pub(super) fn must_load(&mut self, name: &[u8], retention: Retention) -> bool {
        !self.router.is_whole(name, retention)
    }

    /// Whether a client has a later message of a channel than its copy here: another node was faster. It is loaded then.
    pub(super) fn must_load_for(&mut self, name: &[u8], retention: Retention, wish: Wish) -> bool {
        let Since::Message(since) = wish.since else { return false };
        let newest = self.newest(name);
        let is_later = since.epoch == newest.epoch && since.offset > newest.offset && self.router.history.is_copy();
        if is_later {
            self.router.load(name, retention);
        }
        is_later
    }

    /// Subscribes a connection to a channel that must be loaded first.
    pub(super) fn subscribe_after_load(
        &mut self,
        slot: Slot,
        name: &[u8],
        wish: Wish,
        receipts: SmallVec<[Receipt; 1]>,
    ) -> Awaited {
        let is_subscribed = self.router.subscriptions.is_subscribed(slot, name, Kind::Exact);
        if wish == Wish::default() && (is_subscribed || receipts.is_empty()) {
            if !receipts.is_empty() {
                self.note_after_load(name, receipts);
            }
            return self.subscribe(slot, name, Kind::Exact);
        }
        let awaited = self.router.subscribe_pending(slot, name, Kind::Exact);
        let id = self.add_catch_up(slot, name, wish, receipts);
        self.wait_for_load(id);
        awaited
    }

    /// Lets a catch-up wait.
    pub(super) fn wait_for_load(&mut self, id: u32) {
        let catch_up = &mut self.missed.catch_ups[id as usize];
        (catch_up.state, catch_up.loads) = (State::Loading, catch_up.loads + 1);
        self.missed.loading.of(&catch_up.name).catch_ups.push(id);
    }

    /// Lets a question of another core wait.
    pub(super) fn answer_after_load(&mut self, name: &[u8], mut question: Question) {
        question.loads += 1;
        self.missed.loading.of(name).questions.push(question);
    }

    /// Lets acknowledgements wait that say the position of a client that is subscribed.
    pub(super) fn note_after_load(&mut self, name: &[u8], receipts: impl IntoIterator<Item = Receipt>) {
        self.missed.loading.of(name).receipts.extend(receipts);
    }

    /// Lets acknowledgements wait that say where a client has begun that has left.
    pub(super) fn note_begin_after_load(&mut self, name: &[u8], wish: Wish, receipts: SmallVec<[Receipt; 1]>) {
        self.missed.loading.of(name).of_leavers.push((wish, receipts));
    }

    /// Takes an item of the bridge about a channel that the nodes of a cluster share.
    pub(in crate::engine::hub) fn relayed_cluster(&mut self, item: ClusterItem<'_>) {
        match item {
            ClusterItem::Message(message) => {
                self.router.take_stream_message(message);
                self.message_done(None);
            }
            ClusterItem::Loaded { name, load, dropped, position } => {
                if self.router.loaded(name, load, (dropped, position)) {
                    self.go_on_after_load(name);
                }
            }
            ClusterItem::Failed { name, load } => {
                self.router.load_failed(name, load);
                self.give_up_load(name);
            }
            ClusterItem::There { epoch, is_anew } => {
                let is_another = self.router.history.set_epoch(epoch, is_anew, self.router.outboxes.arena());
                self.router.forget_channels();
                if is_another {
                    self.load_anew();
                }
                self.router.history.begin_catching_up();
            }
            ClusterItem::Missed { name } => self.router.load_missed(name),
            ClusterItem::Load { .. } | ClusterItem::Keep { .. } => {} // only for the bridge
        }
    }

    /// Loads the channels that somebody waits for: the loads of before ended with what was kept of them.
    fn load_anew(&mut self) {
        let names: Vec<Box<[u8]>> = self.missed.loading.by_name.keys().cloned().collect();
        for name in names {
            self.router.work.add(MESSAGE_UNITS);
            if let Home::Here(retention) = self.router.home(&name, Kind::Exact) {
                self.router.load(&name, retention);
            }
        }
    }

    /// Those that have waited for a channel go on.
    fn go_on_after_load(&mut self, name: &[u8]) {
        let Some(list) = self.missed.loading.by_name.remove(name) else { return };
        for id in list.catch_ups {
            if self.waits_for_load(id, name) {
                self.missed.catch_ups[id as usize].state = State::Ready;
                self.missed.ready.push_back(id);
            }
        }
        for question in list.questions {
            self.answer_if_whole(name, question);
        }
        let home = self.router.home(name, Kind::Exact);
        for (wish, receipts) in list.of_leavers {
            let mut known = Known { is_lost: wish.since != Since::None, ..Known::default() };
            if let Home::Here(retention) = home {
                let Start { after, is_lost } = self.start(name, retention, wish);
                (known.id, known.is_lost) = (Some(after), is_lost);
            }
            receipts.into_iter().for_each(|receipt| self.router.receipts.note(receipt, known));
        }
        let newest = Some(self.newest(name));
        for receipt in list.receipts {
            self.router.receipts.note(receipt, Known { id: newest, ..Known::default() });
        }
    }

    /// The cluster's stream is away. Those that have waited get new messages, and know that old ones may be lost.
    fn give_up_load(&mut self, name: &[u8]) {
        let Some(list) = self.missed.loading.by_name.remove(name) else { return };
        for id in list.catch_ups {
            if self.waits_for_load(id, name) {
                self.give_up(id, Loss::NotLoaded);
            }
        }
        list.questions.iter().for_each(|question| self.answer_lost(name, question, Loss::NotLoaded));
        for (wish, receipts) in list.of_leavers {
            let known = Known { is_lost: wish.since != Since::None, ..Known::default() };
            receipts.into_iter().for_each(|receipt| self.router.receipts.note(receipt, known));
        }
        list.receipts.into_iter().for_each(|receipt| self.router.receipts.note(receipt, Known::default()));
    }

    /// Answers a core whose client gets nothing of what it has missed.
    pub(super) fn answer_lost(&mut self, name: &[u8], question: &Question, why: Loss) {
        let &Question { peer, request, wish, .. } = question;
        let is_lost = wish.since != Since::None;
        if is_lost {
            why.log(name);
        }
        self.router.answer_missed(peer, MissedPart { request, last: None, is_lost, is_end: true, frames: &[] });
    }

    fn waits_for_load(&self, id: u32, name: &[u8]) -> bool {
        let catch_up = self.missed.catch_ups.get(id as usize);
        catch_up.is_some_and(|catch_up| catch_up.state == State::Loading && *catch_up.name == *name)
    }

    /// Whether a channel's home is here and it must be loaded before this core answers about it.
    pub(super) fn must_load_here(&mut self, name: &[u8]) -> bool {
        match self.router.home(name, Kind::Exact) {
            Home::Here(retention) => self.must_load(name, retention),
            Home::None | Home::Away(_) => false,
        }
    }
}
