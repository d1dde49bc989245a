//! PROTOCOL.md §1, §2: the bounds of one message, and the names that are reserved for the system.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    http::{Http, publish_request},
    message::chat,
    on_one_and_two_cores, seeded_rng,
};

on_one_and_two_cores!(
    a_name_counts_once_however_often_it_is_named,
    thousands_of_names_count_as_a_naive_reader_counts_them,
    a_message_is_published_to_32_channels_at_most,
    the_limit_of_channels_can_be_set,
    thousands_of_names_in_one_message_are_subscribed_to_and_left_again,
    a_control_header_whose_values_do_not_add_up_is_allowed_once,
    a_name_has_32_tokens_at_most,
    a_pattern_has_4_stars_at_most,
    a_client_may_not_name_a_system_channel,
    a_posted_message_has_the_same_bounds,
);

fn names(count: usize) -> String {
    (0..count).map(|number| format!("n.{number}")).collect::<Vec<_>>().join(" ")
}

fn a_name_counts_once_however_often_it_is_named(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    // So many connections that each core has some.
    let mut listeners: Vec<_> = (0..8).map(|_| Client::connect(daemon.port())).collect();
    listeners.iter_mut().for_each(|client| client.subscribe_acked("a b.* a"));
    let mut publisher = Client::connect(daemon.port());
    for headers in [
        &["publish:a a"][..],
        &["publish:a", "x:y", "Publish:a  a"],
        &[&format!("publish:{}", "a ".repeat(4000))],
        &["publish:c", &format!("publish:{}", "a ".repeat(2000)), &format!("publish:{}", "c a ".repeat(900))],
    ] {
        let message = chat(headers, "once");
        // Several times, because a head that repeats the last one takes a faster path.
        (0..3).for_each(|_| publisher.say(&message));
        for client in &mut listeners {
            (0..3).for_each(|_| client.expect_text(&message));
        }
    }
    let message = chat(&["publish:a b.1 a b.2 b.1"], "three times");
    publisher.say(&message);
    for client in &mut listeners {
        (0..3).for_each(|_| client.expect_text(&message));
        client.say_acked("unsubscribe:a a b.* a");
        client.expect_nothing_before_ack();
    }
}

/// A random list of these names with repetitions, and the number of different names in it.
fn mentions(rng: &mut StdRng, names: &[String], count: usize) -> (Vec<String>, usize) {
    let mentioned: Vec<String> = (0..count).map(|_| names.choose(rng).expect("a name").clone()).collect();
    let mut once = mentioned.clone();
    once.sort_unstable();
    once.dedup();
    (mentioned, once.len())
}

fn thousands_of_names_count_as_a_naive_reader_counts_them(cores: usize) {
    let mut rng = seeded_rng();
    let daemon = Daemon::start(cores, &["--max-publish-channels", "20"]);
    let (mut listener, mut publisher) = (Client::connect(daemon.port()), Client::connect(daemon.port()));
    listener.subscribe_acked(">");
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..200 {
        let pool: Vec<String> = (0..rng.random_range(1..40)).map(|number| format!("{number}")).collect();
        let count_max = if rng.random() { 30 } else { 2500 };
        let count = rng.random_range(1..count_max);
        let (mentioned, distinct) = mentions(&mut rng, &pool, count);
        let cut = rng.random_range(0..mentioned.len());
        let (one, other) = mentioned.split_at(cut);
        let lines = [one, other].map(|names| format!("publish:{}", names.join(" ")));
        let lines: Vec<&str> = lines.iter().map(String::as_str).filter(|line| *line != "publish:").collect();
        let message = chat(&lines, "");
        publisher.say(&message);
        if distinct <= 20 {
            taken += 1;
            (0..distinct).for_each(|_| listener.expect_text(&message));
        } else {
            refused += 1;
            publisher.expect_error(429, "too-many-channels", None);
        }
        listener.expect_nothing_before_ack();
    }
    assert!(taken > 20 && refused > 20, "{taken} taken, {refused} refused");
}

fn a_message_is_published_to_32_channels_at_most(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut listener, mut publisher) = (Client::connect(daemon.port()), Client::connect(daemon.port()));
    listener.subscribe_acked("n.*");
    let message = chat(&[&format!("publish:{}", names(32)), "publish:n.0 n.31"], "");
    publisher.say(&message);
    (0..32).for_each(|_| listener.expect_text(&message));
    for headers in [
        vec![format!("publish:{}", names(33))],
        vec![format!("publish:{}", names(1000))],
        vec![format!("publish:{}", names(32)), "publish:n.32".to_owned()],
        (0..33).map(|number| format!("publish:n.{number}")).collect(),
    ] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).chain(["subscribe:new", "ack:t"]).collect();
        publisher.say(&chat(&headers, ""));
        let sentence = publisher.expect_error(429, "too-many-channels", Some("t"));
        assert_eq!(sentence, "a message may be published to 32 channels");
        listener.expect_nothing_before_ack();
    }
    publisher.say(&chat(&["publish:new"], "nobody is subscribed"));
    publisher.expect_nothing_before_ack();
}

fn the_limit_of_channels_can_be_set(cores: usize) {
    let daemon = Daemon::start(cores, &["--max-publish-channels", "1"]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("a b");
    client.say(&chat(&["publish:a b"], ""));
    client.expect_error(429, "too-many-channels", None);
    client.say(&chat(&["publish:a a"], ""));
    client.expect_text(&chat(&["publish:a a"], ""));
    client.expect_nothing_before_ack();
}

fn thousands_of_names_in_one_message_are_subscribed_to_and_left_again(cores: usize) {
    let daemon = Daemon::start(cores, &["--max-subscriptions", "1000"]);
    let mut client = Client::connect(daemon.port());
    let thousand = names(1000);
    client.say_acked(&format!("subscribe:{thousand}\r\nsubscribe:{}", "n.7 ".repeat(200)));
    client.say_acked(&format!("subscribe:{thousand}"));
    client.say(&chat(&["subscribe:n.1 one-more", "ack:t"], ""));
    client.expect_error(429, "too-many-subscriptions", Some("t"));
    client.say(&chat(&["publish:n.7"], ""));
    client.expect_text(&chat(&["publish:n.7"], ""));
    client.say_acked(&format!("unsubscribe:{thousand} {}", "n.7 ".repeat(200)));
    client.say(&chat(&["publish:n.7"], ""));
    client.expect_nothing_before_ack();
}

fn a_control_header_whose_values_do_not_add_up_is_allowed_once(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    let unrelated = ["subscribe:new", "publish:room", "ack:t"];
    for twice in [
        ["multipart:0", "Multipart:0"],
        ["no-echo:true", "no-echo:false"],
        ["upstream-reply:true", "upstream-reply:true"],
        ["upstream:GET http://127.0.0.1:1/", "upstream:GET http://127.0.0.1:1/"],
    ] {
        client.say(&chat(&[&unrelated[..], &twice].concat(), "\r\n"));
        client.expect_error(400, "bad-header", Some("t"));
    }
    client.say(&chat(&["ack:first", "subscribe:new", "publish:room", "ACK:second"], ""));
    client.expect_error(400, "bad-header", Some("first"));
    client.say(&chat(&["publish:new"], ""));
    client.expect_nothing_before_ack();
    // Each once is fine, and so are repeated headers of other kinds.
    let message = chat(&["multipart:0", "x:1", "publish:room", "x:2", "publish:room", "no-echo:false"], "\r\n");
    client.say(&message);
    client.expect_text(&message);
    client.expect_nothing_before_ack();
}

#[track_caller]
fn expect_refused(client: &mut Client, header: &str, (code, reason): (u16, &str)) -> String {
    client.say(&chat(&[header, "ack:t"], ""));
    client.expect_error(code, reason, Some("t"))
}

fn a_name_has_32_tokens_at_most(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    let deepest = "a.".repeat(31) + "a";
    client.subscribe_acked(&format!("{deepest} {}>", "a.".repeat(31)));
    let message = chat(&[&format!("publish:{deepest}")], "");
    client.say(&message);
    client.expect_text(&message);
    client.expect_text(&message);
    let too_deep = [format!("{deepest}.a"), "a.".repeat(127) + "a"];
    for header in ["subscribe", "publish", "unsubscribe"] {
        for name in &too_deep {
            let sentence = expect_refused(&mut client, &format!("{header}:good {name}"), (400, "bad-channel"));
            assert!(sentence.contains("tokens, more than 32"), "{sentence}");
        }
    }
    expect_refused(&mut client, &format!("subscribe:{deepest}.>"), (400, "bad-channel"));
}

fn a_pattern_has_4_stars_at_most(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("*.a.*.*.*.> *.*.*.*");
    let message = chat(&["publish:1.a.2.3.4.5.6"], "");
    client.say(&message);
    client.expect_text(&message);
    client.expect_nothing_before_ack();
    for pattern in ["*.*.*.*.*", "*.a.*.*.*.*.>", "*.".repeat(20).trim_end_matches('.')] {
        for header in ["subscribe", "unsubscribe"] {
            let sentence = expect_refused(&mut client, &format!("{header}:{pattern}"), (400, "bad-channel"));
            assert!(sentence.contains("tokens \"*\", more than 4"), "{sentence}");
        }
    }
}

fn a_client_may_not_name_a_system_channel(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("> * a.*");
    for name in ["_", "$", "_a", "$SYS.a", "_INBOX.x.y", "_lhttp.x", "_a..b", "$*"] {
        for header in ["subscribe", "publish"] {
            let sentence = expect_refused(&mut client, &format!("{header}:a.good {name}"), (403, "forbidden"));
            assert!(sentence.contains(&format!("{name:?}")), "{sentence}");
        }
    }
    expect_refused(&mut client, "subscribe:_a.>", (403, "forbidden"));
    expect_refused(&mut client, "subscribe:$JS.*", (403, "forbidden"));
    client.say_acked("unsubscribe:_a $SYS.> room");
    // Only the first token matters.
    let message = chat(&["publish:a._b"], "");
    client.say(&message);
    client.expect_text(&message); // through >
    client.expect_text(&message); // through a.*
    client.expect_nothing_before_ack();
}

fn a_posted_message_has_the_same_bounds(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut listener, mut poster) = (Client::connect(daemon.port()), Http::connect(daemon.port()));
    listener.subscribe_acked("n.*");
    for (header, status, reason) in [
        (format!("publish:{}", names(33)), 429, "too-many-channels: a message may be published to 32 channels\n"),
        ("publish:n.0 _a".to_owned(), 403, "forbidden"),
        ("publish:n.0 $SYS.a".to_owned(), 403, "forbidden"),
        (format!("publish:n.0 {}a", "a.".repeat(32)), 400, "bad-channel"),
    ] {
        let response = poster.ask(publish_request(chat(&[&header], ""), ""));
        assert_eq!(response.status, status, "{header}: {response:?}");
        assert!(response.body_text().starts_with(reason), "{response:?}");
    }
    // Other control headers do not count there, so it does not matter how often they occur.
    let message = chat(&["publish:n.1 n.2 n.1", "ack:1", "ack:2", "publish:n.2", "subscribe:_a"], "");
    let response = poster.ask(publish_request(&message, ""));
    assert_eq!((response.status, response.body_text()), (200, "{\"channels\":2}"));
    listener.expect_text(&message);
    listener.expect_text(&message);
    listener.expect_nothing_before_ack();
}
