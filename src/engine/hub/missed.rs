//! Clients that get what they have missed: their subscription is pending until they have all of it (PROTOCOL.md §10).
//!
//! Messages come from the channel's home. If that is this core, ranges of the history go into the outbox after a flush,
//! when it has no bytes of the turn. From another core, the frames come in pieces down the link. In both cases a piece is
//! bounded, and the next one follows when the client has taken it. So neither the client's outbox nor the link holds a
//! whole history. With the last piece the subscription joins its audience: the home has put nothing between the piece and
//! the next message.

mod asking;
mod ending;
mod loading;
mod start;

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use slab::Slab;
use smallvec::SmallVec;

use self::{
    asking::Questions,
    loading::Waiting,
    start::{Loss, Start},
};
use crate::{
    engine::{
        arena::Range,
        history::Retention,
        hub::Hub,
        relay::{Since, Wish},
        router::{Awaited, Home, Known, Receipt},
        slot::{ConnectionKey, Slot},
    },
    protocol::{channel::Kind, message::MessageId},
};

/// The most bytes of a piece; at least one message.
const PIECE_BYTES: usize = 256 * 1024;
/// Work for a piece, which is a write of its own, and for each of its ranges.
const PIECE_UNITS: u64 = 8 * 1024;
const RANGE_UNITS: u64 = 32;
/// The most work of one turn, except for the piece that reaches it.
const TURN_UNITS: u64 = 16 * 1024;
/// The most loads of a channel that one client waits for in a row. The budget may have no room for what they bring.
const LOADS_MAX: u8 = 8;
/// The approximate memory of a catch-up beside its name, in bytes.
const CATCH_UP_BYTES: usize = 160;

/// A subscription that waits for what its client has missed.
#[derive(Debug)]
struct CatchUp {
    key: ConnectionKey,
    name: Box<[u8]>,
    wish: Wish,
    /// The last message that the client has, or does not want. `None` until the home has said where it begins.
    position: Option<MessageId>,
    /// The acknowledgements that wait for its position: the client may have subscribed once more in between.
    receipts: SmallVec<[Receipt; 1]>,
    /// The client says what it has, or has got something. If messages are dropped then, it misses them.
    may_lose: bool,
    is_lost: bool,
    state: State,
    /// How often it has waited for a load since its last piece.
    loads: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is in the list of those that go on, or of those that wait for their home.
    Ready,
    /// The client has not taken the last piece.
    Sent,
    /// Its home, another core, was asked with the question of this number.
    Asked(u32),
    /// The channel must be loaded first.
    Loading,
}

/// The pending subscriptions of one core.
#[derive(Debug, Default)]
pub(super) struct Missed {
    catch_ups: Slab<CatchUp>,
    /// Those that go on, in order. Some may have ended.
    ready: VecDeque<u32>,
    by_slot: HashMap<Slot, OfSlot, RandomState>,
    questions: Questions,
    loading: Waiting,
    bytes: usize,
    ranges: Vec<Range>,
    /// Clients that have all of what they missed, and subscriptions for which something was not kept any more.
    pub(super) caught_up: u64,
    pub(super) lost: u64,
}

/// Those of one connection.
#[derive(Debug, Default)]
struct OfSlot {
    ids: SmallVec<[u32; 2]>,
    /// The bytes of pieces from other cores since its outbox was empty.
    pushed: usize,
}

impl CatchUp {
    /// The next piece begins behind this message. Some may have been dropped before it.
    fn goes_on_behind(&mut self, position: MessageId, are_dropped: bool) {
        self.is_lost |= are_dropped && self.may_lose;
        self.position = Some(position);
        self.wish.since = Since::Message(position);
    }
}

impl Missed {
    /// Their memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are any.
    pub(super) fn has_any(&self) -> bool {
        !self.catch_ups.is_empty()
    }

    /// Whether some can go on in the next turn.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn is_empty(&self) -> bool {
        self.catch_ups.is_empty() && self.by_slot.is_empty() && self.bytes == 0
    }

    fn add(&mut self, catch_up: CatchUp) -> u32 {
        self.bytes += CATCH_UP_BYTES + catch_up.name.len();
        let slot = catch_up.key.slot;
        let id = self.catch_ups.insert(catch_up) as u32;
        self.by_slot.entry(slot).or_default().ids.push(id);
        id
    }

    fn remove(&mut self, id: u32) -> CatchUp {
        let catch_up = self.catch_ups.remove(id as usize);
        self.bytes -= CATCH_UP_BYTES + catch_up.name.len();
        if let Some(of_slot) = self.by_slot.get_mut(&catch_up.key.slot) {
            of_slot.ids.retain(|other| *other != id);
            if of_slot.ids.is_empty() {
                self.by_slot.remove(&catch_up.key.slot);
            }
        }
        catch_up
    }
}

impl Hub {
    /// Subscribes a connection to a checked name, and gives it what `wish` asks for. `receipt` is for its position.
    pub(crate) fn subscribe_from(
        &mut self,
        slot: Slot,
        name: &[u8],
        kind: Kind,
        wish: Wish,
        receipt: Option<Receipt>,
    ) -> Awaited {
        let home = self.router.home(name, kind);
        if !self.sessions.is_open(slot) || home == Home::None {
            self.note(receipt, Known { is_lost: wish.since != Since::None, ..Known::default() });
            return self.subscribe(slot, name, kind);
        }
        let is_anew = wish != Wish::default();
        if !is_anew && self.goes_on(slot, name, home, receipt) {
            return self.subscribe(slot, name, kind);
        }
        let mut receipts: SmallVec<[Receipt; 1]> = receipt.into_iter().collect();
        if let Some(id) = self.find_catch_up(slot, name) {
            // The client asks anew. The acknowledgement of before says the new position.
            receipts.extend(self.missed.remove(id).receipts);
            self.router.join(slot, name, kind);
        }
        match home {
            Home::Here(retention) => self.subscribe_here(slot, name, retention, wish, receipts),
            // Nobody asks for the position.
            Home::Away(_) if !is_anew && receipts.is_empty() => self.subscribe(slot, name, kind),
            Home::Away(home) => {
                let awaited = self.router.subscribe_pending(slot, name, kind);
                let id = self.add_catch_up(slot, name, wish, receipts);
                self.ask(id, home, 0); // at once, before the home gets what the same message publishes
                awaited
            }
            Home::None => Awaited::default(),
        }
    }

    /// Leaves a subscription as it is, if there is one, and gives its position to a receipt. A message that subscribes once
    /// more without a wish must not let its client miss anything.
    fn goes_on(&mut self, slot: Slot, name: &[u8], home: Home, receipt: Option<Receipt>) -> bool {
        if let Some(id) = self.find_catch_up(slot, name) {
            self.missed.catch_ups[id as usize].receipts.extend(receipt);
            return true;
        }
        match (home, receipt) {
            (Home::Away(home), Some(receipt)) if self.router.subscriptions.is_subscribed(slot, name, Kind::Exact) => {
                self.ask_for_position(receipt, home, name);
                true
            }
            _ => false,
        }
    }

    fn subscribe_here(
        &mut self,
        slot: Slot,
        name: &[u8],
        retention: Retention,
        wish: Wish,
        receipts: SmallVec<[Receipt; 1]>,
    ) -> Awaited {
        self.router.note_first_subscriber(name);
        if self.must_load(name, retention) || self.must_load_for(name, retention, wish) {
            return self.subscribe_after_load(slot, name, wish, receipts);
        }
        let Start { after, is_lost } = self.start(name, retention, wish);
        if after == self.newest(name) {
            self.missed.lost += u64::from(is_lost);
            let known = Known { id: Some(after), is_lost, has_failed: false };
            receipts.into_iter().for_each(|receipt| self.router.receipts.note(receipt, known));
            return self.subscribe(slot, name, Kind::Exact);
        }
        let awaited = self.router.subscribe_pending(slot, name, Kind::Exact);
        // What the same message publishes comes behind that.
        let id = self.add_catch_up(slot, name, wish, receipts);
        self.missed.catch_ups[id as usize].goes_on_behind(after, is_lost);
        self.missed.ready.push_back(id);
        awaited
    }

    fn add_catch_up(&mut self, slot: Slot, name: &[u8], wish: Wish, receipts: SmallVec<[Receipt; 1]>) -> u32 {
        let (key, state) = (self.sessions.key(slot), State::Ready);
        let (name, may_lose) = (name.into(), wish.since != Since::None);
        let catch_up = CatchUp { key, name, wish, position: None, receipts, may_lose, is_lost: false, state, loads: 0 };
        self.missed.add(catch_up)
    }

    fn note(&mut self, receipt: Option<Receipt>, known: Known) {
        if let Some(receipt) = receipt {
            self.router.receipts.note(receipt, known);
        }
    }

    /// The newest message of a channel that has a history here.
    fn newest(&self, name: &[u8]) -> MessageId {
        let history = &self.router.history;
        let offset = history.find(name).map_or(0, |channel| history.extent(channel).newest);
        MessageId { epoch: history.epoch(), offset }
    }

    /// Goes on with those that can, after a flush.
    pub(super) fn go_on_catching_up(&mut self) {
        let begun = self.router.work.done();
        for _ in 0..self.missed.ready.len() {
            if self.router.work.done() - begun >= TURN_UNITS {
                break;
            }
            let Some(id) = self.missed.ready.pop_front() else { break };
            if self.missed.catch_ups.get(id as usize).is_some_and(|catch_up| catch_up.state == State::Ready) {
                self.go_on_with(id);
            }
        }
        self.send_receipts();
    }

    /// Goes on with those of a connection that has taken all of its bytes.
    pub(super) fn has_taken_piece(&mut self, slot: Slot) {
        let Missed { catch_ups, ready, by_slot, .. } = &mut self.missed;
        let Some(of_slot) = by_slot.get_mut(&slot) else { return };
        of_slot.pushed = 0;
        for &id in &of_slot.ids {
            let state = &mut catch_ups[id as usize].state;
            if *state == State::Sent {
                *state = State::Ready;
                ready.push_back(id);
            }
        }
    }

    fn go_on_with(&mut self, id: u32) {
        self.router.work.add(PIECE_UNITS);
        let catch_up = &self.missed.catch_ups[id as usize];
        let slot = catch_up.key.slot;
        if !self.sessions.is_current(catch_up.key)
            || !self.router.subscriptions.is_pending(slot, &catch_up.name, Kind::Exact)
        {
            return self.end(id);
        }
        match self.router.home(&catch_up.name, Kind::Exact) {
            Home::Here(retention) if !self.router.is_whole(&catch_up.name, retention) => {
                if catch_up.loads < LOADS_MAX {
                    self.wait_for_load(id)
                } else {
                    self.give_up(id, Loss::LoadedInVain { loads: LOADS_MAX })
                }
            }
            Home::Here(retention) => self.send_piece(id, retention),
            Home::Away(home) => self.ask_for_piece(id, home),
            Home::None => {
                // New rules: the channel has no history any more.
                self.give_up(id, Loss::NoHistory);
            }
        }
    }

    /// Ends a catch-up whose client gets nothing of what it has missed.
    fn give_up(&mut self, id: u32, why: Loss) {
        let catch_up = &mut self.missed.catch_ups[id as usize];
        if catch_up.may_lose {
            why.log(&catch_up.name);
        }
        catch_up.is_lost |= catch_up.may_lose;
        catch_up.position = None;
        self.join(id);
    }

    /// Sends the next piece of the history of this core.
    fn send_piece(&mut self, id: u32, retention: Retention) {
        let catch_up = &self.missed.catch_ups[id as usize];
        let (slot, wish) = (catch_up.key.slot, catch_up.wish);
        let name = catch_up.name.clone();
        let Start { after, is_lost } = self.start(&name, retention, wish);
        let newest = self.newest(&name);
        let (queued, piece) = (self.queued(slot), PIECE_BYTES.min(self.limits.outbox_bytes_max / 4));
        let free = piece.saturating_sub(queued);
        let history = &self.router.history;
        let next = history.find(&name).and_then(|channel| history.next_len(channel, after.offset));
        if queued > 0 && next.is_some_and(|len| len > free) {
            self.missed.catch_ups[id as usize].state = State::Sent;
            return;
        }
        let mut ranges = std::mem::take(&mut self.missed.ranges);
        let last = history.find(&name).map_or(0, |channel| history.read(channel, after.offset, free, &mut ranges));
        if !ranges.is_empty() {
            let bytes: usize = ranges.iter().map(|range| range.len()).sum();
            self.router.work.add(RANGE_UNITS * ranges.len() as u64 + bytes as u64 / 8);
            self.router.outboxes.push_kept(slot, &ranges);
            self.sessions.keeps(slot);
            ranges.clear();
        }
        self.missed.ranges = ranges;
        let catch_up = &mut self.missed.catch_ups[id as usize];
        catch_up.loads = 0;
        let last = MessageId { epoch: newest.epoch, offset: last };
        catch_up.goes_on_behind(last, is_lost);
        catch_up.may_lose |= last != after;
        catch_up.state = State::Sent;
        if last == newest {
            self.join(id);
        }
    }

    /// The bytes that wait for a connection's client, before a piece is added to them.
    fn queued(&self, slot: Slot) -> usize {
        let pushed = self.missed.by_slot.get(&slot).map_or(0, |of_slot| of_slot.pushed);
        self.router.outboxes.backlog_cost(slot).max(pushed)
    }

    /// Ends a catch-up: the subscription gets messages from now on.
    fn join(&mut self, id: u32) {
        let CatchUp { key, name, .. } = &self.missed.catch_ups[id as usize];
        self.router.join(key.slot, name, Kind::Exact);
        self.missed.caught_up += 1;
        self.end(id);
    }

    /// The catch-up of a subscription.
    fn find_catch_up(&self, slot: Slot, name: &[u8]) -> Option<u32> {
        if !self.missed.has_any() {
            return None;
        }
        let of_slot = self.missed.by_slot.get(&slot)?;
        of_slot.ids.iter().copied().find(|&id| *self.missed.catch_ups[id as usize].name == *name)
    }
}
