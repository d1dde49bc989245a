//! `presence`, `sub --presence` and `sub --info`, from a real `lhttpd`; and from a server that means harm.

mod common;
#[path = "../../c/tests/common/lhttpd.rs"]
mod lhttpd;

use std::{
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use common::{Folder, PATIENCE, Running, expect_code, message, program, run};
use lhttp::{
    Message,
    client::{Client, Event, Start},
};
use lhttpd::Lhttpd;
use serde_json::Value;
use tungstenite::WebSocket;

const RULES: &str = "
    [presence]
    grace = \"50ms\"
    [[channel]]
    match = \"asked\"
    presence = true
    [[channel]]
    match = \"told\"
    presence = \"events\"
    [[channel]]
    match = \"secret\"
    subscribe = \"nobody\"
    presence = true
";

struct Rooms {
    daemon: Lhttpd,
    _folder: Folder,
}

impl Rooms {
    fn start() -> Self {
        let folder = Folder::new();
        Self { daemon: Lhttpd::start(&folder.0, RULES), _folder: folder }
    }

    fn url(&self) -> String {
        format!("ws://{}", self.daemon.address)
    }

    fn client(&self) -> Client {
        Client::builder(self.url()).timeout(PATIENCE).connect().expect("the daemon listens")
    }

    fn program(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.arg(self.url()).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        run(self.program(args), b"")
    }

    /// Runs the program until its output is as expected.
    #[track_caller]
    fn wait_for(&self, args: &[&str], is_expected: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let (out, err) = expect_code(&self.run(args), 0);
            assert_eq!(err, "");
            if is_expected(&out) {
                return out;
            }
            assert!(start.elapsed() < PATIENCE, "{out:?}");
        }
    }
}

#[test]
fn presence_prints_who_is_there_as_a_table_or_as_json() {
    let rooms = Rooms::start();
    assert_eq!(rooms.wait_for(&["presence", "asked"], |_| true), "USER  CONNECTIONS  SINCE  INFO\n");
    let mut client = rooms.client();
    client.subscribe_with_info("asked", "at \"home\"", Start::default()).unwrap();
    let out = rooms.wait_for(&["presence", "asked"], |out| out.lines().count() == 2);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], "USER           CONNECTIONS  SINCE                 INFO");
    assert!(lines[1].starts_with('~') && lines[1].ends_with("Z  at \"home\""), "{out}");
    assert_eq!(&lines[1][13..28], "            1  ");
    let out = rooms.wait_for(&["presence", "asked", "--json"], |_| true);
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((out.lines().count(), &list["channel"], &list["more"]), (1, &"asked".into(), &0.into()));
    let member = &list["members"][0];
    assert_eq!((&member["connections"], &member["info"]), (&1.into(), &"at \"home\"".into()));
    assert!(member["since"].as_u64().is_some_and(|since| since > 1_700_000_000), "{out}");
    client.unsubscribe("asked").unwrap();
    rooms
        .wait_for(&["presence", "asked", "--json"], |out| out == "{\"channel\":\"asked\",\"members\":[],\"more\":0}\n");
}

#[test]
fn what_the_server_refuses_is_said() {
    let rooms = Rooms::start();
    for (args, code, sentence) in [
        (&["presence", "plain"][..], 1, "the server refused it: 404 no-presence"),
        (&["presence", "secret", "--json"], 1, "the server refused it: 403 forbidden"),
        (&["presence", "asked.*"], 2, "400 bad-channel"),
        (&["presence", "a b"], 2, "400 bad-channel"),
        (&["presence"], 2, "CHANNEL"),
        (&["sub", "asked", "--info", "\x1b[2J"], 2, "bad-header"),
        (&["sub", "asked", "--info", &"x".repeat(257)], 2, "256 bytes"),
    ] {
        let (out, err) = expect_code(&rooms.run(args), code);
        assert!(out.is_empty() && err.contains(sentence) && !err.contains('\x1b'), "{sentence}: {err}");
    }
}

#[test]
fn sub_shows_its_text_and_prints_who_comes_and_goes() {
    let rooms = Rooms::start();
    let mut client = rooms.client();
    let args = ["sub", "told", "--presence", "--info", "a script", "--count", "1"];
    let mut lines = Running::start(rooms.program(&args));
    let first = lines.line();
    assert!(first.starts_with("(joined) [told] ~") && first.ends_with(": a script"), "{first}");
    let mut objects = Running::start(rooms.program(&["sub", "told", "--presence", "--json"]));
    let come = lines.line();
    assert!(come.starts_with("(joined) [told] ~") && !come.contains(": "), "{come}");
    let object: Value = serde_json::from_str(&objects.line()).unwrap();
    assert_eq!((&object["channel"], &object["left"]), (&"told".into(), &Value::Array(Vec::new())));
    assert_eq!((&object["users"], &object["more"]), (&2.into(), &0.into()));
    assert!(object["joined"][0]["user"].as_str().is_some_and(|user| come.ends_with(user)), "{object}");

    client.subscribe_with_info("told", "one", Start::default()).unwrap();
    assert!(lines.line().ends_with(": one"));
    client.subscribe_with_info("told", "two\u{202e}", Start::default()).unwrap();
    let changed = lines.line();
    let user = changed.strip_suffix(": two\\u{202e}").and_then(|line| line.strip_prefix("(joined) [told] ")).unwrap();
    client.unsubscribe("told").unwrap();
    assert_eq!(lines.line(), format!("(left) [told] {user}"));
    // Only messages count.
    client.publish("told", Message::new("chat").unwrap().body("hi")).unwrap();
    assert_eq!(lines.line(), "[told] hi");
    assert_eq!(lines.wait(), Some(0));
    let is_gone = |line: &str| line.contains("\"left\":[{\"user\"") && line.contains(user);
    while !is_gone(&objects.line()) {}
}

#[test]
fn sub_without_presence_prints_messages_alone() {
    let rooms = Rooms::start();
    let mut client = rooms.client();
    let mut lines = Running::start(rooms.program(&["sub", "told", "--count", "1"]));
    client.subscribe("told").unwrap();
    // Both are there, and the program has been told so.
    let mut users = 0;
    while users < 2 {
        match client.poll(PATIENCE).unwrap() {
            Some(Event::PresenceChange { joined, left, .. }) => users += joined.len() - left.len(),
            other => panic!("{other:?}"),
        }
    }
    client.publish("told", Message::new("chat").unwrap().body("hi")).unwrap();
    assert_eq!(lines.line(), "[told] hi");
    assert_eq!(lines.wait(), Some(0));
    assert_eq!(message(&mut client).body_bytes(), b"hi");
}

#[test]
fn the_chat_shows_who_is_there() {
    let rooms = Rooms::start();
    let (out, err) = expect_code(&run(rooms.program(&[]), b"/sub asked\n/who\n/who plain\n"), 1);
    assert!(out.starts_with("USER           CONNECTIONS  SINCE                 INFO\n~"), "{out}");
    assert!(err.contains("404 no-presence"), "{err}");
    let mut chat = Running::start(rooms.program(&[]));
    chat.say("/sub told");
    let come = chat.line();
    assert!(come.starts_with("(joined) [told] ~"), "{come}");
    chat.end_input();
    assert_eq!(chat.wait(), Some(0));
}

/// A server that answers one question or subscription with these messages, in which `TOKEN` stands for its token.
fn hostile(answers: Vec<String>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the program connects");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut socket: WebSocket<TcpStream> = tungstenite::accept(stream).expect("it shakes hands");
        let question = Message::parse(&socket.read().expect("it asks").into_data()).expect("LHTTP");
        let token = question.header_value("ack").expect("it wants to know");
        for answer in answers {
            socket.send(tungstenite::Message::text(answer.replace("TOKEN", token))).unwrap();
        }
        while socket.read().is_ok() {}
    });
    (url, server)
}

const HARM: &str = "\u{1b}[2J\u{9b}31m\u{202e}\t\u{7f}\\u0007\\r\\n\\u001b[31m";

/// A user with this `info`; everything in it means harm.
fn user(name: &str, info: &str) -> String {
    format!("{{\"user\":\"{name}\",\"connections\":1,\"since\":18446744073709551615,\"info\":{info}}}")
}

#[track_caller]
fn expect_harmless(text: &str) {
    let is_harmful = |c: char| (c.is_control() && c != '\n') || ('\u{2028}'..='\u{202e}').contains(&c);
    let found = text.char_indices().find(|(_, c)| is_harmful(*c));
    assert_eq!(found, None);
}

#[test]
fn nothing_of_a_user_reaches_a_terminal_as_a_command() {
    // A raw tab is no JSON in a text.
    let name = HARM.replace('\t', "\\t").replace('\u{1b}', "\\u001b");
    let long = "x".repeat(100_000);
    let infos = [format!("\"{name}\""), format!("\n{{ \"a\" :\r\n\t\"{name}\" }}"), "[".repeat(500) + &"]".repeat(500)];
    let users: Vec<_> = infos.iter().map(|info| user(&name, info)).chain([user(&long, "1e999")]).collect();
    let list = format!("LHTTP/1.0 presence\r\nchannel:room\r\nack:TOKEN\r\nmore:7\r\n\r\n[{}]", users.join(","));
    let presence = |args: &[&str]| {
        let (url, server) = hostile(vec![list.clone()]);
        let mut command = program();
        command.args([&url, "presence", "room"]).args(args);
        let (out, err) = expect_code(&run(command, b""), 0);
        server.join().unwrap();
        expect_harmless(&out);
        (out, err)
    };
    let (out, err) = presence(&[]);
    assert_eq!(out.lines().count(), 5);
    assert!(out.lines().take(4).all(|line| line.len() < 2_000), "a long name makes no other line long");
    assert_eq!(err, "lhttp: the list is too long for one message: 7 more users are there\n");
    let (out, err) = presence(&["--json"]);
    assert_eq!((out.lines().count(), &*err), (1, ""));
    assert!(out.contains("\"info\":{\"a\":\"\\u001b[2J\\u009b31m") && out.contains(",\"info\":1e999}"), "{out:?}");

    let change = format!(
        "LHTTP/1.0 presence-change\r\nchannel:room\u{202e}\r\n\r\n{{\"joined\":[{}],\"left\":[{{\"user\":\"{name}\"}}],\
         \"users\":9,\"more\":7}}",
        users.join(",")
    );
    let answers = ["LHTTP/1.0 ack\r\nack:TOKEN\r\n\r\n", &change, "LHTTP/1.0 chat\r\npublish:room\r\n\r\nhi"];
    for form in [&["--json"][..], &[]] {
        let (url, server) = hostile(answers.iter().map(|&answer| answer.to_owned()).collect());
        let mut command = program();
        command.args([&url, "sub", "room", "--presence", "--count", "1"]).args(form);
        let (out, err) = expect_code(&run(command, b""), 0);
        server.join().unwrap();
        expect_harmless(&out);
        assert_eq!((out.lines().count(), &*err), (if form.is_empty() { 7 } else { 2 }, ""));
        let more = if form.is_empty() { "] 7 have come or gone; 9 are there\n" } else { ",\"users\":9,\"more\":7}\n" };
        assert!(out.contains(more), "{out:?}");
    }
}

#[test]
fn an_answer_that_is_no_list_is_an_error() {
    for body in ["", "{}", "[{\"user\":\"\u{9b}2J\",\"connections\":\"\u{9b}2J\"}]"] {
        let (url, server) = hostile(vec![format!("LHTTP/1.0 presence\r\nchannel:room\r\nack:TOKEN\r\n\r\n{body}")]);
        let mut command = program();
        command.args([&url, "presence", "room"]);
        let (out, err) = expect_code(&run(command, b""), 3);
        server.join().unwrap();
        expect_harmless(&err);
        assert!(out.is_empty() && err.contains("list of users"), "{err}");
    }
    let (url, server) = hostile(Vec::new());
    let mut command = program();
    command.args([&url, "presence", "room", "--timeout", "100ms"]);
    let start = Instant::now();
    let (_, err) = expect_code(&run(command, b""), 4);
    assert!(err.contains("no answer within the timeout") && start.elapsed() >= Duration::from_millis(100), "{err}");
    server.join().unwrap();
}
