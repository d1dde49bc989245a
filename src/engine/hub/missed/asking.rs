//! Questions to the home of a channel, if that is another core, and their answers.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::{LOADS_MAX, Loss, Missed, Start, State, loading::Question as Waiting};
use crate::{
    engine::{
        hub::Hub,
        relay::{MissedPart, Since, Wish},
        router::{Home, Known, Receipt},
    },
    protocol::{channel::Kind, message::MessageId},
};

/// The most bytes of a piece down a link; at least one message.
const LINK_PIECE_BYTES: usize = 64 * 1024;
/// The most pieces that one home is asked for at a time.
const PIECES_MAX: u32 = 8;
/// Work for an answer, beside its bytes.
const ANSWER_UNITS: u64 = 512;

/// A question to the home of a channel.
#[derive(Debug)]
struct Question {
    subject: Subject,
    home: u32,
    is_for_piece: bool,
}

/// What an answer is for.
#[derive(Debug)]
enum Subject {
    /// This one may have ended, and another one may have its id.
    CatchUp(u32),
    /// The position of a subscription that is not pending, or has ended.
    Position(SmallVec<[Receipt; 1]>),
}

/// The questions of one core that are not answered.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: HashMap<u32, Question, RandomState>,
    /// How many of them are for a piece, by home.
    pieces: HashMap<u32, u32, RandomState>,
    /// Catch-ups that go on after an answer, by home. Some may have ended.
    waiting: HashMap<u32, Vec<u32>, RandomState>,
    /// The number of the last one.
    last: u32,
}

impl Questions {
    fn add(&mut self, question: Question) -> u32 {
        self.last = self.last.wrapping_add(1);
        if question.is_for_piece {
            *self.pieces.entry(question.home).or_default() += 1;
        }
        self.open.insert(self.last, question);
        self.last
    }

    /// Ends a question. `ready` gets the catch-ups that have waited for an answer.
    fn take(&mut self, number: u32, ready: &mut VecDeque<u32>) -> Option<Subject> {
        let Question { subject, home, is_for_piece } = self.open.remove(&number)?;
        if let Some(pieces) = self.pieces.get_mut(&home).filter(|_| is_for_piece) {
            *pieces -= 1;
            ready.extend(self.waiting.remove(&home).unwrap_or_default());
        }
        Some(subject)
    }

    /// The catch-up of a question that is only where it begins has ended. These acknowledgements wait for the answer.
    pub(super) fn is_for_position(&mut self, number: u32, receipts: SmallVec<[Receipt; 1]>) {
        if let Some(question) = self.open.get_mut(&number) {
            question.subject = Subject::Position(receipts);
        }
    }

    fn has_many_pieces(&self, home: u32) -> bool {
        self.pieces.get(&home).is_some_and(|&pieces| pieces >= PIECES_MAX)
    }
}

impl Hub {
    /// Asks the home of a channel for the next piece, or waits for answers to others.
    pub(super) fn ask_for_piece(&mut self, id: u32, home: u32) {
        if self.missed.questions.has_many_pieces(home) {
            return self.missed.questions.waiting.entry(home).or_default().push(id);
        }
        self.ask(id, home, LINK_PIECE_BYTES.min(self.limits.outbox_bytes_max / 4) as u32);
    }

    /// Asks the home of a channel for at most so many bytes of what a client has missed; with 0 only where that begins.
    pub(super) fn ask(&mut self, id: u32, home: u32, bytes_max: u32) {
        let number =
            self.missed.questions.add(Question { subject: Subject::CatchUp(id), home, is_for_piece: bytes_max > 0 });
        let catch_up = &mut self.missed.catch_ups[id as usize];
        catch_up.state = State::Asked(number);
        self.router.relays.ask_for_missed(home, number, catch_up.wish, &catch_up.name, bytes_max);
    }

    /// Asks the home of a channel for the position of a subscription. When the answer comes, the client has been given
    /// everything up to it.
    pub(super) fn ask_for_position(&mut self, receipt: Receipt, home: u32, name: &[u8]) {
        let subject = Subject::Position(SmallVec::from_elem(receipt, 1));
        let question = Question { subject, home, is_for_piece: false };
        let number = self.missed.questions.add(question);
        self.router.relays.ask_for_missed(home, number, Wish::default(), name, 0);
    }

    /// Answers a core that asks for what one of its clients has missed.
    pub(in crate::engine::hub) fn answer_missed(
        &mut self,
        peer: u32,
        request: u32,
        wish: Wish,
        name: &[u8],
        bytes_max: u32,
    ) {
        let question = Waiting { peer, request, wish, bytes_max, loads: 0 };
        if let Home::Here(retention) = self.router.home(name, Kind::Exact)
            && self.must_load_for(name, retention, wish)
        {
            return self.answer_after_load(name, question);
        }
        self.answer_if_whole(name, question);
    }

    /// The same, unless the channel must be loaded first.
    pub(super) fn answer_if_whole(&mut self, name: &[u8], question: Waiting) {
        let Waiting { peer, request, wish, bytes_max, .. } = question;
        self.router.work.add(ANSWER_UNITS);
        if self.must_load_here(name) {
            let may_wait = question.loads < LOADS_MAX;
            return match may_wait {
                true => self.answer_after_load(name, question),
                false => self.answer_lost(name, &question, Loss::LoadedInVain { loads: LOADS_MAX }),
            };
        }
        let mut part =
            MissedPart { request, last: None, is_lost: wish.since != Since::None, is_end: true, frames: &[] };
        let mut frames = Vec::new();
        if let Home::Here(retention) = self.router.home(name, Kind::Exact) {
            let Start { after, is_lost } = self.start(name, retention, wish);
            let (history, mut ranges) = (&self.router.history, Vec::new());
            let read = |channel| history.read(channel, after.offset, bytes_max as usize, &mut ranges);
            let last = history.find(name).filter(|_| bytes_max > 0).map_or(after.offset, read);
            for range in ranges {
                frames.extend_from_slice(self.router.outboxes.arena().bytes(range));
            }
            let last = MessageId { epoch: after.epoch, offset: last };
            (part.last, part.is_lost, part.is_end) = (Some(last), is_lost, last == self.newest(name));
        }
        self.router.work.add(frames.len() as u64 / 4);
        part.frames = &frames;
        self.router.answer_missed(peer, part);
    }

    /// Takes a piece from the home of a channel.
    pub(in crate::engine::hub) fn take_missed(&mut self, part: MissedPart<'_>) {
        let Missed { questions, ready, .. } = &mut self.missed;
        let id = match questions.take(part.request, ready) {
            Some(Subject::CatchUp(id)) => id,
            Some(Subject::Position(receipts)) => {
                let known = Known { id: part.last, is_lost: part.is_lost, has_failed: false };
                return receipts.into_iter().for_each(|receipt| self.router.receipts.note(receipt, known));
            }
            None => return,
        };
        let Some(catch_up) = self.missed.catch_ups.get(id as usize) else { return };
        if catch_up.state != State::Asked(part.request) {
            return; // another one has the id by now
        }
        let key = catch_up.key;
        let queued = self.queued(key.slot);
        let catch_up = &mut self.missed.catch_ups[id as usize];
        if queued > 0 && !part.frames.is_empty() && queued + part.frames.len() > self.limits.outbox_bytes_max / 2 {
            // Pieces of several channels, or live messages, have come in between. It is asked for once more.
            catch_up.state = State::Sent;
            return;
        }
        match part.last {
            Some(last) => catch_up.goes_on_behind(last, part.is_lost),
            None => (catch_up.position, catch_up.is_lost) = (None, catch_up.is_lost || catch_up.may_lose),
        }
        catch_up.may_lose |= !part.frames.is_empty();
        catch_up.state = if part.frames.is_empty() { State::Ready } else { State::Sent };
        if !self.sessions.is_current(key)
            || !self.router.subscriptions.is_pending(key.slot, &self.missed.catch_ups[id as usize].name, Kind::Exact)
        {
            return self.end(id);
        }
        if !part.frames.is_empty() {
            self.router.push(key.slot, |turn| turn.extend_from_slice(part.frames));
            self.missed.by_slot.entry(key.slot).or_default().pushed += part.frames.len();
        }
        match (part.is_end, part.frames) {
            (true, _) => self.join(id),
            (false, []) => self.missed.ready.push_back(id),
            (false, _) => {}
        }
    }
}
