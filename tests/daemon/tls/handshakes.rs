//! Handshakes of OpenSSL with the server: versions, suites, SNI, ALPN, client certificates, and what is refused.

use std::{fs, process::Command};

use super::s_client::{SClient, TlsDaemon};
use crate::helpers::{
    certificates::{Certified, Certifier},
    daemon::Daemon,
    scratch::Scratch,
};

const SUITES_1_3: [&str; 3] = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
const SUITES_1_2: [&str; 3] = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"];

/// What is too old for the server.
const OLD_SUITES: [&str; 5] = [
    "AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES128-SHA256",
    "AES128-SHA",
    "DHE-RSA-AES128-GCM-SHA256",
];

/// A certificate for `a.example` with an RSA key, which signs itself. Ring makes no RSA keys.
fn rsa(scratch: &Scratch) -> Certified {
    let [certificate, key] = ["rsa.pem", "rsa.key"].map(|name| scratch.path().join(name).display().to_string());
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=rsa"])
        .args(["-addext", "subjectAltName=DNS:a.example", "-keyout", &key, "-out", &certificate])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    Certified { certificate, key }
}

/// Shakes hands, has a request answered, and gives what the client says of the connection.
#[track_caller]
fn answered(mut client: SClient) -> String {
    client.ask();
    client.end();
    let (is_sound, said) = client.finish();
    assert!(is_sound, "{said}");
    said
}

/// Fails the test unless the server ends the handshake with one of these alerts.
#[track_caller]
fn refused(client: SClient, alerts: &[&str]) {
    let (is_sound, said) = client.finish();
    let is_alert = alerts.iter().any(|alert| said.contains(&format!("alert {alert}:")));
    assert!(!is_sound && is_alert, "{said}");
}

#[test]
fn openssl_speaks_each_suite_of_both_versions_with_both_kinds_of_keys() {
    let (certifier, scratch) = (Certifier::new("ca"), Scratch::new());
    let (ecdsa, rsa) = (certifier.certify("ecdsa", &["a.example"]), rsa(&scratch));
    let roots = scratch.write(
        "roots.pem",
        &[&certifier.ca, &rsa.certificate].map(|path| fs::read_to_string(path).expect("it was written")).concat(),
    );
    let server = TlsDaemon::start(1, &ecdsa, &rsa.flags());
    for suite in SUITES_1_3 {
        let said = answered(server.client(&roots, &["-tls1_3", "-ciphersuites", suite]));
        assert!(said.contains(&format!("New, TLSv1.3, Cipher is {suite}")), "{said}");
    }
    for (kind, key) in [("ECDSA", "id-ecPublicKey"), ("RSA", "rsaEncryption")] {
        for suite in SUITES_1_2.map(|suite| format!("ECDHE-{kind}-{suite}")) {
            let said = answered(server.client(&roots, &["-tls1_2", "-cipher", &suite]));
            assert!(said.contains(&format!("New, TLSv1.2, Cipher is {suite}")), "{said}");
            assert!(said.contains("Compression: NONE") && said.contains("Secure Renegotiation IS supported"), "{said}");
            assert!(said.contains(&format!("PKEY: {key}")), "{said}");
        }
        // In TLS 1.3 no suite tells the kind of the key; the client's signatures do.
        let signatures = if kind == "RSA" { "rsa_pss_rsae_sha256" } else { "ecdsa_secp256r1_sha256" };
        let said = answered(server.client(&roots, &["-tls1_3", "-sigalgs", signatures]));
        assert!(said.contains(&format!("PKEY: {key}")), "{said}");
    }
}

#[test]
fn old_versions_and_old_suites_are_refused() {
    let certifier = Certifier::new("ca");
    let mut server = TlsDaemon::start(1, &certifier.certify("a", &["a.example"]), &[]);
    for version in ["-tls1", "-tls1_1"] {
        let client = server.client(&certifier.ca, &[version, "-cipher", "DEFAULT@SECLEVEL=0"]);
        refused(client, &["protocol version", "handshake failure"]);
    }
    for suite in OLD_SUITES {
        let suite = format!("{suite}@SECLEVEL=0");
        refused(server.client(&certifier.ca, &["-tls1_2", "-cipher", &suite]), &["handshake failure"]);
    }
    // The oldest keys and groups of clients.
    refused(server.client(&certifier.ca, &["-groups", "ffdhe2048"]), &["handshake failure"]);
    answered(server.client(&certifier.ca, &["-comp"]));
    server.daemon.assert_healthy();
}

#[test]
fn the_host_chooses_the_certificate_and_alpn_is_http_1_1() {
    let certifier = Certifier::new("ca");
    let all = [("a", "a.example"), ("b", "*.b.example")].map(|(name, host)| certifier.certify(name, &[host]));
    let server = TlsDaemon::start(1, &all[0], &all[1].flags());
    for (host, certified) in
        [("a.example", &all[0]), ("x.b.example", &all[1]), ("unknown.example", &all[0]), ("", &all[0])]
    {
        let name = if host.is_empty() { vec!["-noservername"] } else { vec!["-servername", host] };
        let mut client = SClient::start(server.port, &certifier.ca, &name);
        client.ask();
        let pem = fs::read_to_string(&certified.certificate).expect("it was written").replace('\r', "");
        assert!(client.text().contains(pem.trim()), "{host}: {}", client.text());
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let said = answered(server.client(&certifier.ca, &[version, "-alpn", "h2,http/1.1"]));
        assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
        assert!(answered(server.client(&certifier.ca, &[version])).contains("No ALPN negotiated"));
        let only_h2 = server.client(&certifier.ca, &[version, "-alpn", "h2"]);
        refused(only_h2, &["no application protocol"]);
    }
}

#[test]
fn a_client_needs_a_certificate_of_the_authority_that_the_server_trusts() {
    let (certifier, stranger) = (Certifier::new("ca"), Certifier::new("stranger"));
    let server = TlsDaemon::start(1, &certifier.certify("a", &["a.example"]), &["--tls-client-ca", &certifier.ca]);
    for version in ["-tls1_2", "-tls1_3"] {
        let own = |certified: &Certified| {
            let flags = [version, "-cert", &certified.certificate, "-key", &certified.key];
            server.client(&certifier.ca, &flags)
        };
        answered(own(&certifier.certify("client", &["client"])));
        let unknown = ["unknown ca", "certificate unknown", "bad certificate", "decrypt error"];
        refused(own(&stranger.certify("client", &["client"])), &unknown);
        refused(server.client(&certifier.ca, &[version]), &["certificate required", "handshake failure"]);
    }
}

#[test]
fn ipv4_and_ipv6_speak_tls() {
    let certifier = Certifier::new("ca");
    let certified = certifier.certify("a", &["a.example"]);
    let flags = [&["--listen", "tls://127.0.0.1:0", "--listen", "tls://[::1]:0"], &certified.flags()[..]].concat();
    let server = TlsDaemon::of(Daemon::start(1, &flags));
    answered(server.client(&certifier.ca, &[]));
    let line = server.daemon.stderr();
    let (_, rest) = line.split_once("tls://[::1]:").expect("the second address");
    let port = rest.split(':').next().expect("a port");
    let host = format!("[::1]:{port}");
    let mut client = SClient::start(server.port, &certifier.ca, &["-connect", &host]);
    client.ask();
}
