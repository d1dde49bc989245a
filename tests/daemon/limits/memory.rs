//! The memory of a stalled audience and of a large idle one.

use std::time::{Duration, Instant};

use crate::helpers::{
    client::{Client, assert_same, close_parts},
    daemon::Daemon,
    enough_cpus,
    frame::{self, CLOSE, FIN, TEXT},
    message::chat,
    on_one_and_two_cores,
};

on_one_and_two_cores!(
    three_hundred_stalled_subscribers_cost_little_and_delay_nobody,
    a_slow_subscriber_of_short_messages_is_closed_and_one_that_reads_is_not,
    past_the_memory_budget_the_worst_offenders_are_closed_first,
    a_stalled_audience_stays_within_the_memory_budget_although_other_messages_come_between,
    an_idle_subscribed_connection_costs_at_most_600_bytes,
    connections_that_come_and_go_leave_no_memory_behind,
);

/// A run may be slow, and stalled clients answer no pings. Only the outbox limit may close them.
const NO_PINGS: [&str; 4] = ["--ping-interval", "0s", "--idle-timeout", "0s"];

const STALLED: usize = 300;
/// 20 MB in messages of 1 KiB.
const MESSAGES: usize = 20_000;
const BODY_BYTES: usize = 1024;
/// Published at once. The reading subscriber takes them all before the next batch, so it is never further behind.
const BATCH: usize = 200;

/// A message with this number and a body of about `length` bytes.
fn numbered(number: usize, length: usize) -> String {
    let mut message = chat(&["publish:room"], &number.to_string());
    message.push_str(&" ".repeat(length));
    message
}

/// Publishes `messages` in batches, each of which `reader` receives before the next. Calls `between` after each batch.
fn publish_to_a_reader(
    publisher: &mut Client,
    reader: &mut Client,
    (messages, length): (usize, usize),
    mut between: impl FnMut(),
) {
    for start in (0..messages).step_by(BATCH) {
        let numbers = start..(start + BATCH).min(messages);
        let batch: Vec<u8> =
            numbers.clone().flat_map(|number| frame::masked(FIN | TEXT, numbered(number, length).as_bytes())).collect();
        publisher.send_raw(&batch);
        numbers.for_each(|number| reader.expect_text(&numbered(number, length)));
        between();
    }
}

/// The server waits at least this long for a client that it closes: it gives up 10 s after the 1013.
const SURELY_WAITS: Duration = Duration::from_secs(8);

/// Reads what a stalled subscriber has missed: a prefix of all messages, then 1013 and the end. With `late`, an end
/// without 1013 is correct too.
#[track_caller]
fn expect_prefix_then_1013(mut client: Client, length: usize, late: bool) {
    for number in 0.. {
        let Some(frame) = client.try_recv().expect("the server ends in time") else {
            assert!(late, "an end without a close frame, after {number} messages");
            return;
        };
        if frame.opcode == CLOSE {
            assert_eq!(close_parts(&frame).0, 1013, "{frame:?}");
            let _ = client.try_send_raw(&frame::masked(FIN | CLOSE, &1013_u16.to_be_bytes()));
            client.expect_end();
            return;
        }
        assert_same(&frame.payload, numbered(number, length).as_bytes(), &format!("message {number}"));
    }
}

fn three_hundred_stalled_subscribers_cost_little_and_delay_nobody(cores: usize) {
    let mut daemon = Daemon::start(cores, &NO_PINGS);
    let mut stalled: Vec<_> = (0..STALLED).map(|_| Client::connect_with_small_window(daemon.port())).collect();
    stalled.iter_mut().for_each(|client| client.subscribe_acked("room"));
    let mut reader = Client::connect(daemon.port());
    reader.subscribe_acked("room");
    let mut publisher = Client::connect(daemon.port());

    let before = daemon.memory();
    let start = Instant::now();
    let mut most = 0;
    publish_to_a_reader(&mut publisher, &mut reader, (MESSAGES, BODY_BYTES), || most = most.max(daemon.memory()));
    let growth = most.saturating_sub(before);
    println!("{} KiB more at most", growth >> 10);
    assert!(growth < 100_000_000, "{growth} bytes more");
    reader.expect_nothing_before_ack();
    println!("published in {:?}", start.elapsed());
    for client in stalled {
        expect_prefix_then_1013(client, BODY_BYTES, start.elapsed() > SURELY_WAITS);
    }
    daemon.assert_healthy();
}

fn a_slow_subscriber_of_short_messages_is_closed_and_one_that_reads_is_not(cores: usize) {
    let daemon = Daemon::start(cores, &[&NO_PINGS[..], &["--outbox-max", "128KiB"]].concat());
    let mut slow = Client::connect_with_small_window(daemon.port());
    slow.subscribe_acked("room");
    let mut reader = Client::connect(daemon.port());
    reader.subscribe_acked("room");
    let mut publisher = Client::connect(daemon.port());
    let start = Instant::now();
    publish_to_a_reader(&mut publisher, &mut reader, (20_000, 64), || {});
    expect_prefix_then_1013(slow, 64, start.elapsed() > SURELY_WAITS);
    reader.expect_nothing_before_ack();
}

fn past_the_memory_budget_the_worst_offenders_are_closed_first(cores: usize) {
    const LARGE: usize = 700_000 / BODY_BYTES;
    const SMALL: usize = 250_000 / BODY_BYTES;
    let mut daemon =
        Daemon::start(cores, &[&NO_PINGS[..], &["--memory-budget", "3MiB", "--send-buffer", "64KiB"]].concat());
    let mut publisher = Client::connect(daemon.port());
    let publish = |publisher: &mut Client, channel: &str, messages: usize| {
        let message = chat(&[&format!("publish:{channel}")], &" ".repeat(BODY_BYTES));
        publisher.send_raw(&frame::masked(FIN | TEXT, message.as_bytes()).repeat(messages));
        publisher.expect_nothing_before_ack();
        message
    };
    let mut small = Client::connect_with_small_window(daemon.port());
    small.subscribe_acked("small");
    let expected = publish(&mut publisher, "small", SMALL);
    let large: Vec<_> = (0..12)
        .map(|number| {
            let mut client = Client::connect_with_small_window(daemon.port());
            client.subscribe_acked(&format!("large-{number}"));
            publish(&mut publisher, &format!("large-{number}"), LARGE);
            client
        })
        .collect();

    let closed = large.into_iter().map(|mut client| {
        let frames = std::iter::repeat_with(|| client.recv()).take(LARGE);
        usize::from(frames.into_iter().any(|frame| frame.opcode == CLOSE && close_parts(&frame).0 == 1013))
    });
    let closed: usize = closed.sum();
    println!("{closed} of 12 were closed");
    // Together they would keep at most 8 MB, less the kernel's part. Each core has its share of the budget.
    assert!((1..12).contains(&closed), "{closed} of 12 were closed");
    (0..SMALL).for_each(|_| small.expect_text(&expected));
    small.expect_nothing_before_ack();
    daemon.assert_healthy();
}

fn a_stalled_audience_stays_within_the_memory_budget_although_other_messages_come_between(cores: usize) {
    const PAIRS: usize = 15_000;
    let mut daemon =
        Daemon::start(cores, &[&NO_PINGS[..], &["--memory-budget", "4MiB", "--send-buffer", "32KiB"]].concat());
    let stalled = (0..STALLED).map(|_| Client::connect_with_small_window(daemon.port()));
    let mut stalled: Vec<_> = stalled.collect();
    stalled.iter_mut().for_each(|client| client.subscribe_acked("stalled"));
    let mut reader = Client::connect(daemon.port());
    reader.subscribe_acked("room");
    let mut publisher = Client::connect(daemon.port());
    let (to_room, to_stalled) = (chat(&["publish:room"], ""), chat(&["publish:stalled"], &" ".repeat(40)));
    let masked = |message: &str| frame::masked(FIN | TEXT, message.as_bytes());
    let batch = [masked(&to_stalled), masked(&to_room)].concat().repeat(BATCH);
    let before = daemon.memory();
    let mut most = 0;
    for _ in 0..PAIRS / BATCH {
        publisher.send_raw(&batch);
        (0..BATCH).for_each(|_| reader.expect_text(&to_room));
        most = most.max(daemon.memory());
    }
    let growth = most.saturating_sub(before);
    println!("{} KiB more at most", growth >> 10);
    // Each message is a range of its own in 300 backlogs: 15,000 such lists take 54 MB.
    assert!(growth < 24 << 20, "{growth} bytes more for a budget of 4 MiB");
    daemon.assert_healthy();
}

#[test]
fn a_burst_of_many_publishers_does_not_pile_up_on_the_link_to_the_other_core() {
    const PUBLISHERS: usize = 800;
    let mut daemon = Daemon::start(2, &NO_PINGS);
    let mut subscriber = Client::connect(daemon.port());
    subscriber.subscribe_acked("room");
    let mut publishers: Vec<_> = (0..PUBLISHERS).map(|_| Client::connect(daemon.port())).collect();
    let message = chat(&["publish:room"], &" ".repeat(20_000));
    let burst = frame::masked(FIN | TEXT, message.as_bytes()).repeat(3);
    let before = daemon.peak_rss();
    // Everything is in the sockets when the cores look: 48 MB, half of it on the core without a subscriber.
    daemon.signal("STOP");
    publishers.iter_mut().for_each(|publisher| publisher.send_raw(&burst));
    daemon.signal("CONT");
    // The client may be too slow for all messages; then it is closed.
    let mut received = 0;
    while received < 3 * PUBLISHERS && subscriber.recv().opcode == TEXT {
        received += 1;
    }
    publishers.iter_mut().for_each(Client::expect_nothing_before_ack);
    let growth = daemon.peak_rss() - before;
    println!("{} KiB more at most; {received} messages were received", growth >> 10);
    assert!(received > 0 && growth < 12 << 20, "{growth} bytes more, {received} messages");
    daemon.assert_healthy();
}

fn subscribed(port: u16, number: usize) -> Client {
    let mut client = Client::connect(port);
    // Rooms of twenty clients, as in a chat.
    client.subscribe_acked(&format!("room-{}", number / 20));
    client
}

fn an_idle_subscribed_connection_costs_at_most_600_bytes(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let warm: Vec<_> = (0..500).map(|number| subscribed(daemon.port(), number)).collect();
    let before = daemon.memory();
    const MORE: usize = 4000;
    let more: Vec<_> = (500..500 + MORE).map(|number| subscribed(daemon.port(), number)).collect();
    let each = daemon.memory().saturating_sub(before) / MORE;
    println!("{each} bytes for each of {} connections", warm.len() + more.len());
    assert!(each <= 600, "{each} bytes each");
}

#[test]
fn a_core_more_costs_little_memory() {
    if !enough_cpus(2) {
        return;
    }
    let memory = [1, 2].map(|cores| {
        let daemon = Daemon::start(cores, &[]);
        // Each core has served a client.
        let clients: Vec<_> = (0..20).map(|number| subscribed(daemon.port(), number)).collect();
        let memory = daemon.memory();
        drop(clients);
        memory
    });
    let more = memory[1].saturating_sub(memory[0]);
    println!("{} KiB with one core, {} KiB more with two", memory[0] >> 10, more >> 10);
    assert!(more < 2 << 20, "{more} bytes for a core");
}

fn connections_that_come_and_go_leave_no_memory_behind(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let come_and_go = |round: usize| {
        let mut clients: Vec<_> = (0..100).map(|_| Client::connect(daemon.port())).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            // Channels of its own, a pattern, and half a message left behind.
            client.subscribe_acked(&format!("own.{round}.{number} own.{round}.{number}.* other.{number}.>"));
            client.say(&chat(&[&format!("publish:own.{round}.{number}")], &"x".repeat(2000)));
            client.send_raw(&frame::masked(FIN | TEXT, &[b'x'; 2000])[..1500]);
        }
    };
    (0..10).for_each(come_and_go);
    let before = daemon.memory();
    (10..40).for_each(come_and_go);
    let growth = daemon.memory().saturating_sub(before);
    assert!(growth < 2 << 20, "{growth} bytes more after 3,000 connections");
}

#[test]
fn hundreds_of_nearly_complete_messages_stay_within_the_budget_and_do_not_affect_other_clients() {
    let mut daemon = Daemon::start(1, &[&NO_PINGS[..], &["--memory-budget", "4MiB"]].concat());
    let mut innocent: Vec<_> = (0..10).map(|_| Client::connect(daemon.port())).collect();
    innocent.iter_mut().for_each(|client| client.subscribe_acked("room"));
    let message = chat(&["publish:room"], &" ".repeat(3000));
    let masked = frame::masked(FIN | TEXT, message.as_bytes());
    let nearly = frame::masked(FIN | TEXT, &[b'x'; 65_000]);
    let before = daemon.memory();
    let mut most = 0;
    let mut attackers = Vec::new();
    for round in 0..400 {
        let mut attacker = Client::connect(daemon.port());
        attacker.send_raw(&nearly[..nearly.len() - 1]);
        attackers.push(attacker);
        // The well-behaved clients' messages come in two pieces, too.
        let sender = round % innocent.len();
        innocent[sender].send_raw(&masked[..1500]);
        most = most.max(daemon.memory());
        innocent[sender].send_raw(&masked[1500..]);
        innocent.iter_mut().for_each(|client| client.expect_text(&message));
    }
    let growth = most.saturating_sub(before);
    println!("{} KiB more at most", growth >> 10);
    assert!(growth < 8 << 20, "{growth} bytes more for a budget of 4 MiB");
    let mut closed = 0;
    for attacker in &mut attackers[..300] {
        closed += usize::from(close_parts(&attacker.recv()).0 == 1013);
    }
    assert_eq!(closed, 300, "26 MB for a budget of 4 MiB: the oldest are gone");
    daemon.assert_healthy();
}
