//! PROTOCOL.md §3: HTTP requests that are too long, malformed, or try to hide another one (request smuggling).

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    http::{Http, handshake, publish_request},
    message::chat,
    on_one_and_two_cores,
};

on_one_and_two_cores!(
    a_post_without_a_length_gets_411,
    a_body_over_the_limit_gets_413_before_it_is_sent,
    a_head_over_the_limit_gets_431,
    the_limits_of_an_http_request_do_not_depend_on_those_of_a_message,
    a_head_that_drips_costs_as_much_as_one_that_comes_whole,
    two_lengths_for_one_body_get_400_and_end_the_connection,
    malformed_chunks_get_400_and_end_the_connection,
    malformed_heads_get_400_and_end_the_connection,
    a_body_that_never_comes_publishes_nothing,
    bytes_that_are_not_http_get_400_or_end_the_connection,
);

const HEAD: &str = "POST /publish HTTP/1.1\r\nHost: localhost\r\n";

fn hidden_request() -> Vec<u8> {
    publish_request(chat(&["publish:room"], "smuggled"), "")
}

/// Sends each request with another one behind it. Fails the test unless each gets `status`, the connection ends, and
/// nothing is published.
#[track_caller]
fn assert_each_refused(daemon: &Daemon, status: u16, requests: &[String]) {
    let mut listener = Client::connect(daemon.port());
    listener.subscribe_acked("room");
    for request in requests {
        let mut http = Http::connect(daemon.port());
        let response = http.ask([request.as_bytes(), &hidden_request()].concat());
        assert_eq!(response.status, status, "{request:?}: {response:?}");
        http.expect_end();
    }
    let sentinel = chat(&["publish:room"], "the only one");
    assert_eq!(Http::connect(daemon.port()).ask(publish_request(&sentinel, "")).status, 200);
    listener.expect_text(&sentinel);
}

fn a_post_without_a_length_gets_411(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    assert_eq!(Http::connect(daemon.port()).ask(format!("{HEAD}\r\n")).status, 411);
}

fn a_body_over_the_limit_gets_413_before_it_is_sent(cores: usize) {
    let daemon = Daemon::start(cores, &["--max-message", "16384"]);
    let message = |length: usize| {
        let head = chat(&["publish:room"], "");
        let body = "b".repeat(length - head.len());
        head + &body
    };
    assert_eq!(Http::connect(daemon.port()).ask(publish_request(message(16_384), "")).status, 200);
    for length in ["16385", "1000000000000", "18446744073709551615"] {
        let mut http = Http::connect(daemon.port());
        assert_eq!(http.ask(format!("{HEAD}Content-Length: {length}\r\n\r\n")).status, 413, "{length}");
        http.expect_end();
    }
    let chunked = |chunks: &str| format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunks}");
    assert_eq!(Http::connect(daemon.port()).ask(chunked("4001\r\n")).status, 413);
    assert_eq!(Http::connect(daemon.port()).ask(chunked("ffffffffffffffff\r\n")).status, 413);
    let many = format!("1000\r\n{}\r\n", "b".repeat(4096)).repeat(5);
    assert_eq!(Http::connect(daemon.port()).ask(chunked(&many)).status, 413);
}

fn a_head_over_the_limit_gets_431(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for long in [
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(33_000)),
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(33_000)),
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(33_000)),
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(200)),
    ] {
        let mut http = Http::connect(daemon.port());
        let status = http.ask(&long).status;
        // RFC 9112 §3: a request line that is too long may also get 414.
        assert!(status == 431 || status == 414 && long.starts_with("GET /xx"), "{status}: {:.60}", long);
        http.expect_end();
    }
    // Many headers, yet within the limit.
    let fits = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(32_000));
    assert_eq!(Http::connect(daemon.port()).ask(fits).status, 200);
}

fn the_limits_of_an_http_request_do_not_depend_on_those_of_a_message(cores: usize) {
    for (headers_max, head_max) in [("2", "100"), ("200", "64KiB")] {
        let daemon = Daemon::start(cores, &["--max-headers", headers_max, "--max-head", head_max]);
        for (lines, status) in [(128, 200), (129, 431)] {
            let more: String = (1..lines).map(|number| format!("X-{number}: y\r\n")).collect();
            let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
            assert_eq!(Http::connect(daemon.port()).ask(request).status, status, "{lines} with {headers_max}");
        }
        // A browser with logins everywhere sends this.
        let cookies = format!("Cookie: {}\r\n", vec![format!("name={}", "x".repeat(3_000)); 10].join("; "));
        assert_eq!(Http::connect(daemon.port()).ask(handshake("/", &cookies)).status, 101, "{head_max}");
    }
    let daemon = Daemon::start(cores, &["--max-http-head", "1KiB"]);
    for (length, status) in [(900, 200), (1100, 431)] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(length));
        assert_eq!(Http::connect(daemon.port()).ask(request).status, status, "{length}");
    }
}

fn a_head_that_drips_costs_as_much_as_one_that_comes_whole(cores: usize) {
    let daemon = Daemon::start(cores, &["--handshake-timeout", "60s", "--max-http-head", "1MiB"]);
    let line = format!("X: {}\r\n", "x".repeat(5_000));
    let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{}\r\n", line.repeat(100));
    let before = daemon.cpu_time();
    let mut http = Http::connect(daemon.port());
    // 5000 pieces. A parser that starts anew with each piece would read more than 1 GB.
    head.as_bytes().chunks(100).for_each(|piece| http.send(piece));
    assert_eq!(http.response().status, 200);
    let used = daemon.cpu_time() - before;
    assert!(used < std::time::Duration::from_secs(1), "{used:?} of CPU time for a head of {} bytes", head.len());
}

fn two_lengths_for_one_body_get_400_and_end_the_connection(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let message = chat(&["publish:room"], "");
    let (length, size) = (message.len(), format!("{:x}", message.len()));
    let requests: Vec<String> = [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n{message}\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{size}\r\n{message}\r\n0\r\n\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n{message}"),
        format!("Content-Length: {length}\r\nContent-Length: 0\r\n\r\n{message}"),
        format!("Content-Length: {length}, {length}\r\n\r\n{message}"),
        format!("Content-Length: +{length}\r\n\r\n{message}"),
        format!("Content-Length: -1\r\n\r\n{message}"),
        format!("Content-Length: 0x{size}\r\n\r\n{message}"),
        format!("Content-Length: {length} 0\r\n\r\n{message}"),
        format!("Content-Length: {length}.0\r\n\r\n{message}"),
        format!("Content-Length:\r\n\r\n{message}"),
        format!("Content-Length: 99999999999999999999999999\r\n\r\n{message}"),
        format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n{message}\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: chunked, chunked\r\n\r\n{size}\r\n{message}\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: xchunked\r\n\r\n{size}\r\n{message}\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n{size}\r\n{message}\r\n0\r\n\r\n"),
        format!("Transfer-Encoding:\r\nContent-Length: {length}\r\n\r\n{message}"),
    ]
    .map(|rest| format!("{HEAD}{rest}"))
    .into();
    assert_each_refused(&daemon, 400, &requests);
    let old = format!("POST /publish HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n{message}\r\n0\r\n\r\n");
    assert_each_refused(&daemon, 400, &[old]);
}

fn malformed_chunks_get_400_and_end_the_connection(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let message = chat(&["publish:room"], "");
    let size = format!("{:x}", message.len());
    let requests: Vec<String> = [
        format!("g\r\n{message}\r\n0\r\n\r\n"),
        format!("-{size}\r\n{message}\r\n0\r\n\r\n"),
        format!("+{size}\r\n{message}\r\n0\r\n\r\n"),
        format!("0x{size}\r\n{message}\r\n0\r\n\r\n"),
        format!("\r\n{message}\r\n0\r\n\r\n"),
        format!("{size}\n{message}\r\n0\r\n\r\n"),
        format!("{size}\r\n{message}0\r\n\r\n"),
        format!("{size}\r\n{message}!!\r\n0\r\n\r\n"),
        format!("{size}\r\n{message}!!0\r\n\r\n"),
        format!("{}{size}\r\n{message}\r\n0\r\n\r\n", "0".repeat(40)),
        format!("1{}\r\n{message}\r\n0\r\n\r\n", "0".repeat(17)),
    ]
    .map(|chunks| format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunks}"))
    .into();
    assert_each_refused(&daemon, 400, &requests);
}

fn malformed_heads_get_400_and_end_the_connection(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let requests: Vec<String> = [
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nName : v\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n",
        "GET /healthz\r\nHost: localhost\r\n\r\n",
        "GET  /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "G@T /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]
    .map(str::to_owned)
    .into();
    assert_each_refused(&daemon, 400, &requests);
}

fn a_body_that_never_comes_publishes_nothing(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut listener = Client::connect(daemon.port());
    listener.subscribe_acked("room");
    let request = publish_request(chat(&["publish:room"], "whole"), "");
    for cut in [1, request.len() / 2, request.len() - 1] {
        let mut http = Http::connect(daemon.port());
        http.send(&request[..cut]);
        http.wire().finish_sending();
        let mut rest = 0;
        while http.wire().fill().expect("the server ends in time") > 0 {
            rest += 1;
        }
        assert!(rest <= 1, "one answer at most");
        assert!(!http.wire().unread().starts_with(b"HTTP/1.1 200"), "a part was taken for the whole");
    }
    let sentinel = chat(&["publish:room"], "the only one");
    assert_eq!(Http::connect(daemon.port()).ask(publish_request(&sentinel, "")).status, 200);
    listener.expect_text(&sentinel);
}

fn bytes_that_are_not_http_get_400_or_end_the_connection(cores: usize) {
    let mut daemon = Daemon::start(cores, &[]);
    let tls_hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3][..], &[0xAB; 506]].concat();
    for garbage in
        [&tls_hello[..], b"\r\n\r\n\r\n\0\0\0\0", &[0xFF; 3000], b"SSH-2.0-OpenSSH_9.2\r\n", b"PRI * HTTP/2.0\r\n\r\n"]
    {
        let mut http = Http::connect(daemon.port());
        http.send(garbage);
        http.wire().finish_sending();
        while http.wire().fill().expect("the server ends in time") > 0 {}
        let said = http.wire().unread();
        let status = said.get(9..12);
        assert!(said.is_empty() || matches!(status, Some(b"400" | b"505")), "{:?}", String::from_utf8_lossy(said));
    }
    daemon.assert_healthy();
}
