//! OpenSSL's client, whose handshake and record layer share no code with ours or with rustls.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use lhttp::{Config, config::TlsRecords};

use super::server::{TlsServer, VERSIONS};
use crate::helpers::{PATIENCE, wait_for, wait_until};

/// The name that OpenSSL has for each suite, with the option that sets it.
const SUITES: [[&str; 3]; 6] = [
    ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
    ["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"],
    ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
    ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
    ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
    ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
];

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Everything that a pipe has given so far.
type Pipe = Arc<Mutex<String>>;

/// A running `openssl s_client`.
struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: Pipe,
    stderr: Pipe,
}

impl Client {
    /// `None` if there is no OpenSSL here.
    fn connect(server: &TlsServer, suite: [&str; 3]) -> Option<Self> {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-brief", "-servername", "localhost", "-connect"]);
        command.arg(server.address().to_string()).args(suite);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let Ok(mut child) = spawned else {
            eprintln!("SKIPPED: there is no openssl");
            return None;
        };
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = collect(child.stdout.take().expect("it is piped"));
        let stderr = collect(child.stderr.take().expect("it is piped"));
        Some(Self { child, stdin, stdout, stderr })
    }

    fn say(&mut self, text: &str) {
        self.stdin.write_all(text.as_bytes()).and_then(|()| self.stdin.flush()).expect("it reads");
    }

    /// Gives a command, which OpenSSL takes for one if it comes alone, and waits until it says so.
    fn command(&mut self, letter: &str, said: &str) {
        let before = self.stderr.lock().unwrap().matches(said).count();
        self.say(letter);
        wait_for(|| self.stderr.lock().unwrap().matches(said).count() > before);
    }

    /// Waits until the server's bytes hold this text so many times.
    fn wait_for(&self, text: &str, times: usize) {
        let is_there = wait_until(|| self.stdout.lock().unwrap().matches(text).count() == times, PATIENCE);
        assert!(is_there, "{}\n{}", self.stdout.lock().unwrap(), self.stderr.lock().unwrap());
    }

    fn wait_for_end(&mut self) {
        wait_for(|| self.child.try_wait().expect("it is ours").is_some());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// Reads a pipe to its end on a thread.
fn collect(mut pipe: impl Read + Send + 'static) -> Pipe {
    let text = Pipe::default();
    let shared = Arc::clone(&text);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = pipe.read(&mut buffer) {
            shared.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
    });
    text
}

#[test]
fn openssl_talks_to_either_record_layer_with_every_suite() {
    for records in [TlsRecords::Own, TlsRecords::Rustls] {
        let server = TlsServer::start("openssl", Config { tls_records: records, ..Config::default() });
        for suite in SUITES {
            let Some(mut client) = Client::connect(&server, suite) else { return };
            client.say(HEALTH);
            client.wait_for("ok", 1);
            // Several records, in both directions.
            let body = format!("LHTTP/1.0 chat\r\npublish:room\r\n\r\n{}", "x".repeat(60_000));
            let mut room = server.plain();
            room.subscribe("room");
            client.say(&format!("POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            room.expect(&body);
            client.wait_for("{\"channels\":1}", 1);
        }
        wait_for(|| server.handle().stats().connections == 0);
        assert_eq!(server.handle().stats().tls_handshakes, SUITES.len() as u64);
    }
}

#[test]
fn openssl_changes_its_keys_and_asks_for_ours() {
    for records in [TlsRecords::Own, TlsRecords::Rustls] {
        let server = TlsServer::start("openssl-keys", Config { tls_records: records, ..Config::default() });
        for suite in &SUITES[..3] {
            let Some(mut client) = Client::connect(&server, *suite) else { return };
            for (number, letter) in ["k\n", "K\n", "K\n", "k\n", "K\n"].into_iter().enumerate() {
                client.say(HEALTH);
                client.wait_for("ok", number + 1);
                client.command(letter, "KEYUPDATE");
            }
            client.say(HEALTH);
            client.wait_for("ok", 6);
        }
        if records == TlsRecords::Own {
            wait_for(|| server.handle().stats().tls_key_updates == 15);
        }
    }
}

#[test]
fn a_renegotiation_is_refused_and_the_server_goes_on() {
    let server = TlsServer::start("openssl-renegotiation", Config::default());
    for suite in &SUITES[3..] {
        let Some(mut client) = Client::connect(&server, *suite) else { return };
        client.say(HEALTH);
        client.wait_for("ok", 1);
        client.command("R\n", "RENEGOTIATING");
        client.wait_for_end();
        assert!(client.stderr.lock().unwrap().contains("no renegotiation"), "{}", client.stderr.lock().unwrap());
    }
    wait_for(|| server.handle().stats().tls_faults == 3);
    server.client(VERSIONS[0]).subscribe("room");
}
