//! The upstream proxy of the daemon: its options, the environment, and its stop.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::helpers::{
    self, PATIENCE,
    backend::{Action, Backend, Barrier, ok},
    client::Client,
    daemon::Daemon,
    let_pass,
};

fn post(url: &str, headers: &str, body: &str) -> String {
    format!("LHTTP/1.0 c\r\nupstream:POST {url}\r\n{headers}\r\n{body}")
}

const REPLY: &str = "upstream-reply:true\r\n";

#[test]
fn a_proxy_in_the_environment_is_ignored() {
    let (backend, proxy) = (Backend::answering(), Backend::answering());
    let proxy_url = proxy.url("");
    for variable in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy", "https_proxy", "HTTPS_PROXY"] {
        let daemon = Daemon::start_with_variable(1, variable, &proxy_url, &["--upstream-allow", &backend.url("/")]);
        let mut client = Client::connect(daemon.port());
        client.say(&post(&backend.url("/"), REPLY, ""));
        client.expect_text("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\nok");
    }
    assert_eq!((backend.count(), proxy.connections()), (6, 0));
}

#[test]
fn several_prefixes_can_be_given_and_a_file_can_hold_them() {
    let (one, two) = (Backend::answering(), Backend::answering());
    let scratch = helpers::scratch::Scratch::new();
    let file = format!("upstream-allow = [\"{}\", \"{}\"]\nupstream-workers = 2\n", one.url("/a"), two.url("/"));
    let path = scratch.write("lhttpd.toml", &file);
    let (a, b) = (one.url("/a"), two.url("/"));
    for args in [vec!["--config", &path], vec!["--upstream-allow", &a, "--upstream-allow", &b]] {
        let daemon = Daemon::start(1, &args);
        let mut client = Client::connect(daemon.port());
        for url in [one.url("/a/b"), two.url("/b")] {
            client.say(&post(&url, REPLY, ""));
            client.expect_text("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\nok");
        }
        client.say(&post(&one.url("/b"), "", ""));
        client.expect_error(403, "forbidden", None);
    }
}

#[test]
fn check_prints_the_upstream_limits() {
    let check = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lhttpd")).arg("--check").args(args).output().expect("it runs");
        String::from_utf8(output.stdout).expect("it is text")
    };
    assert!(!check(&[]).contains("upstream"));
    let said = check(&["--upstream-allow", "http://h/a", "--upstream-allow", "http://i/", "--upstream-workers", "3"]);
    assert!(said.contains("upstream to http://h/a, http://i/ with 3 workers"), "{said}");
}

#[test]
fn changed_upstream_options_wait_for_a_restart() {
    let scratch = helpers::scratch::Scratch::new();
    let path = scratch.write("lhttpd.toml", "");
    let daemon = Daemon::start(1, &["--config", &path]);
    scratch.write("lhttpd.toml", "upstream-allow = \"http://h/\"\nupstream-timeout = 1\n");
    daemon.signal("HUP");
    daemon.wait_for("need a restart: upstream-allow, upstream-timeout");
}

#[test]
fn a_stopping_daemon_still_sends_accepted_requests() {
    const COUNT: usize = 200;
    let barrier = Barrier::default();
    let gate = barrier.clone();
    let backend = Backend::start(move |_| {
        gate.pass();
        ok("")
    });
    let mut daemon = Daemon::start(1, &["--drain", "60s", "--upstream-allow", &backend.url("/")]);
    let mut client = Client::connect(daemon.port());
    for number in 0..COUNT {
        client.say(&post(&backend.url("/"), "", &number.to_string()));
    }
    client.expect_nothing_before_ack();
    backend.wait_for(1);
    daemon.terminate();
    client.expect_closed_with(1001);
    barrier.open();
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
    let requests = backend.requests();
    assert_eq!(requests.len(), COUNT);
    for (number, request) in requests.iter().enumerate() {
        assert!(request.body_text().ends_with(&format!("\n{number}")), "{number}: {request:?}");
    }
    assert!(!daemon.stderr().contains("not sent"), "{}", daemon.stderr());
}

#[test]
fn requests_that_an_upstream_does_not_take_within_the_drain_time_are_given_up_and_counted() {
    let backend = Backend::start(|_| Action::Hang);
    let args = ["--drain", "300ms", "--upstream-workers", "2", "--upstream-timeout", "1h", "--upstream-allow"];
    let mut daemon = Daemon::start(1, &[&args[..], &[&backend.url("/")]].concat());
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(daemon.port())).collect();
    for client in &mut clients {
        (0..10).for_each(|_| client.say(&post(&backend.url("/"), "", "")));
        client.expect_nothing_before_ack();
    }
    backend.wait_for(2);
    daemon.terminate();
    clients.iter_mut().for_each(|client| client.expect_closed_with(1001));
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
    daemon.wait_for("upstream: 28 requests were not sent, 2 more may not have arrived");
}

#[test]
fn a_second_signal_does_not_wait_for_an_upstream() {
    let backend = Backend::start(|_| Action::Hang);
    let args = ["--drain", "1h", "--upstream-timeout", "1h", "--upstream-allow"];
    let mut daemon = Daemon::start(1, &[&args[..], &[&backend.url("/")]].concat());
    let mut client = Client::connect(daemon.port());
    client.say(&post(&backend.url("/"), "", ""));
    backend.wait_for(1);
    daemon.terminate();
    client.expect_closed_with(1001);
    assert!(daemon.exit_within(Duration::from_millis(100)).is_none(), "it waits for the upstream");
    daemon.terminate();
    assert!(daemon.exit_within(PATIENCE).is_some());
}

/// A process, a container or a VM is stopped for longer than a request may take.
#[test]
fn an_answer_that_came_while_the_process_was_stopped_is_no_timeout() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let barrier = Barrier::default();
    let gate = barrier.clone();
    let backend = Backend::start(move |request| match request.target.as_str() {
        "/hangs" => Action::Hang,
        _ => {
            gate.pass();
            ok(&request.target)
        }
    });
    let daemon = Daemon::start(1, &["--upstream-timeout", "1s", "--upstream-allow", &backend.url("/")]);
    let paths = ["/0", "/1", "/2", "/3", "/hangs"];
    let mut clients = paths.map(|path| {
        let mut client = Client::connect(daemon.port());
        client.say(&post(&backend.url(path), REPLY, ""));
        client
    });
    backend.wait_for(paths.len());
    daemon.signal("STOP");
    barrier.open();
    let_pass(2 * TIMEOUT);
    daemon.signal("CONT");
    for (path, client) in paths.iter().zip(&mut clients) {
        match *path {
            "/hangs" => drop(client.expect_error(504, "upstream-timeout", None)),
            path => client.expect_text(&format!("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\n{path}")),
        }
    }
    assert_eq!(backend.count(), paths.len(), "each was asked once");
}

#[test]
fn the_record_example_keeps_what_jack_says_to_mike() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/record/server.py");
    let scratch = helpers::scratch::Scratch::new();
    let file = scratch.write("record.jsonl", "");
    let python = Command::new("python3").args([script, "0", &file]).stdout(Stdio::piped()).spawn();
    let Ok(mut server) = python.map(Killed) else {
        eprintln!("SKIPPED: there is no python3");
        return;
    };
    let mut url = String::new();
    BufReader::new(server.0.stdout.take().expect("it is piped")).read_line(&mut url).expect("it says where it is");
    let url = url.trim_end();
    let daemon = Daemon::start(1, &["--upstream-allow", url]);
    let (mut jack, mut mike) = (Client::connect(daemon.port()), Client::connect(daemon.port()));
    mike.subscribe_acked("channel_mike");
    let said = post(url, "publish:channel_mike\r\n", "hello mike, I am jack");
    jack.say(&said);
    mike.expect_text(&said);
    jack.say(&format!("LHTTP/1.0 chat\r\nupstream:GET {url}\r\n{REPLY}\r\n"));
    let frame = jack.recv();
    let record = String::from_utf8(frame.payload).expect("it is text");
    assert!(
        record.starts_with("LHTTP/1.0 chat\r\nupstream-status:200\r\ncontent-type:application/jsonl\r\n\r\n"),
        "{record}"
    );
    assert!(
        record.contains("\"command\": \"c\"") && record.contains("\"body\": \"hello mike, I am jack\""),
        "{record}"
    );
    jack.say(&post(&format!("{url}/none"), "ack:t\r\n", ""));
    jack.expect_ack("t");
    assert!(jack.expect_error(502, "upstream-failed", Some("t")).contains("404"));
}

/// A process that is killed at the end of the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

#[cfg(feature = "tls")]
#[test]
fn an_https_upstream_must_prove_its_identity() {
    use crate::helpers::{https, tls};

    let (trusted, other) = (tls::Authority::new("upstream"), tls::Authority::new("upstream-other"));
    let file = trusted.file.to_str().expect("a UTF-8 path");
    for (authority, name, is_trusted) in
        [(&trusted, "localhost", true), (&other, "localhost", false), (&trusted, "example.com", false)]
    {
        let port = https::serve(authority.server_config(name));
        let url = format!("https://localhost:{port}/");
        let daemon = Daemon::start_with_variable(1, "SSL_CERT_FILE", file, &["--upstream-allow", &url]);
        let mut client = Client::connect(daemon.port());
        for _ in 0..2 {
            client.say(&post(&url, REPLY, "secret"));
            if is_trusted {
                client.expect_text("LHTTP/1.0 c\r\nupstream-status:200\r\n\r\nover TLS");
            } else {
                let sentence = client.expect_error(502, "upstream-failed", None);
                assert!(sentence.contains("certificate"), "{sentence}");
            }
        }
    }
}
