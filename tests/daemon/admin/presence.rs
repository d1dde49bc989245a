//! The API of `admin`: who is in a channel.

use serde_json::{Value, json};

use crate::helpers::{
    admin::{ADMIN, admin_port, ask_with, get, json_of},
    client::Client,
    daemon::Daemon,
    http::{Http, handshake},
    message::chat,
    on_one_and_two_cores,
    scratch::Scratch,
    token::{KeyFile, now, token},
    wait_for,
};

on_one_and_two_cores!(
    users_are_listed_by_name_with_their_connections,
    a_list_that_is_too_long_says_how_many_are_left_out,
    a_channel_that_nobody_counts_is_404,
);

const RULES: &str = "
    [[channel]]
    match = \"room.*\"
    subscribe = \"anyone\"
    presence = true
";

struct Rooms {
    daemon: Daemon,
    port: u16,
    _scratch: Scratch,
    _key: KeyFile,
}

impl Rooms {
    fn start(cores: usize, args: &[&str]) -> Self {
        let (scratch, key) = (Scratch::new(), KeyFile::new());
        let file = scratch.write("lhttpd.toml", RULES);
        let own = ["--config", &file, "--token-key", key.text(), "--presence-grace", "100ms"];
        let daemon = Daemon::start(cores, &[&ADMIN[..], &own, args].concat());
        Self { port: admin_port(&daemon), daemon, _scratch: scratch, _key: key }
    }

    fn subscribed_as(&self, user: Option<&str>, headers: &[&str]) -> Client {
        let authorization = user.map(|user| format!("Authorization: Bearer {}\r\n", token(user, &[], &[])));
        let mut http = Http::connect(self.daemon.port());
        assert_eq!(http.ask(handshake("/", &authorization.unwrap_or_default())).status, 101);
        let mut client = http.into_client();
        client.say(&chat(&[headers, &["ack:s"]].concat(), ""));
        client.expect_ack("s");
        client
    }

    fn users(&self, channel: &str) -> Vec<Value> {
        let answer = get(self.port, &format!("/api/channels/{channel}/presence"));
        assert_eq!(answer["more"], json!(0), "{answer}");
        answer["users"].as_array().unwrap_or_else(|| panic!("no users in {answer}")).clone()
    }
}

fn users_are_listed_by_name_with_their_connections(cores: usize) {
    let rooms = Rooms::start(cores, &[]);
    for channel in ["room.a", "room.b", "room.c"] {
        assert_eq!(rooms.users(channel), Vec::<Value>::new());
        let subscribe = format!("subscribe:{channel}");
        let mike = [0; 2].map(|_| rooms.subscribed_as(Some("mike"), &[&subscribe]));
        let _anna = rooms.subscribed_as(Some("anna"), &[&subscribe, "presence-info:hi \"you\""]);
        let _nobody = rooms.subscribed_as(None, &[&subscribe]);
        let connections = |users: &[Value]| users.iter().filter_map(|user| user["connections"].as_u64()).sum::<u64>();
        wait_for(|| connections(&rooms.users(channel)) == 4);
        let users = rooms.users(channel);
        let (anna, of_mike, other) = (&users[0], &users[1], &users[2]);
        assert_eq!((&anna["user"], &anna["info"]), (&json!("anna"), &json!("hi \"you\"")));
        assert_eq!((&of_mike["user"], &of_mike["connections"]), (&json!("mike"), &json!(2)));
        assert!(of_mike["since"].as_u64().is_some_and(|since| since.abs_diff(now()) < 100), "{users:?}");
        assert!(other["user"].as_str().is_some_and(|user| user.starts_with('~')), "{users:?}");
        drop(mike);
        wait_for(|| rooms.users(channel).len() == 2);
    }
}

fn a_list_that_is_too_long_says_how_many_are_left_out(cores: usize) {
    let rooms = Rooms::start(cores, &["--max-message", "8KiB", "--outbox-max", "16KiB"]);
    let info = format!("presence-info:{}", "x".repeat(200));
    let _clients: Vec<_> = (0..60).map(|_| rooms.subscribed_as(None, &["subscribe:room.a", &info])).collect();
    let list = || {
        let response = ask_with(rooms.port, "GET", "/api/channels/room.a/presence", "", "");
        assert!(response.body.len() < 9_000, "{} bytes", response.body.len());
        let answer = json_of(&response, 200);
        (answer["users"].as_array().map_or(0, Vec::len), answer["more"].as_u64().unwrap_or_default() as usize)
    };
    wait_for(|| list().0 + list().1 == 60);
    assert!((10..50).contains(&list().0), "{:?}", list());
}

fn a_channel_that_nobody_counts_is_404(cores: usize) {
    let rooms = Rooms::start(cores, &[]);
    for (target, status, error) in [
        ("/api/channels/plain/presence", 404, "no-presence"),
        ("/api/channels/room.*/presence", 400, "bad-request"),
        ("/api/channels/room.a/presence?limit=1", 400, "bad-request"),
    ] {
        let answer = json_of(&ask_with(rooms.port, "GET", target, "", ""), status);
        assert_eq!(answer["error"], error, "{target}");
    }
    assert_eq!(ask_with(rooms.port, "DELETE", "/api/channels/room.a/presence", "", "").status, 405);
}
