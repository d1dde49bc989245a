//! PROTOCOL.md §3 and RFC 6455 §4.2: valid and invalid WebSocket handshakes.

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    frame::{self, FIN, TEXT},
    http::{ACCEPT, Http, KEY, Response, handshake, publish_request},
    message::chat,
    on_one_and_two_cores,
};

on_one_and_two_cores!(
    a_handshake_on_any_path_is_granted,
    a_handshake_is_granted_however_its_headers_are_written,
    the_subprotocol_lhttp_is_given_back_and_no_other,
    an_offered_extension_is_not_taken,
    another_version_gets_426_with_13,
    a_handshake_without_a_valid_key_is_refused,
    frames_that_come_with_the_handshake_are_served,
    a_handshake_may_come_byte_by_byte,
    a_handshake_is_the_same_wherever_it_is_cut,
    a_connection_that_was_used_for_http_can_become_a_websocket,
    tungstenites_client_can_subscribe_and_publish,
);

fn ask(daemon: &Daemon, request: &str) -> (Http, Response) {
    let mut http = Http::connect(daemon.port());
    let response = http.ask(request);
    (http, response)
}

/// Fails the test unless `response` accepts the handshake and the connection then speaks LHTTP.
#[track_caller]
fn assert_granted((http, response): (Http, Response)) {
    assert_eq!(response.status, 101, "{response:?}");
    assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT), "{response:?}");
    let is = |name, value: &str| response.header(name).is_some_and(|given| given.eq_ignore_ascii_case(value));
    assert!(is("upgrade", "websocket") && is("connection", "upgrade"), "{response:?}");
    http.into_client().expect_nothing_before_ack();
}

fn a_handshake_on_any_path_is_granted(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for path in ["/", "/echo", "/publish", "/healthz", "/a/b?c=d&e=%20", "/zw%C3%B6lf"] {
        assert_granted(ask(&daemon, &handshake(path, "")));
    }
}

fn a_handshake_is_granted_however_its_headers_are_written(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let request = |headers: &str| format!("GET / HTTP/1.1\r\n{headers}\r\n");
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    for headers in [
        format!("host:localhost\r\nupgrade:WebSocket\r\nCONNECTION:UPGRADE\r\nsec-websocket-version:13\r\n{key}"),
        format!(
            "Host: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{key}"
        ),
        format!(
            "Host: localhost\r\nConnection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{key}"
        ),
        format!(
            "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c, websocket\r\nSec-WebSocket-Version: 13\r\n{key}"
        ),
        format!(
            "{key}Sec-WebSocket-Version:\t13 \r\nUpgrade: websocket \r\nConnection:Upgrade\r\nHost: localhost\r\nOrigin: http://localhost\r\nCookie: a=b\r\n"
        ),
    ] {
        assert_granted(ask(&daemon, &request(&headers)));
    }
}

fn the_subprotocol_lhttp_is_given_back_and_no_other(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for (offers, answer) in [
        ("", None),
        ("Sec-WebSocket-Protocol: lhttp\r\n", Some("lhttp")),
        ("Sec-WebSocket-Protocol: chat,lhttp , mqtt\r\n", Some("lhttp")),
        ("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: lhttp\r\n", Some("lhttp")),
        ("Sec-WebSocket-Protocol: chat, mqtt\r\n", None),
        ("Sec-WebSocket-Protocol: lhttp2, xlhttp\r\n", None),
    ] {
        let (http, response) = ask(&daemon, &handshake("/", offers));
        assert_eq!(response.header("sec-websocket-protocol"), answer, "{offers:?}");
        assert_granted((http, response));
    }
}

fn an_offered_extension_is_not_taken(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let (http, response) = ask(&daemon, &handshake("/", offer));
    assert_eq!(response.header("sec-websocket-extensions"), None);
    assert_granted((http, response));
}

fn another_version_gets_426_with_13(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let right = handshake("/", "");
    for wrong in [
        right.replace("Version: 13", "Version: 8"),
        right.replace("Version: 13", "Version: 14"),
        right.replace("Version: 13", "Version: "),
        right.replace("Version: 13", "Version: 8, 13"),
        right.replace("Sec-WebSocket-Version: 13\r\n", ""),
    ] {
        let (_, response) = ask(&daemon, &wrong);
        assert_eq!(response.status, 426, "{wrong}");
        assert_eq!(response.header("sec-websocket-version"), Some("13"), "{response:?}");
    }
}

fn a_handshake_without_a_valid_key_is_refused(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let right = handshake("/", "");
    let key_line = format!("Sec-WebSocket-Key: {KEY}\r\n");
    for wrong in ["", "Sec-WebSocket-Key: \r\n", "Sec-WebSocket-Key: c2hvcnQ=\r\n", "Sec-WebSocket-Key: !!!!\r\n"] {
        let (_, response) = ask(&daemon, &right.replace(&key_line, wrong));
        assert_eq!(response.status, 400, "{wrong:?}: {response:?}");
    }
    let (_, response) = ask(&daemon, &right.replace("HTTP/1.1", "HTTP/1.0"));
    assert!((400..500).contains(&response.status), "a handshake needs HTTP/1.1: {response:?}");
}

fn frames_that_come_with_the_handshake_are_served(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let message = chat(&["subscribe:room", "publish:room", "ack:1"], "at once");
    let mut bytes = handshake("/", "").into_bytes();
    bytes.extend(frame::masked(FIN | TEXT, message.as_bytes()));
    let mut http = Http::connect(daemon.port());
    assert_eq!(http.ask(bytes).status, 101);
    let mut client = http.into_client();
    client.expect_text(&message);
    client.expect_ack("1");
}

fn a_handshake_may_come_byte_by_byte(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut http = Http::connect(daemon.port());
    let request = handshake("/", "");
    request.as_bytes().chunks(1).for_each(|byte| http.send(byte));
    let response = http.response();
    assert_granted((http, response));
}

fn a_handshake_is_the_same_wherever_it_is_cut(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let message = chat(&["ack:1"], "");
    let mut bytes = handshake("/", "").into_bytes();
    bytes.extend(frame::masked(FIN | TEXT, message.as_bytes()));
    for cut in 1..bytes.len() {
        let mut http = Http::connect(daemon.port());
        http.send(&bytes[..cut]);
        http.send(&bytes[cut..]);
        assert_eq!(http.response().status, 101, "cut at {cut}");
        http.into_client().expect_ack("1");
    }
}

fn a_connection_that_was_used_for_http_can_become_a_websocket(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut http = Http::connect(daemon.port());
    assert_eq!(http.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
    let message = chat(&["publish:nobody"], "");
    assert_eq!(http.ask(publish_request(message, "")).status, 200);
    let response = http.ask(handshake("/", ""));
    assert_granted((http, response));
}

fn tungstenites_client_can_subscribe_and_publish(cores: usize) {
    use tungstenite::{Message, connect};

    let daemon = Daemon::start(cores, &[]);
    let (mut theirs, _) = connect(format!("ws://127.0.0.1:{}/chat", daemon.port())).expect("a handshake");
    let subscribe = Message::text(chat(&["subscribe:room", "ack:1"], ""));
    theirs.send(subscribe).expect("sent");
    assert_eq!(theirs.read().expect("an answer"), Message::text("LHTTP/1.0 ack\r\nack:1\r\n\r\n"));

    let mut ours = Client::connect(daemon.port());
    ours.subscribe_acked("room");
    let long = chat(&["publish:room"], &"long ".repeat(10_000));
    for text in [chat(&["publish:room"], "short"), long] {
        theirs.send(Message::text(text.clone())).expect("sent");
        ours.expect_text(&text);
        assert_eq!(theirs.read().expect("its own"), Message::text(text.clone()));
        ours.send_binary(text.as_bytes());
        ours.expect_binary(text.as_bytes());
        assert_eq!(theirs.read().expect("ours"), Message::binary(text.into_bytes()));
    }
    theirs.send(Message::Ping("p".into())).expect("sent");
    assert_eq!(theirs.read().expect("a pong"), Message::Pong("p".into()));
    theirs.close(None).expect("closing");
    while theirs.read().is_ok() {}
    ours.expect_nothing_before_ack();
}
