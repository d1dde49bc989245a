//! The blocking client and channels with a history (PROTOCOL.md §10), against a real daemon.

use std::{net::SocketAddr, thread, time::Duration};

use lhttp::client::{Builder, Client, ClientError, Event, Start, State};

use crate::helpers::{
    PATIENCE,
    daemon::Daemon,
    faulty::{chat, event},
    on_one_and_two_cores,
    proxy::CuttableProxy,
    scratch::Scratch,
};

on_one_and_two_cores!(
    a_publish_says_the_ids_of_its_message,
    a_client_that_comes_back_gets_what_it_has_missed,
    what_the_server_does_not_keep_is_said_to_be_lost,
    without_resuming_a_client_misses_what_was_published_in_between,
    over_many_connections_each_message_comes_once_and_in_order,
    a_subscription_that_is_made_again_and_again_neither_loses_nor_repeats,
    a_subscription_begins_with_the_last_messages_or_behind_an_id,
    more_messages_than_the_inbox_takes_come_with_polls,
    a_thousand_channels_are_resumed,
);

const RULES: &str = "
    [[channel]]
    match = \"kept.*\"
    history = 10000
    [[channel]]
    match = \"short\"
    history = 3
";

/// A daemon that keeps messages, behind a proxy that can be cut.
struct Keeper {
    proxy: CuttableProxy,
    daemon: Daemon,
    _scratch: Scratch,
}

impl Keeper {
    fn start(cores: usize) -> Self {
        let scratch = Scratch::new();
        let file = scratch.write("lhttpd.toml", RULES);
        let daemon = Daemon::start(cores, &["--config", &file]);
        let proxy = CuttableProxy::to(SocketAddr::from(([127, 0, 0, 1], daemon.port())));
        Self { proxy, daemon, _scratch: scratch }
    }

    /// A client that is not cut.
    fn connect(&self) -> Client {
        builder(self.daemon.port()).connect().expect("the daemon listens")
    }

    /// The options of a client that can be cut.
    fn through_proxy(&self) -> Builder {
        builder(self.proxy.port()).reconnect_delay(Duration::from_millis(1), Duration::from_millis(20))
    }

    /// Cuts the client, and waits until it has noticed that.
    #[track_caller]
    fn cut(&self, client: &mut Client) {
        self.proxy.cut();
        assert!(matches!(event(client), Event::State(State::Waiting { .. })));
    }
}

fn builder(port: u16) -> Builder {
    Client::builder(format!("ws://127.0.0.1:{port}")).timeout(PATIENCE)
}

/// Publishes these bodies, and returns the ids of the messages.
fn publish(client: &mut Client, channel: &str, bodies: &[&str]) -> Vec<String> {
    let publish = |body: &&str| client.publish(channel, chat(*body)).expect("it is taken");
    bodies.iter().map(publish).map(|ack| ack.message_id().unwrap_or_default().to_owned()).collect()
}

/// The id and the body of the next event, which must be a message.
#[track_caller]
fn message(client: &mut Client) -> (String, String) {
    let Event::Message(message) = event(client) else { panic!("no message") };
    let body = String::from_utf8(message.body_bytes().to_vec()).expect("a text");
    (message.header_value("message-id").unwrap_or_default().to_owned(), body)
}

#[track_caller]
fn bodies(client: &mut Client, count: usize) -> Vec<String> {
    (0..count).map(|_| message(client).1).collect()
}

/// What comes until the connection is open again, without the attempts.
#[track_caller]
fn until_open(client: &mut Client) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        match event(client) {
            Event::State(State::Open) => return seen,
            Event::State(State::Waiting { .. }) => {}
            Event::Message(message) => seen.push(String::from_utf8_lossy(message.body_bytes()).into_owned()),
            Event::MessagesLost { channel } => seen.push(format!("lost: {channel}")),
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn expect_nothing(client: &mut Client) {
    client.send_acked(chat("probe")).expect("the daemon answers");
    assert_eq!(client.poll(Duration::ZERO), Ok(None));
}

fn a_publish_says_the_ids_of_its_message(cores: usize) {
    let keeper = Keeper::start(cores);
    let (mut reader, mut writer) = (keeper.connect(), keeper.connect());
    reader.subscribe("kept.a").unwrap();
    let ack = writer.publish("plain kept.a kept.b", chat("hi")).unwrap();
    let ids: Vec<_> = ack.message_ids().collect();
    assert!(ids.len() == 3 && ids[0].is_none() && ids[1].is_some() && ids[2].is_some(), "{ack:?}");
    assert_eq!(ack.message_id(), ids[1]);
    assert_eq!(message(&mut reader), (ids[1].unwrap().to_owned(), "hi".to_owned()));
    assert_eq!(reader.position("kept.a"), ids[1]);
    let ack = writer.publish("plain", chat("hi")).unwrap();
    assert_eq!((ack.message_id(), ack.message_ids().count()), (None, 0));
}

fn a_client_that_comes_back_gets_what_it_has_missed(cores: usize) {
    let keeper = Keeper::start(cores);
    let (mut reader, mut writer) = (keeper.through_proxy().connect().unwrap(), keeper.connect());
    reader.subscribe("kept.a plain kept.quiet kept.*").unwrap();
    publish(&mut writer, "kept.a", &["one", "two"]);
    assert_eq!(bodies(&mut reader, 2), ["one", "two"], "each once, although a pattern matches, too");
    for round in ["three", "four"] {
        keeper.cut(&mut reader);
        publish(&mut writer, "kept.a", &[round, "and more"]);
        publish(&mut writer, "plain", &["missed"]);
        publish(&mut writer, "kept.quiet", &["in the other channel"]);
        keeper.proxy.restore();
        let mut seen = until_open(&mut reader);
        let at = seen.iter().position(|body| body == "in the other channel").expect("it was kept");
        seen.remove(at);
        assert_eq!(seen, [round, "and more"]);
        publish(&mut writer, "kept.a plain", &["new"]);
        let mut new = bodies(&mut reader, 2);
        new.dedup();
        assert_eq!(new, ["new"]);
    }
    expect_nothing(&mut reader);
}

fn what_the_server_does_not_keep_is_said_to_be_lost(cores: usize) {
    let keeper = Keeper::start(cores);
    let (mut reader, mut writer) = (keeper.through_proxy().connect().unwrap(), keeper.connect());
    reader.subscribe("kept.a short").unwrap();
    publish(&mut writer, "short", &["one"]);
    assert_eq!(bodies(&mut reader, 1), ["one"]);
    keeper.cut(&mut reader);
    publish(&mut writer, "short", &["two", "three", "four", "five"]);
    keeper.proxy.restore();
    assert_eq!(until_open(&mut reader), ["lost: short"]);
    let six = publish(&mut writer, "short", &["six"]);
    assert_eq!(message(&mut reader), (six[0].clone(), "six".to_owned()));
    keeper.cut(&mut reader);
    publish(&mut writer, "short", &["seven"]);
    keeper.proxy.restore();
    assert_eq!(until_open(&mut reader), ["seven"], "it goes on from its new place");
    // A new server knows none of the ids.
    let mut other = keeper.connect();
    other.subscribe_from("kept.a", Start::since("somebody-elses-1").or_last(5)).unwrap();
    assert_eq!(event(&mut other), Event::MessagesLost { channel: "kept.a".to_owned() });
    expect_nothing(&mut other);
}

fn without_resuming_a_client_misses_what_was_published_in_between(cores: usize) {
    let keeper = Keeper::start(cores);
    let mut reader = keeper.through_proxy().resume(false).connect().unwrap();
    let mut writer = keeper.connect();
    reader.subscribe("kept.a kept.*").unwrap();
    publish(&mut writer, "kept.a", &["one"]);
    assert_eq!(bodies(&mut reader, 2), ["one", "one"], "as the server sends it");
    keeper.cut(&mut reader);
    publish(&mut writer, "kept.a", &["two"]);
    keeper.proxy.restore();
    assert_eq!(until_open(&mut reader), [""; 0]);
    publish(&mut writer, "kept.a", &["three"]);
    assert_eq!(bodies(&mut reader, 2), ["three", "three"]);
}

/// Publishes numbers to `kept.a` without a pause, while `disturb` gets each event of the reader. Fails unless the reader
/// gets each number once and in order.
fn publish_numbers(keeper: &Keeper, mut reader: Client, mut disturb: impl FnMut(&mut Client, u32)) {
    const NUMBERS: u32 = 3000;
    let mut writer = keeper.connect();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..NUMBERS {
                if number % 10 == 0 {
                    writer.publish("kept.a", chat(number.to_string())).expect("it is taken");
                } else {
                    writer.publish_unacked("kept.a", chat(number.to_string())).expect("it is taken");
                }
            }
            writer.close().expect("all is sent");
        });
        let mut expected = 0;
        while expected < NUMBERS {
            match event(&mut reader) {
                Event::Message(message) => {
                    assert_eq!(String::from_utf8_lossy(message.body_bytes()), expected.to_string());
                    expected += 1;
                    disturb(&mut reader, expected);
                }
                Event::State(State::Open | State::Waiting { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    // The last cut may be later than the last number.
    while matches!(reader.send_acked(chat("probe")), Err(ClientError::Lost(_) | ClientError::InboxFull)) {
        while let Some(event) = reader.poll(Duration::ZERO).expect("the client goes on") {
            assert!(matches!(event, Event::State(_)), "{event:?}");
        }
    }
    while let Some(event) = reader.poll(Duration::ZERO).expect("the client goes on") {
        assert!(matches!(event, Event::State(_)), "{event:?}");
    }
}

fn over_many_connections_each_message_comes_once_and_in_order(cores: usize) {
    let keeper = Keeper::start(cores);
    // The second one has all messages twice, and the third one an inbox that is full at once.
    for (subscriptions, inbox) in [("kept.a", 10_000), ("kept.a kept.>", 10_000), ("kept.a other", 5)] {
        let mut reader = keeper.through_proxy().inbox_messages_max(inbox).connect().unwrap();
        reader.subscribe(subscriptions).unwrap();
        publish_numbers(&keeper, reader, |_, count| {
            if count % 150 == 0 {
                keeper.proxy.cut();
                keeper.proxy.restore();
            }
        });
    }
}

fn a_subscription_that_is_made_again_and_again_neither_loses_nor_repeats(cores: usize) {
    let keeper = Keeper::start(cores);
    let mut reader = keeper.through_proxy().connect().unwrap();
    reader.subscribe("kept.a").unwrap();
    publish_numbers(&keeper, reader, |reader, count| {
        if count % 100 == 0 {
            reader.subscribe("other kept.a").unwrap();
        }
        if count % 500 == 0 {
            // Refused, with what was subscribed before.
            assert!(matches!(reader.subscribe("kept.a $forbidden"), Err(ClientError::Refused(_))));
        }
        if count % 700 == 0 {
            keeper.proxy.cut();
            keeper.proxy.restore();
        }
    });
}

fn a_subscription_begins_with_the_last_messages_or_behind_an_id(cores: usize) {
    let keeper = Keeper::start(cores);
    let mut writer = keeper.connect();
    let ids = publish(&mut writer, "kept.a", &["one", "two", "three"]);
    let mut reader = keeper.connect();
    reader.subscribe_from("kept.a plain kept.*", Start::last(2)).unwrap();
    assert_eq!(bodies(&mut reader, 2), ["two", "three"]);
    assert_eq!(reader.position("kept.a"), Some(&*ids[2]));
    reader.subscribe_from("kept.a kept.a", Start::since(&ids[0])).unwrap();
    assert_eq!(bodies(&mut reader, 2), ["two", "three"], "it asks for them again");
    reader.subscribe_from("kept.a", Start::last(1)).unwrap();
    assert_eq!(bodies(&mut reader, 1), ["three"]);
    let mut other = keeper.connect();
    other.subscribe_from("kept.b kept.a", Start::since(&format!("- {}", ids[1])).or_last(3)).unwrap();
    assert_eq!(bodies(&mut other, 1), ["three"]);
    assert!(other.position("kept.b").is_some_and(|position| position != ids[2]));
    for wrong in [Start::since("a b"), Start::since("ä"), Start::last(0), Start::last(1001)] {
        let error = other.subscribe_from("kept.a", wrong).unwrap_err();
        assert!(matches!(&error, ClientError::Invalid(refusal) if refusal.reason() == "bad-header"), "{error:?}");
    }
    expect_nothing(&mut other);
    expect_nothing(&mut reader);
}

fn more_messages_than_the_inbox_takes_come_with_polls(cores: usize) {
    let keeper = Keeper::start(cores);
    let mut writer = keeper.connect();
    for number in 0..200 {
        writer.publish_unacked("kept.a", chat(number.to_string())).unwrap();
    }
    let first = publish(&mut writer, "kept.b", &["first"]);
    let mut reader = keeper.through_proxy().inbox_messages_max(10).connect().unwrap();
    reader.subscribe_from("kept.b", Start::since(&first[0])).unwrap();
    reader.subscribe_from("kept.a other", Start::last(100)).unwrap();
    assert_eq!(reader.subscriptions().collect::<Vec<_>>(), ["kept.a", "kept.b", "other"]);
    let expected: Vec<_> = (100..200).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&mut reader, 40), expected[..40]);
    // The answer has not come yet.
    keeper.proxy.cut();
    keeper.proxy.restore();
    let mut rest = until_open(&mut reader);
    rest.extend(bodies(&mut reader, 60 - rest.len()));
    assert_eq!(rest, expected[40..]);
    expect_nothing(&mut reader);
    publish(&mut writer, "kept.a", &["new"]);
    assert_eq!(bodies(&mut reader, 1), ["new"]);
}

fn a_thousand_channels_are_resumed(cores: usize) {
    const CHANNELS: usize = 1000;
    let keeper = Keeper::start(cores);
    let (mut reader, mut writer) = (keeper.through_proxy().connect().unwrap(), keeper.connect());
    let names: Vec<_> = (0..CHANNELS).map(|number| format!("kept.{number}")).collect();
    names.chunks(100).for_each(|names| reader.subscribe(&names.join(" ")).unwrap());
    keeper.cut(&mut reader);
    for names in names.chunks(25) {
        publish(&mut writer, &names.join(" "), &["missed"]);
    }
    keeper.proxy.restore();
    assert_eq!(until_open(&mut reader), ["missed"; CHANNELS]);
    expect_nothing(&mut reader);
}
