//! PROTOCOL.md §11: who is subscribed to a channel.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helpers::{
    PATIENCE,
    client::Client,
    daemon::Daemon,
    http::{Http, handshake},
    message::{Message, chat},
    on_one_and_two_cores,
    scratch::Scratch,
    token::{KeyFile, now, signed, token},
    wait_until,
};

on_one_and_two_cores!(
    a_client_asks_who_is_in_a_channel,
    subscribers_are_told_who_comes_and_goes,
    a_client_that_becomes_a_user_is_that_user_from_then_on,
    who_may_not_subscribe_may_not_ask,
    a_reload_counts_who_is_there_already,
    without_presence_the_header_is_one_like_any_other,
    hundreds_that_come_at_once_are_told_of_in_few_messages,
    changes_that_have_no_room_in_a_message_are_counted,
);

const RULES: &str = "
    [[channel]]
    match = \"asked.*\"
    subscribe = \"anyone\"
    publish = \"anyone\"
    presence = true
    [[channel]]
    match = \"told.*\"
    subscribe = \"anyone\"
    publish = \"anyone\"
    presence = \"events\"
    [[channel]]
    match = \"users\"
    subscribe = \"user\"
    presence = true
    [[channel]]
    match = \"plain\"
    subscribe = \"anyone\"
";

struct Rooms {
    daemon: Daemon,
    scratch: Scratch,
    _key: KeyFile,
}

impl Rooms {
    fn start(cores: usize, rules: &str) -> Self {
        let (scratch, key) = (Scratch::new(), KeyFile::new());
        let file = scratch.write("lhttpd.toml", rules);
        let args = ["--config", &file, "--token-key", key.text(), "--presence-grace", "200ms"];
        Self { daemon: Daemon::start(cores, &args), scratch, _key: key }
    }

    fn connect(&self) -> Client {
        Client::connect(self.daemon.port())
    }

    fn connect_as(&self, token: &str) -> Client {
        let mut http = Http::connect(self.daemon.port());
        let response = http.ask(handshake("/", &format!("Authorization: Bearer {token}\r\n")));
        assert_eq!(response.status, 101, "{response:?}");
        http.into_client()
    }
}

fn next(client: &mut Client) -> Message {
    Message::parse(&client.recv().payload)
}

/// Who is in a channel, as a client is told that asks.
fn list(client: &mut Client, channel: &str) -> Vec<Value> {
    client.say(&chat(&[&format!("presence:{channel}"), "ack:who"], ""));
    let answer = next(client);
    assert_eq!(
        (&*answer.command, answer.header("channel"), answer.header("ack")),
        ("presence", Some(channel), Some("who"))
    );
    serde_json::from_str(&answer.body).expect("a JSON array")
}

fn names(list: &[Value]) -> Vec<&str> {
    list.iter().map(|user| user["user"].as_str().expect("a name")).collect()
}

/// Subscribes. Returns the changes that the client was told of before the acknowledgement.
#[track_caller]
fn subscribe(client: &mut Client, headers: &[&str]) -> Vec<Message> {
    client.say(&chat(&[headers, &["ack:s"]].concat(), ""));
    let mut changes = Vec::new();
    loop {
        let message = next(client);
        match &*message.command {
            "ack" => return changes,
            "presence-change" => changes.push(message),
            _ => panic!("{message:?}"),
        }
    }
}

fn a_client_asks_who_is_in_a_channel(cores: usize) {
    let rooms = Rooms::start(cores, RULES);
    let mike = token("mike", &[], &[]);
    let mut clients = [rooms.connect_as(&mike), rooms.connect_as(&mike), rooms.connect(), rooms.connect()];
    let mut asker = rooms.connect();
    for channel in ["asked.a", "asked.b", "asked.c"] {
        assert_eq!(list(&mut asker, channel), Vec::<Value>::new());
        for client in &mut clients[..3] {
            subscribe(client, &[&format!("subscribe:{channel}"), "presence-info:hello \"you\""]);
        }
        let mut found = Vec::new();
        assert!(
            wait_until(
                || {
                    found = list(&mut asker, channel);
                    found.len() == 2
                },
                PATIENCE
            ),
            "{found:?}"
        );
        assert_eq!((&found[0]["user"], &found[0]["connections"]), (&json!("mike"), &json!(2)));
        assert!(found[0]["since"].as_u64().is_some_and(|since| since.abs_diff(now()) < 100), "{found:?}");
        assert_eq!(found[1]["info"], json!("hello \"you\""));
        assert!(found[1]["user"].as_str().is_some_and(|name| name.starts_with('~')), "nobody has a token of this name");
        subscribe(&mut clients[3], &["subscribe:asked.*"]);
        assert_eq!(list(&mut asker, channel).len(), 2, "a pattern is no presence");
    }
    clients[0].say(&chat(&["unsubscribe:asked.a"], ""));
    let left = |asker: &mut Client| list(asker, "asked.a")[0]["connections"] == json!(1);
    assert!(wait_until(|| left(&mut asker), PATIENCE), "one of two has left");
    drop(clients);
    assert!(wait_until(|| list(&mut asker, "asked.b").is_empty(), PATIENCE), "all have gone");
}

fn subscribers_are_told_who_comes_and_goes(cores: usize) {
    let rooms = Rooms::start(cores, RULES);
    let mut watcher = rooms.connect_as(&token("watcher", &[], &[]));
    for channel in ["told.a", "told.b", "told.c"] {
        let mut present = BTreeSet::new();
        let take = |event: Message, present: &mut BTreeSet<String>| {
            assert_eq!((&*event.command, event.header("channel")), ("presence-change", Some(channel)));
            let body: Value = serde_json::from_str(&event.body).expect("JSON");
            let of = |key: &str| body[key].as_array().expect("a list").clone();
            present.extend(names(&of("joined")).into_iter().map(str::to_owned));
            names(&of("left")).into_iter().for_each(|name| assert!(present.remove(name), "{name} was not there"));
        };
        let wait = |watcher: &mut Client, present: &mut BTreeSet<String>, names: &[&str]| {
            while present.iter().map(String::as_str).ne(names.iter().copied()) {
                take(next(watcher), present);
            }
        };
        for change in subscribe(&mut watcher, &[&format!("subscribe:{channel}")]) {
            take(change, &mut present);
        }
        let mut eve = rooms.connect_as(&token("eve", &[], &[]));
        subscribe(&mut eve, &[&format!("subscribe:{channel}")]);
        wait(&mut watcher, &mut present, &["eve", "watcher"]);
        // A reconnect within the grace shows nothing.
        drop(eve);
        let mut eve = rooms.connect_as(&token("eve", &[], &[]));
        subscribe(&mut eve, &[&format!("subscribe:{channel}")]);
        let mut mike = rooms.connect_as(&token("mike", &[], &[]));
        subscribe(&mut mike, &[&format!("subscribe:{channel}")]);
        wait(&mut watcher, &mut present, &["eve", "mike", "watcher"]);
        drop(mike);
        wait(&mut watcher, &mut present, &["eve", "watcher"]);
        drop(eve);
        wait(&mut watcher, &mut present, &["watcher"]);
        watcher.say(&chat(&[&format!("unsubscribe:{channel}")], ""));
        watcher.expect_nothing_before_ack();
    }
}

fn a_client_that_becomes_a_user_is_that_user_from_then_on(cores: usize) {
    let rooms = Rooms::start(cores, RULES);
    let (mut client, mut asker) = (rooms.connect(), rooms.connect());
    subscribe(&mut client, &["subscribe:asked.a"]);
    let claims = format!("{{\"sub\":\"mike\",\"exp\":{},\"lhttp.info\":{{\"face\":\":-)\"}}}}", now() + 1000);
    client.say(&chat(&[&format!("token:{}", signed(&claims))], ""));
    let is_mike = |asker: &mut Client| names(&list(asker, "asked.a")) == ["mike"];
    assert!(wait_until(|| is_mike(&mut asker), PATIENCE), "{:?}", list(&mut asker, "asked.a"));
    assert_eq!(list(&mut asker, "asked.a")[0]["info"], json!({"face": ":-)"}));
}

fn who_may_not_subscribe_may_not_ask(cores: usize) {
    let rooms = Rooms::start(cores, RULES);
    let mut client = rooms.connect();
    for (channel, code, reason) in [
        ("users", 403, "forbidden"),
        ("plain", 404, "no-presence"),
        ("asked.*", 400, "bad-channel"),
        ("$SYS.x", 403, "forbidden"),
    ] {
        client.say(&chat(&[&format!("presence:{channel}"), "ack:x"], ""));
        client.expect_error(code, reason, Some("x"));
    }
    client.say(&chat(&["subscribe:asked.a", &format!("presence-info:{}", "x".repeat(257)), "ack:x"], ""));
    client.expect_error(400, "bad-header", Some("x"));
    client.say(&chat(&["presence:asked.a", "presence:asked.b", "ack:x"], ""));
    client.expect_error(400, "bad-header", Some("x"));
    // Without subscribe it is a header like any other.
    client.subscribe_acked("asked.a");
    let message = chat(&["publish:asked.a", &format!("presence-info:{}", "x".repeat(257))], "text");
    client.say(&message);
    client.expect_text(&message);
    assert_eq!(list(&mut rooms.connect_as(&token("mike", &[], &[])), "users"), Vec::<Value>::new());
}

fn a_reload_counts_who_is_there_already(cores: usize) {
    let rooms = Rooms::start(cores, "[[channel]]\nmatch = \"room\"\nsubscribe = \"anyone\"\n");
    let mut client = rooms.connect_as(&token("mike", &[], &[]));
    client.subscribe_acked("room");
    let reload = |rules: &str, times: usize| {
        rooms.scratch.write("lhttpd.toml", rules);
        rooms.daemon.signal("HUP");
        let is_done = || rooms.daemon.stderr().matches("was read again").count() >= times;
        assert!(wait_until(is_done, PATIENCE), "{}", rooms.daemon.stderr());
    };
    reload("[[channel]]\nmatch = \"room\"\nsubscribe = \"anyone\"\npresence = true\n", 1);
    let mut asker = rooms.connect();
    assert!(wait_until(|| names(&list(&mut asker, "room")) == ["mike"], PATIENCE));
    let other = "[[channel]]\nmatch = \"other\"\npresence = true\n";
    reload(&format!("[[channel]]\nmatch = \"room\"\nsubscribe = \"anyone\"\n{other}"), 2);
    asker.say(&chat(&["presence:room", "ack:x"], ""));
    asker.expect_error(404, "no-presence", Some("x"));
}

fn without_presence_the_header_is_one_like_any_other(cores: usize) {
    let rooms = Rooms::start(cores, "[[channel]]\nmatch = \"room\"\nsubscribe = \"anyone\"\npublish = \"anyone\"\n");
    let mut client = rooms.connect();
    client.subscribe_acked("room");
    let message = chat(&["publish:room", "presence:away", "presence:twice"], "text");
    client.say(&message);
    client.expect_text(&message);
}

fn hundreds_that_come_at_once_are_told_of_in_few_messages(cores: usize) {
    const CLIENTS: usize = 300;
    let rooms = Rooms::start(cores, RULES);
    let mut watcher = rooms.connect();
    watcher.say(&chat(&["subscribe:told.a"], ""));
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| rooms.connect()).collect();
    clients.iter_mut().for_each(|client| client.say(&chat(&["subscribe:told.a"], "")));
    let (mut joined, mut messages, mut users) = (BTreeSet::new(), 0, 0);
    while users <= CLIENTS as u64 {
        let body: Value = serde_json::from_str(&next(&mut watcher).body).expect("JSON");
        assert_eq!(body.get("more"), None, "all have room in one message");
        users = body["users"].as_u64().expect("a number");
        joined.extend(names(body["joined"].as_array().expect("a list")).into_iter().map(str::to_owned));
        messages += 1;
    }
    assert_eq!(joined.len(), CLIENTS + 1);
    assert!(messages <= 30, "{messages} messages for {CLIENTS} clients");
}

fn changes_that_have_no_room_in_a_message_are_counted(cores: usize) {
    const CLIENTS: u64 = 400;
    let rooms = Rooms::start(cores, RULES);
    let mut watcher = rooms.connect();
    watcher.say(&chat(&["subscribe:told.a"], ""));
    assert_eq!(next_counts(&mut watcher), (1, 0, 1));
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| rooms.connect()).collect();
    let mut unnamed = 0;
    for round in 100.. {
        // A machine that is busy may send them slowly enough for one message after the other.
        let info = format!("presence-info:{round} {}", "x".repeat(240));
        clients.iter_mut().for_each(|client| client.say(&chat(&["subscribe:told.a", &info], "")));
        let (mut told, mut users) = (0, 0);
        while told < CLIENTS {
            let (named, more, present) = next_counts(&mut watcher);
            (told, unnamed, users) = (told + named + more, unnamed + more, present);
        }
        assert_eq!((told, users), (CLIENTS, CLIENTS + 1));
        if unnamed > 0 {
            break;
        }
    }
    // Those who were only counted are in the list, and leave like the others.
    let mut asker = rooms.connect();
    assert_eq!(list(&mut asker, "told.a").len() as u64, CLIENTS + 1);
    drop(clients);
    while next_counts(&mut watcher).2 > 1 {}
}

/// The next change: how many who come and go it names, how many it counts, and how many users there are.
fn next_counts(client: &mut Client) -> (u64, u64, u64) {
    let message = next(client);
    assert!(message.command == "presence-change" && message.body.len() < 34 * 1024, "{} bytes", message.body.len());
    let body: Value = serde_json::from_str(&message.body).expect("JSON");
    let number = |value: &Value| value.as_u64().expect("a number");
    let named = ["joined", "left"].map(|list| body[list].as_array().expect("a list").len() as u64);
    (named.iter().sum(), body.get("more").map_or(0, number), number(&body["users"]))
}
