//! PROTOCOL.md §2: channels and patterns.

mod common;

use common::{client::Client, daemon::Daemon, message::chat, on_one_and_two_cores, seeded_rng};
use rand::{RngExt, rngs::StdRng};

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
    let many_tokens = "a.".repeat(127) + "e";
    for channel in ["c", "a.b.c", "größe.€", "a:b/c?d=e", "$%&", &longest, &longest_utf8, &many_tokens] {
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

/// What NATS' subjects mean, in the plainest words.
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

fn each_matching_subscription_delivers_once_as_a_naive_matcher_says(cores: usize) {
    let mut rng = seeded_rng();
    let daemon = Daemon::start(cores, &[]);
    let mut publisher = Client::connect(daemon.port());
    let mut subscribers: Vec<(Client, Vec<String>)> = (0..8)
        .map(|_| {
            let mut patterns: Vec<_> = (0..rng.random_range(1..30)).map(|_| random_channel(&mut rng, true)).collect();
            patterns.sort();
            patterns.dedup();
            let mut client = Client::connect(daemon.port());
            client.subscribe_acked(&format!("{} end-of-test", patterns.join(" ")));
            // A pattern may match the sentinel; the oracle must know that too.
            patterns.push("end-of-test".into());
            (client, patterns)
        })
        .collect();
    for _ in 0..100 {
        let channel = random_channel(&mut rng, false);
        publish_and_count(&mut publisher, &channel, &mut subscribers);
    }
    publish_and_count(&mut publisher, "end-of-test", &mut subscribers);
    subscribers.iter_mut().for_each(|(client, _)| client.expect_nothing_before_ack());
}

fn publish_and_count(publisher: &mut Client, channel: &str, subscribers: &mut [(Client, Vec<String>)]) {
    let message = chat(&[&format!("publish:{channel}")], "");
    publisher.say(&message);
    for (client, patterns) in subscribers {
        for _ in patterns.iter().filter(|pattern| text_matches(pattern, channel)) {
            client.expect_text(&message);
        }
    }
}

fn subscriptions_that_come_and_go_deliver_as_a_naive_matcher_says(cores: usize) {
    let mut rng = seeded_rng();
    let daemon = Daemon::start(cores, &[]);
    let mut publisher = Client::connect(daemon.port());
    let mut subscribers: Vec<(Client, Vec<String>)> =
        (0..4).map(|_| (Client::connect(daemon.port()), Vec::new())).collect();
    for _ in 0..300 {
        let chosen = rng.random_range(0..subscribers.len());
        let (client, patterns) = &mut subscribers[chosen];
        if rng.random_range(0..20) == 0 {
            (*client, *patterns) = (Client::connect(daemon.port()), Vec::new());
        } else if rng.random_range(0..2) == 0 || patterns.is_empty() {
            let pattern = random_channel(&mut rng, true);
            client.subscribe_acked(&pattern);
            patterns.retain(|known| *known != pattern);
            patterns.push(pattern);
        } else {
            let gone = patterns.swap_remove(rng.random_range(0..patterns.len()));
            client.say_acked(&format!("unsubscribe:{gone}"));
        }
        let channel = random_channel(&mut rng, false);
        publish_and_count(&mut publisher, &channel, &mut subscribers);
    }
    subscribers.iter_mut().for_each(|(client, _)| client.expect_nothing_before_ack());
}
