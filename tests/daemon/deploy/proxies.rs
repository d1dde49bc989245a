//! lhttpd behind nginx, Caddy and HAProxy, each with the configuration of `tools/deploy/proxies`. A test whose program is
//! missing says so and passes.

use std::io::{ErrorKind, Read, Write};

use tungstenite::{Message, WebSocket, client::IntoClientRequest, http::HeaderMap};

use crate::helpers::{
    backend::{Backend, ok},
    daemon::Daemon,
    reverse_proxy::{CLIENT, Kind, ReverseProxy, SITE, Secure},
    wait_for,
};

macro_rules! behind_each_proxy {
    ($($test:ident),* $(,)?) => {
        mod nginx { $(#[test] fn $test() { super::$test(super::Kind::Nginx); })* }
        mod caddy { $(#[test] fn $test() { super::$test(super::Kind::Caddy); })* }
        mod haproxy { $(#[test] fn $test() { super::$test(super::Kind::Haproxy); })* }
    };
}

behind_each_proxy!(
    messages_of_any_size_and_posts_go_through,
    a_token_goes_through_in_either_way,
    the_server_learns_the_address_of_the_client_and_believes_no_client,
    a_quiet_connection_is_kept_longer_than_the_proxys_timers,
    a_page_of_the_site_may_connect_and_one_of_another_may_not,
);

/// The options of lhttpd that the head of the configuration names, and these.
fn start(kind: Kind, more: &[&str]) -> Daemon {
    let text = kind.configuration();
    let (_, line) = text.split_once("\n#   lhttpd --listen 127.0.0.1:8081 ").expect("it names the command line");
    let (line, _) = line.split_once('\n').expect("a line ends");
    Daemon::start(1, &line.split_whitespace().chain(more.iter().copied()).collect::<Vec<_>>())
}

/// A WebSocket through the proxy, and the headers of its handshake's answer.
fn upgrade(proxy: &ReverseProxy, headers: &[(&'static str, &str)]) -> Result<(WebSocket<Secure>, HeaderMap), String> {
    let mut request = format!("wss://{SITE}/").into_client_request().expect("a request");
    for &(name, value) in headers {
        request.headers_mut().append(name, value.parse().expect("a header's value"));
    }
    let (socket, answer) = tungstenite::client(request, proxy.connect()).map_err(|error| error.to_string())?;
    Ok((socket, answer.headers().clone()))
}

#[track_caller]
fn connect(proxy: &ReverseProxy) -> WebSocket<Secure> {
    upgrade(proxy, &[]).expect("the handshake goes through").0
}

/// The next message that is no ping.
#[track_caller]
fn read(socket: &mut WebSocket<Secure>) -> String {
    loop {
        match socket.read().expect("a message comes in time") {
            Message::Text(text) => return text.as_str().to_owned(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn subscribe(socket: &mut WebSocket<Secure>) {
    socket.send(Message::text("LHTTP/1.0 chat\r\nsubscribe:room\r\nack:1\r\n\r\n")).expect("it is sent");
    assert_eq!(read(socket), "LHTTP/1.0 ack\r\nack:1\r\n\r\n");
}

/// Posts a message through the proxy over an open connection, and returns the answer's head and body.
fn post(stream: &mut Secure, message: &str) -> String {
    let length = message.len();
    let head = format!("POST /publish HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{message}").as_bytes()).expect("it is sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut byte = [0];
        stream
            .read_exact(&mut byte)
            .unwrap_or_else(|error| panic!("{error} behind {:?}", String::from_utf8_lossy(&answer)));
        answer.push(byte[0]);
    }
    String::from_utf8(answer).expect("text")
}

fn messages_of_any_size_and_posts_go_through(kind: Kind) {
    if !kind.is_installed() {
        return;
    }
    let mut daemon = start(kind, &[]);
    let proxy = ReverseProxy::start(kind, daemon.port(), |text| text);
    let (mut mike, mut jack) = (connect(&proxy), connect(&proxy));
    subscribe(&mut mike);
    for length in [0, 1, 125, 60_000] {
        let message = format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{}", "☂".repeat(length / 3));
        jack.send(Message::text(message.clone())).expect("it is sent");
        assert_eq!(read(&mut mike), message);
    }
    // Two over one connection, as a web server would publish.
    let mut stream = proxy.connect();
    for body in ["one", "two"] {
        let message = format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{body}");
        let answer = post(&mut stream, &message);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"channels\":1}"), "{answer}");
        assert_eq!(read(&mut mike), message);
    }
    // A close goes through, too.
    mike.close(None).expect("it is sent");
    while mike.read().is_ok() {}
    daemon.assert_healthy();
}

fn a_token_goes_through_in_either_way(kind: Kind) {
    if !kind.is_installed() {
        return;
    }
    let daemon = start(kind, &[]);
    let proxy = ReverseProxy::start(kind, daemon.port(), |text| text);
    let offered = ("sec-websocket-protocol", "lhttp, lhttp.token.e30.e30.c2lnbmVk");
    let (_, answer) = upgrade(&proxy, &[offered]).expect("the handshake goes through");
    assert_eq!(answer.get("sec-websocket-protocol").map(|value| value.as_bytes()), Some(&b"lhttp"[..]));
    let longest = format!("Bearer {}", "x".repeat(4096));
    upgrade(&proxy, &[("authorization", &longest)]).expect("the longest token goes through");
}

fn the_server_learns_the_address_of_the_client_and_believes_no_client(kind: Kind) {
    if !kind.is_installed() {
        return;
    }
    let backend = Backend::start(|_| ok(""));
    let allowed = format!("http://{}/", backend.address());
    let daemon = start(kind, &["--upstream-allow", &allowed]);
    let proxy = ReverseProxy::start(kind, daemon.port(), |text| text);
    // What a client writes of itself.
    let forged = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1"), ("x-real-ip", "192.0.2.1")];
    let (mut socket, _) = upgrade(&proxy, &forged).expect("the handshake goes through");
    let message = format!("LHTTP/1.0 ask\r\nupstream:GET {allowed}\r\nupstream-reply:true\r\nack:1\r\n\r\n");
    socket.send(Message::text(message)).expect("it is sent");
    while !read(&mut socket).contains("upstream-status:200") {}
    let requests = backend.requests();
    assert_eq!(requests[0].header("x-forwarded-for"), Some(&*CLIENT.to_string()));
}

fn a_quiet_connection_is_kept_longer_than_the_proxys_timers(kind: Kind) {
    if !kind.is_installed() {
        return;
    }
    // The same proportions in less time: 25 s between pings, and timers of 90 s and 60 s.
    let daemon = start(kind, &["--ping-interval", "500ms", "--idle-timeout", "30s"]);
    let quick = |text: String| {
        let quick = text.replace("90s", "1800ms").replace("60s", "1200ms");
        assert!(kind == Kind::Caddy || quick.matches("1800ms").count() > 0, "it has timers");
        quick
    };
    let proxy = ReverseProxy::start(kind, daemon.port(), quick);
    let (mut mike, mut jack) = (connect(&proxy), connect(&proxy));
    subscribe(&mut mike);
    // Answers pings, as any client does, and sends nothing else.
    for socket in [&mut mike, &mut jack] {
        socket.get_ref().sock.set_nonblocking(true).expect("it can be set");
    }
    // As long as two of the proxy's timers.
    let mut pings = 0;
    wait_for(|| {
        for socket in [&mut mike, &mut jack] {
            match socket.read() {
                Ok(Message::Ping(_)) => {
                    pings += 1;
                    socket.flush().expect("the answer is sent");
                }
                Ok(other) => panic!("{other:?}"),
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("the connection has ended: {error}"),
            }
        }
        pings >= 16
    });
    for socket in [&mut mike, &mut jack] {
        socket.get_ref().sock.set_nonblocking(false).expect("it can be set");
    }
    let message = "LHTTP/1.0 chat\r\npublish:room\r\n\r\nstill here";
    jack.send(Message::text(message)).expect("it is sent");
    assert_eq!(read(&mut mike), message);
}

fn a_page_of_the_site_may_connect_and_one_of_another_may_not(kind: Kind) {
    if !kind.is_installed() {
        return;
    }
    let daemon = start(kind, &[]);
    let proxy = ReverseProxy::start(kind, daemon.port(), |text| text);
    let own = format!("https://{SITE}");
    upgrade(&proxy, &[("origin", &own)]).expect("a page of the site may connect");
    let refused = upgrade(&proxy, &[("origin", "https://evil.example")]).expect_err("another page may not");
    assert!(refused.contains("403"), "{refused}");
}
