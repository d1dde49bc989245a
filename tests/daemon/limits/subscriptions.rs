//! The cost of subscriptions: their memory, and the time that they add to other clients' publishes.

use std::time::{Duration, Instant};

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    frame::{self, FIN, TEXT},
    message::{Message, chat},
    on_one_and_two_cores, wait_until,
};

on_one_and_two_cores!(
    past_subscription_bytes_a_message_is_refused_whole,
    names_of_many_connections_stay_within_the_memory_budget_and_give_their_memory_back,
    patterns_of_seventy_connections_do_not_slow_the_publishes_of_others,
);

/// The slow part of these tests is the client, which must not be closed for that.
const NO_PINGS: [&str; 4] = ["--ping-interval", "0s", "--idle-timeout", "0s"];

/// Sends a message with each of these `subscribe` headers. Returns how many were refused.
fn refused(client: &mut Client, headers: impl Iterator<Item = String>) -> usize {
    let messages = headers.map(|names| chat(&[&format!("subscribe:{names}")], ""));
    let last = chat(&["ack:last"], "");
    let bytes: Vec<u8> = messages.chain([last]).flat_map(|text| frame::masked(FIN | TEXT, text.as_bytes())).collect();
    client.send_raw(&bytes);
    let answers = std::iter::repeat_with(|| Message::parse(&client.recv().payload));
    let errors = answers.take_while(|answer| answer.header("ack") != Some("last"));
    errors.inspect(|error| assert_eq!(error.header("reason"), Some("too-many-subscriptions"), "{error:?}")).count()
}

fn past_subscription_bytes_a_message_is_refused_whole(cores: usize) {
    let name = |number: usize| format!("{number:0100}");
    let charge = 24 + cores * (96 + 100);
    let limit = (10 * charge).to_string();
    let daemon = Daemon::start(cores, &["--subscription-bytes", &limit]);
    let mut client = Client::connect(daemon.port());
    let names = |numbers: std::ops::Range<usize>| numbers.map(name).collect::<Vec<_>>().join(" ");
    client.subscribe_acked(&names(0..8));
    let is_refused = |client: &mut Client, names: String| refused(client, [names].into_iter()) == 1;
    assert!(is_refused(&mut client, names(7..11)));
    client.say(&chat(&[&format!("publish:{}", names(8..10))], "nothing of it has happened"));
    client.expect_nothing_before_ack();
    // A name that is already subscribed to, or that is repeated, costs nothing.
    assert!(!is_refused(&mut client, format!("{} {}", names(0..10), names(8..10))));
    assert!(is_refused(&mut client, "x".to_owned()));
    client.say_acked(&format!("unsubscribe:{}", name(3)));
    assert!(!is_refused(&mut client, "x".to_owned()));
    // Each connection has its own limit.
    assert!(!is_refused(&mut Client::connect(daemon.port()), names(0..10)));
}

fn names_of_many_connections_stay_within_the_memory_budget_and_give_their_memory_back(cores: usize) {
    const CONNECTIONS: usize = 200;
    const BUDGET: usize = 32 << 20;
    let mut daemon = Daemon::start(cores, &[&NO_PINGS[..], &["--memory-budget", "32MiB"]].concat());
    let mut innocent = Client::connect(daemon.port());
    innocent.subscribe_acked("room");
    let before = daemon.memory();
    // 400 names of 255 bytes each, 25 a message.
    let all = |clients: &mut [Client]| -> usize {
        let messages = clients.iter_mut().enumerate().map(|(connection, client)| {
            let name = |number: usize| format!("{connection:0125}.{number:0129}");
            let names = |first| (first..first + 25).map(name).collect::<Vec<_>>().join(" ");
            refused(client, (0..400).step_by(25).map(names))
        });
        messages.sum()
    };
    let mut first = (0, 0);
    for round in 0..2 {
        let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::connect(daemon.port())).collect();
        let messages = all(&mut clients);
        let growth = daemon.memory().saturating_sub(before);
        println!("{} KiB more for 80,000 names of 255 bytes, {messages} of 3,200 messages were refused", growth >> 10);
        assert!(growth < BUDGET + BUDGET / 4, "{growth} bytes more for a budget of {BUDGET}");
        assert!((1_500..3_000).contains(&messages), "{messages} messages were refused");
        if round == 0 {
            first = (growth, messages);
        }
        // The kernel may give a core more connections than in the first round.
        assert!(growth < 2 * first.0, "{growth} bytes after {} in the first round", first.0);
        assert!(messages < first.1 + 300, "{messages} were refused after {} in the first round", first.1);
        // Others may still subscribe, and are served.
        for number in 0..10_u32 {
            let mut late = Client::connect(daemon.port());
            late.subscribe_acked(&format!("late.{number} late.{number}.* room"));
            innocent.say(&chat(&[&format!("publish:late.{number} room")], ""));
            (0..2).for_each(|_| late.expect_text(&chat(&[&format!("publish:late.{number} room")], "")));
            innocent.expect_text(&chat(&[&format!("publish:late.{number} room")], ""));
        }
        drop(clients);
        // When all have left, a connection may hold many names again.
        let mut next = Client::connect(daemon.port());
        let much = (0..60).map(|number| format!("{number:0120}")).collect::<Vec<_>>().join(" ");
        let is_room = || refused(&mut next, [much.clone()].into_iter()) == 0;
        assert!(wait_until(is_room, Duration::from_secs(20)), "the names of those who have left are still counted");
    }
    daemon.assert_healthy();
}

/// Patterns that match `a.a.a…`: few and many tokens, stars in every place, with and without a `>`.
fn hostile_patterns(connection: usize) -> Vec<String> {
    let pattern = |number: usize| {
        let seed = 930 * connection + number;
        let tokens = [32, 24, 12, 7, 6, 5][seed % 6];
        let mut name = vec!["a"; tokens];
        let mut rest = seed.wrapping_mul(0x9e37_79b9) >> 3;
        for _ in 0..4 {
            name[rest % tokens] = "*";
            rest /= tokens;
        }
        if seed.is_multiple_of(2) {
            name[tokens - 1] = ">";
        }
        name.join(".")
    };
    (0..930).map(pattern).collect()
}

fn patterns_of_seventy_connections_do_not_slow_the_publishes_of_others(cores: usize) {
    const ROUNDS: usize = 20;
    const MESSAGES: usize = 200;
    let mut daemon = Daemon::start(cores, &NO_PINGS);
    let mut room = Client::connect(daemon.port());
    room.subscribe_acked("room");
    let mut publisher = Client::connect(daemon.port());
    // Each message names new channels that were never published to. Only the hostile clients may receive it.
    let mut number = 0;
    let mut took = |publisher: &mut Client| {
        let rounds = (0..ROUNDS).map(|_| {
            let messages: Vec<u8> = (0..MESSAGES)
                .flat_map(|_| {
                    number += 1;
                    let deep = format!("b{number}.{}", ["a"; 31].join("."));
                    frame::masked(FIN | TEXT, chat(&[&format!("publish:{deep}")], "").as_bytes())
                })
                .collect();
            let start = Instant::now();
            publisher.send_raw(&messages);
            publisher.expect_nothing_before_ack();
            start.elapsed()
        });
        rounds.min().expect("rounds") / MESSAGES as u32
    };
    let before = took(&mut publisher);
    let mut hostile: Vec<_> = (0..70).map(|_| Client::connect(daemon.port())).collect();
    let mut stored = 0;
    for (connection, client) in hostile.iter_mut().enumerate() {
        let patterns = hostile_patterns(connection);
        stored += patterns.len() - refused(client, patterns.into_iter());
    }
    let after = took(&mut publisher);
    println!("{before:?} a publish without patterns, {after:?} with {stored} of 65,100");
    assert!(stored > 5_000, "{stored} patterns");
    // A debug build is slow, and so is a busy machine.
    assert!(after < before + Duration::from_millis(2), "{before:?} before, {after:?} after");
    publisher.say(&chat(&["publish:room"], "still here"));
    room.expect_text(&chat(&["publish:room"], "still here"));
    daemon.assert_healthy();
}
