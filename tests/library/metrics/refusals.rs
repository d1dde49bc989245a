//! Messages refused, by reason.

use lhttp::{Config, Context, Filter, Refusal};

use super::series::{value, wait_for_value};
use crate::helpers::{Client, start};

/// Refuses messages with the command `odd` in words of its own.
struct NoOdd;

impl Filter for NoOdd {
    fn before_request(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        if context.command() == "odd" { Err(Refusal::new(418, "odd", "no odd ones")) } else { Ok(()) }
    }
}

fn refused(reason: &str) -> String {
    format!("lhttp_messages_refused_total{{reason=\"{reason}\"}}")
}

#[test]
fn each_reason_has_its_series_and_words_of_filters_share_one() {
    let config = Config { publish_channels_max: 2, subscriptions_max: 1, ..Config::default() };
    let server = start(|builder| builder.config(config).filter(NoOdd));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.subscribe("room");
    let long = format!("LHTTP/1.0 c\r\nx:{}\r\n\r\n", "y".repeat(20_000));
    let cases = [
        ("not lhttp", 400, "not-lhttp"),
        ("LHTTP/1.0 \r\n\r\n", 400, "bad-start-line"),
        ("LHTTP/1.0 c\r\n:x\r\n\r\n", 400, "bad-header"),
        ("LHTTP/1.0 c\r\npublish:a..b\r\n\r\n", 400, "bad-channel"),
        ("LHTTP/1.0 c\r\nmultipart:x\r\n\r\n", 400, "bad-multipart"),
        ("LHTTP/1.0 c\r\nupstream:x\r\n\r\n", 400, "bad-upstream"),
        ("LHTTP/1.0 c\r\nupstream:GET http://127.0.0.1:1/\r\n\r\n", 403, "forbidden"),
        ("LHTTP/1.0 c\r\npublish:a b c\r\n\r\n", 429, "too-many-channels"),
        ("LHTTP/1.0 c\r\nsubscribe:other\r\n\r\n", 429, "too-many-subscriptions"),
        (&long, 431, "head-too-big"),
    ];
    for (number, (message, code, reason)) in cases.into_iter().enumerate() {
        client.say(message);
        client.expect_error(code, reason, None);
        wait_for_value(&server, &refused(reason), 1.0);
        assert_eq!(server.stats().refused, number as u64 + 1, "the sum of all");
    }
    client.say("LHTTP/1.0 odd\r\n\r\n");
    client.expect_error(418, "odd", None);
    wait_for_value(&server, &refused("other"), 1.0);
    assert_eq!(value(&server, &refused("rate-limited")), 0.0);
}

#[test]
fn a_message_over_a_rate_counts_for_the_rate_and_for_its_reason() {
    let config = Config { message_rate: 1, ..Config::default() };
    let server = start(|builder| builder.config(config));
    let mut client = Client::connect(server.local_addrs()[0]);
    for _ in 0..4 {
        client.say("LHTTP/1.0 c\r\n\r\n");
    }
    crate::helpers::wait_for(|| value(&server, &refused("rate-limited")) >= 1.0);
    assert_eq!(value(&server, "lhttp_rate_limited_total"), value(&server, &refused("rate-limited")));
}
