//! PROTOCOL.md §2: the order per publisher and channel, and that an acknowledged subscription is live, across cores.

use std::thread;

use crate::helpers::{
    client::Client, daemon::Daemon, frame, frame::FIN, frame::TEXT, message::chat, on_one_and_two_cores,
};

on_one_and_two_cores!(
    messages_of_one_publisher_reach_every_subscriber_in_order,
    an_acknowledged_subscription_receives_the_next_publish_from_anywhere,
    an_acknowledged_pattern_receives_the_next_publish_from_anywhere,
    an_acknowledged_unsubscription_receives_nothing_more,
    a_connection_in_the_slot_of_a_lost_one_inherits_nothing,
    each_of_many_messages_sent_at_once_is_acknowledged_once,
);

const PUBLISHERS: usize = 4;
const SUBSCRIBERS: usize = 16;
const MESSAGES: usize = 2_000;
/// Publishes in one write, so that a turn reads many.
const BATCH: usize = 50;

fn numbered(publisher: usize, number: usize) -> String {
    chat(&["publish:room"], &format!("{publisher} {number}"))
}

fn messages_of_one_publisher_reach_every_subscriber_in_order(cores: usize) {
    let daemon = Daemon::start(cores, &["--outbox-max", "64MiB"]);
    let mut subscribers: Vec<_> = (0..SUBSCRIBERS).map(|_| Client::connect(daemon.port())).collect();
    subscribers.iter_mut().for_each(|client| client.subscribe_acked("room"));
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let mut client = Client::connect(daemon.port());
            scope.spawn(move || {
                for start in (0..MESSAGES).step_by(BATCH) {
                    let batch = (start..start + BATCH).map(|number| numbered(publisher, number));
                    let frames: Vec<u8> =
                        batch.flat_map(|message| frame::masked(FIN | TEXT, message.as_bytes())).collect();
                    client.send_raw(&frames);
                }
                client.expect_nothing_before_ack();
            });
        }
        for client in subscribers {
            scope.spawn(move || expect_each_publisher_in_order(client));
        }
    });
}

fn expect_each_publisher_in_order(mut client: Client) {
    let mut next = [0; PUBLISHERS];
    for _ in 0..PUBLISHERS * MESSAGES {
        let frame = client.recv();
        let text = String::from_utf8(frame.payload).expect("text");
        let (publisher, number) = text.rsplit("\r\n").next().and_then(|body| body.split_once(' ')).expect("a number");
        let publisher: usize = publisher.parse().expect("a publisher");
        assert_eq!(number, next[publisher].to_string(), "out of order from publisher {publisher}");
        next[publisher] += 1;
    }
    client.expect_nothing_before_ack();
}

/// So many clients that both cores certainly have some.
fn pool(daemon: &Daemon) -> Vec<Client> {
    (0..8).map(|_| Client::connect(daemon.port())).collect()
}

fn each_acknowledged_is_live(cores: usize, subscription: impl Fn(usize) -> String) {
    let daemon = Daemon::start(cores, &[]);
    let (mut subscribers, mut publishers) = (pool(&daemon), pool(&daemon));
    for round in 0..200 {
        // All pairs of the two pools, over the rounds.
        let subscriber = &mut subscribers[round % 8];
        let publisher = &mut publishers[(round / 8 + round) % 8];
        subscriber.subscribe_acked(&subscription(round));
        let message = chat(&[&format!("publish:fresh.{round}.room")], "live?");
        publisher.say(&message);
        subscriber.expect_text(&message);
    }
}

fn an_acknowledged_subscription_receives_the_next_publish_from_anywhere(cores: usize) {
    each_acknowledged_is_live(cores, |round| format!("fresh.{round}.room"));
}

fn an_acknowledged_pattern_receives_the_next_publish_from_anywhere(cores: usize) {
    each_acknowledged_is_live(cores, |round| match round % 2 {
        0 => format!("fresh.{round}.*"),
        _ => format!("*.{round}.>"),
    });
}

fn an_acknowledged_unsubscription_receives_nothing_more(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut subscribers, mut publishers) = (pool(&daemon), pool(&daemon));
    for round in 0..200 {
        let subscriber = &mut subscribers[round % 8];
        let publisher = &mut publishers[(round / 8 + round) % 8];
        subscriber.subscribe_acked(&format!("room.{round} end.{round}"));
        subscriber.say_acked(&format!("unsubscribe:room.{round}"));
        publisher.say(&chat(&[&format!("publish:room.{round}")], "too late"));
        let end = chat(&[&format!("publish:end.{round}")], "");
        publisher.say(&end);
        subscriber.expect_text(&end);
    }
}

fn each_of_many_messages_sent_at_once_is_acknowledged_once(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    let messages = (0..500).map(|number| match number % 3 {
        0 => chat(&[&format!("subscribe:c.{number}"), &format!("ack:{number}")], ""),
        1 => chat(&["publish:elsewhere", &format!("ack:{number}")], ""),
        _ => chat(&[&format!("unsubscribe:c.{}", number - 2), &format!("ack:{number}")], ""),
    });
    let frames: Vec<u8> = messages.flat_map(|message| frame::masked(FIN | TEXT, message.as_bytes())).collect();
    client.send_raw(&frames);
    // The protocol promises an answer to each, but not their order: a subscription may have to wait for other cores.
    let mut tokens: Vec<usize> = (0..500)
        .map(|_| {
            let text = String::from_utf8(client.recv().payload).expect("text");
            let token = text.strip_prefix("LHTTP/1.0 ack\r\nack:").and_then(|rest| rest.strip_suffix("\r\n\r\n"));
            token.unwrap_or_else(|| panic!("no acknowledgement: {text:?}")).parse().expect("a token of ours")
        })
        .collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..500).collect::<Vec<_>>());
}

fn a_connection_in_the_slot_of_a_lost_one_inherits_nothing(cores: usize) {
    let mut daemon = Daemon::start(cores, &[]);
    let mut publisher = Client::connect(daemon.port());
    for round in 0..300 {
        let mut lost = Client::connect(daemon.port());
        // The client leaves while its acknowledgement may still wait for another core, and its deliveries for the next
        // turn.
        lost.say(&chat(&[&format!("subscribe:lost lost.{round} *.{round}"), "ack:lost"], ""));
        publisher.say(&chat(&[&format!("publish:lost lost.{round}")], &"for the lost one".repeat(round)));
        drop(lost);
        let mut next = Client::connect(daemon.port());
        // A new name: a message to another name may still be in flight between the cores.
        let end = format!("end.{round}");
        next.subscribe_acked(&end);
        publisher.say(&chat(&[&format!("publish:lost lost.{round}")], "for the lost one"));
        let last = chat(&[&format!("publish:{end}")], "");
        publisher.say(&last);
        next.expect_text(&last);
        next.expect_nothing_before_ack();
    }
    daemon.assert_healthy();
}
