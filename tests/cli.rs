//! The daemon as its user meets it: flags, the file, what it says, how it ends. Every test runs the real binary.

#[path = "cli/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "common/scratch.rs"]
mod scratch;

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use tungstenite::{Message, WebSocket, client};

use process::{Server, assert_refused, run, succeeds, text};
use scratch::Scratch;

/// Longer than anything here takes on a busy machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

const FLAGS: &[&str] = &[
    "--listen",
    "--cores",
    "--cpu-list",
    "--config",
    "--check",
    "--health",
    "--max-message",
    "--max-head",
    "--max-headers",
    "--max-publish-channels",
    "--max-http-head",
    "--max-connections",
    "--outbox-max",
    "--memory-budget",
    "--max-subscriptions",
    "--subscription-bytes",
    "--idle-timeout",
    "--ping-interval",
    "--handshake-timeout",
    "--message-timeout",
    "--http-keep-alive",
    "--drain",
    "--busy-poll",
    "--coalesce",
    "--send-buffer",
    "--receive-buffer",
    "--publish-key",
    "--nats",
    "--nats-creds",
    "--nats-nkey",
    "--nats-user",
    "--nats-password-file",
    "--nats-tls-ca",
    "--nats-buffer",
    "--upstream-allow",
    "--upstream-workers",
    "--upstream-queue",
    "--upstream-timeout",
    "--upstream-response-max",
    "--demo",
    "--log",
    "--help",
    "--version",
];

#[test]
fn the_help_lists_every_flag_and_the_readme_every_option() {
    let help = succeeds(&["--help"]);
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for flag in FLAGS {
        assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")), "--help lacks {flag}");
        assert!(["--help", "--version"].contains(flag) || readme.contains(&format!("`{flag}")), "README lacks {flag}");
    }
}

#[test]
fn the_help_and_the_readme_tell_the_defaults_that_hold() {
    let help = succeeds(&["--help"]);
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let default = lhttp::config::Config::default();
    let size = |bytes: usize| bytesize::ByteSize(bytes as u64).to_string().replace(".0 ", "");
    let time = |given: Duration| format!("{}s", given.as_secs());
    for (flag, value) in [
        ("--listen", default.listen[0].to_string()),
        ("--max-message", size(default.message_bytes_max)),
        ("--max-head", size(default.head_bytes_max)),
        ("--max-headers", default.headers_max.to_string()),
        ("--max-publish-channels", default.publish_channels_max.to_string()),
        ("--max-http-head", size(default.http_head_bytes_max)),
        ("--outbox-max", size(default.outbox_bytes_max)),
        ("--max-subscriptions", default.subscriptions_max.to_string()),
        ("--subscription-bytes", size(default.subscription_bytes_max)),
        ("--idle-timeout", time(default.idle_timeout)),
        ("--ping-interval", time(default.ping_interval)),
        ("--handshake-timeout", time(default.handshake_timeout)),
        ("--message-timeout", time(default.message_timeout)),
        ("--http-keep-alive", time(default.http_keep_alive)),
        ("--drain", time(default.drain_timeout)),
        ("--busy-poll", default.busy_poll.as_micros().to_string()),
        ("--coalesce", default.coalesce.as_micros().to_string()),
        ("--send-buffer", size(default.send_buffer_bytes)),
        ("--receive-buffer", size(default.receive_buffer_bytes)),
        ("--nats-buffer", size(default.nats_buffer_bytes)),
        ("--upstream-workers", default.upstream_workers.to_string()),
        ("--upstream-queue", default.upstream_queue_max.to_string()),
        ("--upstream-timeout", time(default.upstream_timeout)),
        ("--upstream-response-max", size(default.upstream_response_bytes_max)),
    ] {
        let of_flag = help.split_once(&format!("{flag} ")).unwrap_or_else(|| panic!("--help lacks {flag}")).1;
        let told = of_flag.split_once("[default: ").map(|(_, rest)| rest.split(']').next().unwrap_or_default());
        assert_eq!(told, Some(value.as_str()), "{flag}");
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{flag}"))).unwrap_or_default();
        assert!(row.contains(&value), "README's row of {flag} does not say {value}: {row:?}");
    }
}

#[test]
fn the_version_is_the_crates() {
    assert_eq!(succeeds(&["--version"]).trim(), concat!("lhttpd ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_flag_that_cannot_be_read_is_a_usage_error() {
    for (args, named) in [
        (&["--listen", "localhost"][..], "--listen"),
        (&["--listen", "unix:relative"], "absolute path"),
        (&["--listen", "tls://127.0.0.1:443"], "TLS"),
        (&["--cores", "two"], "--cores"),
        (&["--max-message", "64 potatoes"], "64 potatoes"),
        (&["--idle-timeout", "soon"], "soon"),
        (&["--log", "loud"], "--log"),
        (&["--demo", "9090"], "--demo"),
        (&["--cores", "1", "--cpu-list", "0"], "--cpu-list"),
        (&["--cpu-list", "1024"], "CPU 1024"),
        (&["--no-such-flag"], "--no-such-flag"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(named), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_value_that_makes_no_sense_is_one_sentence_and_not_a_crash() {
    for (args, named) in [
        (&["--cores", "0"][..], "cores"),
        (&["--cores", "9999"], "cores: 9999"),
        (&["--cpu-list", "0,0"], "twice"),
        (&["--cpu-list", "1023"], "CPU 1023"),
        (&["--max-message", "2GiB", "--outbox-max", "3GiB"], "max-message"),
        (&["--max-message", "1KiB"], "max-head"),
        (&["--outbox-max", "1KiB"], "outbox-max"),
        (&["--memory-budget", "1KiB"], "memory-budget"),
        (&["--max-connections", "0"], "max-connections"),
        (&["--max-connections", "999999999999"], "max-connections"),
        (&["--ping-interval", "61s"], "ping-interval"),
        (&["--handshake-timeout", "0"], "handshake-timeout"),
        (&["--publish-key", ""], "publish-key"),
        (&["--nats-creds", "x"], "nats-creds"),
        (&["--upstream-allow", "example.org"], "example.org"),
        (&["--upstream-allow", "http://h/", "--upstream-response-max", "1MiB"], "outbox-max"),
    ] {
        assert_refused(args, named);
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_fault() {
    let scratch = Scratch::new();
    for (content, named) in [
        ("max-mesage = 1", "max-mesage"),
        ("cores = 0", "cores"),
        ("cores = \"many\"", "cores"),
        ("max-message = \"much\"", "max-message"),
        ("listen = \"here\"", "listen"),
        ("log = \"loud\"", "log"),
        ("demo = 9090", "demo"),
        ("cores = 1\ncpu-list = \"0\"", "cpu-list"),
        ("\n\ncores =", "line 3"),
    ] {
        let path = scratch.write("lhttpd.toml", content);
        assert_refused(&["--config", &path], named);
    }
    assert_refused(&["--config", "/no/such/file.toml"], "/no/such/file.toml");
    assert_refused(&["--config", &scratch.path().to_string_lossy()], &scratch.path().to_string_lossy());
}

#[test]
fn check_says_what_the_options_come_to_and_starts_nothing() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = busy.local_addr().unwrap().to_string();
    let args = ["--check", "--listen", &listen, "--cores", "1", "--max-connections", "321", "--memory-budget", "5MiB"];
    let said = succeeds(&args);
    assert!(said.starts_with("configuration is valid"), "{said}");
    for part in ["1 core", "321 connections", "5.0 MiB", "publish key not set", "at most ", "5.0 MiB kept for peers"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert_refused(&["--check", "--cores", "0"], "cores");
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let scratch = Scratch::new();
    let path = scratch.write(
        "lhttpd.toml",
        "cpu-list = \"0\"\nmax-connections = 100\nmax-message = \"32KiB\"\noutbox-max = 131072\n",
    );
    let said = succeeds(&["--check", "--config", &path, "--max-connections", "200", "--cores", "1"]);
    for part in ["1 core", "200 connections", "messages of 32.0 KiB", "outboxes of 128.0 KiB"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn the_publish_key_comes_from_the_environment_and_is_never_shown() {
    let mut server = Server::start_with(&["--log", "trace"], &[("LHTTP_PUBLISH_KEY", "hunter2")]);
    assert!(server.line.contains("publish key set"), "{}", server.line);
    assert_eq!(publish(server.address, ""), 401);
    assert_eq!(publish(server.address, "Authorization: Bearer hunter3\r\n"), 403);
    assert_eq!(publish(server.address, "Authorization: Bearer hunter2\r\n"), 200);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let log = server.rest();
    assert!(!log.contains("hunter"), "{log}");
}

#[test]
fn a_secret_that_everybody_can_read_is_warned_of() {
    let scratch = Scratch::new();
    let path = scratch.write("lhttpd.toml", "publish-key = \"hunter2\"\n");
    for (mode, is_warned) in [(0o644, true), (0o604, true), (0o640, false), (0o600, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mut server = Server::start(&["--config", &path]);
        server.signal("TERM");
        server.wait();
        let log = server.rest();
        assert_eq!(log.contains(&format!("everybody on this machine can read {path}")), is_warned, "{mode:o}: {log}");
        assert_eq!(log.contains("which has publish-key"), is_warned, "{mode:o}: {log}");
        assert!(!log.contains("hunter2"), "{log}");
        let checked = run(&["--check", "--config", &path]);
        assert!(checked.status.success() && text(&checked.stderr).contains(&path) == is_warned, "{checked:?}");
    }
    // A file that holds none may be read, and a key that comes by another way is not in it.
    let plain = scratch.write("plain.toml", "cores = 1\n");
    let mut server = Server::start_with(&["--config", &plain], &[("LHTTP_PUBLISH_KEY", "hunter2")]);
    server.signal("TERM");
    server.wait();
    let log = server.rest();
    assert!(!log.contains("everybody"), "{log}");
}

#[test]
#[cfg(feature = "nats")]
fn a_secret_for_nats_that_everybody_can_read_is_warned_of() {
    let scratch = Scratch::new();
    let password = scratch.write("password", "hunter2\n");
    let path = scratch.write("lhttpd.toml", "nats = \"nats://u:hunter2@127.0.0.1:1\"\n");
    let file = run(&["--check", "--config", &path]);
    let named = run(&["--check", "--nats", "127.0.0.1:1", "--nats-user", "u", "--nats-password-file", &password]);
    for (output, said) in [(file, "which has nats"), (named, "nats-password-file: everybody")] {
        let log = text(&output.stderr);
        assert!(output.status.success() && log.contains(said) && !log.contains("hunter2"), "{log}");
    }
    let open = scratch.write("open.toml", "nats = \"nats://127.0.0.1:1\"\n");
    assert!(text(&run(&["--check", "--config", &open]).stderr).is_empty(), "a URL without a login is no secret");
}

#[test]
#[cfg(feature = "nats")]
fn nats_options_that_make_no_sense_are_one_sentence_without_the_secret() {
    let scratch = Scratch::new();
    let (empty, wrong) = (scratch.write("lhttpd.toml", ""), scratch.write("wrong", "hunter2"));
    let url = "nats://u:hunter2@127.0.0.1";
    for (args, named) in [
        (&["--nats", "http://u:hunter2@h"][..], "nats:"),
        (&["--nats", "nats://u:hunter2@h:x"], "port"),
        (&["--nats", url, "--nats-buffer", "1KiB"], "nats-buffer"),
        (&["--nats", url, "--nats-creds", &wrong], "one way"),
        (&["--nats", "h", "--nats-user", "u"], "nats-password-file"),
        (&["--nats", "h", "--nats-user", "u", "--nats-password-file", "/no/such/file"], "/no/such/file"),
        (&["--nats", "h", "--nats-user", "u", "--nats-password-file", &empty], "empty"),
        (&["--nats", "h", "--nats-creds", &wrong], "nats-creds"),
        (&["--nats", "h", "--nats-nkey", &wrong], "nats-nkey"),
        (&["--nats", "h", "--nats-tls-ca", &wrong], "nats-tls-ca"),
    ] {
        for more in [&[][..], &["--check"]] {
            let output = run(&[&["--listen", "127.0.0.1:0", "--cores", "1"], args, more].concat());
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
            assert!(said.contains(named) && !said.contains("hunter2"), "{args:?}: {said:?}");
            assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
        }
    }
}

#[test]
#[cfg(not(feature = "nats"))]
fn a_build_without_the_bridge_says_so() {
    assert_refused(&["--nats", "nats://127.0.0.1"], "cargo feature nats");
}

#[test]
fn a_busy_port_is_one_sentence_that_names_it() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    assert_refused(&["--listen", &address, "--cores", "1"], &address);
}

#[test]
fn a_demo_that_cannot_listen_keeps_the_server_from_starting() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    assert_refused(&["--listen", "127.0.0.1:0", "--cores", "1", "--demo", &address], &address);
    assert_refused(&["--listen", "127.0.0.1:0", "--cores", "1", "--demo", &address], "demo");
}

#[test]
fn a_demo_needs_an_address_to_send_browsers_to() {
    let scratch = Scratch::new();
    let socket = format!("unix:{}/x.sock", scratch.path().display());
    assert_refused(&["--listen", &socket, "--cores", "1", "--demo", "127.0.0.1:0"], "a unix socket is none");
}

#[test]
fn the_demo_can_be_set_in_the_file_and_says_what_to_open() {
    let scratch = Scratch::new();
    let path = scratch.write("lhttpd.toml", "demo = \"127.0.0.1:0\"\n");
    let server = Server::start(&["--config", &path]);
    let line = server.wait_for_line("demo: open ");
    let url = line.split_once("open ").unwrap().1;
    let address = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix('/')).unwrap();
    TcpStream::connect(address).unwrap();
}

#[test]
fn two_servers_do_not_share_a_port_unnoticed() {
    let first = Server::start(&[]);
    let address = first.address.to_string();
    assert_refused(&["--listen", &address, "--cores", "1"], &address);
}

#[test]
fn the_first_line_says_the_real_address_the_cores_and_the_limits() {
    let server = Server::start(&["--listen", "127.0.0.1:0", "--cores", "1", "--max-connections", "77"]);
    let ports = server.line.matches("127.0.0.1:").count();
    assert_eq!(ports, 2, "two addresses were asked for: {}", server.line);
    for part in ["1 core", "77 connections", "64.0 KiB", "1.0 MiB"] {
        assert!(server.line.contains(part), "no {part:?} in {}", server.line);
    }
    TcpStream::connect(server.address).unwrap();
}

#[test]
fn sigterm_and_sigint_end_an_idle_server_with_success() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[]);
        // The drain time is a bound and not a wait: an idle server is gone long before its 10 s.
        let asked = Instant::now();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "SIG{signal}");
        assert!(asked.elapsed() < Duration::from_secs(8), "SIG{signal} took {:?}", asked.elapsed());
    }
}

#[test]
fn a_client_that_does_not_read_holds_the_end_up_for_the_drain_time_only() {
    let mut server = Server::start(&["--outbox-max", "64MiB", "--drain", "300ms", "--log", "info"]);
    let _stalled = stall(server.address);
    let asked = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let taken = asked.elapsed();
    assert!(taken >= Duration::from_millis(300), "{taken:?}: the client was not stalled, this shows nothing");
    assert!(taken < Duration::from_secs(10), "{taken:?}");
}

#[test]
fn a_second_signal_ends_a_draining_server_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut server = Server::start(&["--outbox-max", "64MiB", "--drain", "1h", "--log", "info"]);
        let _stalled = stall(server.address);
        server.signal(signal);
        server.wait_for_line("draining");
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(code), "SIG{signal}");
    }
}

#[test]
fn a_closed_stderr_does_not_stop_the_server() {
    let mut server = Server::start(&["--log", "trace"]);
    server.close_stderr();
    assert_eq!(publish(server.address, ""), 200);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

/// A connection that is subscribed and does not read, with more waiting for it than the kernel takes.
fn stall(address: SocketAddr) -> WebSocket<TcpStream> {
    let mut stalled = connect(address);
    stalled.send(Message::text("LHTTP/1.0 c\r\nsubscribe:room\r\nack:live\r\n\r\n")).unwrap();
    assert!(stalled.read().unwrap().to_text().unwrap().contains("ack:live"));

    let mut publisher = connect(address);
    let message = format!("LHTTP/1.0 c\r\npublish:room\r\n\r\n{}", "x".repeat(60 << 10));
    for _ in 0..400 {
        publisher.write(Message::text(message.as_str())).unwrap();
    }
    publisher.send(Message::text("LHTTP/1.0 c\r\npublish:room\r\nack:done\r\n\r\n")).unwrap();
    assert!(publisher.read().unwrap().to_text().unwrap().contains("ack:done"));
    stalled
}

fn connect(address: SocketAddr) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    client(format!("ws://{address}/"), stream).unwrap().0
}

/// The status that `POST /publish` gets with these extra header lines.
fn publish(address: SocketAddr, headers: &str) -> u16 {
    let body = "LHTTP/1.0 c\r\npublish:room\r\n\r\nhi";
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!("POST /publish HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut status_line = String::new();
    BufReader::new(stream).read_line(&mut status_line).unwrap();
    status_line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{status_line:?}"))
}
