//! Certificates that are renewed while the server runs, and sessions that are resumed.

use std::fs;

use super::s_client::TlsDaemon;
use crate::helpers::{
    PATIENCE, certificates::Certifier, client::Client, message::chat, on_one_and_two_cores, scratch::Scratch,
    wait_until,
};

on_one_and_two_cores!(
    a_renewed_certificate_serves_new_connections_and_open_ones_stay,
    files_that_cannot_be_used_leave_the_last_ones,
    a_session_is_resumed_on_every_core_and_after_a_renewal,
);

impl TlsDaemon {
    /// Sends SIGHUP, and waits until the log has this line since then.
    #[track_caller]
    fn reload(&self, said: &str) {
        let before = self.daemon.stderr().len();
        self.daemon.signal("HUP");
        let is_said = wait_until(|| self.daemon.stderr()[before..].contains(said), PATIENCE);
        assert!(is_said, "no {said:?} in {:?}", &self.daemon.stderr()[before..]);
    }

    /// True if a new connection is shown the certificate in this file.
    fn shows(&self, ca: &str, certificate: &str) -> bool {
        let mut client = self.client(ca, &[]);
        client.ask();
        client.text().contains(fs::read_to_string(certificate).expect("it was written").replace('\r', "").trim())
    }
}

fn a_renewed_certificate_serves_new_connections_and_open_ones_stay(cores: usize) {
    let certifier = Certifier::new("ca");
    let first = certifier.certify("a", &["a.example"]);
    let server = TlsDaemon::start(cores, &first, &[]);
    let mut open = server.client(&certifier.ca, &[]);
    open.ask();
    server.reload("each file of TLS was read again, nothing has changed");
    certifier.certify("a", &["a.example"]);
    server.reload("these have changed: tls-cert, tls-key");
    (0..4).for_each(|_| assert!(server.shows(&certifier.ca, &first.certificate)));
    open.ask();
    let mut plain = Client::connect(server.daemon.port());
    plain.subscribe_acked("room");
    let message = chat(&["publish:room"], "still here");
    plain.say(&message);
    plain.expect_text(&message);
}

fn files_that_cannot_be_used_leave_the_last_ones(cores: usize) {
    let certifier = Certifier::new("ca");
    let certified = certifier.certify("a", &["a.example"]);
    let mut server = TlsDaemon::start(cores, &certified, &[]);
    let last = certifier.write("last.pem", &fs::read_to_string(&certified.certificate).expect("it was written"));
    certifier.write("a.key", "not a key");
    server.reload("not reloaded: tls-key: there is no private key");
    assert!(server.shows(&certifier.ca, &last));
    certifier.certify_between("a", [2020, 2021]);
    server.reload("expired at 2021-01-01T00:00:00Z");
    assert!(server.shows(&certifier.ca, &last));
    server.daemon.terminate();
    assert!(server.daemon.exit_within(PATIENCE).is_some());
    server.daemon.wait_for("2 times that new files of TLS could not be used (tls_reloads_failed)");
}

fn a_session_is_resumed_on_every_core_and_after_a_renewal(cores: usize) {
    let (certifier, scratch) = (Certifier::new("ca"), Scratch::new());
    let server = TlsDaemon::start(cores, &certifier.certify("a", &["a.example"]), &[]);
    for version in ["-tls1_2", "-tls1_3"] {
        let session = scratch.path().join(version).display().to_string();
        let mut client = server.client(&certifier.ca, &[version, "-sess_out", &session]);
        client.ask();
        assert!(client.text().contains("New, TLSv1"), "{}", client.text());
        client.end();
        client.finish();
        let is_resumed = || {
            let mut client = server.client(&certifier.ca, &[version, "-sess_in", &session]);
            client.ask();
            client.text().contains("Reused, TLSv1")
        };
        // The kernel spreads connections over the cores: of eight, each core gets some, but for one time in 128.
        (0..8).for_each(|number| assert!(is_resumed(), "{version}, connection {number}"));
        certifier.certify("a", &["a.example"]);
        server.reload("these have changed: tls-cert, tls-key");
        (0..2).for_each(|number| assert!(is_resumed(), "{version}, connection {number} after the renewal"));
    }
}
