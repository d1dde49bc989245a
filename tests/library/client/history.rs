//! The blocking client and channels with a history (PROTOCOL.md §10), against a real daemon.

use lhttp::client::{Builder, Client, Event};

use crate::helpers::{
    PATIENCE,
    daemon::Daemon,
    faulty::{chat, event},
    on_one_and_two_cores,
    scratch::Scratch,
};

on_one_and_two_cores!(a_publish_says_the_ids_of_its_message);

const RULES: &str = "
    [[channel]]
    match = \"kept.*\"
    history = 1000
    [[channel]]
    match = \"short\"
    history = 3
";

/// A daemon that keeps messages.
struct Keeper {
    daemon: Daemon,
    _scratch: Scratch,
}

impl Keeper {
    fn start(cores: usize) -> Self {
        let scratch = Scratch::new();
        let file = scratch.write("lhttpd.toml", RULES);
        Self { daemon: Daemon::start(cores, &["--config", &file]), _scratch: scratch }
    }

    fn connect(&self) -> Client {
        builder(self.daemon.port()).connect().expect("the daemon listens")
    }
}

fn builder(port: u16) -> Builder {
    Client::builder(format!("ws://127.0.0.1:{port}")).timeout(PATIENCE)
}

/// The id and the body of the next event, which must be a message.
#[track_caller]
fn message(client: &mut Client) -> (String, String) {
    let Event::Message(message) = event(client) else { panic!("no message") };
    let body = String::from_utf8(message.body_bytes().to_vec()).expect("a text");
    (message.header_value("message-id").unwrap_or_default().to_owned(), body)
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
    let ack = writer.publish("plain", chat("hi")).unwrap();
    assert_eq!((ack.message_id(), ack.message_ids().count()), (None, 0));
}
