//! The age of messages: a timer for each channel, which looks at its oldest one.

use std::time::Duration;

use super::{ChannelId, History};
use crate::engine::{arena::Arena, timers::Timers};

/// The core's start in its own seconds: messages of an earlier run are from before it.
pub(super) const START: u32 = 1 << 30;
/// The most messages of a channel that one call drops because of their age. The next tick goes on.
const EXPIRED_PER_CALL: usize = 4096;

impl History {
    /// Sets the time since the core's start.
    pub(crate) fn set_now(&mut self, now: Duration) {
        self.now = START.saturating_add(u32::try_from(now.as_secs()).unwrap_or(u32::MAX));
    }

    /// Drops messages that are too old, and forgets channels that nobody has used for as long as they keep messages.
    /// `is_used` tells of a channel with subscribers. Returns whether there was work.
    pub(crate) fn expire(&mut self, now: Duration, arena: &mut Arena, is_used: impl Fn(&[u8]) -> bool) -> bool {
        self.set_now(now);
        let Some(ages) = &mut self.ages else { return false };
        let mut due = Vec::new();
        ages.expire(now, &mut due);
        for &(id, generation) in &due {
            if self.channels.get(id as usize).is_some_and(|channel| channel.generation == generation) {
                self.expire_channel(id, arena, &is_used);
            }
        }
        !due.is_empty()
    }

    fn expire_channel(&mut self, id: u32, arena: &mut Arena, is_used: impl Fn(&[u8]) -> bool) {
        let mut dropped = 0;
        while dropped < EXPIRED_PER_CALL && self.channels[id as usize].oldest_is_over(self.now) {
            self.shorten(id, arena);
            dropped += 1;
        }
        let channel = &mut self.channels[id as usize];
        if is_used(&channel.name) {
            channel.used_at = self.now;
        }
        if channel.is_unused_at(self.now) { self.forget(id, arena) } else { self.schedule(ChannelId(id)) }
    }

    /// Schedules a channel's next deadline.
    pub(super) fn schedule(&mut self, ChannelId(id): ChannelId) {
        let channel = &self.channels[id as usize];
        let since_start = |seconds: u32| Duration::from_secs(u64::from(seconds.saturating_sub(START)));
        let (generation, at, now) = (channel.generation, since_start(channel.deadline()), since_start(self.now));
        self.ages.get_or_insert_with(|| Box::new(Timers::new(now))).schedule(id, generation, at);
    }

    /// The time of the next deadline.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.ages.as_ref().and_then(|ages| ages.next())
    }
}
