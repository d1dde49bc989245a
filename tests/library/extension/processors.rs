//! Processors: when they are called, and what they can do with a message.

use lhttp::{Context, Message, Processor, Refusal, Server, StartError};

use crate::helpers::{self, Client, Log, Recorder, on_message, start};

#[test]
fn a_processor_is_opened_once_for_each_command_and_connection_and_closed_once() {
    let log = Log::default();
    let server =
        start(|builder| builder.processor("a", Recorder::new("A", &log)).processor("b", Recorder::new("B", &log)));
    let mut one = Client::connect(server.local_addrs()[0]);
    for command in ["a", "a", "b", "a", "other", "A"] {
        one.say(&format!("LHTTP/1.0 {command}\r\n\r\n1"));
    }
    one.expect_nothing();
    let expected = ["A open a 1", "A message a 1", "A message a 1", "B open b 1", "B message b 1", "A message a 1"];
    assert_eq!(log.lines(), expected);

    let mut two = Client::connect(server.local_addrs()[0]);
    two.say("LHTTP/1.0 a\r\n\r\n2");
    two.expect_nothing();
    let mut none = Client::connect(server.local_addrs()[0]);
    none.expect_nothing();
    none.close();
    one.close();
    two.close();
    drop(server);
    assert_eq!(log.lines()[6..], ["A open a 2", "A message a 2", "A close", "B close", "A close"]);
}

#[test]
fn a_stopping_server_closes_every_opened_processor() {
    let log = Log::default();
    let server = start(|builder| builder.processor("a", Recorder::new("A", &log)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 a\r\n\r\n");
    client.expect_nothing();
    drop(server);
    assert_eq!(log.lines(), ["A open a", "A message a", "A close"]);
}

#[test]
fn the_second_processor_of_a_command_takes_the_place_of_the_first() {
    let log = Log::default();
    let server =
        start(|builder| builder.processor("a", Recorder::new("1", &log)).processor("a", Recorder::new("2", &log)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 a\r\n\r\n");
    client.expect_nothing();
    assert_eq!(log.lines(), ["2 open a", "2 message a"]);
}

#[test]
fn an_impossible_command_keeps_the_server_from_starting() {
    for command in ["", "two words", "tab\t", "ünï"] {
        let builder = Server::builder().listen(([127, 0, 0, 1], 0).into()).processor(command, on_message(|_| {}));
        assert!(matches!(builder.start(), Err(StartError::Config(_))), "{command:?}");
    }
}

#[test]
fn a_message_is_seen_as_it_was_sent() {
    let log = Log::default();
    let seen = log.clone();
    let look = move |context: &mut Context<'_>| {
        let headers: Vec<_> = context.headers().collect();
        seen.push(format!("{} {headers:?} {:?}", context.command(), context.header("NAME")));
        seen.push(format!("{} {:?}", context.is_text(), context.body()));
        let parts: Vec<_> = context.parts().map(|part| (part.header("K"), part.body())).collect();
        seen.push(format!("{parts:?}"));
    };
    let server = start(|builder| builder.processor("look", on_message(look)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 look\r\nName:  one: 1\t\r\nother:\r\nname:two\r\n\r\na\r\n\r\nb");
    client.say_binary(b"LHTTP/1.0 look\r\nmultipart:1 9\r\n\r\n.k:v\r\n\r\nA\r\n\xff");
    client.say("LHTTP/1.0 look\r\nmultipart:9 1\r\n\r\n.k:v\r\n\r\nA\r\nB");
    client.expect_error(400, "bad-multipart", None);
    client.expect_nothing();
    let expected = [
        r#"look [("Name", "one: 1"), ("other", ""), ("name", "two")] Some("one: 1")"#,
        "true [97, 13, 10, 13, 10, 98]",
        "[]",
        r#"look [("multipart", "1 9")] None"#,
        "false [46, 107, 58, 118, 13, 10, 13, 10, 65, 13, 10, 255]",
        r#"[(Some("v"), [65]), (None, [255])]"#,
    ];
    assert_eq!(log.lines(), expected);
}

#[test]
fn a_processor_answers_subscribes_and_publishes_in_order_and_before_the_messages_own_headers() {
    let act = |context: &mut Context<'_>| {
        context.send("1");
        context.subscribe("room").unwrap();
        context.publish(&["room"], "told", &[("n", "2")], "2").unwrap();
        context.unsubscribe("room").unwrap();
        context.publish(&["room"], "told", &[], "nobody hears this").unwrap();
        context.subscribe("own.*").unwrap();
        context.reply(&Message::new("reply").unwrap().body("3"));
        context.send("4");
    };
    let server = start(|builder| builder.processor("act", on_message(act)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 act\r\npublish:own.x\r\nack:7\r\n\r\nbody");
    let head = "LHTTP/1.0 act\r\npublish:own.x\r\nack:7\r\n\r\n";
    client.expect(&format!("{head}1"));
    client.expect("LHTTP/1.0 told\r\npublish:room\r\nn:2\r\n\r\n2");
    client.expect("LHTTP/1.0 reply\r\n\r\n3");
    client.expect(&format!("{head}4"));
    client.expect(&format!("{head}body"));
    client.expect("LHTTP/1.0 ack\r\nack:7\r\n\r\n");
    client.expect_nothing();
}

#[test]
fn an_answer_is_text_only_if_the_message_was_text_and_the_answer_is_utf8() {
    let act = |context: &mut Context<'_>| {
        context.send("text");
        context.send([0xff]);
    };
    let server = start(|builder| builder.processor("act", on_message(act)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 act\r\n\r\n");
    client.expect("LHTTP/1.0 act\r\n\r\ntext");
    client.expect_binary(b"LHTTP/1.0 act\r\n\r\n\xff");
    client.say_binary(b"LHTTP/1.0 act\r\n\r\n");
    client.expect_binary(b"LHTTP/1.0 act\r\n\r\ntext");
    client.expect_binary(b"LHTTP/1.0 act\r\n\r\n\xff");
}

#[test]
fn a_processor_that_refuses_undoes_the_message_and_the_connection_stays() {
    let act = |context: &mut Context<'_>| {
        context.send("no");
        context.subscribe("other").unwrap();
        context.publish(&["room"], "no", &[], "").unwrap();
        if context.body() == b"refuse" {
            context.refuse(Refusal::new(409, "not-now", "come back later"));
        }
    };
    let server = start(|builder| builder.processor("act", on_message(act)));
    let mut client = Client::connect(server.local_addrs()[0]);
    let mut other = Client::connect(server.local_addrs()[0]);
    client.subscribe("room");
    client.say("LHTTP/1.0 act\r\nack:7\r\npublish:room\r\n\r\nrefuse");
    assert_eq!(client.expect_error(409, "not-now", Some("7")), "come back later");
    other.say("LHTTP/1.0 x\r\npublish:other\r\n\r\n");
    other.expect_nothing();
    client.expect_nothing();
    client.say("LHTTP/1.0 act\r\n\r\n");
    client.expect("LHTTP/1.0 act\r\n\r\nno");
    client.expect("LHTTP/1.0 no\r\npublish:room\r\n\r\n");
}

/// Greets, and refuses if the header `refuse` says so.
struct Greets(Log);

impl Processor for Greets {
    fn on_open(&self, context: &mut Context<'_>) {
        self.0.push("open");
        context.send("welcome");
        context.subscribe("personal").unwrap();
        context.set_header("stamp", "open").unwrap();
        if context.header("refuse") == Some("open") {
            context.refuse(Refusal::new(400, "open", "no"));
        }
    }

    fn on_message(&self, context: &mut Context<'_>) {
        self.0.push(format!("message {:?}", context.header("stamp")));
        context.send("answer");
        if context.header("refuse") == Some("message") {
            context.refuse(Refusal::new(400, "message", "no"));
        }
    }

    fn on_close(&self, _: &mut Context<'_>) {
        self.0.push("close");
    }
}

#[test]
fn requests_of_on_open_outlive_a_refused_message() {
    let log = Log::default();
    let server = start(|builder| builder.processor("a", Greets(log.clone())));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 a\r\nrefuse:message\r\nsubscribe:other\r\n\r\n");
    client.expect("LHTTP/1.0 a\r\nrefuse:message\r\nsubscribe:other\r\n\r\nwelcome");
    client.expect_error(400, "message", None);
    client.say("LHTTP/1.0 a\r\npublish:personal other\r\n\r\n");
    client.expect("LHTTP/1.0 a\r\npublish:personal other\r\n\r\nanswer");
    client.expect("LHTTP/1.0 a\r\npublish:personal other\r\n\r\n");
    client.expect_nothing();
    client.close();
    log.wait_for(&["open", r#"message Some("open")"#, "message None", "close"]);
}

#[test]
fn a_refusal_in_on_open_refuses_the_message_and_still_opens_once() {
    let log = Log::default();
    let server = start(|builder| builder.processor("a", Greets(log.clone())));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.say("LHTTP/1.0 a\r\nrefuse:open\r\n\r\n");
    client.expect_error(400, "open", None);
    client.say("LHTTP/1.0 a\r\npublish:personal\r\n\r\n");
    client.expect("LHTTP/1.0 a\r\npublish:personal\r\n\r\nanswer");
    client.expect_nothing();
    client.close();
    log.wait_for(&["open", "message None", "close"]);
}

#[test]
fn a_processor_closes_its_connection_after_its_messages() {
    let log = Log::default();
    let act = |context: &mut Context<'_>| {
        context.send("goodbye");
        let code = context.header("code").and_then(|code| code.parse().ok()).unwrap_or(0);
        context.close(code, std::str::from_utf8(context.body()).unwrap());
        context.send("nobody hears this");
        context.subscribe("room").unwrap();
    };
    let filter = Recorder::new("filter", &log);
    let server = start(|builder| builder.filter(filter).processor("act", on_message(act)));
    let long = "é".repeat(100);
    for (code, sent, reason) in [(4001, 4001, "because"), (1005, 1000, ""), (70, 1000, &long)] {
        let mut client = Client::connect(server.local_addrs()[0]);
        let head = format!("LHTTP/1.0 act\r\ncode:{code}\r\n\r\n");
        client.say(&format!("{head}{reason}"));
        client.expect(&format!("{head}goodbye"));
        let got = client.expect_close(sent);
        assert!(reason.starts_with(&got) && got.len() >= reason.len().min(122), "{got}");
    }
    drop_and_count_no_panics(server);
    let of_each = |hook: &str| log.lines().iter().filter(|line| line.starts_with(&format!("filter {hook}"))).count();
    let counts = ["open", "before", "after", "close"].map(of_each);
    assert_eq!(counts, [3, 3, 0, 3], "a message whose connection is closed is not carried out to its end");
}

fn drop_and_count_no_panics(server: lhttp::Handle) {
    helpers::wait_for(|| server.stats().connections == 0);
    assert_eq!((server.stats().panics, server.stats().subscriptions), (0, 0));
}

#[test]
fn a_processor_that_is_closed_can_still_publish() {
    struct Leave;
    impl Processor for Leave {
        fn on_close(&self, context: &mut Context<'_>) {
            context.send("nobody hears this");
            let _ = context.subscribe("room");
            let id = context.connection_id().to_string();
            context.publish(&["room"], "left", &[("id", &id)], "").unwrap();
        }

        fn on_message(&self, context: &mut Context<'_>) {
            context.send(context.connection_id().to_string());
        }
    }
    let server = start(|builder| builder.processor("leave", Leave));
    let mut stays = Client::connect(server.local_addrs()[0]);
    stays.subscribe("room");
    let mut leaves = Client::connect(server.local_addrs()[0]);
    leaves.say("LHTTP/1.0 leave\r\n\r\n");
    let answer = leaves.recv().into_text().unwrap();
    let id = answer.rsplit("\r\n").next().unwrap();
    leaves.close();
    stays.expect(&format!("LHTTP/1.0 left\r\npublish:room\r\nid:{id}\r\n\r\n"));
    stays.expect_nothing();
}

#[test]
fn an_invalid_request_of_a_processor_is_an_error_to_it_and_harmless() {
    let log = Log::default();
    let seen = log.clone();
    let act = move |context: &mut Context<'_>| {
        let large = vec![0; 65 << 10];
        let results = [
            context.subscribe("a..b"),
            context.unsubscribe("a b"),
            context.publish(&["a.*"], "c", &[], ""),
            context.publish(&[], "c", &[], ""),
            context.publish(&["a"], "two words", &[], ""),
            context.publish(&["a"], "c", &[("n", "line\nend")], ""),
            context.publish(&["a"], "c", &[], large),
        ];
        results.iter().for_each(|result| seen.push(result.as_ref().unwrap_err().reason()));
        context.send("");
    };
    let server = start(|builder| builder.processor("act", on_message(act)));
    let mut client = Client::connect(server.local_addrs()[0]);
    client.subscribe("a");
    client.say("LHTTP/1.0 act\r\n\r\n");
    client.expect("LHTTP/1.0 act\r\n\r\n");
    client.expect_nothing();
    let bad = "bad-channel";
    assert_eq!(log.lines(), [bad, bad, bad, bad, "bad-start-line", "bad-header", "message-too-big"]);
}
