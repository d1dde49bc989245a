//! The API of `admin`: the messages that are kept of a channel.

use serde_json::{Value, json};

use crate::helpers::{
    admin::{ADMIN, admin_port, ask_with, get, json_of},
    client::Client,
    daemon::Daemon,
    message::{Message, chat},
    on_one_and_two_cores,
    scratch::Scratch,
};

on_one_and_two_cores!(
    the_newest_messages_come_first_and_a_list_goes_on_where_it_ended,
    a_message_is_shown_with_its_command_headers_and_body,
    a_page_of_large_messages_is_bounded,
    after_a_delete_older_clients_have_lost_messages_and_the_numbers_go_on,
    what_is_not_kept_or_not_understood_is_answered_in_a_sentence,
);

const RULES: &str = "
    [[channel]]
    match = \"kept.*\"
    history = 1000
    [[channel]]
    match = \"long\"
    history = 20000
";

struct Keeper {
    daemon: Daemon,
    port: u16,
    scratch: Scratch,
}

impl Keeper {
    fn start(cores: usize, args: &[&str]) -> Self {
        let scratch = Scratch::new();
        let daemon = Self::daemon(&scratch, cores, args);
        Self { port: admin_port(&daemon), daemon, scratch }
    }

    fn daemon(scratch: &Scratch, cores: usize, args: &[&str]) -> Daemon {
        let file = scratch.write("lhttpd.toml", RULES);
        Daemon::start(cores, &[&ADMIN[..], &["--config", &file], args].concat())
    }

    fn connect(&self) -> Client {
        Client::connect(self.daemon.port())
    }

    fn delete(&self, name: &str) -> Value {
        json_of(&ask_with(self.port, "DELETE", &format!("/api/channels/{name}/messages"), "", ""), 200)
    }
}

/// Publishes a message to a channel, and returns its id.
#[track_caller]
fn publish(client: &mut Client, channel: &str, body: &str) -> String {
    client.say(&chat(&[&format!("publish:{channel}"), "ack:p"], body));
    let ack = Message::parse(&client.recv().payload);
    ack.header("message-id").unwrap_or_else(|| panic!("no id in {ack:?}")).to_owned()
}

/// Subscribes with these header lines, and returns the bodies of the messages before the acknowledgement, and that.
#[track_caller]
fn subscribe(client: &mut Client, headers: &[&str]) -> (Vec<String>, Message) {
    client.say(&chat(&[headers, &["ack:s"]].concat(), ""));
    let mut bodies = Vec::new();
    loop {
        let message = Message::parse(&client.recv().payload);
        if message.command == "ack" {
            return (bodies, message);
        }
        bodies.push(message.body);
    }
}

fn texts<'v>(page: &'v Value, member: &str) -> Vec<&'v str> {
    let messages = page["messages"].as_array().unwrap_or_else(|| panic!("no messages in {page}"));
    messages.iter().map(|message| message[member].as_str().unwrap_or_else(|| panic!("{message}"))).collect()
}

fn the_newest_messages_come_first_and_a_list_goes_on_where_it_ended(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let mut writer = keeper.connect();
    let mut ids: Vec<_> = (0..120).map(|number| publish(&mut writer, "kept.a", &number.to_string())).collect();
    publish(&mut writer, "kept.b", "other");
    ids.reverse();
    let page = get(keeper.port, "/api/channels/kept.a/messages");
    assert_eq!(texts(&page, "id"), ids[..50]);
    assert_eq!(page["next"], json!(ids[49]));
    assert_eq!(texts(&get(keeper.port, "/api/channels/kept%2Ea/messages?last=2"), "body"), ["119", "118"]);
    let (mut listed, mut target) = (Vec::new(), "/api/channels/kept.a/messages?last=7".to_owned());
    loop {
        let page = get(keeper.port, &target);
        listed.extend(texts(&page, "id").into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/api/channels/kept.a/messages?last=7&before={next}");
    }
    assert_eq!(listed, ids);
    let all = get(keeper.port, "/api/channels/kept.a/messages?last=120");
    assert_eq!((texts(&all, "id").len(), &all["next"]), (120, &Value::Null));
    let none = json!({ "messages": [], "next": null });
    assert_eq!(get(keeper.port, &format!("/api/channels/kept.a/messages?before={}", ids[119])), none);
    assert_eq!(get(keeper.port, "/api/channels/kept.nobody/messages"), none);
}

fn a_message_is_shown_with_its_command_headers_and_body(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let mut writer = keeper.connect();
    writer.say("LHTTP/1.0 sold\r\npublish:kept.a\r\nX:1\r\nx:2\r\nfrom:\"shop\"\r\nack:p\r\n\r\nfür dich\r\n\r\n");
    writer.recv();
    writer.send_binary(b"LHTTP/1.0 raw\r\npublish:kept.a\r\nack:p\r\n\r\n\x00\xff");
    writer.recv();
    let page = get(keeper.port, "/api/channels/kept.a/messages");
    let ids = texts(&page, "id");
    let expected = json!([
        { "id": ids[0], "command": "raw", "headers": { "publish": "kept.a", "ack": "p" }, "body_base64": "AP8=" },
        { "id": ids[1], "command": "sold", "body": "für dich\r\n\r\n",
          "headers": { "publish": "kept.a", "X": ["1", "2"], "from": "\"shop\"", "ack": "p" } },
    ]);
    assert_eq!(page["messages"], expected);
    let raw = ask_with(keeper.port, "GET", "/api/channels/kept.a/messages", "", "");
    assert!(raw.body_text().contains(r#"{"publish":"kept.a","X":["1","2"],"from""#), "{}", raw.body_text());
}

fn a_page_of_large_messages_is_bounded(cores: usize) {
    let keeper = Keeper::start(cores, &["--outbox-max", "200KiB"]);
    let mut writer = keeper.connect();
    // JSON writes each of these characters as six.
    let (control, plain) = ("\u{1}".repeat(60_000), "x".repeat(60_000));
    let ids: Vec<_> =
        (0..20).map(|number| publish(&mut writer, "kept.a", if number == 0 { &control } else { &plain })).collect();
    let (mut listed, mut target) = (Vec::new(), "/api/channels/kept.a/messages?last=1000".to_owned());
    loop {
        let answer = ask_with(keeper.port, "GET", &target, "", "");
        let page = json_of(&answer, 200);
        listed.extend(texts(&page, "id").into_iter().map(str::to_owned));
        let is_last = page["next"].is_null();
        assert!(answer.body.len() <= if is_last { 370_000 } else { 101_000 }, "{}", answer.body.len());
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/api/channels/kept.a/messages?last=1000&before={next}");
    }
    listed.reverse();
    assert_eq!(listed, ids);
}

fn after_a_delete_older_clients_have_lost_messages_and_the_numbers_go_on(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let mut writer = keeper.connect();
    let mut live = keeper.connect();
    subscribe(&mut live, &["subscribe:kept.a"]);
    let ids: Vec<_> = ["one", "two", "three"].into_iter().map(|body| publish(&mut writer, "kept.a", body)).collect();
    let other = publish(&mut writer, "kept.b", "other");
    for _ in 0..3 {
        live.recv();
    }
    assert_eq!(keeper.delete("kept.a"), json!({ "deleted": 3 }));
    assert_eq!(keeper.delete("kept.a"), json!({ "deleted": 0 }));
    assert_eq!(keeper.delete("kept.nobody"), json!({ "deleted": 0 }));
    assert_eq!(get(keeper.port, "/api/channels/kept.a/messages")["messages"], json!([]));
    assert_eq!(texts(&get(keeper.port, "/api/channels/kept.b/messages"), "id"), [other]);
    live.expect_nothing_before_ack();
    let (missed, ack) = subscribe(&mut keeper.connect(), &["subscribe:kept.a", &format!("since:{}", ids[1])]);
    assert_eq!((missed.len(), ack.header("lost"), ack.header("position")), (0, Some("kept.a"), Some(&*ids[2])));
    let (missed, ack) = subscribe(&mut keeper.connect(), &["subscribe:kept.a", &format!("since:{}", ids[2])]);
    assert_eq!((missed.len(), ack.header("lost")), (0, None), "nothing is missing after the newest");
    let fourth = publish(&mut writer, "kept.a", "four");
    let number = |id: &str| id.rsplit('-').next().and_then(|number| number.parse::<u64>().ok()).expect("a number");
    assert_eq!(number(&fourth), number(&ids[2]) + 1);
    let (missed, ack) = subscribe(&mut keeper.connect(), &["subscribe:kept.a", &format!("since:{}", ids[2])]);
    assert_eq!((missed, ack.header("lost")), (vec!["four".to_owned()], None));
    let (missed, ack) = subscribe(&mut keeper.connect(), &["subscribe:kept.a", &format!("since:{}", ids[0]), "last:9"]);
    assert_eq!((missed, ack.header("lost")), (vec!["four".to_owned()], Some("kept.a")));
}

#[test]
fn a_delete_of_very_many_messages_takes_several_turns() {
    let keeper = Keeper::start(1, &[]);
    let mut writer = keeper.connect();
    for _ in 0..10_000 {
        writer.say(&chat(&["publish:long"], ""));
    }
    publish(&mut writer, "long", "last");
    assert_eq!(keeper.delete("long"), json!({ "deleted": 10_001 }));
    assert_eq!(get(keeper.port, "/api/channels/long/messages"), json!({ "messages": [], "next": null }));
}

fn what_is_not_kept_or_not_understood_is_answered_in_a_sentence(cores: usize) {
    let keeper = Keeper::start(cores, &[]);
    let id = publish(&mut keeper.connect(), "kept.a", "one");
    let other = format!("000000000000-{}", id.rsplit('-').next().expect("a number"));
    let before = |id: &str| format!("/api/channels/kept.a/messages?before={id}");
    for (method, target, status, error) in [
        ("GET", "/api/channels/plain/messages", 404, "no-history"),
        ("DELETE", "/api/channels/plain/messages", 404, "no-history"),
        ("GET", &before(&other), 404, "unknown-message"),
        ("GET", &before("0"), 400, "bad-request"),
        ("GET", &before(&format!("{id}0000000000000000000000")), 400, "bad-request"),
        ("GET", &before("%00"), 400, "bad-request"),
        ("GET", "/api/channels/kept.a/messages?last=0", 400, "bad-request"),
        ("GET", "/api/channels/kept.a/messages?last=1001", 400, "bad-request"),
        ("GET", "/api/channels/kept.a/messages?last=-1", 400, "bad-request"),
        ("GET", "/api/channels/kept.a/messages?limit=1", 400, "bad-request"),
        ("DELETE", "/api/channels/kept.a/messages?last=1", 400, "bad-request"),
        ("GET", "/api/channels/kept.*/messages", 400, "bad-request"),
        ("DELETE", "/api/channels/%3E/messages", 400, "bad-request"),
        ("GET", "/api/channels/%ff/messages", 400, "bad-request"),
        ("GET", "/api/channels//messages", 400, "bad-request"),
        ("GET", "/api/channels/kept.a%00/messages", 400, "bad-request"),
        ("POST", "/api/channels/kept.a/messages", 405, "bad-method"),
        ("GET", "/api/channels/kept.a/messages/1", 404, "not-found"),
    ] {
        let response = ask_with(keeper.port, method, target, "", "");
        let answer = json_of(&response, status);
        assert_eq!(answer["error"], error, "{method} {target}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.len() > 10), "{answer}");
        assert_eq!(response.header("allow"), (status == 405).then_some("GET, DELETE"));
    }
    assert_eq!(texts(&get(keeper.port, "/api/channels/kept.a/messages"), "id"), [id]);
}

#[cfg(feature = "sqlite")]
mod in_a_file {
    use super::*;
    use crate::helpers::PATIENCE;

    on_one_and_two_cores!(a_delete_counts_for_the_file_too_and_for_what_is_on_its_way_there,);

    fn a_delete_counts_for_the_file_too_and_for_what_is_on_its_way_there(cores: usize) {
        let scratch = Scratch::new();
        let path = scratch.path().join("chat.db").to_str().expect("UTF-8").to_owned();
        let args = ["--history-file", &path];
        let daemon = Keeper::daemon(&scratch, cores, &args);
        let mut keeper = Keeper { port: admin_port(&daemon), daemon, scratch };
        let mut writer = keeper.connect();
        let first = publish(&mut writer, "kept.a", "one");
        let other = publish(&mut writer, "kept.b", "other");
        // These are answered before they are on the disk.
        let body = json!({ "messages": vec![json!({ "channels": ["kept.a"], "body": "x" }); 200] });
        crate::helpers::admin::post(keeper.port, "/api/batch", &body);
        // The letter with the batch is before that with the question, if both are of one core.
        let deleted = keeper.delete("kept.a")["deleted"].as_u64();
        assert!(if cores == 1 { deleted == Some(201) } else { deleted >= Some(1) }, "{deleted:?}");
        let last = publish(&mut writer, "kept.a", "last");
        keeper.delete("kept.a");
        keeper.daemon.terminate();
        assert!(keeper.daemon.exit_within(PATIENCE).is_some_and(|status| status.success()));
        keeper.daemon = Keeper::daemon(&keeper.scratch, cores, &args);
        keeper.port = admin_port(&keeper.daemon);
        assert_eq!(get(keeper.port, "/api/channels/kept.a/messages")["messages"], json!([]));
        assert_eq!(texts(&get(keeper.port, "/api/channels/kept.b/messages"), "id"), [other]);
        let (_, ack) = subscribe(&mut keeper.connect(), &["subscribe:kept.a", &format!("since:{first}")]);
        assert_eq!((ack.header("lost"), ack.header("position")), (Some("kept.a"), Some(&*last)));
        let (_, ack) = subscribe(&mut keeper.connect(), &["subscribe:kept.a", &format!("since:{last}")]);
        assert_eq!((ack.header("lost"), ack.header("position")), (None, Some(&*last)));
    }
}
