//! `GET /metrics` of the daemon.

use crate::helpers::{
    admin::{ADMIN, admin_port, ask_with},
    client::Client,
    daemon::Daemon,
    wait_for,
};

fn metrics(port: u16) -> String {
    let response = ask_with(port, "GET", "/metrics", "", "");
    let content_type = response.header("content-type");
    assert_eq!(content_type, Some("text/plain; version=0.0.4; charset=utf-8"));
    String::from_utf8(response.body).expect("UTF-8")
}

#[test]
fn a_scrape_shows_what_clients_do() {
    let daemon = Daemon::start(2, &ADMIN);
    let port = admin_port(&daemon);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    client.say("LHTTP/1.0 chat\r\npublish:room\r\n\r\nhello");
    client.expect_text("LHTTP/1.0 chat\r\npublish:room\r\n\r\nhello");
    wait_for(|| metrics(port).contains("\nlhttp_messages_delivered_total 1\n"));
    assert!(!metrics(port).contains("room"));
}

#[test]
fn a_reader_that_asks_for_openmetrics_gets_it_and_others_get_the_older_format() {
    let daemon = Daemon::start(1, &ADMIN);
    let port = admin_port(&daemon);
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let response = ask_with(port, "GET", "/metrics", accept, "");
    let content_type = response.header("content-type");
    assert_eq!(content_type, Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = String::from_utf8(response.body).expect("UTF-8");
    assert!(text.contains("# TYPE lhttp_messages_delivered counter\n") && text.ends_with("# EOF\n"), "{text}");
    let text = metrics(port);
    assert!(text.contains("# TYPE lhttp_messages_delivered_total counter\n") && !text.contains("# EOF"), "{text}");
}
