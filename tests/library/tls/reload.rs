//! New certificates for a server that runs in this process.

use std::fs;

use lhttp::{Config, ReloadError, Server};

use crate::helpers::{Client, tls::Authority};

/// A server's options with the certificate in these files.
fn config(authority: &Authority, hosts: &[&str]) -> Config {
    let files = hosts.iter().map(|host| authority.certificate_files(host));
    let (tls_cert, tls_key) = files.unzip();
    Config { listen: vec!["tls://127.0.0.1:0".parse().unwrap()], tls_cert, tls_key, ..Config::default() }
}

#[test]
fn a_reload_takes_new_files_and_other_contents_at_once_and_all_or_nothing() {
    let authority = Authority::new("reload");
    let start = config(&authority, &["localhost"]);
    let server = Server::builder().config(start.clone()).start().expect("the server starts");
    let (reloader, key) = (server.reloader(), start.tls_key[0].clone());
    assert!(server.stats().tls_days_left > 365 * 100, "the certificate is for a long time");
    assert!(server.stats().tls_expiry > server.stats().tls_days_left * 24 * 3600, "it is a time since 1970");
    assert_eq!(reloader.reload(&start).unwrap().applied, [""; 0]);
    authority.certificate_files("localhost");
    assert_eq!(reloader.reload(&start).unwrap().applied, ["tls-cert", "tls-key"], "the contents have changed");
    let two = config(&authority, &["localhost", "other.example"]);
    assert_eq!(reloader.reload(&two).unwrap().applied, ["tls-cert", "tls-key"], "each is named once");
    let sound = fs::read(&key).unwrap();
    fs::write(&key, "not a key").unwrap();
    for times in 1..3 {
        let refused = reloader.reload(&Config { subscriptions_max: 1, ..two.clone() }).expect_err("it is no key");
        assert!(matches!(&refused, ReloadError::Invalid(error) if error.to_string().contains("tls-key")), "{refused}");
        assert_eq!(server.stats().tls_reloads_failed, 1, "the file is as it was, time {times}");
        assert_ne!(reloader.config().subscriptions_max, 1, "nothing has changed");
    }
    let mut client = Client::over(authority.connect(
        std::net::TcpStream::connect(server.local_addrs()[0]).expect("the server accepts"),
        &[&rustls::version::TLS13],
    ));
    client.subscribe("room");
    fs::write(&key, sound).unwrap();
    assert_eq!(reloader.reload(&Config { subscriptions_max: 1, ..two }).unwrap().applied, ["max-subscriptions"]);
    client.say("LHTTP/1.0 chat\r\npublish:room\r\n\r\nstill here");
    client.expect("LHTTP/1.0 chat\r\npublish:room\r\n\r\nstill here");
}

#[test]
fn an_address_with_tls_needs_a_restart_and_its_files_are_checked_for_it() {
    let authority = Authority::new("restart");
    let plain = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Config::default() };
    let server = Server::builder().config(plain).start().expect("the server starts");
    assert_eq!(server.stats().tls_days_left, 0);
    let wanted = config(&authority, &["localhost"]);
    let refused = server.reloader().reload(&wanted).expect_err("there is no such address yet").to_string();
    assert!(
        refused.contains("tls-cert") && refused.contains("need a restart") && refused.contains("listen"),
        "{refused}"
    );
}
