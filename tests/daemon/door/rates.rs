//! PROTOCOL.md §9: how often one connection may send, and what it is told past that.

use std::time::{Duration, Instant};

#[cfg(feature = "token")]
use crate::helpers::token::{KeyFile, token};
use crate::helpers::{
    client::Client,
    daemon::Daemon,
    frame::{self, CLOSE, FIN, PING, TEXT},
    http::{Http, Response, publish_request},
    let_pass,
    message::{Message, chat},
    on_one_and_two_cores,
    scratch::Scratch,
    wait_for,
};

on_one_and_two_cores!(
    a_message_over_the_rate_is_refused_and_says_when_to_try_again,
    a_run_of_equal_messages_is_cut_exactly_at_the_rate,
    a_connection_at_ten_times_its_rate_is_closed,
    bytes_are_counted_and_a_large_message_is_paid_for_afterwards,
    subscribing_has_its_own_rate,
    posts_have_the_rate_of_their_connection_unless_they_have_the_key,
    a_reload_changes_the_rates_of_open_connections,
    what_is_refused_is_counted_and_logged_with_the_address,
);

/// The error of a message over its rate. Returns the seconds to wait.
fn expect_limited(client: &mut Client, ack: Option<&str>) -> u64 {
    let error = client.any_error();
    assert_eq!((error.header("code"), error.header("reason")), (Some("429"), Some("rate-limited")), "{error:?}");
    assert_eq!(error.header("ack"), ack, "{error:?}");
    error.header("retry-after").and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{error:?}"))
}

fn probing(token: &str) -> String {
    format!("LHTTP/1.0 probe\r\nack:{token}\r\n\r\n")
}

fn probe(client: &mut Client, token: &str) {
    client.say(&probing(token));
}

fn a_message_over_the_rate_is_refused_and_says_when_to_try_again(cores: usize) {
    let mut daemon = Daemon::start(cores, &["--message-rate", "2"]);
    let (mut client, mut other) = (Client::connect(daemon.port()), Client::connect(daemon.port()));
    // All at once: half a second later there is room for another one.
    let messages = [probing("a"), probing("b"), probing("c"), "no LHTTP at all".to_owned()];
    client.send_raw(&messages.map(|message| frame::masked(FIN | TEXT, message.as_bytes())).concat());
    ["a", "b"].into_iter().for_each(|token| client.expect_ack(token));
    let seconds = expect_limited(&mut client, Some("c"));
    assert_eq!(seconds, 1);
    expect_limited(&mut client, None);
    other.subscribe_acked("room");
    let_pass(Duration::from_secs(seconds));
    probe(&mut client, "d");
    client.expect_ack("d");
    daemon.assert_healthy();
}

fn a_run_of_equal_messages_is_cut_exactly_at_the_rate(cores: usize) {
    const RATE: usize = 1000;
    const SENT: usize = 3000;
    let daemon = Daemon::start(cores, &["--message-rate", &RATE.to_string()]);
    let mut listener = Client::connect(daemon.port());
    listener.subscribe_acked("room");
    for size in [10, 300] {
        let mut publisher = Client::connect(daemon.port());
        let message = chat(&["publish:room"], &"x".repeat(size));
        let begun = Instant::now();
        publisher.send_raw(&frame::masked(FIN | TEXT, message.as_bytes()).repeat(SENT));
        let mut refused = 0;
        // The last message is refused or delivered like the others, and so is what follows it.
        probe(&mut publisher, "end");
        loop {
            let frame = publisher.recv();
            let answer = Message::parse(&frame.payload);
            if answer.header("ack") == Some("end") {
                break;
            }
            assert_eq!(answer.header("reason"), Some("rate-limited"), "{answer:?}");
            refused += 1;
        }
        let refilled = (begun.elapsed().as_secs_f64() * RATE as f64) as usize + 1;
        let delivered = SENT - refused;
        assert!((RATE..=RATE + refilled).contains(&delivered), "{delivered} of {SENT} in {:?}", begun.elapsed());
        (0..delivered).for_each(|_| listener.expect_text(&message));
        listener.expect_nothing_before_ack();
    }
}

fn a_connection_at_ten_times_its_rate_is_closed(cores: usize) {
    let daemon = Daemon::start(cores, &["--message-rate", "5"]);
    let message = frame::masked(FIN | TEXT, chat(&["publish:room"], "flood").as_bytes());
    let ping = frame::masked(FIN | PING, b"are you there");
    for flood in [message, ping] {
        let mut client = Client::connect(daemon.port());
        client.send_raw(&flood.repeat(100));
        let close = loop {
            let frame = client.recv();
            if frame.opcode == CLOSE {
                break frame;
            }
        };
        let (code, reason) = crate::helpers::client::close_parts(&close);
        assert_eq!((code, reason.as_str()), (1008, "rate-limited"));
        client.expect_end();
    }
    let mut patient = Client::connect(daemon.port());
    for number in 0..40 {
        probe(&mut patient, &number.to_string());
        patient.recv();
    }
    patient.send_frame(FIN | PING, b"");
    patient.recv();
}

fn bytes_are_counted_and_a_large_message_is_paid_for_afterwards(cores: usize) {
    let daemon = Daemon::start(cores, &["--byte-rate", "1KiB"]);
    let mut client = Client::connect(daemon.port());
    for token in ["a", "b"] {
        client.say(&format!("LHTTP/1.0 probe\r\nack:{token}\r\n\r\n{}", "x".repeat(200)));
        client.expect_ack(token);
    }
    client.say(&format!("LHTTP/1.0 probe\r\nack:large\r\n\r\n{}", "x".repeat(20_000)));
    client.expect_ack("large");
    probe(&mut client, "next");
    let seconds = expect_limited(&mut client, Some("next"));
    assert!((15..=21).contains(&seconds), "{seconds}");
}

fn subscribing_has_its_own_rate(cores: usize) {
    let daemon = Daemon::start(cores, &["--subscribe-rate", "3"]);
    let mut client = Client::connect(daemon.port());
    let subscribe = |names: &str, token: &str| format!("LHTTP/1.0 x\r\nsubscribe:{names}\r\nack:{token}\r\n\r\n");
    client.say(&subscribe("a b", "1"));
    client.expect_ack("1");
    client.say(&subscribe("c d e f", "2"));
    client.expect_ack("2");
    client.say(&subscribe("g", "3"));
    assert!(expect_limited(&mut client, Some("3")) >= 1);
    let message = chat(&["publish:a g"], "still published");
    client.say(&message);
    client.expect_text(&message);
    client.expect_nothing_before_ack();
}

fn posts_have_the_rate_of_their_connection_unless_they_have_the_key(cores: usize) {
    // All at once: half a second later there is room for another one.
    let posts = |http: &mut Http, lines: &str| {
        http.send(publish_request(chat(&["publish:room"], "hi"), lines).repeat(4));
        [(); 4].map(|()| http.response())
    };
    let statuses = |answers: &[Response; 4]| answers.each_ref().map(|answer| answer.status);
    let daemon = Daemon::start(cores, &["--message-rate", "2"]);
    let mut http = Http::connect(daemon.port());
    let answers = posts(&mut http, "");
    assert_eq!(statuses(&answers), [200, 200, 429, 429]);
    assert_eq!(answers[3].header("retry-after"), Some("1"), "{answers:?}");
    http.send(publish_request(chat(&["publish:room"], "flood"), "").repeat(100));
    let flooded = (0..100).map(|_| http.response()).find(|answer| answer.header("connection") == Some("close"));
    assert_eq!(flooded.expect("a flood of posts ends").status, 429);
    http.expect_end();
    let keyed = Daemon::start(cores, &["--message-rate", "2", "--publish-key", "s3cret"]);
    let mut http = Http::connect(keyed.port());
    for _ in 0..25 {
        assert_eq!(statuses(&posts(&mut http, "Authorization: Bearer s3cret\r\n")), [200; 4]);
    }
    #[cfg(feature = "token")]
    {
        let (key, token) = (KeyFile::new(), token("mike", &[], &["room"]));
        let args = ["--message-rate", "2", "--publish-key", "s3cret", "--token-key", key.text()];
        let both = Daemon::start(cores, &args);
        for (bearer, expected) in [(token.as_str(), [200, 200, 429, 429]), ("s3cret", [200; 4])] {
            let mut http = Http::connect(both.port());
            assert_eq!(statuses(&posts(&mut http, &format!("Authorization: Bearer {bearer}\r\n"))), expected);
        }
    }
}

fn a_reload_changes_the_rates_of_open_connections(cores: usize) {
    let scratch = Scratch::new();
    let path = scratch.write("lhttpd.toml", "");
    let daemon = Daemon::start(cores, &["--config", &path]);
    let mut client = Client::connect(daemon.port());
    let mut send = |count: usize| {
        for number in 0..count {
            probe(&mut client, &number.to_string());
        }
        (0..count).map(|_| Message::parse(&client.recv().payload)).filter(|answer| answer.command == "error").count()
    };
    assert_eq!(send(100), 0);
    scratch.write("lhttpd.toml", "[rates]\nmessage = 10\n");
    daemon.signal("HUP");
    daemon.wait_for("message-rate");
    wait_for(|| send(12) > 0);
    scratch.write("lhttpd.toml", "");
    daemon.signal("HUP");
    wait_for(|| send(20) == 0);
}

fn what_is_refused_is_counted_and_logged_with_the_address(cores: usize) {
    let mut daemon = Daemon::start(cores, &["--log", "debug", "--message-rate", "1"]);
    let mut client = Client::connect(daemon.port());
    let both = [probing("a"), probing("b")].map(|message| frame::masked(FIN | TEXT, message.as_bytes()));
    client.send_raw(&both.concat());
    client.expect_ack("a");
    expect_limited(&mut client, Some("b"));
    daemon.wait_for("127.0.0.1 sends more than its rate allows");
    (0..20).for_each(|_| probe(&mut client, "c"));
    daemon.wait_for("127.0.0.1 is closed, for it sends ten times as much as it may");
    daemon.terminate();
    daemon.wait_for("1 connections closed at ten times a rate (floods)");
    assert!(daemon.stderr().contains(" messages and posts over a rate refused (rate_limited)"), "{}", daemon.stderr());
    daemon.exit_within(crate::helpers::PATIENCE).expect("it ends");
}
