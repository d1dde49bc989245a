//! PROTOCOL.md §3: publishing over HTTP on the same port.

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    http::{Http, Response, publish_request},
    message::chat,
    on_one_and_two_cores,
};

on_one_and_two_cores!(
    a_posted_message_reaches_its_subscribers_byte_for_byte,
    a_posted_message_is_text_if_it_is_utf8_and_else_binary,
    only_the_publish_header_of_a_posted_message_counts,
    an_invalid_posted_message_gets_400_with_the_reason,
    a_chunked_body_is_put_together,
    a_client_that_expects_100_gets_it_before_its_body,
    a_connection_is_kept_for_further_requests_until_it_is_closed,
    pipelined_requests_are_answered_in_order_wherever_they_are_cut,
    a_client_that_shuts_its_side_still_gets_its_answers,
);

/// A subscriber of `room`, and a connection that publishes over HTTP.
fn listener_and_poster(daemon: &Daemon) -> (Client, Http) {
    let mut listener = Client::connect(daemon.port());
    listener.subscribe_acked("room");
    (listener, Http::connect(daemon.port()))
}

#[track_caller]
fn assert_published(response: &Response, channels: usize) {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.body_text(), format!("{{\"channels\":{channels}}}"));
}

fn a_posted_message_reaches_its_subscribers_byte_for_byte(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut listeners: Vec<_> = (0..8).map(|_| Client::connect(daemon.port())).collect();
    listeners.iter_mut().for_each(|listener| listener.subscribe_acked("room r.*"));
    let mut poster = Http::connect(daemon.port());
    let message = chat(&["content-type:json", "Publish: room r.a", "X: y"], "hello\r\n\r\nyou");
    for round in 0..20 {
        assert_published(&poster.ask(publish_request(&message, "Content-Type: text/plain\r\n")), 2);
        let single = chat(&["publish:room"], &round.to_string());
        assert_published(&poster.ask(publish_request(&single, "")), 1);
        for listener in &mut listeners {
            listener.expect_text(&message);
            listener.expect_text(&message);
            listener.expect_text(&single);
        }
    }
    let nobody = chat(&["publish:a b", "publish:c"], "nobody listens");
    assert_published(&poster.ask(publish_request(nobody, "")), 3);
}

fn a_posted_message_is_text_if_it_is_utf8_and_else_binary(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut listener, mut poster) = listener_and_poster(&daemon);
    let text = chat(&["publish:room"], "zwölf €\0");
    assert_published(&poster.ask(publish_request(&text, "")), 1);
    listener.expect_text(&text);
    let mut bytes = chat(&["publish:room"], "").into_bytes();
    bytes.extend(0..=255);
    assert_published(&poster.ask(publish_request(&bytes, "")), 1);
    listener.expect_binary(&bytes);
}

fn only_the_publish_header_of_a_posted_message_counts(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut listener, mut poster) = listener_and_poster(&daemon);
    let message = chat(
        &[
            "subscribe:x a..b",
            "unsubscribe:room",
            "multipart:999 x",
            "upstream:nonsense",
            "ack:t",
            "no-echo:true",
            "publish:room",
        ],
        "",
    );
    assert_published(&poster.ask(publish_request(&message, "")), 1);
    listener.expect_text(&message);
    assert_published(&poster.ask(publish_request(chat(&["publish:room"], "still"), "")), 1);
    listener.expect_text(&chat(&["publish:room"], "still"));
}

fn an_invalid_posted_message_gets_400_with_the_reason(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut listener, mut poster) = listener_and_poster(&daemon);
    for (body, reason) in [
        ("", "not-lhttp"),
        ("hello", "not-lhttp"),
        ("LHTTP/1.0 chat", "bad-start-line"),
        ("LHTTP/1.0 chat\r\npublish:room\r\n", "bad-header"),
        ("LHTTP/1.0 chat\r\npublish:room a..b\r\n\r\n", "bad-channel"),
        ("LHTTP/1.0 chat\r\npublish:room *\r\n\r\n", "bad-channel"),
    ] {
        let response = poster.ask(publish_request(body, ""));
        assert_eq!(response.status, 400, "{body:?}: {response:?}");
        assert!(response.body_text().contains(reason), "{body:?}: {response:?}");
    }
    let response = poster.ask(publish_request(chat(&["subscribe:room"], ""), ""));
    assert_eq!(response.status, 400, "a message with no publish header: {response:?}");
    assert!(response.body_text().contains("publish"), "{response:?}");
    // The request itself was well-formed, so the connection still works; and nothing was published.
    let last = chat(&["publish:room"], "last");
    assert_published(&poster.ask(publish_request(&last, "")), 1);
    listener.expect_text(&last);
}

/// A chunked `POST /publish` with chunks of `size` bytes, extensions on the first ones and a trailer.
fn chunked_request(message: &str, size: usize) -> Vec<u8> {
    let mut request = b"POST /publish HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: Chunked\r\n\r\n".to_vec();
    for (number, chunk) in message.as_bytes().chunks(size).enumerate() {
        // A server may limit the size of extensions and trailers (RFC 9112 §7.1.1).
        let extension = if number < 3 { ";name=\"a value\"" } else { "" };
        request.extend(format!("{:X}{extension}\r\n", chunk.len()).into_bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    request.extend(b"000\r\nTrailer: ignored\r\n\r\n");
    request
}

fn a_chunked_body_is_put_together(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut listener, mut poster) = listener_and_poster(&daemon);
    let message = chat(&["publish:room"], &"a chunked body, ".repeat(20));
    for size in [1, 3, 16, 1000] {
        assert_published(&poster.ask(chunked_request(&message, size)), 1);
        listener.expect_text(&message);
    }
    let request = chunked_request(&message, 100);
    for cut in 1..request.len() {
        poster.send(&request[..cut]);
        assert_published(&poster.ask(&request[cut..]), 1);
        listener.expect_text(&message);
    }
}

fn a_client_that_expects_100_gets_it_before_its_body(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut listener, mut poster) = listener_and_poster(&daemon);
    let message = chat(&["publish:room"], "expected");
    for _ in 0..2 {
        let request = publish_request(&message, "Expect: 100-Continue\r\n");
        let (head, body) = request.split_at(request.len() - message.len());
        assert_eq!(poster.ask(head).status, 100);
        assert_published(&poster.ask(body), 1);
        listener.expect_text(&message);
    }
    // A client that sends the body at once needs no 100, but may get one.
    poster.send(publish_request(&message, "Expect: 100-continue\r\n"));
    let first = poster.response();
    assert_published(&if first.status == 100 { poster.response() } else { first }, 1);
    // A body that will be refused is refused before it is sent.
    let head = "POST /publish HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n";
    assert_eq!(poster.ask(head).status, 413);
}

fn a_connection_is_kept_for_further_requests_until_it_is_closed(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut listener, mut poster) = listener_and_poster(&daemon);
    let message = chat(&["publish:room"], "kept");
    for _ in 0..50 {
        assert_published(&poster.ask(publish_request(&message, "")), 1);
        assert_eq!(poster.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
        listener.expect_text(&message);
    }
    assert_published(&poster.ask(publish_request(&message, "Connection: close\r\n")), 1);
    poster.expect_end();

    let old = String::from_utf8(publish_request(&message, "")).expect("text").replace("HTTP/1.1", "HTTP/1.0");
    let mut poster = Http::connect(daemon.port());
    assert_published(&poster.ask(&old), 1);
    poster.expect_end();
    let mut poster = Http::connect(daemon.port());
    let kept = old.replace("Host: localhost", "Host: localhost\r\nConnection: keep-alive");
    assert_published(&poster.ask(&kept), 1);
    assert_published(&poster.ask(&kept), 1);
}

fn pipelined_requests_are_answered_in_order_wherever_they_are_cut(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let (mut listener, mut poster) = listener_and_poster(&daemon);
    let (first, second) = (chat(&["publish:room other"], "1"), chat(&["publish:room"], "second"));
    let bytes = [
        publish_request(&first, ""),
        b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        chunked_request(&second, 30),
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
    ]
    .concat();
    for cut in 0..bytes.len() {
        poster.send(&bytes[..cut]);
        poster.send(&bytes[cut..]);
        assert_published(&poster.response(), 2);
        assert_eq!(poster.response().status, 404, "cut at {cut}");
        assert_published(&poster.response(), 1);
        assert_eq!(poster.response().body_text().trim_end(), "ok", "cut at {cut}");
        listener.expect_text(&first);
        listener.expect_text(&second);
    }
}

fn a_client_that_shuts_its_side_still_gets_its_answers(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for _ in 0..20 {
        let (mut listener, mut poster) = listener_and_poster(&daemon);
        let message = chat(&["publish:room"], "and nothing more");
        poster.send([publish_request(&message, ""), publish_request(&message, "")].concat());
        poster.wire().finish_sending();
        assert_published(&poster.response(), 1);
        assert_published(&poster.response(), 1);
        poster.expect_end();
        listener.expect_text(&message);
        listener.expect_text(&message);
    }
}
