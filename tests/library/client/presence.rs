//! The blocking client and presence (PROTOCOL.md §11), against a real daemon.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use lhttp::{
    Message,
    client::{Builder, Client, ClientError, Event, Member, Presence, Start, State},
};
use tungstenite::WebSocket;

use crate::helpers::{
    PATIENCE,
    daemon::Daemon,
    faulty::{against, chat, event, read_with, refuse, say, wait_for_end},
    on_one_and_two_cores,
    proxy::CuttableProxy,
    scratch::Scratch,
    token::{KeyFile, now, signed, token},
    wait_until,
};

on_one_and_two_cores!(
    a_client_asks_who_is_in_a_channel,
    a_refusal_belongs_to_the_call_that_asked,
    a_server_without_presence_says_so,
    users_who_come_and_go_are_events,
    a_client_that_comes_back_shows_itself_as_before,
    a_long_list_says_how_many_it_leaves_out,
    a_message_of_the_program_may_ask_too,
);

const RULES: &str = "
    [[channel]]
    match = \"asked.*\"
    subscribe = \"anyone\"
    publish = \"anyone\"
    presence = true
    [[channel]]
    match = \"kept.*\"
    subscribe = \"anyone\"
    publish = \"anyone\"
    presence = true
    history = 10
    [[channel]]
    match = \"told.*\"
    subscribe = \"anyone\"
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
    _scratch: Scratch,
    _key: KeyFile,
}

impl Rooms {
    fn start(cores: usize) -> Self {
        Self::start_with(cores, RULES, &[])
    }

    fn start_with(cores: usize, rules: &str, args: &[&str]) -> Self {
        let (scratch, key) = (Scratch::new(), KeyFile::new());
        let file = scratch.write("lhttpd.toml", rules);
        let common = ["--config", &file, "--token-key", key.text(), "--presence-grace", "50ms"];
        Self { daemon: Daemon::start(cores, &[&common, args].concat()), _scratch: scratch, _key: key }
    }

    fn connect(&self) -> Client {
        builder(self.daemon.port()).connect().expect("the daemon listens")
    }

    fn connect_as(&self, user: &str) -> Client {
        builder(self.daemon.port()).token(token(user, &[], &[])).connect().expect("the daemon takes the token")
    }
}

fn builder(port: u16) -> Builder {
    Client::builder(format!("ws://127.0.0.1:{port}")).timeout(PATIENCE)
}

/// Each user with what it shows, as JSON.
fn shown(presence: &Presence) -> Vec<(&str, &str)> {
    presence.members.iter().map(|member| (&*member.user, member.info.as_deref().unwrap_or_default())).collect()
}

/// Asks until the users of a channel show this.
#[track_caller]
fn wait_for(asker: &mut Client, channel: &str, expected: &[(&str, &str)]) {
    let mut found = Presence::default();
    let is_so = || {
        found = asker.presence(channel).expect("the daemon answers");
        shown(&found) == expected
    };
    assert!(wait_until(is_so, PATIENCE), "{found:?}");
}

fn a_client_asks_who_is_in_a_channel(cores: usize) {
    let rooms = Rooms::start(cores);
    let mut asker = rooms.connect();
    let claims = format!("{{\"sub\":\"eve\",\"exp\":{},\"lhttp.info\":{{\"face\": \":-)\"}}}}", now() + 1000);
    let mut eve = builder(rooms.daemon.port()).token(signed(&claims)).connect().unwrap();
    let (mut one, mut two, mut nobody) = (rooms.connect_as("mike"), rooms.connect_as("mike"), rooms.connect());
    for channel in ["asked.a", "asked.b", "kept.c"] {
        assert_eq!(asker.presence(channel), Ok(Presence::default()));
        one.subscribe_with_info(channel, "from Zürich \"home\"", Start::default()).unwrap();
        two.subscribe(channel).unwrap();
        // The server shows what the token says.
        eve.subscribe_with_info(channel, "a text", Start::default()).unwrap();
        nobody.subscribe("asked.* kept.*").unwrap();
        wait_for(&mut asker, channel, &[("eve", "{\"face\": \":-)\"}"), ("mike", "\"from Zürich \\\"home\\\"\"")]);
        let both = |asker: &mut Client| asker.presence(channel).unwrap().members[1].connections == 2;
        assert!(wait_until(|| both(&mut asker), PATIENCE));
        let members = asker.presence(channel).unwrap().members;
        assert_eq!(members[1].info_text().as_deref(), Some("from Zürich \"home\""));
        assert_eq!(members[0].info_text(), None);
        assert!(members.iter().all(|member| member.since.abs_diff(now()) < 100), "{members:?}");
        // A client that is subscribed finds itself in the list at once.
        nobody.subscribe(channel).unwrap();
        let members = nobody.presence(channel).unwrap().members;
        assert!(members.len() == 3 && members[2].user.starts_with('~') && members[2].info.is_none(), "{members:?}");
        nobody.unsubscribe(channel).unwrap();
        two.unsubscribe(channel).unwrap();
    }
    drop((one, two, eve));
    wait_for(&mut asker, "asked.b", &[]);
}

fn a_refusal_belongs_to_the_call_that_asked(cores: usize) {
    let rooms = Rooms::start(cores);
    let (mut client, mut user) = (rooms.connect(), rooms.connect_as("mike"));
    for (channel, code, reason) in
        [("users", 403, "forbidden"), ("plain", 404, "no-presence"), ("$SYS.x", 403, "forbidden")]
    {
        // The answers to these two are no answers to the call.
        client.send(&Message::new("who").unwrap().header("presence", "asked.*").unwrap()).unwrap();
        client.publish_unacked("users", chat("not allowed")).unwrap();
        let refused = client.presence(channel);
        assert!(matches!(&refused, Err(ClientError::Refused(refusal)) if refusal.code() == code), "{refused:?}");
        assert_eq!(refused.map_err(|error| error.reason().to_owned()), Err(reason.to_owned()));
        assert_eq!(client.presence("asked.a"), Ok(Presence::default()), "the connection goes on");
        let codes = [event(&mut client), event(&mut client)].map(|event| match event {
            Event::Refused(refusal) => refusal.code(),
            other => panic!("{other:?}"),
        });
        assert_eq!(codes, [400, 403]);
    }
    for channel in ["asked.*", ">", "", "a b", "a..b", "a\r\nsubscribe:b"] {
        let refused = client.presence(channel);
        assert!(matches!(&refused, Err(ClientError::Invalid(refusal)) if refusal.code() == 400), "{refused:?}");
    }
    for info in ["x".repeat(257), "two\r\nlines".to_owned(), "\x1b[2J".to_owned()] {
        let refused = client.subscribe_with_info("asked.a", &info, Start::default());
        assert!(matches!(&refused, Err(ClientError::Invalid(refusal)) if refusal.code() == 400), "{refused:?}");
        assert_eq!(client.subscriptions().count(), 0);
    }
    client.subscribe_with_info("asked.a", &"x".repeat(256), Start::default()).unwrap();
    assert_eq!(user.presence("users"), Ok(Presence::default()));
    assert_eq!(client.poll(Duration::ZERO), Ok(None));
}

fn a_server_without_presence_says_so(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = builder(daemon.port()).connect().unwrap();
    let refused = client.presence("room").map_err(|error| (error.code(), error.reason().to_owned()));
    assert_eq!(refused, Err((Some(404), "no-presence".to_owned())));
    client.subscribe_with_info("room", "nobody sees this", Start::default()).unwrap();
    assert_eq!(client.poll(Duration::ZERO), Ok(None));
}

/// The users of a channel, as a program keeps them.
#[derive(Default)]
struct Kept(BTreeMap<String, Member>);

impl Kept {
    fn take(&mut self, event: Event) {
        let Event::PresenceChange { channel, joined, left, users, more } = event else { panic!("{event:?}") };
        assert_eq!((&*channel, more), ("told.a", 0));
        self.0.extend(joined.into_iter().map(|member| (member.user.clone(), member)));
        left.iter().for_each(|user| drop(self.0.remove(user)));
        assert_eq!(users, self.0.len() as u64);
    }

    /// Polls until the users show this.
    #[track_caller]
    fn wait_for(&mut self, watcher: &mut Client, expected: &[(&str, Option<&str>)]) {
        loop {
            let found: Vec<_> = self.0.values().map(|member| (&*member.user, member.info.as_deref())).collect();
            if found == expected {
                return;
            }
            self.take(event(watcher));
        }
    }
}

fn users_who_come_and_go_are_events(cores: usize) {
    let rooms = Rooms::start(cores);
    let (mut watcher, mut kept) = (rooms.connect_as("watcher"), Kept::default());
    watcher.subscribe("told.a").unwrap();
    kept.wait_for(&mut watcher, &[("watcher", None)]);
    let mut mike = rooms.connect_as("mike");
    mike.subscribe_with_info("told.a", "here", Start::default()).unwrap();
    kept.wait_for(&mut watcher, &[("mike", Some("\"here\"")), ("watcher", None)]);
    let mut eve = rooms.connect_as("eve");
    eve.subscribe("told.a").unwrap();
    kept.wait_for(&mut watcher, &[("eve", None), ("mike", Some("\"here\"")), ("watcher", None)]);
    // The text changes only if the client says another one.
    mike.subscribe("told.a").unwrap();
    mike.subscribe_with_info("told.a", "away", Start::default()).unwrap();
    kept.wait_for(&mut watcher, &[("eve", None), ("mike", Some("\"away\"")), ("watcher", None)]);
    let listed = watcher.presence("told.a").unwrap().members;
    assert_eq!(listed, kept.0.values().cloned().collect::<Vec<_>>());
    drop(eve);
    mike.unsubscribe("told.a").unwrap();
    kept.wait_for(&mut watcher, &[("watcher", None)]);
}

fn a_client_that_comes_back_shows_itself_as_before(cores: usize) {
    let rooms = Rooms::start(cores);
    let proxy = CuttableProxy::to(SocketAddr::from(([127, 0, 0, 1], rooms.daemon.port())));
    let delay = Duration::from_millis(1)..Duration::from_millis(20);
    let mut client =
        builder(proxy.port()).token(token("mike", &[], &[])).reconnect_delay(delay.start, delay.end).connect().unwrap();
    let mut asker = rooms.connect();
    client.subscribe_with_info("asked.a kept.a", "one", Start::default()).unwrap();
    client.subscribe("asked.b").unwrap();
    client.subscribe_with_info("asked.c kept.c", "two", Start::default()).unwrap();
    // Again, and the text stays as it is; also where the client ends the subscription first.
    client.subscribe("asked.a kept.c").unwrap();
    let is_there =
        [("asked.a", "\"one\""), ("kept.a", "\"one\""), ("asked.b", ""), ("asked.c", "\"two\""), ("kept.c", "\"two\"")];
    for round in 0..3 {
        for (channel, info) in is_there {
            wait_for(&mut asker, channel, &[("mike", info)]);
        }
        proxy.cut();
        for (channel, _) in is_there {
            wait_for(&mut asker, channel, &[]);
        }
        proxy.restore();
        if round == 0 {
            // A call asks again once there is a connection. It stands behind the renewed subscriptions.
            let presence = client.presence("asked.c").unwrap();
            assert_eq!(shown(&presence), [("mike", "\"two\"")]);
        }
        while event(&mut client) != Event::State(State::Open) {}
    }
    client.unsubscribe("asked.a").unwrap();
    client.subscribe("asked.a").unwrap();
    proxy.cut();
    wait_for(&mut asker, "asked.a", &[]);
    proxy.restore();
    while event(&mut client) != Event::State(State::Open) {}
    wait_for(&mut asker, "asked.a", &[("mike", "")]);
}

fn a_long_list_says_how_many_it_leaves_out(cores: usize) {
    const CLIENTS: usize = 100;
    let rooms = Rooms::start_with(cores, RULES, &["--max-message", "16KiB", "--outbox-max", "64KiB"]);
    let info = "x".repeat(256);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| rooms.connect()).collect();
    for client in &mut clients {
        client.subscribe_with_info("asked.a", &info, Start::default()).unwrap();
    }
    let mut asker = rooms.connect();
    let mut presence = Presence::default();
    let all_are_counted = || {
        presence = asker.presence("asked.a").unwrap();
        presence.members.len() + presence.more as usize == CLIENTS
    };
    assert!(wait_until(all_are_counted, PATIENCE), "{} and {}", presence.members.len(), presence.more);
    assert!(presence.more > 0 && presence.members.len() > 10, "{}", presence.more);
    assert!(presence.members.is_sorted_by_key(|member| &member.user));
}

fn a_message_of_the_program_may_ask_too(cores: usize) {
    let rooms = Rooms::start(cores);
    let mut client = rooms.connect_as("mike");
    let list = |client: &mut Client| match event(client) {
        Event::Message(message) => (message.command().to_owned(), message.header_value("channel").map(str::to_owned)),
        other => panic!("{other:?}"),
    };
    for channel in ["asked.a", "asked.b", "asked.c"] {
        let expected = ("presence".to_owned(), Some(channel.to_owned()));
        let question = Message::new("who").unwrap().header("presence", channel).unwrap();
        client.send_acked(question.clone()).unwrap();
        assert_eq!(list(&mut client), expected);
        client.send_acked(question.clone().header("subscribe", channel).unwrap()).unwrap();
        assert_eq!(list(&mut client), expected, "in front of the acknowledgement or behind it");
        client.send(&question.header("ack", "mine").unwrap()).unwrap();
        assert_eq!(list(&mut client), expected);
    }
}

/// Reads a question, and returns its token.
fn read_question(socket: &mut WebSocket<TcpStream>) -> String {
    read_with(socket, "presence", "room")
}

fn answer(socket: &mut WebSocket<TcpStream>, token: &str, body: &str) {
    say(socket, &format!("LHTTP/1.0 presence\r\nchannel:room\r\nack:{token}\r\n\r\n{body}"));
}

#[test]
fn a_question_that_is_lost_with_the_connection_is_asked_again() {
    let (builder, server) = against(
        |number, mut socket| {
            let token = read_question(&mut socket);
            if number > 0 {
                answer(&mut socket, &token, "[{\"user\":\"a\",\"connections\":1,\"since\":2}]");
                wait_for_end(&mut socket);
            }
        },
        2,
    );
    let mut client = builder.connect().unwrap();
    assert_eq!(shown(&client.presence("room").unwrap()), [("a", "")]);
    client.close().unwrap();
    server.join().unwrap();
    let (builder, server) = against(|_, mut socket| drop(read_question(&mut socket)), 1);
    let mut client = builder.reconnect(false).connect().unwrap();
    assert!(matches!(client.presence("room"), Err(ClientError::Lost(_))));
    server.join().unwrap();
}

#[test]
fn answers_that_are_late_broken_or_forged_are_no_answers_to_the_next_question() {
    let (builder, server) = against(
        |_, mut socket| {
            let late = read_question(&mut socket);
            for number in 0..5 {
                say(&mut socket, &format!("LHTTP/1.0 chat\r\n\r\n{number}"));
            }
            let token = read_question(&mut socket);
            answer(&mut socket, &late, "[]");
            refuse(&mut socket, &late);
            let forged = format!("LHTTP/1.0 presence\r\npublish:room\r\nchannel:room\r\nack:{token}\r\n\r\n[]");
            say(&mut socket, &forged);
            say(&mut socket, "LHTTP/1.0 presence-change\r\nchannel:room\r\n\r\n{\"joined\":{}}");
            answer(&mut socket, &token, "[{\"user\":\"\u{1b}[2J\",\"connections\":\"\u{1b}[2J\"}]");
            let token = read_question(&mut socket);
            answer(&mut socket, &token, "[{\"user\":\"\u{9b}2J\",\"connections\":1,\"since\":18446744073709551615}]");
            wait_for_end(&mut socket);
        },
        1,
    );
    let mut client = builder.inbox_messages_max(5).connect().unwrap();
    assert_eq!(client.presence("room"), Err(ClientError::InboxFull), "it does not wait for the answer any more");
    (0..5).for_each(|_| assert!(matches!(event(&mut client), Event::Message(_))));
    let Err(ClientError::BadAnswer(why)) = client.presence("room") else { panic!("a list") };
    assert!(why.len() < 100 && !why.contains('\u{1b}'), "{why:?}");
    let members = client.presence("room").unwrap().members;
    assert_eq!((&*members[0].user, members[0].since), ("\u{9b}2J", u64::MAX), "texts come as they are");
    for expected in ["presence", "forbidden", "presence", "presence-change"] {
        match event(&mut client) {
            Event::Message(message) => assert_eq!(message.command(), expected),
            Event::Refused(refusal) => assert_eq!(refusal.reason(), expected),
            other => panic!("{other:?}"),
        }
    }
    client.close().unwrap();
    server.join().unwrap();
}
