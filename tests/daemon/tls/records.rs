//! Records after the handshake, with OpenSSL at the other end: sizes, key updates, ends, and renegotiation.

use super::s_client::{SClient, TlsDaemon};
use crate::helpers::{
    PATIENCE,
    certificates::Certifier,
    client::Client,
    frame::{FIN, TEXT, masked},
    http::handshake,
    message::chat,
    on_one_and_two_cores, wait_until,
};

on_one_and_two_cores!(messages_of_every_size_pass_both_ways, a_server_that_drains_ends_connections_in_order,);

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// A WebSocket over OpenSSL. The client prints nothing of its own, and takes no commands.
struct WebSocket(SClient);

impl WebSocket {
    fn open(server: &TlsDaemon, ca: &str, args: &[&str]) -> Self {
        let mut client = server.client(ca, &[&["-quiet", "-verify_quiet"], args].concat());
        client.write(handshake("/", ""));
        client.wait_for("HTTP/1.1 101");
        Self(client)
    }

    fn say(&mut self, message: &str) {
        self.0.write(masked(FIN | TEXT, message.as_bytes()));
    }

    /// Waits until the server has sent these bytes so often.
    #[track_caller]
    fn expect(&self, bytes: &[u8], times: usize) {
        let count = || memchr::memmem::find_iter(&self.0.said(), bytes).count();
        assert!(wait_until(|| count() >= times, PATIENCE), "{} of {times}, after {}", count(), self.0.said().len());
    }
}

fn messages_of_every_size_pass_both_ways(cores: usize) {
    let certifier = Certifier::new("ca");
    let mut server = TlsDaemon::start(cores, &certifier.certify("a", &["a.example"]), &[]);
    for version in VERSIONS {
        let mut secure = WebSocket::open(&server, &certifier.ca, &[version]);
        let mut plain = Client::connect(server.daemon.port());
        plain.subscribe_acked("room");
        secure.say(&chat(&["subscribe:room", "ack:1"], ""));
        secure.expect(b"ack:1", 1);
        // Around one record of 2^14 bytes, and several records.
        for len in [0, 1, 1000, 16_200, 16_300, 16_384, 16_400, 33_000, 60_000] {
            let message = chat(&["publish:room"], &format!("{len}{}", "x".repeat(len)));
            secure.say(&message);
            plain.expect_text(&message);
            secure.expect(message.as_bytes(), 1);
            plain.say(&message);
            plain.expect_text(&message);
            secure.expect(message.as_bytes(), 2);
        }
    }
    server.daemon.assert_healthy();
}

#[test]
fn either_side_may_renew_the_keys_of_tls_1_3() {
    let certifier = Certifier::new("ca");
    let mut server = TlsDaemon::start(1, &certifier.certify("a", &["a.example"]), &[]);
    for suite in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        let mut client = server.client(&certifier.ca, &["-tls1_3", "-ciphersuites", suite, "-msg"]);
        client.ask();
        // K asks the server for new keys of its own, k does not.
        for (update, command) in ["K", "k", "K", "K", "k"].into_iter().enumerate() {
            client.write(format!("{command}\n"));
            client.wait_for_times("KEYUPDATE", update + 1);
            client.ask();
        }
        let answers = client.text().matches("<<< TLS 1.3, Handshake [length 0005], KeyUpdate").count();
        assert_eq!(answers, 3, "one for each K:\n{}", client.text());
    }
    server.daemon.assert_healthy();
}

#[test]
fn a_client_that_renegotiates_gets_no_second_handshake() {
    let certifier = Certifier::new("ca");
    let mut server = TlsDaemon::start(1, &certifier.certify("a", &["a.example"]), &[]);
    let mut client = server.client(&certifier.ca, &["-tls1_2", "-msg"]);
    client.ask();
    client.write("R\n");
    client.wait_for("RENEGOTIATING");
    let (is_sound, said) = client.finish();
    assert!(!is_sound && said.contains("<<< TLS 1.2, Alert [length 0002], warning no_renegotiation"), "{said}");
    assert_eq!(said.matches(", ServerHello\n").count(), 1, "{said}");
    let mut other = server.client(&certifier.ca, &[]);
    other.ask();
    server.daemon.assert_healthy();
}

#[test]
fn each_side_tells_that_it_ends() {
    let certifier = Certifier::new("ca");
    let server = TlsDaemon::start(1, &certifier.certify("a", &["a.example"]), &[]);
    for version in VERSIONS {
        // The server ends: its close_notify comes before the end of the connection.
        let mut client = server.client(&certifier.ca, &[version, "-msg"]);
        client.wait_for("Verify return code: 0");
        client.write("GET /healthz HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
        let (is_sound, said) = client.finish();
        let first = said.find("warning close_notify").map(|at| &said[..at]).expect("one is sent");
        assert!(first.rfind("<<<") > first.rfind(">>>"), "the server says so first: {said}");
        assert!(is_sound && said.contains("200 OK"), "{said}");
    }
    // The clients end, too: the server forgets them.
    let mut clients = VERSIONS.map(|version| server.client(&certifier.ca, &[version]));
    clients.iter_mut().for_each(SClient::ask);
    let open = server.daemon.open_files();
    for mut client in clients {
        client.end();
        assert!(client.finish().0);
    }
    assert!(
        wait_until(|| server.daemon.open_files() == open - 2, PATIENCE),
        "{} of {open}",
        server.daemon.open_files()
    );
}

fn a_server_that_drains_ends_connections_in_order(cores: usize) {
    let certifier = Certifier::new("ca");
    let mut server = TlsDaemon::start(cores, &certifier.certify("a", &["a.example"]), &[]);
    let clients: Vec<_> = VERSIONS
        .map(|version| {
            let mut client = server.client(&certifier.ca, &[version, "-msg"]);
            client.wait_for("Verify return code: 0");
            client.write(handshake("/", ""));
            client.wait_for("HTTP/1.1 101");
            client
        })
        .into();
    server.daemon.terminate();
    for client in clients {
        client.wait_for("server is stopping");
        client.wait_for("warning close_notify");
    }
    assert_eq!(server.daemon.exit_within(2 * PATIENCE).and_then(|status| status.code()), Some(0));
}
