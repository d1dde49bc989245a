//! PROTOCOL.md §2: channels and patterns.

use rand::{RngExt, rngs::StdRng};

use crate::helpers::{client::Client, daemon::Daemon, message::chat, on_one_and_two_cores, seeded_rng};

on_one_and_two_cores!(
    a_channel_has_1_to_255_bytes_and_no_empty_token,
    a_pattern_is_refused_in_publish,
    a_last_token_alone_may_match_the_rest,
    wildcards_inside_a_token_are_ordinary_characters,
    unsubscribing_a_pattern_leaves_the_channels_it_matches,
    each_matching_subscription_delivers_once_as_a_naive_matcher_says,
    subscriptions_that_come_and_go_deliver_as_a_naive_matcher_says,
);

#[track_caller]
fn assert_bad_channel(client: &mut Client, header: &str) {
    client.say(&chat(&[header, "ack:t"], ""));
    client.expect_error(400, "bad-channel", Some("t"));
}

fn a_channel_has_1_to_255_bytes_and_no_empty_token(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    let longest = "c".repeat(255);
    let longest_utf8 = "€".repeat(85);
    let many_tokens = "a.".repeat(31) + "e";
    for channel in ["c", "a.b.c", "größe.€", "a:b/c?d=e", "%$_&", &longest, &longest_utf8, &many_tokens] {
        client.subscribe_acked(channel);
        let message = chat(&[&format!("publish:{channel}")], "hi");
        client.say(&message);
        client.expect_text(&message);
    }
    for channel in ["a..b", ".", "..", ".a", "a.", "a.b.", &format!("{longest}c"), &format!("{longest_utf8}c")] {
        for header in ["subscribe", "publish", "unsubscribe"] {
            assert_bad_channel(&mut client, &format!("{header}:{channel}"));
            assert_bad_channel(&mut client, &format!("{header}:good {channel} fine"));
        }
    }
}

fn a_pattern_is_refused_in_publish(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("> *");
    for pattern in ["*", ">", "a.*", "*.a", "a.*.b", "a.>", "good *"] {
        assert_bad_channel(&mut client, &format!("publish:{pattern}"));
    }
    client.expect_nothing_before_ack();
}

fn a_last_token_alone_may_match_the_rest(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    for pattern in [">.a", "a.>.b", "*.>.*"] {
        assert_bad_channel(&mut client, &format!("subscribe:{pattern}"));
        assert_bad_channel(&mut client, &format!("unsubscribe:{pattern}"));
    }
    client.subscribe_acked("a.>");
    for (channel, matches) in [("a", false), ("a.b", true), ("a.b.c.d", true), ("b.a", false), ("ab", false)] {
        let message = chat(&[&format!("publish:{channel}")], "");
        client.say(&message);
        if matches {
            client.expect_text(&message);
        }
        client.expect_nothing_before_ack();
    }
}

fn wildcards_inside_a_token_are_ordinary_characters(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("a*b x>.y **");
    for (channel, matches) in
        [("a*b", true), ("axb", false), ("x>.y", true), ("x.y", false), ("**", true), ("q", false)]
    {
        let message = chat(&[&format!("publish:{channel}")], "");
        client.say(&message);
        if matches {
            client.expect_text(&message);
        }
        client.expect_nothing_before_ack();
    }
}

fn unsubscribing_a_pattern_leaves_the_channels_it_matches(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("a.b a.* a.>");
    let message = chat(&["publish:a.b"], "hi");
    for (unsubscribe, left) in [("none", 3), ("a.*", 2), ("a.>", 1), ("*.b >", 1), ("a.b", 0)] {
        client.say_acked(&format!("unsubscribe:{unsubscribe}"));
        client.say(&message);
        (0..left).for_each(|_| client.expect_text(&message));
        client.expect_nothing_before_ack();
    }
}

/// The meaning of NATS' subjects, in the plainest code.
fn matches(pattern: &[&str], channel: &[&str]) -> bool {
    match (pattern, channel) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        ([first, pattern @ ..], [token, channel @ ..]) => {
            (*first == "*" || first == token) && matches(pattern, channel)
        }
        _ => false,
    }
}

fn text_matches(pattern: &str, channel: &str) -> bool {
    matches(&pattern.split('.').collect::<Vec<_>>(), &channel.split('.').collect::<Vec<_>>())
}

/// A channel, or a pattern if `wild`, of a few tokens of a few letters, so that many match.
fn random_channel(rng: &mut StdRng, wild: bool) -> String {
    let length = rng.random_range(1..=4);
    let token = |last: bool, rng: &mut StdRng| match rng.random_range(0..if wild { 6 } else { 3 }) {
        0 => "a",
        1 => "b",
        2 => "ab",
        5 if last => ">",
        _ => "*",
    };
    let tokens: Vec<_> = (1..=length).map(|place| token(place == length, rng)).collect();
    tokens.join(".")
}

/// A client and its oracle: the client receives a publish once for each matching pattern of `patterns`.
struct Subscriber {
    client: Client,
    patterns: Vec<String>,
}

/// Every subscriber also has this one. Its message shows that an earlier publish has reached all cores.
const SYNC: &str = "sync";

impl Subscriber {
    fn new(daemon: &Daemon) -> Self {
        let mut client = Client::connect(daemon.port());
        client.subscribe_acked(SYNC);
        Self { client, patterns: Vec::new() }
    }

    fn subscribe(&mut self, pattern: String) {
        self.client.subscribe_acked(&pattern);
        self.patterns.retain(|known| *known != pattern);
        self.patterns.push(pattern);
    }

    #[track_caller]
    fn expect_each_match(&mut self, channel: &str, message: &str) {
        let matching = self.patterns.iter().filter(|pattern| text_matches(pattern, channel)).count();
        (0..matching + usize::from(channel == SYNC)).for_each(|_| self.client.expect_text(message));
    }
}

/// Publishes to `channel` and then to [`SYNC`]. Without that, a subscription of the next round might overtake a publish
/// that the test did not wait for, and correctly receive it.
fn publish_and_count(publisher: &mut Client, channel: &str, subscribers: &mut [Subscriber]) {
    for channel in [channel, SYNC] {
        let message = chat(&[&format!("publish:{channel}")], "");
        publisher.say(&message);
        subscribers.iter_mut().for_each(|subscriber| subscriber.expect_each_match(channel, &message));
    }
}

fn each_matching_subscription_delivers_once_as_a_naive_matcher_says(cores: usize) {
    let mut rng = seeded_rng();
    let daemon = Daemon::start(cores, &[]);
    let mut publisher = Client::connect(daemon.port());
    let mut subscribers: Vec<_> = (0..8).map(|_| Subscriber::new(&daemon)).collect();
    for subscriber in &mut subscribers {
        let mut patterns: Vec<_> = (0..rng.random_range(1..30)).map(|_| random_channel(&mut rng, true)).collect();
        patterns.sort();
        patterns.dedup();
        subscriber.client.subscribe_acked(&patterns.join(" "));
        subscriber.patterns = patterns;
    }
    for _ in 0..100 {
        let channel = random_channel(&mut rng, false);
        publish_and_count(&mut publisher, &channel, &mut subscribers);
    }
    subscribers.iter_mut().for_each(|subscriber| subscriber.client.expect_nothing_before_ack());
}

fn subscriptions_that_come_and_go_deliver_as_a_naive_matcher_says(cores: usize) {
    let mut rng = seeded_rng();
    let daemon = Daemon::start(cores, &[]);
    let mut publisher = Client::connect(daemon.port());
    let mut subscribers: Vec<_> = (0..4).map(|_| Subscriber::new(&daemon)).collect();
    for _ in 0..300 {
        let chosen = rng.random_range(0..subscribers.len());
        let subscriber = &mut subscribers[chosen];
        if rng.random_range(0..20) == 0 {
            *subscriber = Subscriber::new(&daemon);
        } else if rng.random_range(0..2) == 0 || subscriber.patterns.is_empty() {
            subscriber.subscribe(random_channel(&mut rng, true));
        } else {
            let gone = subscriber.patterns.swap_remove(rng.random_range(0..subscriber.patterns.len()));
            subscriber.client.say_acked(&format!("unsubscribe:{gone}"));
        }
        let channel = random_channel(&mut rng, false);
        publish_and_count(&mut publisher, &channel, &mut subscribers);
    }
    subscribers.iter_mut().for_each(|subscriber| subscriber.client.expect_nothing_before_ack());
}
