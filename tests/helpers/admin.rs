//! Requests to the listener of `admin`.

use serde_json::Value;

use super::{
    daemon::Daemon,
    http::{Http, Response},
};

/// The arguments for a free port of its own.
pub(crate) const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// The port of the daemon's listener of `admin`.
pub(crate) fn admin_port(daemon: &Daemon) -> u16 {
    daemon.wait_for("admin: ");
    let stderr = daemon.stderr();
    let line = stderr.lines().find(|line| line.contains("admin: ")).expect("it was waited for");
    let (_, port) = line.split_once("127.0.0.1:").expect("an address");
    port.split(',').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// Sends a request with these lines and this body on a new connection.
pub(crate) fn ask_with(port: u16, method: &str, target: &str, lines: &str, body: &str) -> Response {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost:{port}\r\n{lines}{length}\r\n{body}");
    Http::connect(port).ask(request)
}

/// The JSON of an answer, which must have this status.
pub(crate) fn json_of(response: &Response, status: u16) -> Value {
    let text = String::from_utf8_lossy(&response.body);
    assert_eq!(response.status, status, "{text}");
    assert_eq!(response.header("content-type"), Some("application/json"), "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Asks for a target, which is there.
pub(crate) fn get(port: u16, target: &str) -> Value {
    json_of(&ask_with(port, "GET", target, "", ""), 200)
}

/// Posts a body, which is accepted.
pub(crate) fn post(port: u16, target: &str, body: &Value) -> Value {
    json_of(&ask_with(port, "POST", target, "", &body.to_string()), 200)
}
