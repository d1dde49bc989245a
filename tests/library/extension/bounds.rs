//! The bounds of processors, of publishers and of the messages that they make, and the names that they may use.

use std::time::Duration;

use lhttp::{Config, Context, PublishError, Refusal};

use crate::helpers::{Client, on_message, one_and_two_cores, start, start_with_cores, wait_for};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("n.{number}")).collect()
}

fn texts(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// The refusal of a publish that must fail.
#[track_caller]
fn invalid(result: Result<(), PublishError>) -> Refusal {
    match result.expect_err("it is not taken") {
        PublishError::Invalid(refusal) => refusal,
        error => panic!("{error}"),
    }
}

#[test]
fn a_publisher_names_a_channel_once_and_32_at_most() {
    for cores in one_and_two_cores() {
        let server = start_with_cores(cores, |builder| builder);
        let mut client = Client::connect(server.local_addrs()[0]);
        client.subscribe("a b n.*");
        let publisher = server.publisher();
        publisher.publish(&["b", "a", "b", "b", "a"], "c", &[], "x").unwrap();
        (0..2).for_each(|_| client.expect("LHTTP/1.0 c\r\npublish:b a\r\n\r\nx"));
        let refusal = invalid(publisher.publish(&texts(&names(33)), "c", &[], "too many"));
        assert_eq!((refusal.code(), refusal.reason()), (429, "too-many-channels"));
        assert_eq!(refusal.sentence(), "a message may be published to 32 channels");
        let thirty_two = names(32);
        publisher.publish(&[texts(&thirty_two), texts(&thirty_two)].concat(), "c", &[], "").unwrap();
        let expected = format!("LHTTP/1.0 c\r\npublish:{}\r\n\r\n", thirty_two.join(" "));
        (0..32).for_each(|_| client.expect(&expected));
        let too_deep = "a.".repeat(32) + "a";
        assert_eq!(invalid(publisher.publish(&["a", &too_deep], "c", &[], "")).reason(), "bad-channel");
        client.expect_nothing();
    }
}

#[test]
fn a_reloaded_limit_applies_to_existing_clients_and_publishers() {
    let server = start(|builder| builder);
    let mut client = Client::connect(server.local_addrs()[0]);
    client.subscribe("a b");
    let publisher = server.publisher();
    // These take the fast path for a repeated head.
    for _ in 0..3 {
        client.say("LHTTP/1.0 c\r\npublish:a b\r\n\r\n");
        (0..2).for_each(|_| client.expect("LHTTP/1.0 c\r\npublish:a b\r\n\r\n"));
    }
    publisher.publish(&["a", "b"], "c", &[], "").unwrap();
    (0..2).for_each(|_| client.expect("LHTTP/1.0 c\r\npublish:a b\r\n\r\n"));
    let reloader = server.reloader();
    let reloaded = reloader.reload(&Config { publish_channels_max: 1, ..reloader.config() }).unwrap();
    assert_eq!(reloaded.applied, ["max-publish-channels"]);
    client.say("LHTTP/1.0 c\r\npublish:a b\r\n\r\n");
    client.expect_error(429, "too-many-channels", None);
    assert_eq!(invalid(publisher.publish(&["a", "b"], "c", &[], "")).reason(), "too-many-channels");
    publisher.publish(&["a", "a"], "c", &[], "").unwrap();
    client.expect("LHTTP/1.0 c\r\npublish:a\r\n\r\n");
    client.expect_nothing();
}

#[test]
fn refusals_are_counted() {
    let server = start(|builder| builder);
    let mut client = Client::connect(server.local_addrs()[0]);
    for _ in 0..3 {
        client.say(&format!("LHTTP/1.0 c\r\npublish:{}\r\n\r\n", names(33).join(" ")));
        client.expect_error(429, "too-many-channels", None);
    }
    for header in ["publish:_a", "subscribe:$a"] {
        client.say(&format!("LHTTP/1.0 c\r\n{header}\r\n\r\n"));
        client.expect_error(403, "forbidden", None);
    }
    client.say("LHTTP/1.0 c\r\nack:1\r\nack:2\r\n\r\n");
    client.expect_error(400, "bad-header", Some("1"));
    client.expect_nothing();
    wait_for(|| server.stats().refused == 6);
    let stats = server.stats();
    assert_eq!((stats.too_many_channels, stats.forbidden), (3, 2));
}

#[test]
fn a_processor_has_the_same_bounds_but_may_name_system_channels() {
    let act = |context: &mut Context<'_>| {
        let refusal = context.publish(&texts(&names(33)), "c", &[], "").unwrap_err();
        assert_eq!((refusal.code(), refusal.reason()), (429, "too-many-channels"));
        context.subscribe("_room").unwrap();
        context.subscribe("$all.>").unwrap();
        assert_eq!(context.subscribe("*.*.*.*.*").unwrap_err().reason(), "bad-channel");
        context.publish(&["_room", "_room", "$all.1"], "c", &[], "").unwrap();
    };
    let server = start(|builder| builder.processor("act", on_message(act)));
    let mut client = Client::connect(server.local_addrs()[0]);
    let mut other = Client::connect(server.local_addrs()[0]);
    other.subscribe(">");
    client.say("LHTTP/1.0 act\r\n\r\n");
    (0..2).for_each(|_| client.expect("LHTTP/1.0 c\r\npublish:_room $all.1\r\n\r\n"));
    server.publisher().publish(&["_room"], "c", &[], "from the server").unwrap();
    client.expect("LHTTP/1.0 c\r\npublish:_room\r\n\r\nfrom the server");
    // The client can neither publish nor unsubscribe there, although it is subscribed there.
    client.say("LHTTP/1.0 c\r\npublish:_room\r\n\r\n");
    client.expect_error(403, "forbidden", None);
    client.say("LHTTP/1.0 c\r\nsubscribe:_room\r\n\r\n");
    client.expect_error(403, "forbidden", None);
    client.unsubscribe("_room $all.>");
    server.publisher().publish(&["_room", "$all.2"], "c", &[], "").unwrap();
    (0..2).for_each(|_| client.expect("LHTTP/1.0 c\r\npublish:_room $all.2\r\n\r\n"));
    client.expect_nothing();
    other.expect_nothing();
}

#[test]
fn a_control_header_that_a_processor_adds_has_the_same_bounds_as_a_clients() {
    let change = |context: &mut Context<'_>| {
        let (name, value) = (context.header("name").unwrap().to_owned(), context.header("value").unwrap().to_owned());
        context.add_header(&name, &value).unwrap();
    };
    let server = start(|builder| builder.processor("add", on_message(change)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.subscribe("a");
    let many = names(33).join(" ");
    for (name, value, code, reason) in [
        ("ack", "2", 400, "bad-header"),
        ("multipart", "0", 400, "bad-header"),
        ("publish", "_a", 403, "forbidden"),
        ("subscribe", "$a", 403, "forbidden"),
        ("publish", &many, 429, "too-many-channels"),
    ] {
        client.say(&format!("LHTTP/1.0 add\r\nname:{name}\r\nvalue:{value}\r\nack:1\r\nmultipart:0\r\n\r\n\r\n"));
        client.expect_error(code, reason, Some("1"));
    }
    client.say("LHTTP/1.0 add\r\nname:publish\r\nvalue:a a\r\npublish:a\r\n\r\n");
    client.expect("LHTTP/1.0 add\r\nname:publish\r\nvalue:a a\r\npublish:a\r\npublish:a a\r\n\r\n");
    client.expect_nothing();
}

/// Each of these subscriptions is looked up among the earlier ones. A linear search would take minutes.
#[test]
fn the_cost_of_a_processors_many_subscriptions_grows_with_their_number() {
    const NAMES: usize = 100_000;
    let act = |context: &mut Context<'_>| {
        for round in 0..2 {
            for number in 0..NAMES {
                context.subscribe(&format!("n.{number}")).unwrap_or_else(|refusal| panic!("{round}: {refusal}"));
            }
        }
        assert_eq!(context.subscribe("one.more").unwrap_err().reason(), "too-many-subscriptions");
    };
    let config = Config { subscriptions_max: NAMES, subscription_bytes_max: NAMES * 200, ..Config::default() };
    let server = start(|builder| builder.config(config).processor("act", on_message(act)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 act\r\nack:1\r\n\r\n");
    client.expect("LHTTP/1.0 ack\r\nack:1\r\n\r\n");
    server.publisher().publish(&["n.99999"], "c", &[], "").unwrap();
    client.expect("LHTTP/1.0 c\r\npublish:n.99999\r\n\r\n");
    wait_for(|| server.stats().subscriptions == NAMES as u64);
    server.stop(Duration::ZERO);
}
