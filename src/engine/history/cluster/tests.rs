//! A channel's copy beside a stream of a few lines: live messages come late or not at all, loads come in between, and
//! messages leave the stream.

use std::collections::VecDeque;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    engine::history::{Extent, Retention},
    protocol::{
        frame,
        message::{MessageId, Unnumbered, numbered::of_frame},
    },
    seeds::{Seed, seeds},
};

const NAME: &[u8] = b"room";

/// The stream with one channel, and its copy.
struct World {
    random: StdRng,
    history: History,
    arena: Arena,
    retention: Retention,
    /// All numbers of the channel, oldest first, and how many of them have left the stream.
    published: Vec<u64>,
    gone: usize,
    /// The last number of the stream, which has other channels.
    last: u64,
    /// Live messages on their way: their number and the one before.
    live: VecDeque<(u64, u64)>,
    load: Option<Loading>,
    delivered: Vec<u64>,
    /// The last number when the first subscriber came. What is whole has it.
    known: u64,
}

/// A load under way.
struct Loading {
    load: Load,
    next: u64,
    position: u64,
    /// It has brought all, and waits for the stream's state.
    is_ending: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut history = History::new(Epoch::new(7));
        history.join_cluster();
        let retention = Retention { messages: random.random_range(1..9), age: 1000 };
        let (arena, published, live, delivered) = (Arena::default(), Vec::new(), VecDeque::new(), Vec::new());
        let last = random.random_range(0..3);
        Self { random, history, arena, retention, published, gone: 0, last, live, load: None, delivered, known: 0 }
    }

    fn channel(&mut self) -> ChannelId {
        self.history.open(NAME, self.retention)
    }

    fn publish(&mut self) {
        let before = self.published[self.gone..].last().copied().unwrap_or(0);
        self.last += self.random.random_range(1..4);
        self.published.push(self.last);
        if self.random.random_range(0..8) > 0 {
            self.live.push_back((self.last, before));
        }
        // The stream keeps one more than clients get, and sometimes age takes all of it.
        let kept = if self.random.random_range(0..40) == 0 { 0 } else { self.retention.messages as usize + 1 };
        self.gone = self.gone.max(self.published.len().saturating_sub(kept));
    }

    fn take(&mut self, number: u64, usage: Use) {
        let channel = self.channel();
        if usage.is_kept {
            let id = MessageId { epoch: self.history.epoch(), offset: number };
            Unnumbered::of_clean(b"LHTTP/1.0 c\r\n\r\n").encode(self.arena.turn_mut(), true, id, NAME);
            self.history.set_next(channel, number, &mut self.arena);
            let end = self.arena.turn().len() as u32;
            self.history.keep(channel, &mut self.arena, (0, end), 0);
            self.arena.end_turn();
        }
        if usage.is_delivered {
            assert!(self.delivered.last().is_none_or(|last| *last < number), "{number} after {:?}", self.delivered);
            self.delivered.push(number);
        }
        if usage.has_gap {
            self.begin_load();
        }
    }

    fn take_live(&mut self) {
        let Some((number, before)) = self.live.pop_front() else { return };
        let channel = self.channel();
        let usage = self.history.take_live(channel, number, before);
        self.take(number, usage);
    }

    fn begin_load(&mut self) {
        let channel = self.channel();
        if let Some(load) = self.history.begin_load(channel) {
            self.ask(load);
        }
    }

    fn ask(&mut self, load: Load) {
        self.load = Some(Loading { load, next: load.after + 1, position: self.last, is_ending: false });
    }

    fn first_of_stream(&self) -> u64 {
        self.published.get(self.gone).copied().unwrap_or(self.last + 1)
    }

    /// Brings the next message of a load, or its end.
    fn go_on_loading(&mut self) {
        let Some(Loading { load, next, position, is_ending }) = self.load.take() else { return };
        let channel = self.channel();
        let number = self.published[self.gone..].iter().copied().find(|number| *number >= next);
        if let Some(number) = number.filter(|_| !is_ending) {
            let usage = self.history.take_loaded(channel, number, load.id);
            self.take(number, usage);
            self.load = Some(Loading { load, next: number + 1, position, is_ending });
            return;
        }
        if !is_ending {
            self.load = Some(Loading { load, next, position, is_ending: true });
            return;
        }
        let dropped = self.first_of_stream() - 1;
        let Loaded { next, behind } = self.history.loaded(channel, load.id, (dropped, position), &mut self.arena);
        if let Some(after) = behind {
            let kept: Vec<u64> = self.kept(after).into_iter().filter(|number| *number > after).collect();
            self.delivered.extend(kept);
            assert!(self.delivered.is_sorted(), "{:?}", self.delivered);
        }
        if let Some(load) = next {
            self.ask(load);
        }
    }

    /// NATS was away: some live messages are lost, and all is loaded again.
    fn reconnect(&mut self) {
        self.live.clear();
        if let Some(Loading { load, .. }) = self.load.take() {
            let channel = self.channel();
            self.history.load_failed(channel, load.id);
        }
        self.history.begin_catching_up();
        while self.history.has_stale() {
            for _ in self.history.next_stale() {
                self.begin_load();
            }
        }
    }

    /// The last subscriber leaves, others publish after that, and another subscriber comes.
    fn leave(&mut self) {
        for _ in 0..self.random.random_range(0..4) {
            self.publish();
            self.live.pop_back();
        }
        if self.random.random_range(0..2) == 0 {
            self.live.clear();
        }
        self.history.has_first_subscriber(NAME, false);
        self.delivered.clear();
        self.known = self.published.last().copied().unwrap_or(0);
        let channel = self.channel();
        assert!(!self.history.is_whole(channel), "it must be loaded");
        self.begin_load();
    }

    /// The numbers that a client gets that has this one.
    fn kept(&mut self, after: u64) -> Vec<u64> {
        let channel = self.channel();
        let (mut ranges, mut kept) = (Vec::new(), Vec::new());
        let last = self.history.read(channel, after, usize::MAX, &mut ranges);
        assert_eq!(last, self.history.extent(channel).newest, "a client that gets all of it is at its end");
        for range in ranges {
            let mut bytes = self.arena.bytes(range);
            while !bytes.is_empty() {
                let len = frame::server_frame_len(bytes);
                kept.push(of_frame(&bytes[..len]).expect("a numbered frame").0.offset);
                bytes = &bytes[len..];
            }
        }
        kept
    }

    /// Whatever a client has, it gets all that was published since, or is told that something is lost.
    fn check_copy(&mut self) {
        let channel = self.channel();
        if !self.history.is_whole(channel) {
            return;
        }
        let Extent { dropped, newest } = self.history.extent(channel);
        assert!(self.known <= newest, "it ends at {newest} and lacks {}", self.known);
        let kept = self.kept(dropped);
        let of_copy = |number: &&u64| (dropped + 1..=newest).contains(*number);
        let expected: Vec<u64> = self.published.iter().filter(of_copy).copied().collect();
        assert_eq!(kept, expected, "after {dropped} up to {newest}");
        for messages in 0..kept.len() {
            let before = self.history.before_newest(channel, messages);
            assert_eq!(kept.iter().filter(|number| **number > before).count(), messages);
        }
    }

    /// Lets everything that is under way come, and then asks once more for all that was lost on the way.
    fn settle(&mut self) {
        while !self.live.is_empty() || self.load.is_some() {
            self.take_live();
            self.go_on_loading();
        }
        self.begin_load();
        while self.load.is_some() {
            self.go_on_loading();
        }
    }
}

#[test]
fn subscribers_get_each_message_once_in_order_and_the_copy_has_no_gap() {
    for seed in seeds(0..400) {
        let _seed = Seed(seed);
        let mut world = World::new(seed);
        for _ in 0..world.random.random_range(5..120) {
            match world.random.random_range(0..100) {
                0..35 => world.publish(),
                35..60 => world.take_live(),
                60..90 => world.go_on_loading(),
                90..96 => world.begin_load(),
                96..98 => world.reconnect(),
                98 => world.leave(),
                _ => world.settle(),
            }
            world.check_copy();
            world.history.invariants();
        }
        world.settle();
        world.check_copy();
        let channel = world.channel();
        assert!(world.history.is_whole(channel));
        let newest = world.history.extent(channel).newest;
        assert!(world.published.last().is_none_or(|last| *last <= newest), "all of it is here");
        // Those who were given messages miss none of those that clients can still get.
        if let Some(first) = world.delivered.first() {
            let clients_get = world.published.len().saturating_sub(world.retention.messages as usize).max(world.gone);
            for number in world.published[clients_get..].iter().filter(|number| *number >= first) {
                assert!(world.delivered.contains(number), "{number} is missing in {:?}", world.delivered);
            }
        }
    }
}

#[test]
fn the_load_of_a_busy_channel_ends() {
    let mut world = World::new(1);
    world.retention.messages = 100;
    world.begin_load();
    for _ in 0..20 {
        // A load takes longer from its last message to its end than the channel from one message to the next.
        world.last += 1;
        world.live.push_back((world.last, world.published.last().copied().unwrap_or(0)));
        world.published.push(world.last);
        world.take_live();
        (0..2).for_each(|_| world.go_on_loading());
        world.check_copy();
    }
    let channel = world.channel();
    assert!(world.history.is_whole(channel));
    assert_eq!(world.delivered, world.published);
}
