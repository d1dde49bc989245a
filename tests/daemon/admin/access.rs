//! Who may use the listener of `admin`.

use data_encoding::BASE64;

use crate::helpers::{
    admin::{ADMIN, admin_port, ask_with, json_of},
    daemon::Daemon,
    http::Http,
    wait_for,
};

const CHANNELS: &str = "/api/channels";
const NOBODY: &str = r#"{"connection":"0-999-0"}"#;

fn with_key() -> (Daemon, u16) {
    let daemon = Daemon::start_with_variable(1, "LHTTP_ADMIN_KEY", "hunter2", &ADMIN);
    let port = admin_port(&daemon);
    (daemon, port)
}

fn basic(login: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64.encode(login.as_bytes()))
}

#[test]
fn without_the_key_everything_but_healthz_is_401_and_tells_nothing() {
    let (daemon, port) = with_key();
    assert_eq!(ask_with(port, "GET", "/healthz", "", "").status, 200);
    let logins = [
        String::new(),
        "Authorization: Bearer hunter3\r\n".to_owned(),
        "Authorization: Bearer hunter22\r\n".to_owned(),
        "Authorization: Bearer \r\n".to_owned(),
        basic("admin:hunter3"),
        basic("hunter2"),
        "Authorization: Basic !\r\n".to_owned(),
        "Authorization: Bearer hunter2\r\nAuthorization: Bearer hunter2\r\n".to_owned(),
    ];
    for login in logins {
        for (method, target) in [("GET", CHANNELS), ("GET", "/"), ("GET", "/no/such/path"), ("POST", "/api/disconnect")]
        {
            let response = ask_with(port, method, target, &login, "");
            let said = json_of(&response, 401);
            assert_eq!(said["error"], "unauthorized", "{login} {target}");
            assert!(response.header("www-authenticate").is_some_and(|value| value.starts_with("Basic realm=")));
        }
    }
    for login in ["Authorization: Bearer hunter2\r\n".to_owned(), basic("anybody:hunter2"), basic(":hunter2")] {
        assert_eq!(ask_with(port, "GET", CHANNELS, &login, "").status, 200, "{login}");
    }
    drop(daemon);
}

#[test]
fn a_page_of_another_site_can_change_nothing_through_a_browser_that_is_logged_in() {
    let (_daemon, port) = with_key();
    let own = format!("Origin: http://localhost:{port}\r\n");
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    let text = "Content-Type: text/plain\r\n";
    let basic = basic("x:hunter2");
    let bearer = "Authorization: Bearer hunter2\r\n";
    for (lines, status) in [
        (format!("{basic}{own}{json}"), 200),
        (format!("{basic}{own}{text}"), 403),
        (format!("{basic}{json}"), 403),
        (format!("{basic}Origin: http://evil.example\r\n{json}"), 403),
        (format!("{basic}Origin: null\r\n{json}"), 403),
        (format!("{basic}{own}{own}{json}"), 403),
        (format!("{bearer}Origin: http://evil.example\r\n{json}"), 403),
        (bearer.to_owned(), 200),
        (format!("{bearer}{own}"), 200),
    ] {
        let response = ask_with(port, "POST", "/api/disconnect", &lines, NOBODY);
        assert_eq!(response.status, status, "{lines}");
    }
}

#[test]
fn without_a_key_an_address_of_this_machine_serves_programs_and_its_own_pages() {
    let daemon = Daemon::start(1, &ADMIN);
    let port = admin_port(&daemon);
    for (lines, status) in [
        (String::new(), 200),
        (format!("Origin: http://localhost:{port}\r\nContent-Type: application/json\r\n"), 200),
        ("Origin: http://localhost:3000\r\nContent-Type: application/json\r\n".to_owned(), 403),
        ("Origin: http://evil.example\r\nContent-Type: application/json\r\n".to_owned(), 403),
        ("Origin: http://evil.example\r\nContent-Type: text/plain\r\n".to_owned(), 403),
    ] {
        assert_eq!(ask_with(port, "POST", "/api/disconnect", &lines, NOBODY).status, status, "{lines}");
    }
    // A page that has given its own name this machine's address.
    let response = Http::connect(port).ask("GET /api/channels HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(json_of(&response, 403)["error"], "forbidden");
}

#[test]
fn clients_and_operators_are_not_served_in_each_others_place() {
    let daemon = Daemon::start(2, &ADMIN);
    let port = admin_port(&daemon);
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n";
    assert_eq!(ask_with(port, "GET", "/", upgrade, "").status, 200, "the page, and no WebSocket");
    assert_eq!(ask_with(port, "POST", "/publish", "", "x").status, 404);
    assert_eq!(ask_with(daemon.port(), "GET", CHANNELS, "", "").status, 404);
}

#[test]
fn strangers_who_hold_all_places_keep_neither_clients_nor_operators_out() {
    let (mut daemon, port) = with_key();
    let bearer = "Authorization: Bearer hunter2\r\n";
    let half = format!("GET /api/channels HTTP/1.1\r\nHost: localhost\r\n{bearer}");
    let mut slow: Vec<Http> = (0..16).map(|_| Http::connect(port)).collect();
    slow.iter_mut().for_each(|http| http.send(&half));
    // The 17th has a place for one request, which counts if it has the key.
    wait_for(|| ask_with(port, "GET", CHANNELS, "", "").status == 503);
    wait_for(|| daemon.stderr().contains("admin: all 16 connections are in use"));
    let _idle: Vec<Http> = (0..8).map(|_| Http::connect(port)).collect();
    for _ in 0..8 {
        assert_eq!(ask_with(port, "GET", "/healthz", "", "").status, 200);
        assert_eq!(ask_with(port, "GET", "/metrics", bearer, "").status, 200);
        assert_eq!(ask_with(port, "GET", CHANNELS, bearer, "").status, 200);
        assert_eq!(ask_with(port, "GET", CHANNELS, "Authorization: Bearer hunter3\r\n", "").status, 503);
    }
    daemon.assert_healthy();
    for mut http in slow {
        assert_eq!(http.ask("\r\n").status, 200);
    }
    wait_for(|| ask_with(port, "GET", CHANNELS, "", "").status == 401);
}
