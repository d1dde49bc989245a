//! Filters: their order, their rejections, and their changes.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use lhttp::{Config, Context, Filter, Handle, Refusal};

use crate::helpers::{Client, Log, PATIENCE, Recorder, on_message, start, wait_for};

/// A filter made of two functions.
struct Hooks<O, B>(O, B);

impl<O, B> Filter for Hooks<O, B>
where
    O: Fn(&mut Context<'_>) -> Result<(), Refusal> + Send + Sync,
    B: Fn(&mut Context<'_>) -> Result<(), Refusal> + Send + Sync,
{
    fn on_open(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        (self.0)(context)
    }

    fn before_request(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        (self.1)(context)
    }
}

fn on_open(call: impl Fn(&mut Context<'_>) -> Result<(), Refusal> + Send + Sync + 'static) -> impl Filter + 'static {
    Hooks(call, |_: &mut Context<'_>| Ok(()))
}

fn before(call: impl Fn(&mut Context<'_>) -> Result<(), Refusal> + Send + Sync + 'static) -> impl Filter + 'static {
    Hooks(|_: &mut Context<'_>| Ok(()), call)
}

/// After each message: sends, publishes, and refuses, which is too late.
struct After;

impl Filter for After {
    fn after_request(&self, context: &mut Context<'_>) {
        context.send("after");
        context.publish(&["room"], "after", &[], "").unwrap();
        context.refuse(Refusal::new(400, "late", "too late"));
    }
}

#[test]
fn filters_run_in_order_around_the_processor_and_learn_of_the_close_after_it() {
    let log = Log::default();
    let server = start(|builder| {
        let builder = builder.filter(Recorder::new("1", &log)).filter(Recorder::new("2", &log));
        builder.processor("a", Recorder::new("p", &log))
    });
    let mut client = Client::connect(server.local_addrs()[0]);
    for command in ["a", "other"] {
        client.say(&format!("LHTTP/1.0 {command}\r\nack:7\r\n\r\n"));
        client.expect("LHTTP/1.0 ack\r\nack:7\r\n\r\n");
    }
    client.close();
    let expected = [
        ["1 open", "2 open"].as_slice(),
        &["1 before a", "2 before a", "p open a", "p message a", "1 after a", "2 after a"],
        &["1 before other", "2 before other", "1 after other", "2 after other"],
        &["p close", "1 close", "2 close"],
    ];
    log.wait_for(&expected.concat());
}

#[test]
fn a_connection_that_a_filter_rejects_gets_the_error_and_1008() {
    let log = Log::default();
    let sends = on_open(|context| {
        context.send("welcome");
        context.subscribe("room")
    });
    let rejects = on_open(|context| match context.path() {
        "/in" => Ok(()),
        _ => Err(Refusal::new(402, "pay-first", "this costs something")),
    });
    let server = start(|builder| {
        let builder = builder.filter(Recorder::new("1", &log)).filter(sends).filter(rejects);
        builder.filter(Recorder::new("2", &log))
    });
    let mut client = Client::connect_to(server.local_addrs()[0], "/out", &[]);
    assert_eq!(client.expect_error(402, "pay-first", None), "this costs something");
    assert_eq!(client.expect_close(1008), "pay-first");
    log.wait_for(&["1 open", "1 close", "2 close"]);
    let mut client = Client::connect_to(server.local_addrs()[0], "/in", &[]);
    client.expect("welcome");
    client.say("LHTTP/1.0 x\r\npublish:room\r\n\r\n");
    client.expect("LHTTP/1.0 x\r\npublish:room\r\n\r\n");
    wait_for(|| server.stats().connections == 1);
    assert_eq!((server.stats().refused, server.stats().panics), (1, 0));
}

#[test]
fn messages_that_a_client_sends_before_its_rejection_are_ignored() {
    let log = Log::default();
    let rejects = on_open(|_| Err(Refusal::new(403, "forbidden", "no")));
    let server = start(|builder| builder.filter(rejects).filter(Recorder::new("f", &log)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 x\r\nack:7\r\n\r\n");
    client.expect_error(403, "forbidden", None);
    client.expect_close(1008);
    log.wait_for(&["f close"]);
}

#[test]
fn a_message_that_a_filter_rejects_has_no_effect_and_goes_no_further() {
    let log = Log::default();
    let asks = before(|context| {
        context.send("no");
        context.publish(&["room"], "no", &[], "")
    });
    let rejects = before(|context| match context.header("ok") {
        Some(_) => Ok(()),
        None => Err(Refusal::new(403, "not ok\r\n", "no")),
    });
    let server = start(|builder| {
        let builder = builder.filter(asks).filter(rejects).filter(Recorder::new("2", &log));
        builder.processor("a", Recorder::new("p", &log))
    });
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 x\r\nok:\r\nsubscribe:room\r\n\r\n");
    client.expect("LHTTP/1.0 x\r\nok:\r\nsubscribe:room\r\n\r\nno");
    client.say("LHTTP/1.0 a\r\nsubscribe:other\r\npublish:room\r\nack:7\r\n\r\n");
    assert_eq!(client.expect_error(403, "not ok--", Some("7")), "no");
    client.say("LHTTP/1.0 a\r\nok:\r\n\r\n");
    client.expect("LHTTP/1.0 a\r\nok:\r\n\r\nno");
    client.expect("LHTTP/1.0 no\r\npublish:room\r\n\r\n");
    wait_for(|| server.stats().subscriptions == 1);
    client.close();
    let expected = ["2 open", "2 before x", "2 after x", "2 before a", "p open a", "p message a", "2 after a"];
    log.wait_for(&[expected.as_slice(), &["p close", "2 close"]].concat());
}

#[test]
fn later_filters_the_processor_and_subscribers_see_a_filters_change() {
    let log = Log::default();
    let stamp = before(|context| {
        context.set_header("from", "mike")?;
        context.set_command("b")
    });
    let remove = before(|context| {
        assert_eq!(context.header("from"), Some("mike"));
        assert!(context.remove_header("secret"));
        Ok(())
    });
    let answer = on_message(|context| {
        context.set_body("from the processor").unwrap();
        context.send("answer");
    });
    let server = start(|builder| {
        let builder = builder.filter(stamp).filter(remove).filter(Recorder::new("3", &log));
        builder.processor("a", Recorder::new("a", &log)).processor("b", answer)
    });
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 a\r\nsubscribe:room\r\npublish:room\r\nfrom:jack\r\nsecret:1\r\n\r\nbody");
    let head = "LHTTP/1.0 b\r\nsubscribe:room\r\npublish:room\r\nfrom:mike\r\n\r\n";
    client.expect(&format!("{head}answer"));
    client.expect(&format!("{head}from the processor"));
    log.wait_for(&["3 open", "3 before b body", "3 after b from the processor"]);
}

#[test]
fn a_filter_may_repair_a_message_and_a_message_that_it_breaks_is_refused() {
    let log = Log::default();
    let change = before(|context| match context.command() {
        "mend" => context.set_header("publish", "room"),
        _ => context.set_header("publish", "a..b"),
    });
    let server = start(|builder| builder.filter(change).processor("break", Recorder::new("p", &log)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 mend\r\nsubscribe:room\r\npublish:>\r\n\r\n");
    client.expect("LHTTP/1.0 mend\r\nsubscribe:room\r\npublish:room\r\n\r\n");
    client.say("LHTTP/1.0 break\r\npublish:room\r\nack:7\r\n\r\n");
    client.expect_error(400, "bad-channel", Some("7"));
    assert!(log.lines().is_empty(), "no processor sees an invalid message");
}

#[test]
fn after_request_runs_after_all_effects_and_can_no_longer_refuse() {
    let server = start(|builder| builder.filter(After));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 x\r\nsubscribe:room\r\npublish:room\r\nack:7\r\n\r\nbody");
    let head = "LHTTP/1.0 x\r\nsubscribe:room\r\npublish:room\r\nack:7\r\n\r\n";
    client.expect(&format!("{head}body"));
    client.expect("LHTTP/1.0 ack\r\nack:7\r\n\r\n");
    client.expect(&format!("{head}after"));
    client.expect("LHTTP/1.0 after\r\npublish:room\r\n\r\n");
    assert_eq!(server.stats().refused, 0);
}

#[test]
fn a_message_that_cannot_be_parsed_or_is_not_lhttp_is_not_filtered() {
    let log = Log::default();
    let server = start(|builder| builder.filter(Recorder::new("f", &log)).raw(|context| context.send(context.body())));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 a\r\nno colon\r\n\r\n");
    client.expect_error(400, "bad-header", None);
    client.say("raw");
    client.expect("raw");
    assert_eq!(log.lines(), ["f open"]);
}

/// The answer to a `POST /publish` with this key.
fn post(server: &Handle, key: Option<&str>) -> String {
    let message = "LHTTP/1.0 chat\r\npublish:room\r\n\r\nposted";
    let authorization = key.map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
    let mut stream = TcpStream::connect(server.local_addrs()[0]).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let length = message.len();
    let head =
        format!("POST /publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}{authorization}\r\n{message}").as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[track_caller]
fn assert_post(server: &Handle, key: Option<&str>, status: u16) {
    let answer = post(server, key);
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{key:?}: {answer}");
}

#[test]
fn a_server_with_filters_accepts_posts_with_a_key_or_if_an_option_allows_them() {
    let everything_passes = || on_open(|_| Ok(()));
    assert_post(&start(|builder| builder), None, 200);
    assert_post(&start(|builder| builder.processor("a", on_message(|_| {}))), None, 200);
    assert_post(&start(|builder| builder.filter(everything_passes()).publish_past_filters()), None, 200);

    let server = start(|builder| builder.filter(everything_passes()));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.subscribe("room");
    for key in [None, Some("guess")] {
        assert_post(&server, key, 403);
    }
    let sentence = post(&server, None);
    assert!(sentence.ends_with("it needs a publish key\n"), "{sentence}");
    client.expect_nothing();

    // A key enables posts while the server runs, and removing the key disables them.
    let without = server.reloader().config();
    let with = Config { publish_key: Some("s3cret".into()), ..without.clone() };
    server.reloader().reload(&with).unwrap();
    assert_post(&server, None, 401);
    assert_post(&server, Some("guess"), 403);
    assert_post(&server, Some("s3cret"), 200);
    client.expect("LHTTP/1.0 chat\r\npublish:room\r\n\r\nposted");
    server.reloader().reload(&without).unwrap();
    assert_post(&server, Some("s3cret"), 403);
    client.expect_nothing();
}
