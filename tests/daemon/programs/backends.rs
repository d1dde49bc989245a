//! The clients of the API in examples/backends, each in its language.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::helpers::{
    admin::{ADMIN, admin_port},
    daemon::Daemon,
    http::{Http, handshake},
    token::{KeyFile, token},
};

/// A channel whose name a careless client would not encode.
const CHANNEL: &str = "room.ä+&=%2F?x";

/// Whether a program is installed. Prints a line if not.
fn has(command: &mut Command) -> bool {
    let is_there = command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("SKIPPED: {:?} is not installed", command.get_program());
    }
    is_there
}

/// Runs an example, which publishes, lists a channel and closes a user's connections, once with the key and once without.
fn check(command: &[&str], version: &str, example: &str) {
    if !has(Command::new(command[0]).arg(version)) {
        return;
    }
    let key = KeyFile::new();
    let args = [&ADMIN[..], &["--token-key", key.text()]].concat();
    let daemon = Daemon::start_with_variable(1, "LHTTP_ADMIN_KEY", "hunter2", &args);
    let port = admin_port(&daemon);
    let [mut anna, mut other] = ["anna", "other"].map(|user| {
        let mut http = Http::connect(daemon.port());
        let bearer = format!("Authorization: Bearer {}\r\n", token(user, &[CHANNEL], &[]));
        assert_eq!(http.ask(handshake("/", &bearer)).status, 101);
        let mut client = http.into_client();
        client.subscribe_acked(CHANNEL);
        client
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/backends").join(example);
    let run = |key: &str| {
        let mut run = Command::new(command[0]);
        run.args(&command[1..]).arg(&path).args([CHANNEL, "anna"]).stdin(Stdio::null());
        run.env("LHTTP_ADMIN", format!("http://127.0.0.1:{port}")).env("LHTTP_ADMIN_KEY", key).env("NO_PROXY", "*");
        run.env_remove("http_proxy").env_remove("HTTP_PROXY").output().expect("it is installed")
    };
    let refused = run("wrong");
    assert!(!refused.status.success(), "{refused:?}");
    let output = run("hunter2");
    assert!(output.status.success(), "{output:?}");
    let answers: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let list = json!({ "channels": [{ "name": CHANNEL, "subscribers": 2 }], "next": null });
    assert_eq!(answers, [json!({ "channels": 1 }), list, json!({ "closed": 1 })]);
    let message = format!("LHTTP/1.0 chat\r\npublish:{CHANNEL}\r\n\r\nhello");
    anna.expect_text(&message);
    assert_eq!(anna.expect_close(), (1008, "bye".to_owned()));
    other.expect_text(&message);
    other.expect_nothing_before_ack();
}

#[test]
fn php_is_a_backend() {
    check(&["php"], "--version", "backend.php");
}

#[test]
fn python_is_a_backend() {
    check(&["python3"], "--version", "backend.py");
}

#[test]
fn ruby_is_a_backend() {
    check(&["ruby"], "--version", "backend.rb");
}

#[test]
fn go_is_a_backend() {
    check(&["go", "run"], "version", "backend.go");
}

#[test]
fn node_is_a_backend() {
    check(&["node"], "--version", "backend.mjs");
}
