//! Delivery: from a frame in the turn to the outboxes of its subscribers.

use std::collections::VecDeque;

use crate::{
    engine::{
        router::{
            Router,
            resolve::What,
            unfinished::Step,
            work::{MESSAGE_UNITS, lookup_units},
        },
        slot::ConnectionKey,
        subscriptions::AudienceId,
    },
    protocol::channel::Kind,
};

/// Consecutive frames that all go to the resolved channel. The subscribers get them together, before anything else is
/// delivered.
#[derive(Debug)]
pub(super) struct Run {
    start: u32,
    end: u32,
    /// The connection that does not get them, because its message said `no-echo`.
    except: Option<ConnectionKey>,
    frames: u64,
}

impl Router {
    /// Delivers a frame of another node to the subscribers of exactly one name.
    pub(crate) fn deliver_to(&mut self, name: &[u8], kind: Kind, frame: &[u8]) {
        if self.resolved.what != What::Name(kind) || self.resolved.name != name {
            self.apply_run();
            self.put_away();
            let resolved = &mut self.resolved;
            resolved.what = What::Name(kind);
            resolved.name.clear();
            resolved.name.extend_from_slice(name);
            resolved.audiences.clear();
            resolved.audiences.extend(self.subscriptions.find_name(name, kind));
            resolved.subscribers = resolved.audiences.iter().map(|&id| self.subscriptions.subscribers(id).len()).sum();
        }
        self.work.add(MESSAGE_UNITS);
        if self.resolved.has_subscribers() {
            let (start, end) = self.append(frame);
            self.deliver(start, end, None, 1);
        }
    }

    /// Delivers a frame of another node that came through a wider subscription: to the channel, and to the patterns
    /// that this subscription covers.
    pub(crate) fn deliver_wide(&mut self, name: &[u8], is_all: bool, frame: &[u8]) {
        self.apply_run();
        self.put_away();
        let hash = self.subscriptions.hash(name);
        let Self { subscriptions, resolved, .. } = self;
        subscriptions.find_all(hash, name, &mut resolved.audiences);
        resolved.audiences.retain(|&mut audience| {
            let is_for = is_all || !subscriptions.begins_with_wildcard(audience);
            is_for && !subscriptions.subscribers(audience).is_empty()
        });
        resolved.subscribers = resolved.audiences.iter().map(|&id| subscriptions.subscribers(id).len()).sum();
        let found = self.resolved.audiences.len();
        self.work.add(MESSAGE_UNITS + lookup_units(name, self.subscriptions.shapes(), found));
        if self.resolved.has_subscribers() {
            let (start, end) = self.append(frame);
            self.deliver(start, end, None, 1);
        }
    }

    /// Appends a frame to the turn, and returns its range.
    pub(crate) fn append(&mut self, frame: &[u8]) -> (u32, u32) {
        let start = self.outboxes.turn_len() as u32;
        self.outboxes.turn().extend_from_slice(frame);
        (start, self.outboxes.turn_len() as u32)
    }

    /// Delivers bytes `start..end` of the turn, which are `frames` frames, to the resolved channel.
    #[inline]
    pub(super) fn deliver(&mut self, start: u32, end: u32, except: Option<ConnectionKey>, frames: u64) {
        self.has_given(self.resolved.subscribers, end - start);
        if self.resolved.audiences.len() != 1 {
            // A connection may be in several audiences. It gets all copies of a message before the next message.
            self.apply_run();
            self.deliver_to_audiences((start, end), except);
        } else if let Some(run) = &mut self.run
            && run.end == start
            && run.except == except
        {
            run.end = end;
            run.frames += frames;
        } else {
            self.apply_run();
            self.run = Some(Run { start, end, except, frames });
        }
    }

    /// Gives the run to its subscribers. Call this before anything else goes into an outbox.
    pub(crate) fn apply_run(&mut self) {
        if let Some(run) = self.run.take()
            && let [audience] = self.resolved.audiences[..]
        {
            self.give(audience, run);
        }
    }

    /// Puts frames into the outboxes of an audience.
    fn give(&mut self, audience: AudienceId, Run { start, end, except, frames }: Run) {
        let subscribers = self.subscriptions.subscribers(audience);
        let except = except.map(|key| key.slot);
        self.delivered += frames * subscribers.len() as u64;
        for subscriber in subscribers {
            if Some(subscriber.slot()) == except {
                self.delivered -= frames;
            } else {
                self.outboxes.push(subscriber.slot(), start, end);
            }
        }
    }

    /// Gives one frame to all audiences of the resolved channel. When the turn is full, the rest is left for later, unless
    /// the channel has a history: the next message, of another publisher, would overtake the rest.
    fn deliver_to_audiences(&mut self, (start, end): (u32, u32), except: Option<ConnectionKey>) {
        let audiences = std::mem::take(&mut self.resolved.audiences);
        for (index, &audience) in audiences.iter().enumerate() {
            if index > 0 && self.outboxes.has_long_chain() && !self.resolved.has_history() {
                let name = |&audience: &AudienceId| {
                    let (name, kind) = self.subscriptions.name(audience);
                    (name.into(), kind)
                };
                let names = audiences[index..].iter().map(name).collect();
                let frame = self.outboxes.turn_bytes(start, end).into();
                self.unfinished.put(Step::Deliver { names, frame, except });
                break;
            }
            self.give(audience, Run { start, end, except, frames: 1 });
        }
        self.resolved.audiences = audiences;
    }

    /// Delivers a frame to the subscribers of exactly these names, until the turn is full.
    pub(crate) fn deliver_to_names(
        &mut self,
        mut names: VecDeque<(Box<[u8]>, Kind)>,
        frame: Box<[u8]>,
        except: Option<ConnectionKey>,
    ) {
        self.apply_run();
        let mut range = None;
        while let Some((name, kind)) = names.pop_front() {
            let Some(audience) = self.subscriptions.find_name(&name, kind) else { continue };
            let (start, end) = *range.get_or_insert_with(|| self.append(&frame));
            self.has_given(self.subscriptions.subscribers(audience).len(), end - start);
            self.give(audience, Run { start, end, except, frames: 1 });
            if self.is_full() && !names.is_empty() {
                return self.unfinished.put(Step::Deliver { names, frame, except });
            }
        }
    }
}
