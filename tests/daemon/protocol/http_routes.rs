//! PROTOCOL.md §3: the requests that the port answers, besides a valid publish, and their answers.

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    http::{Http, publish_request},
    message::chat,
    on_one_and_two_cores,
};

on_one_and_two_cores!(
    a_missing_key_gets_401_and_a_wrong_key_403,
    other_methods_get_405_with_the_allowed_ones,
    health_is_ok_while_serving,
    the_root_names_the_protocol_of_the_port,
    an_unknown_path_gets_404,
    a_head_request_gets_no_body,
    a_request_target_may_have_a_query_or_be_a_url,
    every_answer_forbids_browsers_to_guess_its_type,
);

fn a_missing_key_gets_401_and_a_wrong_key_403(cores: usize) {
    let daemon = Daemon::start(cores, &["--publish-key", "s3cret"]);
    let mut listener = Client::connect(daemon.port());
    listener.subscribe_acked("room");
    let message = chat(&["publish:room"], "with the key");
    for (authorization, status) in [
        ("", 401),
        ("Authorization: Bearer wrong\r\n", 403),
        ("Authorization: Bearer s3cre\r\n", 403),
        ("Authorization: Bearer s3cret2\r\n", 403),
        ("Authorization: Bearer S3CRET\r\n", 403),
        ("Authorization: Bearer s3cret\r\n", 200),
        ("authorization: bearer s3cret\r\n", 200),
    ] {
        let mut fresh = Http::connect(daemon.port());
        let response = fresh.ask(publish_request(&message, authorization));
        assert_eq!(response.status, status, "{authorization:?}: {response:?}");
        if status == 401 {
            assert!(response.header("www-authenticate").is_some(), "RFC 9110 §15.5.2: {response:?}");
        }
        if status == 200 {
            listener.expect_text(&message);
        }
    }
    // The key for HTTP does not apply to WebSocket clients.
    listener.say(&message);
    listener.expect_text(&message);
    assert_eq!(Http::connect(daemon.port()).ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
}

fn other_methods_get_405_with_the_allowed_ones(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for (method, path, allowed) in [
        ("GET", "/publish", "POST"),
        ("PUT", "/publish", "POST"),
        ("DELETE", "/publish", "POST"),
        ("POST", "/healthz", "GET"),
    ] {
        let mut http = Http::connect(daemon.port());
        let response = http.ask(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(response.status, 405, "{method} {path}: {response:?}");
        let allow = response.header("allow").unwrap_or_default();
        assert!(allow.split(", ").any(|method| method == allowed), "{method} {path}: {response:?}");
    }
}

fn health_is_ok_while_serving(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut http = Http::connect(daemon.port());
    let response = http.ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((response.status, response.body_text().trim_end()), (200, "ok"));
}

fn the_root_names_the_protocol_of_the_port(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut http = Http::connect(daemon.port());
    let response = http.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(response.status, 426, "{response:?}");
    assert_eq!(response.header("upgrade"), Some("websocket"), "RFC 9110 §15.5.22: {response:?}");
    let body = response.body_text();
    assert!(body.contains("WebSocket") && body.trim_end().lines().count() == 1, "{body:?}");
}

fn an_unknown_path_gets_404(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for path in ["/nowhere", "/publish/", "/publishx", "/Healthz", "//"] {
        let mut http = Http::connect(daemon.port());
        assert_eq!(http.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).status, 404, "{path}");
    }
}

fn a_head_request_gets_no_body(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut http = Http::connect(daemon.port());
    for _ in 0..2 {
        // A body would be taken for the head of the next answer.
        assert_eq!(http.ask("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
        assert_eq!(http.ask("HEAD /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 404);
    }
    assert_eq!(http.ask("HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").status, 426);
    http.expect_end();
}

fn a_request_target_may_have_a_query_or_be_a_url(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for target in ["/healthz?from=balancer", "http://localhost/healthz", "http://localhost:8081/healthz?x"] {
        let response = Http::connect(daemon.port()).ask(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(response.status, 200, "{target}: {response:?}");
    }
}

fn every_answer_forbids_browsers_to_guess_its_type(cores: usize) {
    let daemon = Daemon::start(cores, &["--publish-key", "s3cret"]);
    let publish = |key: &str, message: &str| publish_request(message, &format!("Authorization: Bearer {key}\r\n"));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
    for (request, status) in [
        (publish("s3cret", &chat(&["publish:room"], "")), 200),
        (publish("s3cret", "<script>"), 400),
        (publish("wrong", ""), 403),
        (publish_request("", ""), 401),
        (get("/healthz"), 200),
        (get("/publish"), 405),
        (get("/<script>"), 404),
        (get("/"), 426),
        (b"nonsense\r\n\r\n".to_vec(), 400),
    ] {
        let response = Http::connect(daemon.port()).ask(&request);
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{response:?}");
    }
}
