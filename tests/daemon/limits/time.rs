//! Deadlines that more bytes do not extend: a message and a request must be complete in time, however steadily their
//! bytes come.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use crate::helpers::{
    PATIENCE,
    client::{Client, close_parts},
    daemon::Daemon,
    frame::{self, CLOSE, FIN, PING, TEXT},
    http::Http,
    let_pass,
    message::chat,
    on_one_and_two_cores,
    scratch::Scratch,
};

on_one_and_two_cores!(
    a_message_that_drips_closes_its_connection_and_no_other,
    a_request_body_that_drips_gets_408,
    a_new_message_timeout_applies_to_messages_that_have_begun,
);

/// Sends a piece every 50 ms until the server closes the connection. Returns the close code and reason, and the time
/// that it took.
fn drip(client: &mut Client, pieces: impl Iterator<Item = Vec<u8>>) -> ((u16, String), Duration) {
    let start = Instant::now();
    client.set_timeout(Duration::from_millis(50));
    for piece in pieces {
        let _ = client.try_send_raw(&piece);
        match client.try_recv() {
            Ok(Some(frame)) if frame.opcode == CLOSE => return (close_parts(&frame), start.elapsed()),
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word after {:?}", start.elapsed()),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
        }
        assert!(start.elapsed() < PATIENCE, "it is still open");
    }
    unreachable!("there is always another piece")
}

fn a_message_that_drips_closes_its_connection_and_no_other(cores: usize) {
    let daemon = Daemon::start(cores, &["--message-timeout", "1s"]);
    let mut innocent = Client::connect(daemon.port());
    innocent.subscribe_acked("room");
    let whole = frame::masked(FIN | TEXT, &[b'x'; 60_000]);
    let bytes = whole.chunks(1).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let fragments = |number: usize| {
        let fragment = frame::masked(if number == 0 { TEXT } else { 0 }, b"xx");
        [fragment, frame::masked(FIN | PING, b"")].concat()
    };
    let empty = |number: usize| frame::masked(if number == 0 { TEXT } else { 0 }, b"");
    let drips: [Box<dyn Iterator<Item = Vec<u8>>>; 3] =
        [Box::new(bytes.into_iter()), Box::new((0..).map(fragments)), Box::new((0..).map(empty))];
    for pieces in drips {
        let mut client = Client::connect(daemon.port());
        let (close, took) = drip(&mut client, pieces);
        assert_eq!(close, (1008, "message-timeout".to_owned()));
        assert!(took >= Duration::from_millis(950) && took < Duration::from_secs(4), "{took:?}");
    }
    // A message in several pieces that is complete in time is served, and so is the one behind it.
    let message = chat(&["publish:room"], &"x".repeat(5000));
    let frame = frame::masked(FIN | TEXT, message.as_bytes());
    for _ in 0..4 {
        innocent.send_raw(&frame[..2000]);
        let_pass(Duration::from_millis(400));
        innocent.send_raw(&frame[2000..]);
        innocent.expect_text(&message);
    }
}

fn a_request_body_that_drips_gets_408(cores: usize) {
    let daemon = Daemon::start(cores, &["--handshake-timeout", "1s"]);
    for (head, piece) in [("Content-Length: 60000", "x"), ("Transfer-Encoding: chunked", "1\r\nx\r\n")] {
        let mut http = Http::connect(daemon.port());
        http.send(format!("POST /publish HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n"));
        let start = Instant::now();
        http.wire().set_timeout(Duration::from_millis(50));
        while http.wire().unread().is_empty() {
            http.send(piece);
            let _ = http.wire().fill();
            assert!(start.elapsed() < PATIENCE, "{head}: it is still read");
        }
        http.wire().set_timeout(PATIENCE);
        assert_eq!(http.response().status, 408, "{head}");
        assert!(start.elapsed() >= Duration::from_millis(950), "{head}: {:?}", start.elapsed());
    }
}

fn a_new_message_timeout_applies_to_messages_that_have_begun(cores: usize) {
    let scratch = Scratch::new();
    let path = scratch.write("lhttpd.toml", "message-timeout = 0\n");
    let daemon = Daemon::start(cores, &["--config", &path, "--idle-timeout", "0s"]);
    let mut client = Client::connect(daemon.port());
    client.expect_nothing_before_ack();
    client.send_raw(&frame::masked(FIN | TEXT, b"never whole")[..8]);
    let_pass(Duration::from_millis(500));
    scratch.write("lhttpd.toml", "message-timeout = \"1s\"\n");
    daemon.signal("HUP");
    daemon.wait_for("message-timeout");
    assert_eq!(client.expect_close(), (1008, "message-timeout".to_owned()));
}
