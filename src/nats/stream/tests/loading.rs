//! Loads beside a stream of a few lines, whose leader changes: the new one has less than the old one, for a moment.

use data_encoding::BASE64;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::*;
use crate::seeds::{Seed, seeds};

const NO_MESSAGE: &str = r#"{"error":{"code":404,"err_code":10037,"description":"no message found"}}"#;

/// The servers of NATS, with a stream of which one channel is loaded.
struct Servers {
    random: StdRng,
    /// The numbers of the channel's messages, and the last one of the stream, which has other channels.
    messages: Vec<u64>,
    last: u64,
    /// The leader has messages up to this number; `None`: there is no leader.
    leader: Option<u64>,
    /// Answers on their way, with their inboxes.
    answers: Vec<(String, String)>,
    questions: usize,
}

impl Servers {
    fn new(seed: u64, count: usize, gap_max: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut last = 0;
        let messages = (0..count).map(|_| {
            last += random.random_range(1..=gap_max);
            last
        });
        let messages = messages.collect();
        Self { random, messages, last, leader: Some(last), answers: Vec::new(), questions: 0 }
    }

    /// The leader dies. Nothing of before is answered: it takes some seconds until there is another one.
    fn elect(&mut self) {
        self.answers.clear();
        self.leader = (self.random.random_range(0..4) > 0).then(|| self.random.random_range(0..=self.last));
    }

    /// The leader takes in what the old one has left.
    fn catch_up(&mut self) {
        let from = self.leader.unwrap_or(0);
        self.leader = Some(self.random.random_range(from..=self.last));
    }

    /// Answers what a node has written.
    fn take(&mut self, written: &str) {
        let mut lines = written.split("\r\n");
        while let Some(line) = lines.next() {
            let words: Vec<&str> = line.split(' ').collect();
            let ["PUB", subject, inbox, _] = words[..] else { continue };
            let body = lines.next().expect("a body");
            self.questions += 1;
            let answer = if subject.contains(".INFO.") { self.info() } else { self.message(body) };
            self.answers.extend(answer.map(|answer| (inbox.to_owned(), answer)));
        }
    }

    fn info(&mut self) -> Option<String> {
        let mut cluster = json!({ "name": "c" });
        // Without a leader any server answers.
        let last = self.leader.unwrap_or_else(|| self.random.random_range(0..=self.last));
        self.leader.iter().for_each(|_| cluster["leader"] = "server".into());
        let config = Names::new(None, 1).config(RETENTION, 3);
        let state = json!({ "first_seq": 1, "last_seq": last });
        let info = json!({ "created": "2026-11-30T10:00:00Z", "config": config, "state": state, "cluster": cluster });
        Some(info.to_string())
    }

    fn message(&mut self, question: &str) -> Option<String> {
        let leader = self.leader?;
        let question: Value = serde_json::from_str(question).expect("JSON");
        let from = question["seq"].as_u64().expect("a number");
        let found = self.messages.iter().find(|number| (from..=leader).contains(*number));
        let Some(number) = found else { return Some(NO_MESSAGE.to_owned()) };
        let data = BASE64.encode(b"LHTTP/1.0 c\r\n\r\nhello");
        Some(json!({ "message": { "seq": number, "data": data, "time": "2026-11-30T10:00:00Z" } }).to_string())
    }
}

/// What a home gets.
#[derive(Debug, Default)]
struct Got {
    numbers: Vec<u64>,
    has_ended: bool,
}

impl World {
    fn take_answers(&mut self, answers: Vec<(String, String)>) {
        for (inbox, answer) in answers {
            let Self { stream, commands, to_cores, now, .. } = self;
            stream.reply(inbox.as_bytes(), (b"", answer.as_bytes()), commands, to_cores, *now);
        }
    }

    fn take_items(&mut self, got: &mut Got) {
        while let Some(batch) = self.downlink.take() {
            let mut rest = &batch[..];
            while let Some(item) = relay::next(&mut rest) {
                match item {
                    Item::Cluster(ClusterItem::Message(message)) => got.numbers.push(message.number),
                    Item::Cluster(ClusterItem::Loaded { .. }) => got.has_ended = true,
                    _ => {}
                }
            }
        }
    }

    /// A live message of another channel, which is the last one of the stream.
    fn see(&mut self, number: u64) {
        let headers =
            format!("NATS/1.0\r\nNats-Stream: LHTTP\r\nNats-Sequence: {number}\r\nNats-Last-Sequence: 0\r\n\r\n");
        let payload = b"LHTTP/1.0 c\r\n\r\nother";
        self.stream.live(b"_LHTTP.live.other", (headers.as_bytes(), payload), &mut self.to_cores);
        self.to_cores.send();
        self.take_items(&mut Got::default());
    }

    /// Does all that is due, and takes the answers.
    fn talk(&mut self, servers: &mut Servers) {
        for _ in 0..2 {
            servers.take(&self.act());
        }
        self.take_answers(std::mem::take(&mut servers.answers));
    }
}

/// The whole of a channel, and the number of questions, from a stream whose leader is always the same.
fn load(count: usize, gap_max: u64) -> (Got, usize, usize) {
    let (mut world, mut servers, mut got) = (World::new(), Servers::new(7, count, gap_max), Got::default());
    world.load("room", 1);
    let mut round_trips = 0;
    while !got.has_ended {
        servers.take(&world.act());
        world.take_answers(std::mem::take(&mut servers.answers));
        world.take_items(&mut got);
        round_trips += 1;
        assert!(round_trips < 10 * count + 100, "the load does not end");
    }
    assert_eq!(got.numbers, servers.messages);
    (got, servers.questions, round_trips)
}

#[test]
fn a_channel_whose_messages_follow_each_other_is_loaded_many_at_a_time() {
    let (_, questions, round_trips) = load(1000, 1);
    assert!(round_trips < 100, "{round_trips} round trips");
    assert!(questions < 1100, "{questions} questions");
}

#[test]
fn a_channel_among_many_others_is_loaded_with_few_more_questions_than_messages() {
    let (_, questions, round_trips) = load(300, 100);
    assert!(round_trips < 400, "{round_trips} round trips");
    assert!(questions < 700, "{questions} questions");
}

#[test]
fn a_load_brings_everything_whatever_leader_the_stream_has() {
    for seed in seeds(0..300) {
        let _seed = Seed(seed);
        let gap_max = 1 + seed % 4;
        let (mut world, mut servers, mut got) = (World::new(), Servers::new(seed, 80, gap_max), Got::default());
        world.talk(&mut servers);
        world.see(servers.last);
        world.load("room", 1);
        for step in 0.. {
            assert!(step < 5_000, "the load does not end");
            servers.take(&world.act());
            servers.answers.shuffle(&mut servers.random);
            let some = servers.random.random_range(0..=servers.answers.len());
            world.take_answers(servers.answers.drain(..some).collect());
            world.take_items(&mut got);
            if got.has_ended {
                break;
            }
            match servers.random.random_range(0..100) {
                0 if step < 1_000 => servers.elect(),
                1..30 => servers.catch_up(),
                30..40 => world.now += Duration::from_secs(1),
                _ => {}
            }
        }
        assert_eq!(got.numbers, servers.messages);
    }
}

#[test]
fn a_node_does_not_believe_a_server_without_a_leader_or_one_that_is_behind() {
    let (mut world, mut servers) = (World::new(), Servers::new(1, 9, 1));
    for (leader, is_ready) in [(None, false), (Some(9), true)] {
        servers.leader = leader;
        world.talk(&mut servers);
        assert_eq!(matches!(world.stream.phase, Phase::Ready), is_ready);
        world.now += Duration::from_secs(1);
    }
    world.see(12);
    world.stream.connected(world.now);
    for (leader, is_ready) in [(9, false), (11, false), (12, true)] {
        servers.leader = Some(leader);
        world.talk(&mut servers);
        assert_eq!(matches!(world.stream.phase, Phase::Ready), is_ready, "with message {leader}");
        world.now += Duration::from_secs(1);
    }
}

#[test]
fn a_stream_that_has_lost_its_last_messages_is_used_again_after_a_while() {
    let (mut world, mut servers) = (World::new(), Servers::new(1, 9, 1));
    world.ready();
    world.see(12);
    world.stream.connected(world.now);
    let mut seconds = 0;
    while !matches!(world.stream.phase, Phase::Ready) {
        world.talk(&mut servers);
        world.now += Duration::from_secs(1);
        seconds += 1;
    }
    assert!((25..40).contains(&seconds), "after {seconds} s");
    world.act();
    let batch = world.downlink.take().expect("news");
    let mut rest = &batch[..];
    let news: Vec<Item<'_>> = std::iter::from_fn(|| relay::next(&mut rest)).collect();
    let is_anew = |item: &Item<'_>| matches!(item, Item::Cluster(ClusterItem::There { is_anew: true, .. }));
    assert!(news.iter().any(is_anew), "{news:?}");
}
