//! Questions of operators. Each turn takes one a step further.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    engine::{
        hub::kept::{Progress, Stage},
        inbox::{Letter, Mailbox},
        slot::Slot,
        stats::Why,
        survey::{Answered, Question, Seen, Wanted, Whose},
        turn::{Links, Sockets, Turn},
    },
    error::Refusal,
    protocol::channel::{self, Kind},
};

/// The most connections or channels that a turn looks at.
const LOOKS_PER_TURN: usize = 512;
/// The most questions that wait for the store or the bridge.
const WAITING_MAX: usize = 64;

/// The most outboxes that a turn looks at: a look costs far less than one at a connection.
const OUTBOXES_PER_TURN: usize = 8192;

/// A question that this core is answering.
#[derive(Debug)]
struct Survey {
    id: u32,
    asker: Mailbox,
    question: Arc<Question>,
    /// The next place to look at.
    next: usize,
    seen: Vec<Seen>,
    /// The first names behind `after`.
    names: BTreeMap<Box<[u8]>, u64>,
    changed: u64,
    /// How far a question to the home of a channel has come.
    stage: Stage,
}

/// Questions in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Surveys {
    active: VecDeque<Survey>,
    /// Those that wait for the store or the bridge, which wake the core.
    waiting: Vec<Survey>,
}

impl Surveys {
    /// Takes a question to core number `own`.
    pub(super) fn ask(&mut self, own: u32, id: u32, question: Arc<Question>, asker: Mailbox) {
        let next = match &*question {
            Question::Connections { from: (core, slot), .. } => match own.cmp(core) {
                Ordering::Less => usize::MAX,
                Ordering::Equal => *slot as usize,
                Ordering::Greater => 0,
            },
            _ => 0,
        };
        let (seen, names) = (Vec::new(), BTreeMap::new());
        let (changed, stage) = (0, Stage::Begun);
        self.active.push_back(Survey { id, asker, question, next, seen, names, changed, stage });
    }

    /// Whether none can go on in the next turn.
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }
}

impl<S: Sockets, L: Links> Turn<S, L> {
    /// Takes the oldest question a step further, and those that wait.
    #[inline]
    pub(super) fn go_on_surveying(&mut self) {
        if !self.surveys.waiting.is_empty() {
            std::mem::take(&mut self.surveys.waiting).into_iter().for_each(|survey| self.survey(survey));
        }
        if let Some(survey) = self.surveys.active.pop_front() {
            self.survey(survey);
        }
    }

    #[inline(never)]
    fn survey(&mut self, mut survey: Survey) {
        let question = Arc::clone(&survey.question);
        if question.of_home().is_some() {
            return self.survey_home(survey);
        }
        let is_done = match &*question {
            Question::Connections { whose, limit, .. } => self.see(&mut survey, whose, *limit),
            Question::Channels { wanted, after, limit } => self.list(&mut survey, wanted, after, *limit),
            Question::Top { limit } => self.find_slowest(&mut survey, *limit),
            Question::Close { whose, code, reason } => self.for_each(&mut survey, whose, |turn, slot| {
                turn.hub.close(&mut *turn.app, slot, (*code, reason), Why::Server);
            }),
            Question::Subscribe { whose, names, is_end } => self.for_each(&mut survey, whose, |turn, slot| {
                for (name, kind) in names {
                    turn.hub.subscribe_for_operator(slot, name, *kind, *is_end);
                }
            }),
            Question::Messages { .. } | Question::Forget { .. } | Question::Presence { .. } => true,
        };
        if !is_done {
            return self.surveys.active.push_back(survey);
        }
        let (seen, names) = (std::mem::take(&mut survey.seen), std::mem::take(&mut survey.names));
        let answer = match &*question {
            Question::Connections { .. } => Answered::Connections(seen),
            Question::Channels { .. } => Answered::Channels(names.into_iter().collect()),
            Question::Top { limit } => {
                Answered::Top { busiest: self.hub.router.busiest(self.hub.ran(), *limit), slowest: seen }
            }
            _ => Answered::Changed(survey.changed),
        };
        self.tell(&survey, answer);
    }

    fn tell(&mut self, Survey { id, asker, .. }: &Survey, answer: Answered) {
        let core = self.hub.router.own();
        // Without room for it, the asker says that this core has not answered.
        let _ = asker.post(Letter::Told { id: *id, core, answer: Box::new(answer) });
    }

    /// Takes a question to the home of a channel a step further.
    fn survey_home(&mut self, mut survey: Survey) {
        if survey.stage == Stage::Begun && self.surveys.waiting.len() >= WAITING_MAX {
            let busy = Refusal::new(503, "busy", "too many questions wait for the history: ask again");
            return self.tell(&survey, Answered::Refused(busy));
        }
        let question = Arc::clone(&survey.question);
        let progress = match &*question {
            Question::Messages { name, before, last } => {
                self.hub.kept_messages(name, (*before, *last), &mut survey.stage)
            }
            Question::Forget { name } => self.hub.forget_messages(name, &mut survey.stage),
            Question::Presence { name } => Progress::Done(self.hub.users_for_operator(name)),
            _ => return,
        };
        match progress {
            Progress::Done(answer) => self.tell(&survey, answer),
            Progress::GoesOn => self.surveys.active.push_back(survey),
            Progress::Waits => self.surveys.waiting.push(survey),
        }
    }

    /// Looks at the next connections. Returns whether there are no more.
    fn for_each(&mut self, survey: &mut Survey, whose: &Whose, act: impl Fn(&mut Self, Slot)) -> bool {
        self.look_at(survey, whose, |turn, survey, slot| {
            act(turn, slot);
            survey.changed += 1;
            true
        })
    }

    fn see(&mut self, survey: &mut Survey, whose: &Whose, limit: usize) -> bool {
        self.look_at(survey, whose, |turn, survey, slot| {
            let peer = turn.sockets.peer(slot);
            survey.seen.push(turn.hub.seen(slot, peer, whose.connection.is_some()));
            survey.seen.len() < limit
        })
    }

    /// Calls `found` for the connections that fit, until it returns false or the turn has looked at enough. Returns whether
    /// the survey is done.
    fn look_at(
        &mut self,
        survey: &mut Survey,
        whose: &Whose,
        found: impl Fn(&mut Self, &mut Survey, Slot) -> bool,
    ) -> bool {
        let mut end = self.hub.sessions.slots_end() as usize;
        if let Some((core, key)) = whose.connection {
            if core != self.hub.router.own() {
                return true;
            }
            survey.next = survey.next.max(key.slot as usize);
            end = end.min(key.slot as usize + 1);
        }
        let until = end.min(survey.next.saturating_add(LOOKS_PER_TURN));
        self.hub.router.work.add(until.saturating_sub(survey.next) as u64);
        while survey.next < until {
            let slot = survey.next as Slot;
            survey.next += 1;
            let sockets = &self.sockets;
            if self.hub.is_of(whose, slot, || sockets.peer(slot)) && !found(self, survey, slot) {
                return true;
            }
        }
        survey.next >= end
    }

    /// Looks at the next outboxes, and keeps the connections with the largest backlogs. Returns whether there are no more.
    fn find_slowest(&mut self, survey: &mut Survey, limit: usize) -> bool {
        let end = self.hub.router.outboxes.slots_end();
        let until = end.min(survey.next + OUTBOXES_PER_TURN);
        self.hub.router.work.add((until.saturating_sub(survey.next) / 16) as u64);
        for slot in survey.next as Slot..until as Slot {
            let bytes = self.hub.router.outboxes.backlog_cost(slot);
            let is_open = || self.hub.sessions.get(slot).is_some_and(|session| session.is_open());
            let place = survey.seen.partition_point(|other| other.backlog_bytes >= bytes);
            if bytes > 0 && place < limit && is_open() {
                survey.seen.truncate(limit - 1);
                survey.seen.insert(place, self.hub.seen(slot, self.sockets.peer(slot), false));
            }
        }
        survey.next = until;
        until >= end
    }

    fn list(&mut self, survey: &mut Survey, wanted: &Wanted, after: &[u8], limit: usize) -> bool {
        let subscriptions = &self.hub.router.subscriptions;
        if let Wanted::Name(name) = wanted {
            let kind = channel::check_subscribe(name).unwrap_or(Kind::Exact);
            let count = subscriptions.find_name(name, kind).map_or(0, |id| subscriptions.subscribers(id).len());
            survey.names.insert(name.clone(), count as u64);
            return true;
        }
        let until = survey.next + LOOKS_PER_TURN;
        let is_wanted = |name: &[u8], kind| match wanted {
            Wanted::Matching(pattern) => kind == Kind::Exact && channel::matches(pattern, name),
            _ => true,
        };
        while survey.next < until {
            let Some(place) = subscriptions.place(survey.next) else { return true };
            survey.next += 1;
            let Some((name, kind, count)) = place else { continue };
            let is_behind =
                survey.names.len() >= limit && survey.names.last_key_value().is_some_and(|(last, _)| name > &**last);
            if count == 0 || name <= after || is_behind || !is_wanted(name, kind) {
                continue;
            }
            survey.names.insert(name.into(), count as u64);
            if survey.names.len() > limit {
                survey.names.pop_last();
            }
        }
        self.hub.router.work.add(LOOKS_PER_TURN as u64);
        false
    }
}
