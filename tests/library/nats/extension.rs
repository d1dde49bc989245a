//! Publishes of programs that embed the server reach other nodes too, and a core that is behind delays nobody.

use std::{
    sync::{Mutex, mpsc},
    thread,
};

use lhttp::{Builder, Config, Handle, Processor, PublishError};

use crate::helpers::{
    Client, bridge,
    nats::{NatsServer, RawNats, has_nats_server},
    on_message, one_and_two_cores,
    scratch::Scratch,
    start, start_with_cores, wait_for,
};

/// The log of the servers in this process.
struct Lines(Mutex<String>);

static LOG: Lines = Lines(Mutex::new(String::new()));

impl Lines {
    fn start(&'static self) {
        log::set_logger(self).expect("one test alone starts it");
        log::set_max_level(log::LevelFilter::Warn);
    }

    fn text(&self) -> String {
        self.0.lock().expect("the lock is not poisoned").clone()
    }
}

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{}\n", record.args());
        self.0.lock().expect("the lock is not poisoned").push_str(&line);
    }

    fn flush(&self) {}
}

fn node(nats: &NatsServer, build: impl FnOnce(Builder) -> Builder) -> Handle {
    let config = Config { nats: Some(nats.url().into()), ..Config::default() };
    let node = start(|builder| build(builder.config(config)));
    let mut client = Client::connect(node.local_addrs()[0]);
    wait_for(|| {
        client.say("LHTTP/1.0 n\r\nsubscribe:probe\r\nack:a\r\n\r\n");
        !client.recv().into_text().expect("text").contains("cluster:offline")
    });
    node
}

#[test]
fn processors_and_publishers_reach_other_nodes() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let shout = on_message(|context| {
        let body = context.body().to_ascii_uppercase();
        context.publish(&["room"], "shouted", &[], body).expect("a sound message");
        context.set_body("changed").expect("a message");
    });
    let (here, there) = (node(&nats, |builder| builder.processor("shout", shout)), node(&nats, |builder| builder));
    let mut subscriber = Client::connect(there.local_addrs()[0]);
    subscriber.subscribe("room other");
    here.publisher().publish(&["room", "other"], "n", &[], "hello").unwrap();
    for _ in 0..2 {
        subscriber.expect("LHTTP/1.0 n\r\npublish:room other\r\n\r\nhello");
    }
    let mut client = Client::connect(here.local_addrs()[0]);
    client.say("LHTTP/1.0 shout\r\npublish:room\r\n\r\nhey");
    subscriber.expect("LHTTP/1.0 shouted\r\npublish:room\r\n\r\nHEY");
    subscriber.expect("LHTTP/1.0 shout\r\npublish:room\r\n\r\nchanged");
    wait_for(|| here.stats().nats_published == 4 && there.stats().nats_received == 4);
}

#[test]
fn a_program_is_told_which_messages_nats_cannot_carry() {
    if !has_nats_server() {
        return;
    }
    let scratch = Scratch::new();
    let nats = NatsServer::start(&["-c", &scratch.write("nats.conf", "max_payload: 1024\n")]);
    let publish = on_message(|context| {
        let refusal = context.publish(&["room"], "n", &[], "x".repeat(1024)).expect_err("it is too big");
        context.refuse(refusal);
    });
    let node = node(&nats, |builder| builder.processor("publish", publish));
    let too_big = node.publisher().publish(&["room"], "n", &[], "x".repeat(1024));
    assert!(matches!(&too_big, Err(PublishError::Invalid(refusal)) if refusal.code() == 413), "{too_big:?}");
    node.publisher().publish(&["room"], "n", &[], "x".repeat(900)).unwrap();
    let mut client = Client::connect(node.local_addrs()[0]);
    client.say("LHTTP/1.0 publish\r\n\r\n");
    client.expect_error(413, "message-too-big", None);
}

/// A processor that blocks its core. It reports that it does, until the test releases it or drops the other end.
fn blocker() -> (impl Processor, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let (enter, entered) = mpsc::channel::<()>();
    let block = on_message(move |_| {
        enter.send(()).expect("the test waits");
        let _ = held.lock().expect("nobody panics").recv();
    });
    (block, entered, release)
}

#[test]
fn a_core_that_is_behind_loses_messages_and_delays_nobody() {
    if !has_nats_server() {
        return;
    }
    const SENT: usize = 20_000;
    LOG.start();
    let nats = NatsServer::start(&[]);
    let (block, entered, release) = blocker();
    let config = Config { nats: Some(nats.url().into()), outbox_bytes_max: 32 << 20, ..Config::default() };
    let node = node(&nats, |builder| builder.config(config).processor("block", block));
    let release = release; // dropped before the node, whose core it blocks
    let mut subscriber = Client::connect(node.local_addrs()[0]);
    subscriber.subscribe("room");
    let mut client = Client::connect(node.local_addrs()[0]);
    client.say("LHTTP/1.0 block\r\n\r\n");
    entered.recv().expect("the core is blocked"); // earlier messages are delivered, and do not count
    let mut raw = RawNats::connect(&nats);
    let padding = "x".repeat(1000);
    for number in 0..SENT {
        raw.publish("room", format!("{padding}\n{number}").as_bytes());
    }
    raw.flush();
    wait_for(|| node.stats().nats_received == SENT as u64);
    let dropped = node.stats().nats_receive_dropped;
    assert!(dropped > 0 && dropped < SENT as u64, "{}", node.stats());
    // The core's limit keeps the first messages.
    let kept = SENT - dropped as usize;
    assert!((11_000..12_500).contains(&kept), "{kept} of about 1 KiB are kept of 12 MiB");
    wait_for(|| LOG.text().contains("messages from other nodes were dropped, for a core was behind; one of them on "));
    release.send(()).expect("the core waits");
    raw.publish("room", b"\nend");
    for number in 0..kept {
        let text = subscriber.recv();
        let Ok(text) = text.to_text() else { panic!("{text:?}") };
        assert!(text.ends_with(&format!("\n{number}")), "{:?} instead of {number}", text.get(1000..));
    }
    subscriber.expect("\nend");
}

#[test]
fn a_core_that_is_behind_costs_the_others_nothing() {
    if !has_nats_server() || one_and_two_cores().len() < 2 {
        return;
    }
    const SENT: usize = 20_000;
    let nats = NatsServer::start(&[]);
    for blocked in 0..2 {
        let (block, entered, release) = blocker();
        let which = on_message(|context| {
            context.send(thread::current().name().expect("a core's thread has a name"));
        });
        let config = Config { nats: Some(nats.url().into()), outbox_bytes_max: 32 << 20, ..Config::default() };
        let node = start_with_cores(2, |builder| {
            builder.config(config).cores(2).processor("block", block).processor("which", which)
        });
        let release = release; // dropped before the node, whose core it blocks
        let mut of_core: [Option<Client>; 2] = [None, None];
        // The kernel spreads connections over the cores.
        while of_core.iter().any(Option::is_none) {
            let mut client = Client::connect(node.local_addrs()[0]);
            client.say("LHTTP/1.0 which\r\n\r\n");
            let core = usize::from(client.recv().into_text().expect("text").ends_with("lhttp-core-1"));
            of_core[core] = Some(client);
        }
        let [zero, one] = of_core.map(|client| client.expect("both are there"));
        let (mut behind, mut idle) = if blocked == 0 { (zero, one) } else { (one, zero) };
        for client in [&mut behind, &mut idle] {
            wait_for(|| bridge::subscribe(client, "room") == bridge::ONLINE);
        }
        behind.say("LHTTP/1.0 block\r\n\r\n");
        entered.recv().expect("the core is blocked");
        let mut raw = RawNats::connect(&nats);
        let padding = "x".repeat(1000);
        for number in 0..SENT {
            raw.publish("room", format!("{padding}\n{number}").as_bytes());
        }
        for number in 0..SENT {
            let text = idle.recv();
            let Ok(text) = text.to_text() else { panic!("{text:?}") };
            assert!(text.ends_with(&format!("\n{number}")), "{:?} instead of {number}", text.get(1000..));
        }
        assert!(node.stats().nats_receive_dropped > 0, "{}", node.stats());
        release.send(()).expect("the core waits");
    }
}

#[test]
fn a_subscription_outlives_its_last_subscriber_for_a_moment_and_then_ends() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let node = node(&nats, |builder| builder);
    let mut raw = RawNats::connect(&nats);
    let (mut one, mut two) = (Client::connect(node.local_addrs()[0]), Client::connect(node.local_addrs()[0]));
    wait_for(|| node.stats().nats_subscriptions == 0); // the probe's subscription has ended, too
    for client in [&mut one, &mut two] {
        client.subscribe("room");
    }
    let count = || node.stats().nats_subscriptions;
    assert_eq!(count(), 1, "one for both");
    one.unsubscribe("room");
    one.subscribe("other");
    assert_eq!(count(), 2);
    two.unsubscribe("room");
    raw.publish("room", b"for nobody");
    raw.publish("other", b"behind it"); // on one connection they come in order
    one.expect("behind it");
    one.subscribe("first"); // when this is live, the bridge has counted all earlier messages
    assert_eq!((node.stats().nats_received, count()), (2, 3), "the last one is gone, and may come back");
    two.subscribe("room");
    two.unsubscribe("room");
    wait_for(|| count() == 2);
    one.subscribe("second"); // confirmed after the other has ended
    raw.publish("room", b"for nobody");
    raw.publish("other", b"behind it");
    one.expect("behind it");
    one.subscribe("third");
    assert_eq!(node.stats().nats_received, 3, "only later messages have come");
}
