//! The stream's state beside answers that are missing, odd, or not those of JetStream.

mod loading;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize},
};

use super::*;
use crate::{
    engine::{
        bridge_link::{BridgeLink, Uplink, link_bridge},
        history::Load,
        relay::{self, Item},
        storing::{Batch, Origin, StoreLink, link_store},
        wake::Wake,
    },
    protocol::message::Unnumbered,
};

const RETENTION: Retention = Retention { messages: 5, age: 60 };

/// A stream of a node with one core, and the core's ends.
struct World {
    stream: Stream,
    commands: Commands,
    to_cores: ToCores,
    store: StoreLink,
    downlink: BridgeLink,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let (downlink, core) = link_bridge(&Uplink::new(0, || {}), 1, Arc::new(Wake::silent()));
        let to_cores = ToCores::new(vec![downlink], Arc::new(AtomicUsize::new(1 << 20)));
        let (store, end) = link_store(Arc::new(Wake::silent()), Arc::new(AtomicBool::new(true)));
        let stream = Stream::new(Names::new(None, 1), Homes::new(0, 1, 0), vec![end], Some(RETENTION));
        let now = Instant::now();
        let mut world = Self { stream, commands: Commands::default(), to_cores, store, downlink: core, now };
        world.stream.connected(now);
        world
    }

    /// Does what is due, and returns what was written to the server.
    fn act(&mut self) -> String {
        let Self { stream, commands, to_cores, now, .. } = self;
        stream.act(Some(commands), to_cores, 1 << 20, |_| true, *now);
        let mut written = Vec::new();
        commands.write(0, &mut written);
        String::from_utf8(written).expect("UTF-8")
    }

    /// JetStream answers a request that was written, by these words in it.
    fn answer(&mut self, written: &str, words: &str, answer: &str) {
        let end = written.find(words).unwrap_or_else(|| panic!("no {words}: {written}"));
        let before = written[..end].rfind("PUB ").unwrap_or(end);
        let mut inboxes = written[before..].split(' ').filter(|word| word.starts_with("_INBOX"));
        let inbox = inboxes.next().expect("an inbox");
        let headers = if answer.is_empty() { &b"NATS/1.0 503\r\n\r\n"[..] } else { b"" };
        let Self { stream, commands, to_cores, now, .. } = self;
        stream.reply(inbox.as_bytes(), (headers, answer.as_bytes()), commands, to_cores, *now);
    }

    /// The stream that was asked for is there.
    fn ready(&mut self) {
        let written = self.act();
        let config = self.stream.names.config(RETENTION, 1);
        let info = json!({ "created": "2026-11-30T10:00:00Z", "config": config,
            "state": { "first_seq": 1, "last_seq": 9 } });
        self.answer(&written, ".INFO.", &info.to_string());
        assert!(matches!(self.stream.phase, Phase::Ready));
    }

    fn publish(&mut self) {
        let mut batch = Batch::default();
        batch.push((b"room", RETENTION, 0), true, Unnumbered::of_clean(b"hello"), Origin::default());
        self.store.send(batch).expect("there is room");
    }

    fn load(&mut self, name: &str, id: u32) {
        self.stream.want(Job::new(0, name, RETENTION, Load { id, after: 0 }, self.now));
    }

    /// Lets the time pass until something is due, and does it, again and again. Returns how often.
    fn pass(&mut self, time: Duration) -> usize {
        let (end, mut turns) = (self.now + time, 0);
        loop {
            self.act();
            match self.stream.due_at(self.now) {
                Some(at) if at <= end => {
                    turns += 1;
                    assert!(at > self.now || turns < 10_000, "something is due all the time");
                    self.now = self.now.max(at);
                }
                _ => {
                    self.now = end;
                    return turns;
                }
            }
        }
    }

    /// The loads that the core was told have failed.
    fn failed(&mut self) -> Vec<u32> {
        let mut failed = Vec::new();
        while let Some(batch) = self.downlink.take() {
            let mut rest = &batch[..];
            while let Some(item) = relay::next(&mut rest) {
                if let Item::Cluster(ClusterItem::Failed { load, .. }) = item {
                    failed.push(load);
                }
            }
        }
        failed
    }
}

#[test]
fn while_jetstream_does_not_answer_the_bridge_sleeps_and_loads_fail_in_time() {
    let mut world = World::new();
    world.ready();
    world.publish();
    world.load("asked", 1);
    world.load("ending", 2);
    let written = world.act();
    let gone = r#"{"error":{"code":404,"err_code":10037,"description":"no message found"}}"#;
    world.answer(&written, "next_by_subj\":\"_LHTTP.history.ending", gone);
    world.act();
    world.answer(&written, "Nats-Msg-Id", ""); // nobody has taken the publish: the stream has no leader
    let turns = world.pass(Duration::from_secs(120));
    assert!(turns < 400, "{turns} turns");
    let mut failed = world.failed();
    failed.sort_unstable();
    assert_eq!(failed, [1, 2]);
}

#[test]
fn without_a_connection_nothing_is_due_but_the_end_of_loads() {
    let mut world = World::new();
    world.ready();
    world.publish();
    world.load("a", 1);
    let written = world.act();
    world.answer(&written, "Nats-Msg-Id", "");
    world.stream.act(None, &mut world.to_cores, 1 << 20, |_| true, world.now);
    let due_at = world.stream.due_at(world.now).expect("the load fails");
    assert!(due_at > world.now + Duration::from_secs(5), "{:?}", due_at - world.now);
    world.now = due_at;
    world.stream.act(None, &mut world.to_cores, 1 << 20, |_| true, world.now);
    assert_eq!((world.failed(), world.stream.due_at(world.now)), (vec![1], None));
}

#[test]
fn an_answer_that_is_none_is_not_asked_for_again_at_once() {
    let mut world = World::new();
    world.ready();
    world.load("a", 1);
    let gone = r#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
    let written = world.act();
    world.answer(&written, "MSG.GET", gone);
    assert!(!world.act().contains("MSG.GET"));
    world.now += Duration::from_secs(1);
    assert!(world.act().contains(".INFO."), "the stream may have to be made anew");
}

#[test]
fn a_load_waits_for_a_core_that_is_behind() {
    let mut world = World::new();
    world.ready();
    let text = "x".repeat(900_000);
    let headers = |number: u64| {
        format!("NATS/1.0\r\nNats-Stream: LHTTP\r\nNats-Sequence: {number}\r\nNats-Last-Sequence: 0\r\n\r\n")
    };
    for number in 1.. {
        let payload = format!("LHTTP/1.0 c\r\n\r\n{text}");
        let message = (headers(number), payload);
        world.stream.live(b"_LHTTP.live.room", (message.0.as_bytes(), message.1.as_bytes()), &mut world.to_cores);
        if !world.to_cores.has_room(0) {
            break;
        }
    }
    world.load("a", 1);
    assert!(!world.act().contains("MSG.GET"));
    world.failed(); // it takes its batches
    assert!(world.act().contains("MSG.GET"));
}

#[test]
fn a_new_stream_waits_for_servers_that_start_together_with_its_node() {
    let mut world = World::new();
    let missing = r#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
    let few = r#"{"error":{"code":400,"err_code":10005,"description":"no suitable peers for placement"}}"#;
    let (begun, mut copies) = (world.now, 3);
    while copies == 3 {
        let written = world.act() + &world.act();
        if written.contains(".INFO.") {
            world.answer(&written, ".INFO.", missing);
        }
        let written = world.act();
        if written.contains(".CREATE.") {
            copies = if written.contains("\"num_replicas\":3") { 3 } else { 1 };
            world.answer(&written, ".CREATE.", few);
        }
        world.now += Duration::from_millis(250);
    }
    let seconds = (world.now - begun).as_secs();
    assert!((10..13).contains(&seconds), "{seconds} s");
}
