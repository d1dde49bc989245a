mod inspecting;

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    engine::arena::SEGMENT_BYTES,
    protocol::{
        encoding::Encoding,
        message::{Unnumbered, numbered::of_frame},
    },
};

const ALWAYS: Retention = Retention { messages: 1000, age: 1000 };

/// A history with its arena, and a list of what it must keep.
struct Tested {
    history: History,
    arena: Arena,
    seconds: u64,
    model: BTreeMap<String, Model>,
}

/// What a channel must keep.
struct Model {
    retention: Retention,
    last: u64,
    /// By number: the body and the time.
    messages: BTreeMap<u64, (String, u64)>,
}

impl Tested {
    fn new(budget: usize) -> Self {
        let mut history = History::new(Epoch::new(7));
        history.set_budget(budget);
        Self { history, arena: Arena::default(), seconds: 0, model: BTreeMap::new() }
    }

    fn publish(&mut self, name: &str, retention: Retention, body: &str) -> u64 {
        let id = self.history.open(name.as_bytes(), retention);
        let number = self.history.next(id);
        let (start, message) = (self.arena.turn().len() as u32, format!("LHTTP/1.0 c\r\n\r\n{body}"));
        Unnumbered::of_clean(message.as_bytes()).encode(self.arena.turn_mut(), true, number, name.as_bytes());
        let end = self.arena.turn().len() as u32;
        self.history.keep(id, &mut self.arena, (start, end), 0);
        self.arena.end_turn();
        number.offset
    }

    /// Publishes messages together, and returns the number of the first.
    fn publish_run(&mut self, name: &str, retention: Retention, bodies: &[&str]) -> u64 {
        let id = self.history.open(name.as_bytes(), retention);
        let first = self.history.next(id);
        let (mut frames, mut ends) = (Vec::new(), Vec::new());
        for (body, offset) in bodies.iter().zip(first.offset..) {
            let (message, number) = (format!("LHTTP/1.0 c\r\n\r\n{body}"), MessageId { offset, ..first });
            Unnumbered::of_clean(message.as_bytes()).encode(&mut frames, true, number, name.as_bytes());
            ends.push(frames.len() as u32);
        }
        self.history.keep_run(id, &mut self.arena, &frames, &ends);
        first.offset
    }

    /// The messages of a channel after this number, with the extent of what is kept.
    fn read(&self, name: &str, after: u64, bytes_max: usize) -> Vec<(u64, String)> {
        let Some(id) = self.history.find(name.as_bytes()) else { return Vec::new() };
        let mut ranges = Vec::new();
        let last = self.history.read(id, after, bytes_max, &mut ranges);
        let mut messages = Vec::new();
        for range in ranges {
            let mut bytes = self.arena.bytes(range);
            while !bytes.is_empty() {
                let len = Encoding::Frame.unit_len(bytes);
                let (id, channel) = of_frame(&bytes[..len]).expect("a numbered frame");
                assert_eq!(channel, name.as_bytes());
                let text = String::from_utf8_lossy(&bytes[..len]);
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
                messages.push((id.offset, body.expect("a body")));
                bytes = &bytes[len..];
            }
        }
        if let Some((number, _)) = messages.last() {
            assert_eq!(*number, last);
        }
        messages
    }

    fn all(&self, name: &str) -> Vec<(u64, String)> {
        self.read(name, 0, usize::MAX)
    }

    /// The messages of a channel, oldest first, by pages from the newest one on.
    fn all_from_the_end(&self, name: &str) -> Vec<(u64, String)> {
        let Some(id) = self.history.find(name.as_bytes()) else { return Vec::new() };
        let (mut messages, mut before) = (Vec::new(), u64::MAX);
        loop {
            let (page, has_more) = self.history.read_back(id, before, 3, 5_000);
            for (number, range) in page {
                let text = String::from_utf8_lossy(self.arena.bytes(range));
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
                messages.push((number.offset, body.expect("a body")));
                before = number.offset;
            }
            if !has_more {
                messages.reverse();
                return messages;
            }
        }
    }

    fn expire(&mut self, seconds: u64, is_used: impl Fn(&[u8]) -> bool) {
        self.seconds = seconds;
        self.history.expire(Duration::from_millis(seconds * 1000 + 64), &mut self.arena, is_used); // two ticks later
    }

    fn invariants(&self) {
        self.arena.history_invariants();
        self.history.invariants();
    }
}

#[test]
fn a_channel_keeps_its_newest_messages_in_order() {
    let mut tested = Tested::new(usize::MAX);
    let retention = Retention { messages: 3, ..ALWAYS };
    for number in 1..=5 {
        assert_eq!(tested.publish("room", retention, &format!("text {number}")), number);
    }
    let expected: Vec<_> = (3..=5).map(|number| (number, format!("text {number}"))).collect();
    assert_eq!(tested.all("room"), expected);
    assert_eq!(tested.read("room", 4, usize::MAX), expected[2..]);
    assert_eq!(tested.read("room", 0, 1), expected[..1], "at least one, however small the piece");
    assert_eq!(tested.read("room", 5, usize::MAX), []);
    let id = tested.history.find(b"room").unwrap();
    assert_eq!(tested.history.extent(id), Extent { dropped: 2, newest: 5 });
    tested.invariants();
}

#[test]
fn messages_that_follow_each_other_are_one_range() {
    let mut tested = Tested::new(usize::MAX);
    (0..10).for_each(|_| {
        tested.publish("one", ALWAYS, "text");
    });
    let mut ranges = Vec::new();
    tested.history.read(tested.history.find(b"one").unwrap(), 0, usize::MAX, &mut ranges);
    assert_eq!(ranges.len(), 1);
    for name in ["two", "one", "two", "one"] {
        tested.publish(name, ALWAYS, "text");
    }
    ranges.clear();
    tested.history.read(tested.history.find(b"one").unwrap(), 0, usize::MAX, &mut ranges);
    assert_eq!(ranges.len(), 3);
}

#[test]
fn a_message_costs_32_bytes_at_most_beside_its_frame() {
    let mut tested = Tested::new(usize::MAX);
    for count in 1..=2_000 {
        tested.publish("room", Retention { messages: 5_000, age: 1 }, "text");
        let of_messages = tested.history.table_bytes - channel::CHANNEL_BYTES - "room".len();
        assert!(count < 4 || of_messages <= 32 * count, "{of_messages} bytes for {count} messages");
    }
}

#[test]
fn messages_of_a_run_cost_no_more() {
    let mut tested = Tested::new(usize::MAX);
    for count in 1..=500 {
        tested.publish_run("room", Retention { messages: 5_000, age: 1 }, &["text"; 7]);
        let of_messages = tested.history.table_bytes - channel::CHANNEL_BYTES - "room".len();
        assert!(of_messages <= 32 * 7 * count, "{of_messages} bytes for {count} times 7 messages");
    }
    tested.invariants();
}

#[test]
fn over_the_budget_the_largest_channel_loses_its_oldest_messages() {
    let mut tested = Tested::new(400 * 1024);
    for number in 0..20 {
        tested.publish(&format!("quiet.{number}"), ALWAYS, "kept");
    }
    for _ in 0..10_000 {
        tested.publish("flood", Retention { messages: 100_000, age: 1000 }, &"x".repeat(200));
        assert!(tested.history.bytes(&tested.arena) <= 400 * 1024 + 2 * SEGMENT_BYTES);
    }
    tested.invariants();
    for number in 0..20 {
        assert_eq!(tested.all(&format!("quiet.{number}")).len(), 1);
    }
    let left = tested.all("flood");
    assert!((500..2_000).contains(&left.len()), "{}", left.len());
    assert_eq!(left.last().unwrap().0, 10_000);
    assert_eq!(tested.history.counts.over_budget, 10_000 - left.len() as u64);
}

#[test]
fn quiet_channels_do_not_pin_the_segments_of_others() {
    let mut tested = Tested::new(usize::MAX);
    let little = Retention { messages: 10, age: 1000 };
    for number in 0..500 {
        tested.publish(&format!("quiet.{number}"), little, "kept");
        (0..500).for_each(|_| {
            tested.publish("busy", little, &"x".repeat(100));
        });
    }
    tested.invariants();
    let bytes = tested.arena.history_bytes();
    assert!(bytes < 5 * SEGMENT_BYTES, "{bytes} bytes for 100 KiB of messages");
    assert!((0..500).all(|number| tested.all(&format!("quiet.{number}")) == [(1, "kept".to_owned())]));
}

#[test]
fn old_messages_go_and_then_their_channel_but_not_one_that_is_used() {
    let mut tested = Tested::new(usize::MAX);
    let hour = Retention { messages: 10, age: 3600 };
    tested.publish("a", hour, "one");
    tested.expire(1800, |_| false);
    tested.publish("a", hour, "two");
    tested.publish("b", hour, "other");
    tested.expire(3599, |_| false);
    assert_eq!(tested.all("a").len(), 2);
    tested.expire(3700, |_| false);
    assert_eq!(tested.all("a"), [(2, "two".to_owned())]);
    tested.expire(5500, |name| name == b"a");
    assert_eq!((tested.all("a"), tested.all("b")), (vec![], vec![]));
    assert_eq!((tested.history.len(), tested.history.messages()), (1, 0), "somebody is subscribed to a");
    assert_eq!(tested.history.take_forgotten(), [(Box::from(&b"b"[..]), 1)]);
    tested.expire(5500 + 3700, |_| false);
    assert_eq!((tested.history.len(), tested.arena.history_bytes()), (0, 0));
    tested.invariants();
}

#[test]
fn a_channel_that_was_forgotten_never_gives_a_number_twice() {
    let mut tested = Tested::new(usize::MAX);
    let short = Retention { messages: 10, age: 10 };
    (0..5).for_each(|_| {
        tested.publish("a", short, "text");
    });
    tested.expire(100, |_| false);
    tested.expire(200, |_| false);
    assert_eq!(tested.history.len(), 0);
    assert_eq!(tested.publish("a", short, "again"), 6);
    assert_eq!(tested.publish("b", short, "new"), 6);
    let id = tested.history.find(b"a").unwrap();
    assert_eq!(tested.history.extent(id), Extent { dropped: 5, newest: 6 });
}

#[test]
fn a_backlog_keeps_the_bytes_of_messages_that_are_dropped() {
    let mut tested = Tested::new(usize::MAX);
    tested.publish("a", Retention { messages: 1, age: 10 }, "text");
    let (mut ranges, id) = (Vec::new(), tested.history.find(b"a").unwrap());
    tested.history.read(id, 0, usize::MAX, &mut ranges);
    let [range] = ranges[..] else { panic!("one message") };
    tested.arena.hold(range.segment);
    let bytes = tested.arena.bytes(range).to_vec();
    tested.expire(100, |_| false);
    assert_eq!(tested.history.messages(), 0);
    assert_eq!(tested.arena.bytes(range), bytes);
    assert_eq!((tested.arena.history_bytes(), tested.arena.backlog_bytes()), (0, 4096));
    tested.arena.history_invariants();
    tested.arena.release(range.segment);
    assert_eq!(tested.arena.backlog_bytes(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Publish {
        channel: u8,
        messages: u32,
        age: u32,
        len: usize,
    },
    /// So many messages together.
    Run {
        channel: u8,
        messages: u32,
        age: u32,
        len: usize,
        count: usize,
    },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![8 => 0..300usize, 2 => 1_000..9_000usize, 1 => 60_000..70_000usize];
    let run = prop_oneof![8 => (0..300usize, 1..80usize), 2 => (1_000..9_000usize, 1..15usize), 1 => (60_000..70_000usize, 1..3usize)];
    prop_oneof![
        8 => (0..6u8, 1..8u32, 1..50u32, len).prop_map(|(channel, messages, age, len)| Step::Publish {
            channel,
            messages: messages * messages,
            age,
            len,
        }),
        4 => (0..6u8, 1..8u32, 1..50u32, run).prop_map(|(channel, messages, age, (len, count))| Step::Run {
            channel,
            messages: messages * messages,
            age,
            len,
            count,
        }),
        1 => (0..60u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Without a budget, exactly the newest messages that are not too old are there.
    #[test]
    fn a_history_agrees_with_lists(steps in prop::collection::vec(step(), 1..300)) {
        let mut tested = Tested::new(usize::MAX);
        let mut of_channel = BTreeMap::new();
        for step in steps {
            match step {
                Step::Publish { channel, messages, age, len } | Step::Run { channel, messages, age, len, .. } => {
                    // A channel keeps its rule.
                    let retention = *of_channel.entry(channel).or_insert(Retention { messages, age });
                    let (name, body) = (format!("room.{channel}"), "x".repeat(len));
                    let (number, count) = match step {
                        Step::Run { count, .. } => (tested.publish_run(&name, retention, &vec![&body[..]; count]), count),
                        _ => (tested.publish(&name, retention, &body), 1),
                    };
                    let seconds = tested.seconds;
                    let model = Model { retention, last: 0, messages: BTreeMap::new() };
                    let model = tested.model.entry(name).or_insert(model);
                    prop_assert!(number > model.last);
                    model.last = number + count as u64 - 1;
                    model.messages.extend((number..=model.last).map(|number| (number, (body.clone(), seconds))));
                    while model.messages.len() > retention.messages as usize {
                        model.messages.pop_first();
                    }
                }
                Step::Wait(seconds) => {
                    // The wheel's round is shorter than some ages, and each look takes a tick.
                    for second in tested.seconds + 1..=tested.seconds + seconds + 1 {
                        tested.expire(second, |_| false);
                    }
                    let now = tested.seconds;
                    for model in tested.model.values_mut() {
                        let age = u64::from(model.retention.age);
                        model.messages.retain(|_, (_, at)| *at + age > now);
                    }
                }
            }
            tested.invariants();
        }
        for (name, model) in &tested.model {
            let expected: Vec<_> = model.messages.iter().map(|(number, (body, _))| (*number, body.clone())).collect();
            prop_assert_eq!(&tested.all(name), &expected);
            let mut after = 0;
            let mut pieces = Vec::new();
            loop {
                let piece = tested.read(name, after, 5_000);
                let Some((last, _)) = piece.last() else { break };
                after = *last;
                pieces.extend(piece);
            }
            prop_assert_eq!(&pieces, &expected, "in pieces");
            prop_assert_eq!(&tested.all_from_the_end(name), &expected, "in pages from the end");
        }
    }

    /// With a budget, what is left of a channel is the end of it, and the memory stays bounded.
    #[test]
    fn under_a_budget_the_newest_messages_stay(steps in prop::collection::vec(step(), 1..400), budget in 1_000..400_000usize) {
        let mut tested = Tested::new(budget);
        let mut newest = BTreeMap::new();
        for step in steps {
            let (channel, messages, len, count) = match step {
                Step::Publish { channel, messages, len, .. } => (channel, messages, len, 1),
                Step::Run { channel, messages, len, count, .. } => (channel, messages, len, count),
                Step::Wait(_) => continue,
            };
            let (name, body, retention) = (format!("room.{channel}"), "x".repeat(len), Retention { messages, age: 1000 });
            let number = match count {
                1 => tested.publish(&name, retention, &body),
                _ => tested.publish_run(&name, retention, &vec![&body[..]; count]) + count as u64 - 1,
            };
            newest.insert(name, number);
            let bytes = tested.history.bytes(&tested.arena);
            prop_assert!(bytes <= budget + 3 * SEGMENT_BYTES, "{bytes}");
            tested.invariants();
        }
        for (name, newest) in newest {
            let kept: Vec<u64> = tested.all(&name).into_iter().map(|(number, _)| number).collect();
            if let Some(first) = kept.first() {
                prop_assert_eq!(&kept, &(*first..=newest).collect::<Vec<_>>());
            }
        }
    }
}
