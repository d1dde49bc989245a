//! NATS is away, stopped, restarted or cut off: every lost message is counted, and no other is lost.

use std::{sync::mpsc, thread, time::Instant};

use lhttp::Config;

use crate::helpers::{
    Client,
    bridge::{OFFLINE, ONLINE, address, config, node, subscribe, wait_for_stats, wait_until_online},
    loopback::free_address,
    nats::{NatsServer, RawNats, has_nats_server},
    proxy::CuttableProxy,
    start, wait_for,
};

fn message(number: usize) -> String {
    format!("LHTTP/1.0 n\r\npublish:room\r\n\r\n{number}")
}

/// Publishes these numbers, and waits until the node has accepted them.
fn publish(client: &mut Client, numbers: std::ops::Range<usize>) {
    for number in numbers {
        client.say(&message(number));
    }
    client.expect_nothing();
}

/// The numbers that a NATS client receives up to `last`. Fails the test if they are out of order or one comes twice.
fn hear_until(raw: &mut RawNats, last: usize) -> Vec<usize> {
    let mut heard = Vec::new();
    while heard.last() != Some(&last) {
        let (_, payload) = raw.recv();
        let text = String::from_utf8(payload).expect("text");
        let number = text.rsplit('\n').next().and_then(|number| number.parse().ok()).expect("a number");
        assert!(heard.last().is_none_or(|before| *before < number), "{number} after {:?}", heard.last());
        heard.push(number);
    }
    heard
}

#[test]
fn a_node_starts_without_nats_and_finds_it_later() {
    if !has_nats_server() {
        return;
    }
    let address_of_nats = free_address();
    let node = node(&address_of_nats.to_string());
    let mut client = Client::connect(address(&node));
    assert_eq!(subscribe(&mut client, "room a.*"), OFFLINE);
    for number in 0..3 {
        client.say(&message(number));
        client.expect(&message(number)); // local clients are served as always
    }
    wait_for_stats(&node, |stats| stats.nats_connected == 0 && stats.nats_waiting_bytes > 0);
    let nats = NatsServer::start_at(address_of_nats);
    wait_until_online(&node);
    let mut raw = RawNats::connect(&nats);
    raw.publish("a.b", b"hello");
    client.expect("hello");
    assert_eq!(subscribe(&mut client, "room"), ONLINE);
    wait_for_stats(&node, |stats| stats.nats_published == 3 && stats.nats_received == 1);
    wait_for_stats(&node, |stats| stats.nats_connected == 1 && stats.nats_waiting_bytes == 0);
    assert_eq!(node.stats().nats_disconnects, 0);
}

#[test]
fn messages_published_in_an_outage_go_out_in_order_after_it() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let proxy = CuttableProxy::to(nats.address());
    let node = node(&proxy.url());
    wait_until_online(&node);
    let mut raw = RawNats::connect(&nats);
    raw.subscribe("room");
    raw.flush();
    let mut client = Client::connect(address(&node));
    publish(&mut client, 0..100);
    assert_eq!(hear_until(&mut raw, 99).len(), 100);
    proxy.cut();
    wait_for_stats(&node, |stats| stats.nats_disconnects == 1);
    assert_eq!(subscribe(&mut client, "room"), OFFLINE);
    for number in 100..5000 {
        client.say(&message(number));
        client.expect(&message(number));
    }
    proxy.restore();
    let heard = hear_until(&mut raw, 4999);
    assert_eq!(heard, (100..5000).collect::<Vec<_>>());
    let stats = wait_for_stats(&node, |stats| stats.nats_published == 5000);
    assert_eq!(stats.nats_publish_dropped, 0, "{stats}");
    // The first hundred have arrived, but the cut may have come before the server was asked to confirm.
    assert!([0, 100].contains(&stats.nats_possibly_lost), "{stats}");
    wait_until_online(&node);
    raw.publish("room", b"and back");
    client.expect("and back");
}

#[test]
fn a_client_that_waits_for_a_confirmation_is_told_that_the_connection_is_lost() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let proxy = CuttableProxy::to(nats.address());
    let node = node(&proxy.url());
    wait_until_online(&node);
    nats.pause();
    let mut client = Client::connect(address(&node));
    client.say("LHTTP/1.0 n\r\nsubscribe:room\r\nack:a\r\n\r\n");
    proxy.cut();
    client.expect(OFFLINE);
    nats.go_on();
}

#[test]
fn messages_that_do_not_fit_the_buffer_are_dropped_oldest_first_and_counted() {
    if !has_nats_server() {
        return;
    }
    const SENT: usize = 3000;
    const BUFFER: usize = 512 << 10;
    let nats = NatsServer::start(&[]);
    let proxy = CuttableProxy::to(nats.address());
    proxy.cut();
    let config = Config { nats_buffer_bytes: BUFFER, ..config(&proxy.url()) };
    let node = start(|builder| builder.config(config).cores(1));
    let mut raw = RawNats::connect(&nats);
    raw.subscribe("room");
    raw.flush();
    let mut client = Client::connect(address(&node));
    let padding = "x".repeat(1000);
    let padded = |number: usize| format!("LHTTP/1.0 n\r\npublish:room\r\n\r\n{padding}\n{number}");
    for number in 0..SENT {
        client.say(&padded(number));
    }
    client.expect_nothing();
    proxy.restore();
    let heard = hear_until(&mut raw, SENT - 1);
    let stats = wait_for_stats(&node, |stats| stats.nats_published > 0 && stats.nats_published == heard.len() as u64);
    assert_eq!(stats.nats_publish_dropped, (SENT - heard.len()) as u64, "{stats}");
    let first = SENT - heard.len();
    assert_eq!(heard, (first..SENT).collect::<Vec<_>>(), "the newest are kept, without a gap");
    // README promises: a message counts its own size, its channel's name, and at most 84 bytes more. At most 16 KiB and
    // one message for each core stay unused.
    let sizes = heard.iter().map(|&number| padded(number).len() + "room".len());
    let (bytes, largest) = (sizes.clone().sum::<usize>(), sizes.max().unwrap_or(0) + 84);
    assert!(bytes <= BUFFER, "{bytes} bytes were kept of {BUFFER}");
    let used = bytes + 84 * heard.len();
    assert!(used + (16 << 10) + largest >= BUFFER, "at most {used} bytes of {BUFFER} were used");
}

#[test]
fn the_counters_agree_with_the_losses_of_a_cut() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let proxy = CuttableProxy::to(nats.address());
    let node = node(&proxy.url());
    wait_until_online(&node);
    let mut raw = RawNats::connect(&nats);
    raw.subscribe("room");
    raw.flush();
    let mut client = Client::connect(address(&node));
    let (end, ended) = mpsc::channel::<()>();
    let publisher = thread::spawn(move || {
        let mut sent = 0;
        // The client publishes all the time while the connection is cut three times.
        while ended.try_recv() == Err(mpsc::TryRecvError::Empty) {
            publish(&mut client, sent..sent + 200);
            sent += 200;
        }
        (client, sent)
    });
    for cut in 1..=3 {
        wait_until_online(&node);
        let before = node.stats().nats_published;
        wait_for_stats(&node, |stats| stats.nats_published > before + 500);
        proxy.cut();
        wait_for_stats(&node, |stats| stats.nats_disconnects == cut);
        proxy.restore();
    }
    end.send(()).expect("it publishes");
    let (mut client, sent) = publisher.join().expect("the publisher does not panic");
    wait_until_online(&node);
    publish(&mut client, sent..sent + 1);
    let heard = hear_until(&mut raw, sent);
    let stats = wait_for_stats(&node, |stats| stats.nats_published + stats.nats_publish_dropped == sent as u64 + 1);
    let missing = (sent + 1 - heard.len()) as u64;
    let counted = stats.nats_publish_dropped + stats.nats_possibly_lost;
    println!("{sent} sent, {missing} missing, {counted} counted");
    assert!(stats.nats_publish_dropped <= missing && missing <= counted, "{missing} are missing: {stats}");
    assert_eq!(stats.nats_disconnects, 3);
}

#[test]
fn messages_in_flight_to_a_killed_server_are_counted_exactly() {
    if !has_nats_server() {
        return;
    }
    let mut nats = NatsServer::start(&[]);
    let proxy = CuttableProxy::to(nats.address());
    let node = node(&proxy.url());
    wait_until_online(&node);
    let mut client = Client::connect(address(&node));
    publish(&mut client, 0..1000);
    wait_for_stats(&node, |stats| stats.nats_published == 1000);
    assert_eq!(subscribe(&mut client, "behind"), ONLINE, "so the thousand are confirmed");
    // The server no longer reads, but its sockets still take bytes until it is killed with them.
    nats.pause();
    publish(&mut client, 1000..4000);
    wait_for_stats(&node, |stats| stats.nats_published > 1000);
    nats.kill();
    proxy.cut();
    let stats = wait_for_stats(&node, |stats| stats.nats_disconnects == 1);
    assert!(stats.nats_possibly_lost > 0, "{stats}");
    nats.restart();
    let mut raw = RawNats::connect(&nats);
    raw.subscribe("room");
    raw.flush();
    proxy.restore();
    wait_until_online(&node);
    publish(&mut client, 4000..4500);
    let lost = stats.nats_possibly_lost as usize;
    if 1000 + lost < 4500 {
        let heard = hear_until(&mut raw, 4499);
        assert_eq!(heard, (1000 + lost..4500).collect::<Vec<_>>(), "{}", node.stats());
    }
    let stats = wait_for_stats(&node, |stats| stats.nats_published == 4500);
    assert_eq!((stats.nats_possibly_lost as usize, stats.nats_publish_dropped), (lost, 0), "{stats}");
}

#[test]
fn a_node_reconnects_to_a_server_that_was_killed_and_restarted() {
    if !has_nats_server() {
        return;
    }
    let mut nats = NatsServer::start(&[]);
    let (here, there) = (node(&nats.url()), node(&nats.url()));
    wait_until_online(&here);
    wait_until_online(&there);
    let (mut publisher, mut subscriber) = (Client::connect(address(&here)), Client::connect(address(&there)));
    assert_eq!(subscribe(&mut subscriber, "room"), ONLINE);
    let reader = thread::spawn(move || {
        let mut heard: Vec<usize> = Vec::new();
        while heard.last() != Some(&usize::MAX) {
            let text = subscriber.recv().into_text().expect("text").to_string();
            let number = text.rsplit('\n').next().and_then(|number| number.parse().ok()).expect("a number");
            assert!(heard.last().is_none_or(|before| *before < number), "{number} after {:?}", heard.last());
            heard.push(number);
        }
        heard
    });
    let mut sent = 0;
    for round in 1..=3 {
        publish(&mut publisher, sent..sent + 1000);
        sent += 1000;
        nats.kill();
        publish(&mut publisher, sent..sent + 1000);
        sent += 1000;
        nats.restart();
        for node in [&here, &there] {
            wait_for_stats(node, |stats| stats.nats_disconnects == round);
            wait_until_online(node);
        }
    }
    let before_last = sent;
    publish(&mut publisher, sent..sent + 1000);
    publish(&mut publisher, usize::MAX - 1..usize::MAX);
    sent += 1000;
    publisher.say(&message(usize::MAX));
    let heard = reader.join().expect("in order, and none twice");
    let last: Vec<usize> = heard.iter().copied().filter(|number| (before_last..sent).contains(number)).collect();
    assert_eq!(last, (before_last..sent).collect::<Vec<_>>(), "with everybody back nothing is lost");
    assert_eq!(here.stats().nats_publish_dropped, 0);
}

#[test]
fn a_paused_server_delays_nobody_for_long() {
    if !has_nats_server() {
        return;
    }
    let nats = NatsServer::start(&[]);
    let node = node(&nats.url());
    wait_until_online(&node);
    let mut client = Client::connect(address(&node));
    nats.pause();
    let asked = Instant::now();
    assert_eq!(subscribe(&mut client, "room"), OFFLINE);
    assert!(asked.elapsed() < std::time::Duration::from_secs(6), "{:?}", asked.elapsed());
    // More than the sockets buffer: the node still serves its own clients.
    let padding = "x".repeat(10_000);
    for number in 0..3000 {
        let message = format!("LHTTP/1.0 n\r\npublish:room\r\n\r\n{padding}{number}");
        client.say(&message);
        client.expect(&message);
    }
    nats.go_on();
    wait_until_online(&node);
    let mut raw = RawNats::connect(&nats);
    raw.publish("room", b"again");
    client.expect("again");
    wait_for_stats(&node, |stats| stats.nats_published + stats.nats_publish_dropped == 3000);
}

#[test]
fn one_of_three_servers_may_die() {
    if !has_nats_server() {
        return;
    }
    let routes: Vec<String> = (0..3).map(|_| format!("nats://{}", free_address())).collect();
    let list = routes.join(",");
    let mut servers: Vec<NatsServer> = routes
        .iter()
        .map(|route| {
            NatsServer::start(&["--cluster_name", "c", "--cluster", route, "--routes", &list, "--no_advertise"])
        })
        .collect();
    let urls: Vec<String> = servers.iter().map(NatsServer::url).collect();
    let there = node(&urls[2]);
    wait_until_online(&there);
    let mut subscriber = Client::connect(address(&there));
    assert_eq!(subscribe(&mut subscriber, "room"), ONLINE);
    // The node connects to the first server, because the second is behind a cut proxy.
    let proxy = CuttableProxy::to(servers[1].address());
    proxy.cut();
    let here = node(&format!("{},{}", urls[0], proxy.url()));
    wait_until_online(&here);
    let mut publisher = Client::connect(address(&here));
    // The routes between the servers take a moment.
    wait_for(|| {
        publish(&mut publisher, 0..1);
        there.stats().nats_received > 0
    });
    let mut sent = 1;
    publish(&mut publisher, sent..1000);
    servers[0].kill();
    sent = 1000;
    publish(&mut publisher, sent..2000);
    wait_for_stats(&here, |stats| stats.nats_disconnects == 1);
    proxy.restore();
    wait_until_online(&here);
    publish(&mut publisher, 2000..3000);
    let mut heard: Vec<usize> = Vec::new();
    while heard.last() != Some(&2999) {
        let text = subscriber.recv().into_text().expect("text").to_string();
        let number: usize = text.rsplit('\n').next().and_then(|number| number.parse().ok()).expect("a number");
        assert!(number == 0 || heard.last().is_none_or(|before| *before < number), "{number} after {:?}", heard.last());
        heard.push(number);
    }
    let after = heard.iter().filter(|number| **number >= 2000).count();
    assert_eq!(after, 1000, "nothing is lost with a connection that holds");
    assert_eq!(there.stats().nats_disconnects, 0);
}
