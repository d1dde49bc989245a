//! SIGHUP: the daemon reads its file again and applies the options that can change. It applies nothing of an invalid
//! file.

use crate::helpers::{
    PATIENCE,
    client::Client,
    daemon::Daemon,
    http::{Http, handshake, publish_request},
    message::chat,
    on_one_and_two_cores,
    scratch::Scratch,
    wait_until,
};

on_one_and_two_cores!(
    a_new_publish_key_and_log_level_hold_after_sighup,
    a_new_limit_binds_a_connection_that_is_open,
    a_timeout_that_was_off_ends_a_connection_that_was_open,
    a_lower_connection_limit_admits_fewer_and_keeps_open_connections,
    a_file_that_is_wrong_changes_nothing_and_is_logged,
    options_that_need_a_restart_are_named_until_the_restart,
    the_other_spelling_of_an_option_is_no_change,
    a_flag_still_wins_over_the_file,
);

const FILE: &str = "lhttpd.toml";

/// A daemon with its own file.
struct Reloading {
    scratch: Scratch,
    daemon: Daemon,
}

impl Reloading {
    fn start(cores: usize, file: &str, args: &[&str]) -> Self {
        let scratch = Scratch::new();
        let path = scratch.write(FILE, file);
        let daemon = Daemon::start(cores, &[&["--config", &path], args].concat());
        Self { scratch, daemon }
    }

    /// Writes a new file, sends SIGHUP, and waits until the log contains `said`.
    #[track_caller]
    fn reload(&self, file: &str, said: &str) {
        self.scratch.write(FILE, file);
        let before = self.daemon.stderr().len();
        self.daemon.signal("HUP");
        let is_said = wait_until(|| self.daemon.stderr()[before..].contains(said), PATIENCE);
        assert!(is_said, "no {said:?} in {:?}", &self.daemon.stderr()[before..]);
    }

    /// The status of a publish with this bearer token.
    fn publish(&self, key: &str) -> u16 {
        let authorization = format!("Authorization: Bearer {key}\r\n");
        Http::connect(self.daemon.port()).ask(publish_request(chat(&["publish:room"], "hi"), &authorization)).status
    }

    /// Waits until a publish with this key gets this status. Each core applies new options at its next turn.
    #[track_caller]
    fn expect_publish(&self, key: &str, status: u16) {
        assert!(wait_until(|| self.publish(key) == status, PATIENCE), "{key}: {}", self.publish(key));
    }
}

fn a_new_publish_key_and_log_level_hold_after_sighup(cores: usize) {
    let mut server = Reloading::start(cores, "publish-key = \"old\"\n", &[]);
    server.expect_publish("old", 200);
    server.reload("publish-key = \"new\"\nlog = \"error\"\n", "these have changed: publish-key, log");
    server.expect_publish("new", 200);
    for _ in 0..8 {
        assert_eq!((server.publish("new"), server.publish("old")), (200, 403), "each core knows the new key");
    }
    let before = server.daemon.stderr();
    server.daemon.terminate();
    assert!(server.daemon.exit_within(PATIENCE).is_some());
    assert_eq!(server.daemon.stderr(), before, "`draining` is logged at info, and the level is error");
    assert!(!before.contains("old") && !before.contains("\"new\""), "a key is never logged: {before}");
}

fn a_new_limit_binds_a_connection_that_is_open(cores: usize) {
    let server = Reloading::start(cores, "", &[]);
    let mut client = Client::connect(server.daemon.port());
    client.subscribe_acked("one");
    server.reload("max-subscriptions = 1\n", "these have changed: max-subscriptions");
    let is_refused = || {
        client.say(&chat(&["subscribe:two", "ack:two"], ""));
        let answer = String::from_utf8(client.recv().payload).expect("it is text");
        client.say(&chat(&["unsubscribe:two"], ""));
        answer.contains("too-many-subscriptions")
    };
    assert!(wait_until(is_refused, PATIENCE));
    let kept = chat(&["publish:one"], "what it had it keeps");
    client.say(&kept);
    client.expect_text(&kept);
}

fn a_timeout_that_was_off_ends_a_connection_that_was_open(cores: usize) {
    let server = Reloading::start(cores, "idle-timeout = 0\nping-interval = 0\n", &[]);
    let mut client = Client::connect(server.daemon.port());
    client.expect_nothing_before_ack();
    server.reload("idle-timeout = \"200ms\"\nping-interval = 0\n", "these have changed: idle-timeout");
    client.expect_closed_with(1008);
}

fn a_lower_connection_limit_admits_fewer_and_keeps_open_connections(cores: usize) {
    let server = Reloading::start(cores, "", &[]);
    let mut client = Client::connect(server.daemon.port());
    let mut other = Client::connect(server.daemon.port());
    server.reload("max-connections = 2\n", "these have changed: max-connections");
    let status = || Http::connect(server.daemon.port()).ask(handshake("/", "")).status;
    assert!(wait_until(|| status() == 503, PATIENCE), "a third connection is let in");
    client.expect_nothing_before_ack();
    other.expect_nothing_before_ack();
    server.reload("", "these have changed: max-connections");
    assert!(wait_until(|| status() == 101, PATIENCE), "nobody is let in");
}

fn a_file_that_is_wrong_changes_nothing_and_is_logged(cores: usize) {
    let mut server = Reloading::start(cores, "publish-key = \"old\"\n", &[]);
    for (file, fault) in [
        ("publish-key = \"new\"\n\nmax-hed = 1\n", "max-hed"),
        ("publish-key = \"new\"\nmax-head =\n", "line 2"),
        ("publish-key = \"new\"\nidle-timeout = \"1s\"\n", "ping-interval"),
        ("publish-key = \"new\"\nmax-connections = 999999999\n", "max-connections: 999999999"),
        // Valid alone, but not together with the max-message that stays until a restart.
        (
            "publish-key = \"new\"\nmax-message = \"16KiB\"\noutbox-max = \"32KiB\"\n",
            "need a restart and keep their values: max-message",
        ),
    ] {
        server.reload(file, "SIGHUP: not reloaded: ");
        assert!(server.daemon.stderr().contains(fault), "no {fault:?} in {}", server.daemon.stderr());
        assert_eq!((server.publish("old"), server.publish("new")), (200, 403), "{file}");
    }
    server.reload("publish-key = \"new\"\n", "these have changed: publish-key");
    server.expect_publish("new", 200);
    server.daemon.assert_healthy();
}

fn options_that_need_a_restart_are_named_until_the_restart(cores: usize) {
    let server = Reloading::start(cores, "", &[]);
    let file = "max-message = \"32KiB\"\nsend-buffer = 0\ndrain = \"3s\"\n";
    server.reload(file, "need a restart: max-message, send-buffer");
    assert!(server.daemon.stderr().contains("these have changed: drain"), "{}", server.daemon.stderr());
    server.reload(file, "need a restart: max-message, send-buffer");
    server.reload("", "these have changed: drain");
    server.reload("", "nothing has changed");
}

fn the_other_spelling_of_an_option_is_no_change(cores: usize) {
    let server = Reloading::start(cores, "max-subscriptions = 5\nnats-buffer = \"9MiB\"\n", &[]);
    server.reload("[limits]\nmax-subscriptions = 5\n[nats]\nbuffer = \"9MiB\"\n", "nothing has changed");
    server.reload(
        "[limits]\nmax-subscriptions = 6\n[nats]\nbuffer = \"9MiB\"\n[[channel]]\nmatch = \"room.*\"\n",
        "these have changed: max-subscriptions, channel",
    );
    server.reload("[limit]\nmax-subscriptions = 7\n", "did you mean limits?");
}

fn a_flag_still_wins_over_the_file(cores: usize) {
    let server = Reloading::start(cores, "", &["--publish-key", "flag"]);
    server.reload("publish-key = \"file\"\n", "nothing has changed");
    assert_eq!((server.publish("flag"), server.publish("file")), (200, 403));
}

#[test]
fn without_a_file_sighup_logs_that_and_ends_nothing() {
    let mut daemon = Daemon::start(1, &[]);
    daemon.signal("HUP");
    assert!(wait_until(|| daemon.stderr().contains("without --config"), PATIENCE), "{}", daemon.stderr());
    Client::connect(daemon.port()).expect_nothing_before_ack();
    daemon.terminate();
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
}
