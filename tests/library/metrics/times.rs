//! Times, bytes, backlogs and the links between cores.

use std::{net::TcpStream, time::Instant};

use lhttp::{Config, Handle};
use socket2::{Domain, Socket, Type};

use super::series::{value, value_in, wait_for_value};
use crate::helpers::{Client, enough_cpus, start, start_with_cores, wait_for};

/// The number of times in each bucket of a histogram, by its upper bound, not added up.
fn buckets(server: &Handle, name: &str) -> Vec<(f64, f64)> {
    let (text, mut before) = (server.metrics().text(), 0.0);
    let bound = |line: &str| {
        let (bound, count) = line.strip_prefix(&format!("{name}_bucket{{le=\""))?.split_once("\"} ")?;
        Some((if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? }, count.parse::<f64>().ok()?))
    };
    let buckets =
        text.lines().filter_map(bound).map(|(bound, count)| (bound, count - std::mem::replace(&mut before, count)));
    let buckets: Vec<(f64, f64)> = buckets.collect();
    assert_eq!(Some(before), value_in(&text, &format!("{name}_count")), "{name}");
    buckets
}

#[test]
fn a_delivery_a_handshake_and_a_turn_are_measured_within_the_time_that_they_took() {
    let server = start(|builder| builder);
    let began = Instant::now();
    let mut reader = Client::connect(server.local_addrs()[0]);
    reader.subscribe("room");
    let mut writer = Client::connect(server.local_addrs()[0]);
    for number in 0..10 {
        let message = format!("LHTTP/1.0 c\r\npublish:room\r\n\r\n{number}");
        writer.say(&message);
        reader.expect(&message);
    }
    wait_for_value(&server, "lhttp_delivery_latency_seconds_count", 10.0);
    wait_for_value(&server, "lhttp_handshake_duration_seconds_count", 2.0);
    wait_for_value(&server, "lhttp_messages_delivered_total", 10.0);
    for name in ["lhttp_delivery_latency_seconds", "lhttp_handshake_duration_seconds", "lhttp_turn_duration_seconds"] {
        let sum = value(&server, &format!("{name}_sum"));
        let took = began.elapsed().as_secs_f64();
        assert!(sum > 0.0 && sum <= took, "{name}: {sum} s of {took} s");
        let (mut least, mut most) = (0.0, 0.0);
        let mut bound_before = 0.0;
        for (bound, count) in buckets(&server, name) {
            least += bound_before * count;
            most += if count > 0.0 { bound * count } else { 0.0 };
            bound_before = bound;
        }
        assert!(sum >= least * 0.999 && sum <= most * 1.001, "{name}: {sum} s, in buckets for {least} to {most} s");
    }
    let turns = value(&server, "lhttp_turn_duration_seconds_count");
    assert!(turns >= 10.0 && server.stats().turns >= turns as u64, "{turns} turns");
    wait_for(|| value(&server, "lhttp_core_turns_total{core=\"0\"}") >= turns);
    assert!(value(&server, "lhttp_core_busy_seconds_total{core=\"0\"}") > 0.0);
    wait_for_value(&server, "lhttp_core_messages_received_total{core=\"0\"}", 11.0);
}

#[test]
fn the_bytes_of_sockets_are_counted_in_both_directions() {
    let server = start(|builder| builder);
    let mut client = Client::connect(server.local_addrs()[0]);
    client.expect_nothing();
    let (read, written) = ("lhttp_received_bytes_total", "lhttp_sent_bytes_total");
    let before = (value(&server, read), value(&server, written));
    assert!(before.0 > 100.0 && before.1 > 100.0, "the handshake: {before:?}");
    client.subscribe("room");
    wait_for(|| value(&server, "lhttp_subscriptions") == 1.0);
    let before = (value(&server, read), value(&server, written));
    let message = format!("LHTTP/1.0 c\r\npublish:room\r\n\r\n{}", "x".repeat(1000));
    client.say(&message);
    client.expect(&message);
    // A client's frame has 8 bytes before so much, and a server's 4.
    wait_for(|| value(&server, read) - before.0 == message.len() as f64 + 8.0);
    wait_for(|| value(&server, written) - before.1 == message.len() as f64 + 4.0);
}

/// A connection whose kernel keeps little, so that the server has the rest.
fn small_window(server: &Handle) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address = server.local_addrs()[0];
    socket.connect(&address.into()).expect("the server accepts");
    Client::upgrade(TcpStream::from(socket), address, "/", &[])
}

#[test]
fn a_client_that_does_not_read_has_a_backlog_until_it_reads() {
    let config = Config { send_buffer_bytes: 8192, ..Config::default() };
    let server = start(|builder| builder.config(config));
    let mut stalled = small_window(&server);
    stalled.subscribe("room");
    assert_eq!(value(&server, "lhttp_backlogs"), 0.0);
    let mut writer = Client::connect(server.local_addrs()[0]);
    let message = format!("LHTTP/1.0 c\r\npublish:room\r\n\r\n{}", "x".repeat(16_000));
    let mut sent = 0;
    while value(&server, "lhttp_backlogs") == 0.0 {
        writer.say(&message);
        writer.expect_nothing();
        sent += 1;
        assert!(sent < 1000, "the kernel takes everything");
    }
    wait_for(|| value(&server, "lhttp_backlog_bytes") > 0.0);
    let kept = value(&server, "lhttp_kept_bytes");
    assert!(kept >= value(&server, "lhttp_backlog_bytes") && kept <= value(&server, "lhttp_kept_limit_bytes"));
    for _ in 0..sent {
        stalled.expect(&message);
    }
    wait_for(|| value(&server, "lhttp_backlogs") == 0.0 && value(&server, "lhttp_backlog_bytes") == 0.0);
}

#[test]
fn what_goes_to_another_core_is_counted_as_a_batch() {
    if !enough_cpus(2) {
        println!("skipped: it takes two CPUs");
        return;
    }
    let server = start_with_cores(2, |builder| builder);
    let (batches, bytes) = ("lhttp_relay_batches_total", "lhttp_relay_sent_bytes_total");
    let mut reader = Client::connect(server.local_addrs()[0]);
    reader.subscribe("room"); // the other core hears of it
    wait_for(|| value(&server, batches) >= 1.0 && value(&server, bytes) > 0.0);
    assert_eq!(value(&server, "lhttp_relay_waiting_bytes"), 0.0);
    assert!(server.metrics().text().contains("lhttp_core_connections{core=\"1\"}"));
}
