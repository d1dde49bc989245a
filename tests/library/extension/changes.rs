//! Changes to a message: subscribers and the answers of `send` see them, and a message that becomes invalid is refused
//! whole.

use lhttp::{Config, Context};

use crate::helpers::{self, Client, Log, on_message, start};

#[test]
fn changes_reach_subscribers_answers_and_the_context() {
    let log = Log::default();
    let seen = log.clone();
    let change = move |context: &mut Context<'_>| {
        context.set_command("said").unwrap();
        context.add_header("x-added", "1").unwrap();
        context.set_header("Content-Type", "text").unwrap();
        assert!(context.remove_header("SECRET") && !context.remove_header("secret"));
        context.set_body("new").unwrap();
        let headers: Vec<_> = context.headers().collect();
        seen.push(format!("{} {headers:?} {:?}", context.command(), context.body()));
        context.send("answer");
    };
    let server = start(|builder| builder.processor("say", on_message(change)));
    let mut sender = Client::connect(server.local_addrs()[0]);
    let mut subscriber = Client::connect(server.local_addrs()[0]);
    subscriber.subscribe("room");
    sender
        .say("LHTTP/1.0 say\r\nsecret:1\r\ncontent-type:json\r\npublish:room\r\nsecret:2\r\ncontent-type:x\r\n\r\nold");
    let head = "LHTTP/1.0 said\r\nContent-Type:text\r\npublish:room\r\nx-added:1\r\n\r\n";
    sender.expect(&format!("{head}answer"));
    subscriber.expect(&format!("{head}new"));
    assert_eq!(
        log.lines(),
        [r#"said [("Content-Type", "text"), ("publish", "room"), ("x-added", "1")] [110, 101, 119]"#]
    );
}

#[test]
fn an_unchanged_message_is_forwarded_and_answered_byte_for_byte() {
    let server = start(|builder| builder.processor("say", on_message(|context| context.send(context.body()))));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.subscribe("room");
    let odd = "LHTTP/1.0 say\r\nPublish: \troom  \r\nx:\r\nx :y\r\n\r\n\r\n\r\nbody";
    client.say(odd);
    client.expect_error(400, "bad-header", None); // "x " is not a name
    let odd = odd.replace("x :y", "x:: y ");
    client.say(&odd);
    client.expect(&odd);
    client.expect(&odd);
}

#[test]
fn a_text_whose_body_is_replaced_by_bytes_goes_as_binary() {
    let change = |context: &mut Context<'_>| context.set_body([0xff]).unwrap();
    let server = start(|builder| builder.processor("say", on_message(change)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.subscribe("room");
    client.say("LHTTP/1.0 say\r\npublish:room\r\n\r\ntext");
    client.expect_binary(b"LHTTP/1.0 say\r\npublish:room\r\n\r\n\xff");
}

#[test]
fn removed_control_headers_have_no_effect_and_added_ones_have() {
    let steer = |context: &mut Context<'_>| {
        assert!(context.remove_header("publish") && context.remove_header("ack"));
        context.add_header("subscribe", "added").unwrap();
        context.add_header("ack", "ours").unwrap();
    };
    let server = start(|builder| builder.processor("steer", on_message(steer)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.subscribe("room");
    client.say("LHTTP/1.0 steer\r\npublish:room\r\nack:theirs\r\n\r\n");
    client.expect("LHTTP/1.0 ack\r\nack:ours\r\n\r\n");
    client.say("LHTTP/1.0 x\r\npublish:room added\r\n\r\n");
    for _ in ["room", "added"] {
        client.expect("LHTTP/1.0 x\r\npublish:room added\r\n\r\n");
    }
    client.expect_nothing();
}

#[test]
fn a_change_that_makes_the_message_invalid_refuses_the_whole_message() {
    let change = |context: &mut Context<'_>| {
        context.send("no");
        context.subscribe("other").unwrap();
        context.publish(&["room"], "no", &[], "").unwrap();
        let what = String::from_utf8(context.body().to_vec()).unwrap();
        match &*what {
            "publish" => context.set_header("publish", "a..b").unwrap(),
            "pattern" => context.set_header("publish", "a.*").unwrap(),
            "subscribe" => context.add_header("subscribe", "").unwrap(),
            "unsubscribe" => context.add_header("unsubscribe", "a..b").unwrap(),
            "upstream" => context.add_header("upstream", "GET http://example.com/").unwrap(),
            "multipart" => context.add_header("multipart", "99").unwrap(),
            "head" => context.add_header("large", &"x".repeat(9000)).unwrap(),
            "headers" => (0..100).for_each(|_| context.add_header("many", "").unwrap()),
            "body" => context.set_body(vec![b'x'; 65 << 10]).unwrap(),
            _ => unreachable!("{what}"),
        }
    };
    let server = start(|builder| builder.processor("change", on_message(change)));
    let mut client = Client::connect(server.local_addrs()[0]);
    let mut other = Client::connect(server.local_addrs()[0]);
    client.subscribe("room");
    let cases = [
        ("publish", 400, "bad-channel"),
        ("pattern", 400, "bad-channel"),
        ("subscribe", 400, "bad-channel"),
        ("unsubscribe", 400, "bad-channel"),
        ("upstream", 403, "forbidden"),
        ("multipart", 400, "bad-multipart"),
        ("head", 431, "head-too-big"),
        ("headers", 431, "head-too-big"),
        ("body", 413, "message-too-big"),
    ];
    for (what, code, reason) in cases {
        client.say(&format!("LHTTP/1.0 change\r\npublish:room\r\nack:7\r\n\r\n{what}"));
        client.expect_error(code, reason, Some("7"));
        other.say("LHTTP/1.0 x\r\npublish:other\r\n\r\n");
        other.expect_nothing();
        client.expect_nothing();
    }
    helpers::wait_for(|| server.stats().refused_message_too_big == 1);
    assert_eq!(server.stats().panics, 0);
}

#[test]
fn a_change_that_cannot_be_made_is_an_error_and_leaves_the_message_as_it_was() {
    let log = Log::default();
    let seen = log.clone();
    let change = move |context: &mut Context<'_>| {
        let results = [
            context.set_command("two words"),
            context.set_command(""),
            context.add_header("no name", "v"),
            context.set_header("name", "line\r\nend"),
            context.add_header("", "v"),
        ];
        results.iter().for_each(|result| seen.push(result.as_ref().unwrap_err().reason()));
    };
    let server = start(|builder| builder.processor("change", on_message(change)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.subscribe("room");
    client.say("LHTTP/1.0 change\r\npublish:room\r\nname:old\r\n\r\nbody");
    client.expect("LHTTP/1.0 change\r\npublish:room\r\nname:old\r\n\r\nbody");
    assert_eq!(log.lines(), ["bad-start-line", "bad-start-line", "bad-header", "bad-header", "bad-header"]);
}

#[test]
fn subscriptions_of_the_message_and_of_its_processor_count_together() {
    let subscribe = |context: &mut Context<'_>| {
        let names = String::from_utf8(context.body().to_vec()).unwrap();
        let all: Result<Vec<_>, _> = names.split(' ').map(|name| context.subscribe(name)).collect();
        if let Err(refusal) = all {
            context.refuse(refusal);
        }
    };
    let config = Config { subscriptions_max: 3, ..Config::default() };
    let server = start(|builder| builder.config(config).processor("join", on_message(subscribe)));
    let mut client = Client::connect(server.local_addrs()[0]);
    let mut join = |header: &str, body: &str, is_allowed: bool, held: u64| {
        client.say(&format!("LHTTP/1.0 join\r\n{header}ack:7\r\n\r\n{body}"));
        if is_allowed {
            client.expect("LHTTP/1.0 ack\r\nack:7\r\n\r\n");
        } else {
            client.expect_error(429, "too-many-subscriptions", Some("7"));
        }
        helpers::wait_for(|| server.stats().subscriptions == held);
    };
    join("", "a b c d", false, 0);
    join("subscribe:c d\r\n", "a b", false, 0);
    join("", "a a b a", true, 2);
    join("subscribe:c a\r\n", "a b", true, 3);
    join("", "a b c a", true, 3);
    join("", "d", false, 3);
    join("subscribe:d\r\n", "a", false, 3);
    let names_bytes = 3 * (24 + 96 + 1);
    helpers::wait_for(|| {
        let stats = server.stats();
        stats.subscriptions_refused == 4 && stats.subscription_bytes >= names_bytes
    });
}
