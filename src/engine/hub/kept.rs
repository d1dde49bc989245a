//! Questions of operators to the home of a channel about the messages that it keeps, see [`crate::engine::survey`].

#![cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]

use crate::{
    engine::{
        history::Retention,
        hub::Hub,
        router::Home,
        survey::{Answered, Kept},
    },
    error::Refusal,
    protocol::{channel::Kind, message::MessageId},
};

/// The most bytes of the messages of one answer; at least one message.
const BYTES_MAX: usize = 1024 * 1024;
/// The most messages that one step drops.
const DROPS_PER_STEP: usize = 4096;
/// Work for a message.
const MESSAGE_UNITS: u64 = 64;
/// The most loads of a channel that one question waits for: the budget may have no room for what they bring.
const LOADS_MAX: u8 = 3;

/// How far a question has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Begun,
    /// The channel is loaded from the stream that the nodes of a cluster share. It was begun so often.
    Loading(u8),
    /// The store deletes the messages.
    Purging,
    /// The messages up to this number go; so many have gone.
    Dropping { last: u64, dropped: u64 },
}

/// How a question goes on.
pub(crate) enum Progress {
    Done(Answered),
    /// In the next turn.
    GoesOn,
    /// After the store or the bridge has brought something.
    Waits,
}

impl Hub {
    /// The newest messages that this home keeps of a channel, before that one.
    pub(crate) fn kept_messages(
        &mut self,
        name: &[u8],
        (before, last): (Option<MessageId>, usize),
        stage: &mut Stage,
    ) -> Progress {
        let Home::Here(retention) = self.router.home(name, Kind::Exact) else { return refused(no_history()) };
        if self.router.history.is_copy() {
            match self.loaded_for_operator(name, retention, stage) {
                None => return Progress::Waits,
                Some(false) => return refused(unavailable("the cluster's stream is away")),
                Some(true) => {}
            }
        }
        let history = &self.router.history;
        if before.is_some_and(|before| before.epoch != history.epoch()) {
            let sentence = "before is an id of another history, such as that before a restart";
            return refused(Refusal::new(404, "unknown-message", sentence));
        }
        let Some(channel) = history.find(name) else { return Progress::Done(Answered::Messages(Kept::default())) };
        let before = before.map_or(u64::MAX, |before| before.offset);
        let (found, has_more) = history.read_back(channel, before, last, BYTES_MAX);
        let arena = self.router.outboxes.arena_ref();
        let frames: Vec<_> = found.into_iter().map(|(id, range)| (id, arena.bytes(range).into())).collect();
        let bytes: usize = frames.iter().map(|(_, frame): &(_, Box<[u8]>)| frame.len()).sum();
        self.router.work.add(MESSAGE_UNITS * frames.len() as u64 + bytes as u64 / 8);
        Progress::Done(Answered::Messages(Kept { frames, has_more }))
    }

    /// Whether everything is here that the cluster keeps of a channel; `None` if it is loaded now, `Some(false)` if that has
    /// failed.
    fn loaded_for_operator(&mut self, name: &[u8], retention: Retention, stage: &mut Stage) -> Option<bool> {
        if *stage == Stage::Begun {
            // Without subscribers NATS brings nothing of the channel, so the copy may be old.
            self.router.note_first_subscriber(name);
            *stage = Stage::Loading(0);
        }
        let Stage::Loading(loads) = stage else { return Some(false) };
        let history = &self.router.history;
        if history.find(name).is_some_and(|channel| history.is_loading(channel)) {
            return None;
        }
        if self.router.history.find(name).is_some_and(|channel| self.router.history.is_whole(channel)) {
            return Some(true);
        }
        if *loads == LOADS_MAX {
            return Some(false);
        }
        *loads += 1;
        self.router.load(name, retention);
        None
    }

    /// Drops the messages that this home keeps of a channel, in the store first.
    pub(crate) fn forget_messages(&mut self, name: &[u8], stage: &mut Stage) -> Progress {
        if self.router.home(name, Kind::Exact) == Home::None {
            return refused(no_history());
        }
        if self.router.history.is_copy() {
            let sentence = "the nodes of a cluster share this history: purge its stream in JetStream";
            return refused(Refusal::new(501, "not-in-a-cluster", sentence));
        }
        let newest = |hub: &Self| {
            let history = &hub.router.history;
            history.find(name).map_or(0, |channel| history.extent(channel).newest)
        };
        match *stage {
            Stage::Begun if !self.router.is_store_available() => {
                return refused(unavailable("the history's file cannot be written now"));
            }
            Stage::Begun if self.router.purge_store(name) => {
                *stage = Stage::Purging;
                return Progress::Waits;
            }
            Stage::Purging => match self.router.take_purged(name) {
                None => return Progress::Waits,
                Some(false) => return refused(unavailable("the history's file cannot be written now")),
                Some(true) => *stage = Stage::Dropping { last: newest(self), dropped: 0 },
            },
            Stage::Begun | Stage::Loading(_) => *stage = Stage::Dropping { last: newest(self), dropped: 0 },
            Stage::Dropping { .. } => {}
        }
        let Stage::Dropping { last, dropped } = stage else { return Progress::Waits };
        let (history, outboxes) = (&mut self.router.history, &mut self.router.outboxes);
        let now = history
            .find(name)
            .map_or(0, |channel| history.drop_up_to(channel, *last, DROPS_PER_STEP, outboxes.arena()));
        *dropped += now as u64;
        self.router.work.add(MESSAGE_UNITS * now as u64);
        if now == DROPS_PER_STEP { Progress::GoesOn } else { Progress::Done(Answered::Changed(*dropped)) }
    }
}

fn refused(refusal: Refusal) -> Progress {
    Progress::Done(Answered::Refused(refusal))
}

fn no_history() -> Refusal {
    Refusal::new(404, "no-history", "no rule gives this channel a history")
}

fn unavailable(sentence: &'static str) -> Refusal {
    Refusal::new(503, "history-unavailable", sentence)
}
