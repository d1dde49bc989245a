//! However a connection ends, it leaves no open file behind. The tests count the daemon's open files.

use std::{
    fs::{self, DirEntry},
    time::Duration,
};

use crate::helpers::{
    PATIENCE,
    client::Client,
    daemon::Daemon,
    frame::{self, CLOSE, FIN, TEXT},
    http::{Http, handshake, publish_request},
    message::chat,
    on_one_and_two_cores, wait_for, wait_until,
};

on_one_and_two_cores!(
    connections_that_are_closed_leave_no_descriptor,
    connections_that_break_leave_no_descriptor,
    connections_that_break_with_a_backlog_leave_no_descriptor,
    http_connections_leave_no_descriptor,
);

#[test]
fn an_accept_without_a_descriptor_is_counted_and_tried_again() {
    let mut daemon = Daemon::start(1, &[]);
    Client::connect(daemon.port()).expect_nothing_before_ack();
    daemon.limit_open_files(3);
    let before = sleeps(&daemon);
    let mut waiting = Http::connect(daemon.port());
    waiting.send(handshake("/", ""));
    wait_for(|| sleeps(&daemon) >= before + 3); // it has tried, and tries again
    daemon.limit_open_files(1024);
    assert_eq!(waiting.response().status, 101, "its time has come");
    daemon.terminate();
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
    daemon.wait_for("(out_of_fds)");
}

/// How often the core has slept.
fn sleeps(daemon: &Daemon) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.id())).expect("it runs");
    let read = |task: &DirEntry, file| fs::read_to_string(task.path().join(file)).expect("it runs");
    let core = tasks.filter_map(Result::ok).find(|task| read(task, "comm").trim() == "lhttp-core-0");
    let status = read(&core.expect("it has a core"), "status");
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).expect("the kernel counts them")
}

/// Longer than the 10 s that a closing connection may take.
const LONG_ENOUGH: Duration = Duration::from_secs(20);

/// Runs `connections` and fails the test unless the daemon then has as many files open as before.
#[track_caller]
fn assert_nothing_stays(cores: usize, connections: impl Fn(&Daemon)) {
    let mut daemon = Daemon::start(cores, &["--handshake-timeout", "1s"]);
    Client::connect(daemon.port()).expect_nothing_before_ack();
    let mut before = 0;
    let steady = || {
        let now = daemon.open_files();
        now == std::mem::replace(&mut before, now)
    };
    assert!(wait_until(steady, LONG_ENOUGH));
    connections(&daemon);
    let back = || daemon.open_files() <= before;
    let is_back = wait_until(back, LONG_ENOUGH);
    assert!(is_back, "{} files open instead of {before}", daemon.open_files());
    daemon.assert_healthy();
}

fn connections_that_are_closed_leave_no_descriptor(cores: usize) {
    assert_nothing_stays(cores, |daemon| {
        for round in 0..20 {
            let mut client = Client::connect(daemon.port());
            client.subscribe_acked("room");
            match round % 4 {
                0 => client.send_frame(FIN | CLOSE, &frame::close_payload(1000, b"")),
                1 => client.send_frame(FIN | CLOSE, b""),
                2 => client.send_raw(&frame::unmasked(FIN | TEXT, b"wrong")),
                _ => client.finish_sending(),
            }
        }
    });
}

fn connections_that_break_leave_no_descriptor(cores: usize) {
    assert_nothing_stays(cores, |daemon| {
        for round in 0..40 {
            let mut client = Client::connect(daemon.port());
            client.subscribe_acked(&format!("own.{round}"));
            // Unread data turns its end into a reset. Its publishes may still be in flight to itself.
            (0..round).for_each(|_| client.say(&chat(&[&format!("publish:own.{round}")], "mine")));
            client.send_raw(&frame::masked(FIN | TEXT, b"LHTTP/1.0 chat")[..round % 15]);
        }
    });
}

/// A client that leaves some hundred KiB unread.
fn stalled(daemon: &Daemon) -> Client {
    let mut client = Client::connect_with_small_window(daemon.port());
    client.subscribe_acked("room");
    let mut publisher = Client::connect(daemon.port());
    publisher.subscribe_acked("room");
    let message = chat(&["publish:room"], &"m".repeat(50_000));
    for _ in 0..15 {
        publisher.say(&message);
        publisher.expect_text(&message);
    }
    client
}

fn connections_that_break_with_a_backlog_leave_no_descriptor(cores: usize) {
    assert_nothing_stays(cores, |daemon| {
        drop(stalled(daemon));

        // First an end of input, which alone would let the backlog be flushed; then a reset.
        let client = stalled(daemon);
        client.finish_sending();
        let mut other = Client::connect(daemon.port());
        (0..10).for_each(|_| other.expect_nothing_before_ack());
        drop(client);

        let mut client = stalled(daemon);
        client.send_frame(FIN | CLOSE, &frame::close_payload(1000, b""));
        (0..10).for_each(|_| other.expect_nothing_before_ack());
        drop(client);
    });
}

fn http_connections_leave_no_descriptor(cores: usize) {
    assert_nothing_stays(cores, |daemon| {
        let publish = publish_request(chat(&["publish:room"], ""), "");
        for _ in 0..5 {
            let mut asked = Http::connect(daemon.port());
            assert_eq!(asked.ask(&publish).status, 200);
            let mut halfway = Http::connect(daemon.port());
            halfway.send(&publish[..publish.len() - 3]);
            let mut unheard = Http::connect(daemon.port());
            unheard.send(&publish);
            let mut wrong = Http::connect(daemon.port());
            wrong.send("nonsense\r\n\r\n");
            let mut upgraded = Http::connect(daemon.port());
            upgraded.send(handshake("/", ""));
            Http::connect(daemon.port());
        }
    });
}
