//! PROTOCOL.md §8 and §9: how a client gives its token, what it may do then, and where the token goes.

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    http::{Http, Response, handshake, publish_request},
    message::{Message, chat},
    on_one_and_two_cores,
    scratch::Scratch,
    token::{KeyFile, now, signed, token, token_until},
};

on_one_and_two_cores!(
    a_handshake_gives_its_token_in_any_of_four_ways,
    a_bad_token_gets_401_before_the_upgrade,
    a_server_may_require_a_token,
    a_message_brings_a_new_token_that_counts_for_the_message_itself,
    a_new_token_must_be_for_the_same_user,
    a_message_that_is_refused_changes_nothing_of_its_client,
    a_token_is_never_passed_on,
    a_token_that_runs_out_ends_what_anonymous_clients_may_not_have,
    the_server_stamps_the_name_of_the_user,
    a_server_without_keys_ignores_tokens_and_passes_none_on,
);

/// Everyone may use `open`, users `users`, tokens decide the rest.
const RULES: &str = "
    [[channel]]
    match = \"open\"
    subscribe = \"anyone\"
    publish = \"anyone\"
    [[channel]]
    match = \"users\"
    subscribe = \"user\"
    publish = \"user\"
    [[channel]]
    match = \"inbox.{user}\"
    subscribe = \"user\"
    publish = \"nobody\"
    [[channel]]
    match = \"stamped\"
    subscribe = \"anyone\"
    publish = \"anyone\"
    stamp = true
";

struct Door {
    daemon: Daemon,
    _scratch: Scratch,
    _key: KeyFile,
}

impl Door {
    fn start(cores: usize, args: &[&str]) -> Self {
        let (scratch, key) = (Scratch::new(), KeyFile::new());
        let file = scratch.write("lhttpd.toml", RULES);
        let daemon = Daemon::start(cores, &[&["--config", &file, "--token-key", key.text()], args].concat());
        Self { daemon, _scratch: scratch, _key: key }
    }

    fn shake_hands(&self, path: &str, extra: &str) -> (Response, Http) {
        let mut http = Http::connect(self.daemon.port());
        let response = http.ask(handshake(path, extra));
        (response, http)
    }

    fn connect(&self, token: &str) -> Client {
        let (response, http) = self.shake_hands("/", &bearer(token));
        assert_eq!(response.status, 101, "{response:?}");
        http.into_client()
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Sends a message with these header lines and gives the answer: an acknowledgement or an error.
#[track_caller]
fn ask(client: &mut Client, lines: &str) -> Message {
    client.say(&format!("LHTTP/1.0 chat\r\n{lines}\r\nack:1\r\n\r\n"));
    let answer = Message::parse(&client.recv().payload);
    assert_eq!(answer.header("ack"), Some("1"), "{answer:?}");
    answer
}

#[track_caller]
fn expect_refusal(client: &mut Client, lines: &str, code: &str, reason: &str) {
    let answer = ask(client, lines);
    assert_eq!((answer.header("code"), answer.header("reason")), (Some(code), Some(reason)), "{lines}: {answer:?}");
}

fn a_handshake_gives_its_token_in_any_of_four_ways(cores: usize) {
    let door = Door::start(cores, &["--token-cookie", "session"]);
    let (mike, eve) = (token("mike", &[], &[]), token("eve", &[], &[]));
    for (path, extra, user) in [
        ("/".to_owned(), bearer(&mike), Some("mike")),
        (format!("/chat?x=1&token={mike}"), String::new(), Some("mike")),
        ("/".to_owned(), format!("Sec-WebSocket-Protocol: lhttp, lhttp.token.{mike}\r\n"), Some("mike")),
        ("/".to_owned(), format!("Sec-WebSocket-Protocol: lhttp.token.{mike}, lhttp\r\n"), Some("mike")),
        ("/".to_owned(), format!("Cookie: a=b; session={mike}; c=d\r\n"), Some("mike")),
        ("/".to_owned(), format!("Cookie: asession={mike}\r\n"), None),
        ("/".to_owned(), "Authorization: Basic bWlrZTptaWtl\r\n".to_owned(), None),
        // The first way counts.
        (format!("/?token={eve}"), bearer(&mike), Some("mike")),
        (format!("/?token={mike}"), format!("Cookie: session={eve}\r\n"), Some("mike")),
        ("/".to_owned(), String::new(), None),
    ] {
        let (response, http) = door.shake_hands(&path, &extra);
        assert_eq!(response.status, 101, "{path} {extra}: {response:?}");
        let selected = extra.contains("Protocol").then_some("lhttp");
        assert_eq!(response.header("sec-websocket-protocol"), selected, "{response:?}");
        let mut client = http.into_client();
        for name in ["mike", "eve"] {
            let may = ask(&mut client, &format!("subscribe:inbox.{name}")).command == "ack";
            assert_eq!(may, user == Some(name), "{path} {extra}: inbox.{name}");
        }
    }
}

fn a_bad_token_gets_401_before_the_upgrade(cores: usize) {
    let door = Door::start(cores, &["--token-cookie", "session"]);
    let good = token("mike", &[], &[]);
    // The signature's first letter stands for six of its bits, the last one for four.
    let (claims, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{claims}.{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
    let changed = good.replacen('.', ".e", 1);
    for bad in [
        "x",
        "a.b.c",
        &forged,
        &changed,
        &token_until(now() - 100, "mike", &[], &[]),
        &signed("{\"sub\":\"mike\"}"),
        &signed(&format!("{{\"sub\":\"\",\"exp\":{}}}", now() + 100)),
        &signed(&format!("{{\"sub\":\"mike\",\"exp\":{},\"nbf\":{}}}", now() + 200, now() + 100)),
        &signed(&format!("{{\"sub\":\" mike\",\"exp\":{}}}", now() + 100)),
        &"a".repeat(5_000),
    ] {
        for (path, extra) in [
            ("/".to_owned(), bearer(bad)),
            (format!("/?token={bad}"), String::new()),
            ("/".to_owned(), format!("Sec-WebSocket-Protocol: lhttp, lhttp.token.{bad}\r\n")),
            ("/".to_owned(), format!("Cookie: session={bad}\r\n")),
        ] {
            let (response, mut http) = door.shake_hands(&path, &extra);
            assert_eq!(response.status, 401, "{bad} {path} {extra}");
            assert!(response.header("www-authenticate").is_some(), "{response:?}");
            assert!(!response.body.is_empty() && !response.body_text().contains(bad), "{response:?}");
            http.expect_end();
        }
        let mut http = Http::connect(door.daemon.port());
        assert_eq!(http.ask(publish_request(chat(&["publish:open"], ""), &bearer(bad))).status, 401, "{bad}");
    }
    let mut client = door.connect(&good);
    expect_refusal(&mut client, "token:x.y.z\r\nsubscribe:open", "401", "unauthorized");
    expect_refusal(&mut client, &format!("token:{good}\r\ntoken:{good}"), "400", "bad-header");
    client.expect_nothing_before_ack();
}

fn a_server_may_require_a_token(cores: usize) {
    let door = Door::start(cores, &["--require-token", "--publish-key", "s3cret"]);
    let mike = token("mike", &[], &[]);
    assert_eq!(door.shake_hands("/", "").0.status, 401);
    let mut client = door.connect(&mike);
    client.subscribe_acked("open");
    let post = |extra: &str| {
        let request = publish_request(chat(&["publish:open"], "posted"), extra);
        Http::connect(door.daemon.port()).ask(request).status
    };
    assert_eq!((post(""), post(&bearer("wrong"))), (401, 401));
    for extra in [bearer(&mike), bearer("s3cret")] {
        assert_eq!(post(&extra), 200);
        client.expect_text(&chat(&["publish:open"], "posted"));
    }
    assert_eq!(Http::connect(door.daemon.port()).ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
}

fn a_message_brings_a_new_token_that_counts_for_the_message_itself(cores: usize) {
    let door = Door::start(cores, &[]);
    let mut client = Client::connect(door.daemon.port());
    expect_refusal(&mut client, "subscribe:users", "403", "forbidden");
    let mike = token("mike", &["room.*"], &["room.a"]);
    let answer = ask(&mut client, &format!("token:{mike}\r\nsubscribe:users room.a room.b"));
    assert_eq!(answer.command, "ack", "{answer:?}");
    let left: u64 = answer.header("expires-in").expect("it says how long").parse().unwrap();
    assert!((3_500..=3_600).contains(&left), "{left}");
    let publish = chat(&["publish:users room.a"], "hi");
    client.say(&publish);
    client.expect_text(&publish);
    client.expect_text(&publish);
    expect_refusal(&mut client, "publish:room.b", "403", "forbidden");

    // The next token lists less: what it does not list ends, with an error that names it.
    let less = token("mike", &["room.a"], &[]);
    client.say(&format!("LHTTP/1.0 chat\r\ntoken:{less}\r\nack:2\r\nsubscribe:open\r\n\r\n"));
    let ended = client.any_error();
    assert_eq!(
        (ended.header("code"), ended.header("channel"), ended.header("ack")),
        (Some("403"), Some("room.b"), None)
    );
    assert_eq!(Message::parse(&client.recv().payload).header("ack"), Some("2"));
    expect_refusal(&mut client, "publish:room.a", "403", "forbidden");
}

fn a_new_token_must_be_for_the_same_user(cores: usize) {
    let door = Door::start(cores, &[]);
    let mut client = door.connect(&token("mike", &[], &[]));
    client.subscribe_acked("inbox.mike");
    let eve = token("eve", &[], &[]);
    expect_refusal(&mut client, &format!("token:{eve}\r\nsubscribe:inbox.eve"), "401", "unauthorized");
    expect_refusal(&mut client, "subscribe:inbox.eve", "403", "forbidden");
    let again = token("mike", &["x"], &[]);
    assert_eq!(ask(&mut client, &format!("token:{again}\r\nsubscribe:x inbox.mike")).command, "ack");
}

fn a_message_that_is_refused_changes_nothing_of_its_client(cores: usize) {
    let door = Door::start(cores, &[]);
    let mut client = door.connect(&token("mike", &["old"], &[]));
    client.subscribe_acked("old");
    let new = token("mike", &["new"], &[]);
    expect_refusal(&mut client, &format!("token:{new}\r\nsubscribe:other"), "403", "forbidden");
    expect_refusal(&mut client, &format!("token:{new}\r\nsubscribe:a..b"), "400", "bad-channel");
    expect_refusal(&mut client, "subscribe:new", "403", "forbidden");
    client.subscribe_acked("old");
}

fn a_token_is_never_passed_on(cores: usize) {
    let door = Door::start(cores, &[]);
    let mike = token("mike", &[], &[]);
    let (mut listener, mut client) = (Client::connect(door.daemon.port()), door.connect(&mike));
    listener.subscribe_acked("open stamped");
    client.say(&format!("LHTTP/1.0 chat\r\nX: 1\r\nTOKEN:  {mike}\r\npublish:open\r\n\r\ntoken:{mike}\r\n"));
    listener.expect_text(&format!("LHTTP/1.0 chat\r\nX: 1\r\npublish:open\r\n\r\ntoken:{mike}\r\n"));
    client.say(&format!("LHTTP/1.0 chat\r\npublish:stamped\r\ntoken:{mike}\r\n\r\n"));
    listener.expect_text("LHTTP/1.0 chat\r\nfrom-user:mike\r\npublish:stamped\r\n\r\n");
    // In the body of a post a token has no meaning, and goes no further either.
    let post = publish_request(format!("LHTTP/1.0 chat\r\ntoken:{mike}\r\npublish:open\r\n\r\n"), "");
    assert_eq!(Http::connect(door.daemon.port()).ask(post).status, 200);
    listener.expect_text("LHTTP/1.0 chat\r\npublish:open\r\n\r\n");
    let post = publish_request(format!("LHTTP/1.0 chat\r\ntoken:{mike}\r\npublish:users\r\n\r\n"), "");
    assert_eq!(Http::connect(door.daemon.port()).ask(post).status, 403);
    listener.expect_nothing_before_ack();
}

fn a_token_that_runs_out_ends_what_anonymous_clients_may_not_have(cores: usize) {
    let door = Door::start(cores, &[]);
    let mut publisher = door.connect(&token("other", &[], &[]));
    // Valid for 30 s more than it says: two seconds are left.
    let mut client = door.connect(&token_until(now() - 28, "mike", &[], &[]));
    client.subscribe_acked("users open");
    client.expect_error(401, "token-expired", None);
    for name in ["users", "open"] {
        publisher.say_acked(&format!("publish:{name}"));
    }
    let got = Message::parse(&client.recv().payload);
    assert_eq!(got.header("publish"), Some("open"), "{got:?}");
    expect_refusal(&mut client, "subscribe:open", "401", "token-expired");
    expect_refusal(&mut client, "publish:open", "401", "token-expired");
    let renewed = token("mike", &[], &[]);
    assert_eq!(ask(&mut client, &format!("token:{renewed}\r\nsubscribe:users")).command, "ack");
    publisher.say("LHTTP/1.0 chat\r\npublish:users\r\n\r\n");
    assert_eq!(Message::parse(&client.recv().payload).header("publish"), Some("users"));
}

fn the_server_stamps_the_name_of_the_user(cores: usize) {
    let door = Door::start(cores, &[]);
    let (mike, mut listener) = (token("mike", &[], &[]), Client::connect(door.daemon.port()));
    listener.subscribe_acked("stamped open");
    let (mut user, mut anonymous) = (door.connect(&mike), Client::connect(door.daemon.port()));
    for _ in 0..3 {
        user.say("LHTTP/1.0 chat\r\npublish:stamped\r\nFrom-User: eve\r\n\r\nfrom-user:eve");
        listener.expect_text("LHTTP/1.0 chat\r\nfrom-user:mike\r\npublish:stamped\r\n\r\nfrom-user:eve");
        anonymous.say("LHTTP/1.0 chat\r\nfrom-user:eve\r\npublish:stamped\r\n\r\n");
        listener.expect_text("LHTTP/1.0 chat\r\npublish:stamped\r\n\r\n");
    }
    user.say("LHTTP/1.0 chat\r\npublish:open\r\nfrom-user:eve\r\n\r\n");
    listener.expect_text("LHTTP/1.0 chat\r\npublish:open\r\nfrom-user:eve\r\n\r\n");
    let post = |extra: &str| {
        let request = publish_request("LHTTP/1.0 chat\r\nfrom-user:eve\r\npublish:stamped\r\n\r\n", extra);
        assert_eq!(Http::connect(door.daemon.port()).ask(request).status, 200);
    };
    post(&bearer(&mike));
    listener.expect_text("LHTTP/1.0 chat\r\nfrom-user:mike\r\npublish:stamped\r\n\r\n");
    post("");
    listener.expect_text("LHTTP/1.0 chat\r\npublish:stamped\r\n\r\n");
    listener.expect_nothing_before_ack();
}

fn a_server_without_keys_ignores_tokens_and_passes_none_on(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut http = Http::connect(daemon.port());
    assert_eq!(http.ask(handshake("/?token=x", &bearer("y"))).status, 101);
    let mut client = http.into_client();
    client.say_acked("token:x.y.z\r\nsubscribe:a");
    client.say("LHTTP/1.0 chat\r\ntoken:x\r\npublish:a\r\n\r\n");
    client.expect_text("LHTTP/1.0 chat\r\npublish:a\r\n\r\n");
}
