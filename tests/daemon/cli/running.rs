//! How the daemon starts and ends, and the lines that it prints then.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use tungstenite::{Message, WebSocket, client};

use super::process::{DaemonProcess, PATIENCE, assert_refused, publish};
use crate::helpers::scratch::Scratch;

#[test]
fn a_busy_port_is_one_sentence_that_names_it() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    assert_refused(&["--listen", &address, "--cores", "1"], &address);
}

#[test]
fn a_demo_that_cannot_listen_keeps_the_server_from_starting() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    assert_refused(&["--listen", "127.0.0.1:0", "--cores", "1", "--demo", &address], &address);
    assert_refused(&["--listen", "127.0.0.1:0", "--cores", "1", "--demo", &address], "demo");
}

#[test]
fn a_demo_needs_an_address_to_send_browsers_to() {
    let scratch = Scratch::new();
    let socket = format!("unix:{}/x.sock", scratch.path().display());
    assert_refused(&["--listen", &socket, "--cores", "1", "--demo", "127.0.0.1:0"], "an IP address in listen");
}

#[test]
fn the_demo_can_be_set_in_the_file_and_prints_its_url() {
    let scratch = Scratch::new();
    let path = scratch.write("lhttpd.toml", "demo = \"127.0.0.1:0\"\n");
    let server = DaemonProcess::start(&["--config", &path]);
    let line = server.wait_for_line("demo: open ");
    let url = line.split_once("open ").unwrap().1;
    let address = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix('/')).unwrap();
    TcpStream::connect(address).unwrap();
}

#[test]
fn two_servers_do_not_share_a_port_unnoticed() {
    let first = DaemonProcess::start(&[]);
    let address = first.address.to_string();
    assert_refused(&["--listen", &address, "--cores", "1"], &address);
}

#[test]
fn the_first_line_says_the_real_address_the_cores_and_the_limits() {
    let server = DaemonProcess::start(&["--listen", "127.0.0.1:0", "--cores", "1", "--max-connections", "77"]);
    let ports = server.line.matches("127.0.0.1:").count();
    assert_eq!(ports, 2, "two addresses were asked for: {}", server.line);
    for part in ["1 core", "77 connections", "64.0 KiB", "1.0 MiB"] {
        assert!(server.line.contains(part), "no {part:?} in {}", server.line);
    }
    TcpStream::connect(server.address).unwrap();
}

#[test]
fn sigterm_and_sigint_end_an_idle_server_with_success() {
    for signal in ["TERM", "INT"] {
        let mut server = DaemonProcess::start(&[]);
        // The drain time is an upper bound and not a wait: an idle server ends long before its 10 s.
        let asked = Instant::now();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "SIG{signal}");
        assert!(asked.elapsed() < Duration::from_secs(8), "SIG{signal} took {:?}", asked.elapsed());
    }
}

#[test]
fn a_client_that_does_not_read_delays_the_exit_by_the_drain_time_at_most() {
    let mut server = DaemonProcess::start(&["--outbox-max", "64MiB", "--drain", "300ms", "--log", "info"]);
    let _stalled = stall(server.address);
    let asked = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let taken = asked.elapsed();
    assert!(taken >= Duration::from_millis(300), "{taken:?}: the client was not stalled, this shows nothing");
    assert!(taken < Duration::from_secs(10), "{taken:?}");
}

#[test]
fn a_second_signal_ends_a_draining_server_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut server = DaemonProcess::start(&["--outbox-max", "64MiB", "--drain", "1h", "--log", "info"]);
        let _stalled = stall(server.address);
        server.signal(signal);
        server.wait_for_line("draining");
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(code), "SIG{signal}");
    }
}

#[test]
fn a_closed_stderr_does_not_stop_the_server() {
    let mut server = DaemonProcess::start(&["--log", "trace"]);
    server.close_stderr();
    assert_eq!(publish(server.address, ""), 200);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

/// A subscribed connection that does not read, with a backlog larger than the kernel's buffers.
fn stall(address: SocketAddr) -> WebSocket<TcpStream> {
    let mut stalled = connect(address);
    stalled.send(Message::text("LHTTP/1.0 c\r\nsubscribe:room\r\nack:live\r\n\r\n")).unwrap();
    assert!(stalled.read().unwrap().to_text().unwrap().contains("ack:live"));

    let mut publisher = connect(address);
    let message = format!("LHTTP/1.0 c\r\npublish:room\r\n\r\n{}", "x".repeat(60 << 10));
    for _ in 0..400 {
        publisher.write(Message::text(message.as_str())).unwrap();
    }
    publisher.send(Message::text("LHTTP/1.0 c\r\npublish:room\r\nack:done\r\n\r\n")).unwrap();
    assert!(publisher.read().unwrap().to_text().unwrap().contains("ack:done"));
    stalled
}

fn connect(address: SocketAddr) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    client(format!("ws://{address}/"), stream).unwrap().0
}
