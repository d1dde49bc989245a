//! The API of `admin`: messages of backends.

use serde_json::{Value, json};

use crate::helpers::{
    admin::{ADMIN, admin_port, ask_with, json_of, post},
    client::Client,
    daemon::Daemon,
    on_one_and_two_cores,
    scratch::Scratch,
};

on_one_and_two_cores!(
    a_message_reaches_the_subscribers_of_each_of_its_channels,
    a_body_that_is_no_text_comes_as_binary,
    a_batch_is_published_in_order_and_all_or_nothing,
    a_request_that_is_sent_again_with_its_key_publishes_nothing,
    a_message_that_is_not_allowed_is_answered_in_a_sentence,
    a_hostile_body_is_answered_and_the_server_goes_on,
    messages_for_a_channel_with_a_history_are_numbered,
);

const MESSAGE_MAX: &str = "65536";

fn start(cores: usize) -> (Daemon, u16) {
    let daemon = Daemon::start(cores, &[&ADMIN[..], &["--max-message", MESSAGE_MAX]].concat());
    let port = admin_port(&daemon);
    (daemon, port)
}

fn subscribed(daemon: &Daemon, names: &str) -> Client {
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked(names);
    client
}

fn refused(port: u16, target: &str, body: &str, status: u16) -> Value {
    let answer = json_of(&ask_with(port, "POST", target, "", body), status);
    assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
    answer
}

fn a_message_reaches_the_subscribers_of_each_of_its_channels(cores: usize) {
    let (daemon, port) = start(cores);
    let (mut one, mut both) = (subscribed(&daemon, "one"), subscribed(&daemon, "one two"));
    let body = json!({ "channels": ["one", "two", "one"], "command": "sold", "body": "für dich" });
    let mut body = body.to_string();
    body.insert_str(1, r#""headers":{"z":"1","from":"shop","a":""},"#);
    let answer = json_of(&ask_with(port, "POST", "/api/publish", "", &body), 200);
    assert_eq!(answer, json!({ "channels": 2 }));
    let message = "LHTTP/1.0 sold\r\npublish:one two\r\nz:1\r\nfrom:shop\r\na:\r\n\r\nfür dich";
    one.expect_text(message);
    both.expect_text(message);
    both.expect_text(message);
    assert_eq!(post(port, "/api/publish", &json!({ "channels": ["one"] })), json!({ "channels": 1 }));
    one.expect_text("LHTTP/1.0 chat\r\npublish:one\r\n\r\n");
    one.expect_nothing_before_ack();
}

fn a_body_that_is_no_text_comes_as_binary(cores: usize) {
    let (daemon, port) = start(cores);
    let mut client = subscribed(&daemon, "room");
    post(port, "/api/publish", &json!({ "channels": ["room"], "body_base64": "AP/+" }));
    client.expect_binary(b"LHTTP/1.0 chat\r\npublish:room\r\n\r\n\x00\xff\xfe");
    post(port, "/api/publish", &json!({ "channels": ["room"], "body_base64": "aGk=" }));
    client.expect_text("LHTTP/1.0 chat\r\npublish:room\r\n\r\nhi");
}

fn a_batch_is_published_in_order_and_all_or_nothing(cores: usize) {
    let (daemon, port) = start(cores);
    let mut client = subscribed(&daemon, "room other");
    let messages: Vec<_> = (0..1000)
        .map(|number| json!({ "channels": [if number % 2 == 0 { "room" } else { "other" }], "body": number.to_string() }))
        .collect();
    let answer = post(port, "/api/batch", &json!({ "messages": messages }));
    assert_eq!(answer, json!({ "messages": 1000, "channels": 1000 }));
    let mut next = [0, 1]; // each channel has its own order
    for _ in 0..1000 {
        let message = String::from_utf8(client.recv().payload).expect("text");
        let of = usize::from(message.contains("publish:other"));
        assert!(message.ends_with(&format!("\r\n\r\n{}", next[of])), "{message}, not {next:?}");
        next[of] += 2;
    }
    let mut wrong = messages.clone();
    wrong[999] = json!({ "channels": ["a..b"] });
    let answer = refused(port, "/api/batch", &json!({ "messages": wrong }).to_string(), 400);
    assert_eq!(answer["error"], "bad-channel");
    assert!(answer["message"].as_str().is_some_and(|message| message.starts_with("messages[999]: ")), "{answer}");
    client.expect_nothing_before_ack();
    assert_eq!(post(port, "/api/batch", &json!({ "messages": [] })), json!({ "messages": 0, "channels": 0 }));
    let many: Vec<_> = (0..1001).map(|_| json!({ "channels": ["room"] })).collect();
    let answer = refused(port, "/api/batch", &json!({ "messages": many }).to_string(), 400);
    assert!(answer["message"].as_str().is_some_and(|message| message.contains("at most 1000")), "{answer}");
    client.expect_nothing_before_ack();
}

fn a_request_that_is_sent_again_with_its_key_publishes_nothing(cores: usize) {
    let (daemon, port) = start(cores);
    let mut client = subscribed(&daemon, "room");
    let body = json!({ "channels": ["room"], "body": "paid", "idempotency_key": "order-17" });
    assert_eq!(post(port, "/api/publish", &body), json!({ "channels": 1 }));
    assert_eq!(post(port, "/api/publish", &body), json!({ "channels": 1 }));
    client.expect_text("LHTTP/1.0 chat\r\npublish:room\r\n\r\npaid");
    client.expect_nothing_before_ack();
    let other = json!({ "channels": ["room"], "body": "paid twice", "idempotency_key": "order-17" });
    assert_eq!(refused(port, "/api/publish", &other.to_string(), 409)["error"], "conflict");
    let batch = json!({ "messages": [{ "channels": ["room"], "body": "a" }], "idempotency_key": "order-17" });
    assert_eq!(refused(port, "/api/batch", &batch.to_string(), 409)["error"], "conflict");
    let batch = json!({ "messages": [{ "channels": ["room"], "body": "a" }], "idempotency_key": "batch-1" });
    assert_eq!(post(port, "/api/batch", &batch), post(port, "/api/batch", &batch));
    client.expect_text("LHTTP/1.0 chat\r\npublish:room\r\n\r\na");
    client.expect_nothing_before_ack();
    // A refused request leaves its key free.
    refused(port, "/api/publish", r#"{"channels":["a..b"],"idempotency_key":"free"}"#, 400);
    post(port, "/api/publish", &json!({ "channels": ["room"], "idempotency_key": "free" }));
    client.expect_text("LHTTP/1.0 chat\r\npublish:room\r\n\r\n");
}

fn a_message_that_is_not_allowed_is_answered_in_a_sentence(cores: usize) {
    let (daemon, port) = start(cores);
    let mut client = subscribed(&daemon, ">");
    let (many, long) = ((0..33).map(|number| number.to_string()).collect::<Vec<_>>(), "x".repeat(65_536));
    let lines: serde_json::Map<_, _> = (0..64).map(|number| (format!("h{number}"), json!(""))).collect();
    for (body, status, error, said) in [
        (json!({}), 400, "bad-request", "missing field `channels`"),
        (json!({ "channels": [] }), 400, "bad-channel", "name the channels"),
        (json!({ "channels": ["room.*"] }), 400, "bad-channel", "wildcard"),
        (json!({ "channels": ["a b"] }), 400, "bad-channel", "space"),
        (json!({ "channels": ["_LHTTP.admin"] }), 403, "forbidden", "system"),
        (json!({ "channels": ["$SYS"] }), 403, "forbidden", "system"),
        (json!({ "channels": many }), 429, "too-many-channels", "32 channels"),
        (json!({ "channels": ["a"], "command": "a b" }), 400, "bad-start-line", "64 visible ASCII"),
        (json!({ "channels": ["a"], "headers": { "a:b": "" } }), 400, "bad-header", "token characters"),
        (json!({ "channels": ["a"], "headers": { "a": "b\r\nc:d" } }), 400, "bad-header", "control character"),
        (json!({ "channels": ["a"], "headers": { "Publish": "b" } }), 400, "bad-request", "Publish cannot be given"),
        (json!({ "channels": ["a"], "headers": { "token": "b" } }), 400, "bad-request", "token cannot be given"),
        (json!({ "channels": ["a"], "headers": { "a": "1", "A": "2" } }), 400, "bad-request", "twice"),
        (json!({ "channels": ["a"], "headers": { "a": 1 } }), 400, "bad-request", "expected a string"),
        (json!({ "channels": ["a"], "headers": lines }), 431, "head-too-big", "64 headers"),
        (json!({ "channels": ["a"], "headers": { "a": &long[..9000] } }), 431, "head-too-big", "8192"),
        (json!({ "channels": ["a"], "body": &*long }), 413, "message-too-big", MESSAGE_MAX),
        (json!({ "channels": ["a"], "body": "", "body_base64": "" }), 400, "bad-request", "not both"),
        (json!({ "channels": ["a"], "body_base64": "aGk" }), 400, "bad-request", "not base64"),
        (json!({ "channels": ["a"], "idempotency_key": "" }), 400, "bad-request", "1 to 128"),
        (json!({ "channels": ["a"], "idempotency_key": "a b" }), 400, "bad-request", "1 to 128"),
        (json!({ "channels": ["a"], "idempotency_key": &long[..129] }), 400, "bad-request", "1 to 128"),
        (json!({ "channels": ["a"], "chanels": ["b"] }), 400, "bad-request", "unknown field `chanels`"),
    ] {
        let body = body.to_string();
        let answer = refused(port, "/api/publish", &body, status);
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(answer["error"] == error && message.contains(said), "{body}: {answer}");
        let batch = format!(r#"{{"messages":[{{"channels":["ok"]}},{body}]}}"#);
        let answer = refused(port, "/api/batch", &batch, if error == "bad-request" { 400 } else { status });
        assert!(answer["message"].as_str().unwrap_or_default().starts_with("messages[1]: "), "{batch}: {answer}");
    }
    refused(port, "/api/batch", r#"{"messages":[{"channels":["ok"],"idempotency_key":"a"}]}"#, 400);
    client.expect_nothing_before_ack();
}

fn a_hostile_body_is_answered_and_the_server_goes_on(cores: usize) {
    let (mut daemon, port) = start(cores);
    let (open, wide) = ("[".repeat(100_000), format!(r#"{{"channels":["a"],{:?}:1}}"#, "x".repeat(500_000)));
    let many = format!(r#"{{"channels":[{}"a"]}}"#, r#""a","#.repeat(2000));
    let headers = format!(r#"{{"channels":["a"],"headers":{{{}"a":"b"}}}}"#, r#""a":"b","#.repeat(2000));
    let bodies = [
        "",
        "null",
        "[]",
        "{",
        "\u{feff}{}",
        &open,
        &format!("{{\"channels\":{open}"),
        &format!("{{\"messages\":{open}"),
        &format!("{{\"messages\":[{}", r#"{"a":"#.repeat(50_000)),
        &wide,
        &many,
        &headers,
        r#"{"channels":["a"],"channels":["b"]}"#,
        r#"{"channels":["a"],"body":"\ud800"}"#,
        r#"{"channels":["\ud800\ud800"]}"#,
        r#"{"channels":["\u0000"]}"#,
        r#"{"channels":["a"],"body":1e999999}"#,
        r#"{"channels":99999999999999999999999999}"#,
        r#"{"channels":["a"],"headers":{"\u0000":""}}"#,
        r#"{"messages":[1e400]}"#,
        r#"{"messages":{"channels":["a"]}}"#,
        r#"{"messages":[{"channels":["a"]}],"messages":[]}"#,
    ];
    for body in bodies {
        for target in ["/api/publish", "/api/batch", "/api/disconnect", "/api/subscribe"] {
            let response = ask_with(port, "POST", target, "", body);
            let shown = &body[..body.len().min(60)];
            assert!(matches!(response.status, 400 | 429), "{target} {shown}: {}", response.status);
            assert!(response.body.len() < 1024, "{target} {shown}: {} bytes", response.body.len());
        }
    }
    // Bytes that are not UTF-8, and a body over 1 MiB.
    let raw = b"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n\"\xff\"";
    assert_eq!(crate::helpers::http::Http::connect(port).ask(raw).status, 400);
    let large = "POST /api/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048577\r\n\r\n";
    assert_eq!(crate::helpers::http::Http::connect(port).ask(large).status, 413);
    daemon.assert_healthy();
    assert_eq!(post(port, "/api/publish", &json!({ "channels": ["a"] })), json!({ "channels": 1 }));
}

fn messages_for_a_channel_with_a_history_are_numbered(cores: usize) {
    let scratch = Scratch::new();
    let file = scratch.write("lhttpd.toml", "[[channel]]\nmatch = \"kept\"\nhistory = 10\n");
    let daemon = Daemon::start(cores, &[&ADMIN[..], &["--config", &file]].concat());
    let port = admin_port(&daemon);
    let mut client = Client::connect(daemon.port());
    client.say("LHTTP/1.0 s\r\nsubscribe:kept plain\r\nack:1\r\n\r\n");
    let ack = String::from_utf8(client.recv().payload).expect("text");
    assert!(ack.starts_with("LHTTP/1.0 ack\r\n"), "{ack}");
    let headers = json!({ "message-id": "forged", "channel": "forged", "from": "shop" });
    post(port, "/api/publish", &json!({ "channels": ["kept", "plain"], "headers": headers, "body": "hi" }));
    for _ in 0..2 {
        let message = String::from_utf8(client.recv().payload).expect("text");
        assert!(!message.contains("forged") && message.ends_with("from:shop\r\n\r\nhi"), "{message}");
        assert_eq!(message.contains("\r\nmessage-id:"), message.contains("\r\nchannel:kept\r\n"), "{message}");
    }
    // The headers are the client's own where no channel is kept.
    post(port, "/api/publish", &json!({ "channels": ["plain"], "headers": { "channel": "own" } }));
    client.expect_text("LHTTP/1.0 chat\r\npublish:plain\r\nchannel:own\r\n\r\n");
}
