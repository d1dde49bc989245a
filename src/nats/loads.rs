//! Loads: a home wants the messages of a channel that the stream has. Each question brings one message. Several channels
//! are loaded at the same time.
//!
//! A load ends in three steps: the stream says that it has no more messages of the channel; it says what it is in, as
//! [`super::stream_info`] checks; and it says once more that there is nothing. A new leader of the stream answers before it
//! has all messages that the old one has acknowledged, and would end a load too early.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::engine::history::{Load, Retention};

use super::bursts::{Burst, Pace};

/// The most channels that are loaded at the same time.
const ACTIVE_MAX: usize = 32;
/// The most questions under way beside one for each of these. With the largest messages of NATS, 1 MiB and a third of it for
/// base64, the answers take less than the 64 MiB that a server of NATS keeps for a client.
const EXTRA_MAX: u64 = 15;
/// A load that gets nothing for so long fails, and clients are told that messages are lost. The servers of NATS need up to
/// ten seconds to choose another leader for the stream, and on a busy machine several times that.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// After this time without an answer a question is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A load of a channel.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The home.
    pub(super) core: usize,
    pub(super) name: Box<str>,
    pub(super) retention: Retention,
    pub(super) load: Load,
    /// The number of the first message that it has brought, how many it has brought, and where the next question begins.
    pub(super) first: Option<u64>,
    pub(super) count: u64,
    pub(super) next: u64,
    /// The last number of the stream at some time before the load.
    pub(super) position: u64,
    /// The stream has said that it has no more, and was at this number after that.
    pub(super) checked: Option<u64>,
    pace: Pace,
    /// When it was queued, or has brought something.
    queued_at: Instant,
}

/// A load with questions under way.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) job: Job,
    burst: Burst,
}

/// All loads.
#[derive(Debug, Default)]
pub(super) struct Loads {
    queue: VecDeque<Job>,
    /// Those that wait for answers.
    active: Vec<Active>,
    /// Those that have everything, as it seems, and wait for the stream's state.
    ending: Vec<Job>,
    /// Those of `ending` that the question under way is about.
    ending_asked: usize,
    /// The channels of all of them. A channel has one home.
    names: HashSet<Box<str>, RandomState>,
    /// None of `queue` and `ending` fails before this time.
    fails_at: Option<Instant>,
}

impl Job {
    pub(super) fn new(core: usize, name: &str, retention: Retention, load: Load, now: Instant) -> Self {
        let (first, count, next, position, checked, pace) = (None, 0, load.after + 1, 0, None, Pace::default());
        Self { core, name: name.into(), retention, load, first, count, next, position, checked, pace, queued_at: now }
    }

    /// Notes a message of so many bytes that the home got.
    pub(super) fn brought(&mut self, number: u64, bytes: usize, now: Instant) {
        self.queued_at = now;
        self.pace.brought(bytes);
        self.first.get_or_insert(number);
        self.count += 1;
        self.next = number + 1;
    }

    /// The number up to which something may be missing, if the stream's first message has this number and it keeps so many
    /// messages of a channel.
    pub(super) fn dropped(&self, first_of_stream: u64, messages_per_channel: u64) -> u64 {
        match self.first {
            // The channel has as many messages as the stream keeps: there may have been more.
            Some(first) if self.count >= messages_per_channel => first.max(first_of_stream) - 1,
            // Messages before the stream's first one may have gone while others were loaded.
            _ => first_of_stream - 1,
        }
    }

    /// It is asked for anew, later.
    fn restart(mut self) -> Self {
        self.checked = None;
        self.pace.restart();
        self
    }
}

impl Active {
    /// The load, all of whose questions are answered.
    pub(super) fn into_job(self) -> Job {
        let Self { mut job, burst } = self;
        job.pace.burst_is_done(&burst);
        job
    }

    /// Takes an answer. Returns the number from which its question asks, and whether all are answered.
    fn answered(&mut self, request: u64, now: Instant) -> Option<(u64, bool)> {
        let from = self.burst.answered(request, now)?;
        Some((from, self.burst.is_done()))
    }
}

impl Loads {
    /// Queues a load. An older one of this channel ends: its home does not want it any more.
    pub(super) fn add(&mut self, job: Job) {
        if !self.names.insert(job.name.clone()) {
            self.queue.retain(|old| old.name != job.name);
            self.active.retain(|old| old.job.name != job.name);
            self.ending.retain(|old| old.name != job.name);
            self.ending_asked = 0; // it is asked again
        }
        self.may_fail(&job);
        self.queue.push_back(job);
    }

    /// Notes that a load may fail from now on.
    fn may_fail(&mut self, job: &Job) {
        let at = job.queued_at + WAIT_MAX;
        self.fails_at = Some(self.fails_at.map_or(at, |earliest| earliest.min(at)));
    }

    /// The next load whose question may be asked, if there is room for one more.
    pub(super) fn next(&mut self, is_ready: impl Fn(&Job, Duration) -> bool, now: Instant) -> Option<Job> {
        if self.active.len() >= ACTIVE_MAX {
            return None;
        }
        let waits = |job: &Job| now.saturating_duration_since(job.queued_at);
        let at = self.queue.iter().take(ACTIVE_MAX).position(|job| is_ready(job, waits(job)))?;
        self.queue.remove(at)
    }

    /// How many questions a load may ask now.
    pub(super) fn questions(&self, job: &Job) -> u64 {
        let extra: u64 = self.active.iter().map(|active| active.burst.extra()).sum();
        // The stream's answer to the last question of a load is that there is nothing.
        if job.checked.is_some() { 1 } else { job.pace.questions().min(1 + EXTRA_MAX.saturating_sub(extra)) }
    }

    /// Notes that these questions were asked from `job.next` on, beginning with this request.
    pub(super) fn asked(&mut self, first_request: u64, questions: u64, job: Job, now: Instant) {
        let burst = Burst::new(first_request, job.next, questions, now);
        self.active.push(Active { job, burst });
    }

    /// The load that an answer is for, the number from which its question asks, and whether that was the last of its questions.
    pub(super) fn answered(&mut self, request: u64, now: Instant) -> Option<(Active, u64, bool)> {
        let mut found = None;
        let at = self.active.iter_mut().position(|active| {
            found = active.answered(request, now);
            found.is_some()
        })?;
        let (from, is_last) = found?;
        Some((self.active.swap_remove(at), from, is_last))
    }

    /// A load waits for more answers.
    pub(super) fn waits_for_more(&mut self, active: Active) {
        self.active.push(active);
    }

    /// Puts a load back: it is asked for later.
    pub(super) fn put_back(&mut self, job: Job) {
        self.may_fail(&job);
        self.queue.push_front(job.restart());
    }

    /// A load that has everything asks once more: the stream was at this number in the meantime.
    pub(super) fn checks(&mut self, mut job: Job, last: u64) {
        job.checked = Some(last);
        self.may_fail(&job);
        self.queue.push_front(job);
    }

    /// Notes the end of a load.
    pub(super) fn has_ended(&mut self, job: &Job) {
        self.names.remove(&job.name);
    }

    /// Notes a load that has everything, as it seems.
    pub(super) fn ends(&mut self, job: Job) {
        self.may_fail(&job);
        self.ending.push(job);
    }

    /// Whether the stream's state must be asked for. The answer is for the loads that end by now.
    pub(super) fn must_ask_state(&mut self) -> bool {
        if self.ending_asked > 0 || self.ending.is_empty() {
            return false;
        }
        self.ending_asked = self.ending.len();
        true
    }

    /// The loads that the answer about the stream's state is for.
    pub(super) fn take_ending(&mut self) -> Vec<Job> {
        let asked = std::mem::take(&mut self.ending_asked);
        self.ending.drain(..asked).collect()
    }

    /// The question about the stream's state has no answer.
    pub(super) fn state_is_lost(&mut self) {
        self.ending_asked = 0;
    }

    /// The connection is lost: questions are asked again.
    pub(super) fn ask_again(&mut self) {
        self.state_is_lost();
        for Active { job, .. } in std::mem::take(&mut self.active) {
            self.ask_later(job);
        }
    }

    /// Puts loads back whose answers are missing for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(at) = self.active.iter().position(|active| active.burst.at + ANSWER_TIMEOUT <= now) {
            let Active { job, .. } = self.active.swap_remove(at);
            self.ask_later(job);
        }
    }

    fn ask_later(&mut self, job: Job) {
        self.may_fail(&job);
        self.queue.push_back(job.restart());
    }

    /// Takes the loads that have taken too long.
    pub(super) fn take_failed(&mut self, now: Instant) -> Vec<Job> {
        if self.fails_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut failed = Vec::new();
        let is_late = |job: &Job| job.queued_at + WAIT_MAX <= now;
        for job in std::mem::take(&mut self.queue) {
            if is_late(&job) { failed.push(job) } else { self.queue.push_back(job) }
        }
        if self.ending.iter().any(is_late) {
            failed.extend(self.ending.extract_if(.., |job| is_late(job)));
            self.state_is_lost();
        }
        failed.iter().for_each(|job| _ = self.names.remove(&job.name));
        self.fails_at = self.queue.iter().chain(&self.ending).map(|job| job.queued_at + WAIT_MAX).min();
        failed
    }

    /// Whether a load waits.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// When to look at them again.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.active.iter().map(|active| active.burst.at + ANSWER_TIMEOUT).chain(self.fails_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, id: u32, now: Instant) -> Job {
        Job::new(0, name, Retention { messages: 5, age: 60 }, Load { id, after: 0 }, now)
    }

    #[test]
    fn what_a_load_may_lack_is_known_from_the_streams_first_message() {
        let mut load = job("a", 1, Instant::now());
        assert_eq!(load.dropped(8, 6), 7, "an empty channel lacks what the stream does not have");
        load.brought(5, 1, Instant::now());
        load.brought(12, 1, Instant::now());
        assert_eq!((load.first, load.next, load.count), (Some(5), 13, 2));
        assert_eq!(load.dropped(3, 6), 2, "everything since message 3 was there");
        assert_eq!(load.dropped(9, 6), 8, "others may have come and gone after message 5");
        assert_eq!(load.dropped(3, 2), 4, "the channel is full, so others may have gone");
    }

    #[test]
    fn a_bounded_number_of_channels_is_loaded_at_a_time_and_a_new_load_replaces_the_old_one() {
        let (mut loads, now) = (Loads::default(), Instant::now());
        for id in 0..ACTIVE_MAX as u32 {
            loads.add(job(&format!("c{id}"), id, now));
        }
        loads.add(job("c1", 99, now));
        let mut asked = Vec::new();
        while let Some(job) = loads.next(|job, _| &*job.name != "c0", now) {
            asked.push(job.load.id);
            loads.asked(2 * u64::from(job.load.id), 1, job, now);
        }
        assert_eq!((asked.len(), asked[0], asked.contains(&1)), (ACTIVE_MAX - 1, 2, false));
        let (done, ..) = loads.answered(2 * 99, now).expect("the new one of c1");
        loads.ends(done.job);
        assert!(loads.must_ask_state() && !loads.must_ask_state());
        let ending = loads.take_ending();
        assert_eq!(ending.len(), 1);
        loads.has_ended(&ending[0]);
        assert!(loads.take_failed(now).is_empty());
        assert_eq!(loads.take_failed(now + WAIT_MAX).len(), 1, "c0, which was not ready");
        loads.expire(now + ANSWER_TIMEOUT);
        assert_eq!(loads.take_failed(now + WAIT_MAX).len(), ACTIVE_MAX - 2, "those without an answer");
        assert!(loads.names.is_empty() && loads.expires_at().is_none());
    }

    #[test]
    fn a_load_that_has_everything_fails_in_time_if_the_streams_state_does_not_come() {
        let (mut loads, now) = (Loads::default(), Instant::now());
        loads.add(job("a", 1, now));
        let first = loads.next(|_, _| true, now).expect("a load");
        loads.ends(first);
        assert!(loads.must_ask_state());
        loads.ask_again(); // the connection is lost
        assert!(loads.take_failed(now + WAIT_MAX / 2).is_empty());
        assert_eq!(loads.expires_at(), Some(now + WAIT_MAX));
        assert_eq!(loads.take_failed(now + WAIT_MAX).len(), 1);
        assert!(loads.take_ending().is_empty() && loads.names.is_empty());
    }

    #[test]
    fn a_new_load_also_replaces_one_that_has_everything() {
        let (mut loads, now) = (Loads::default(), Instant::now());
        loads.add(job("a", 1, now));
        let first = loads.next(|_, _| true, now).expect("a load");
        loads.ends(first);
        assert!(loads.must_ask_state());
        loads.add(job("a", 2, now));
        assert!(loads.take_ending().is_empty() && !loads.must_ask_state());
        assert_eq!(loads.next(|_, _| true, now).map(|job| job.load.id), Some(2));
    }
}
