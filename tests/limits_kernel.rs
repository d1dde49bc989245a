//! What the kernel keeps for connections that are over.

mod common;

use std::{fs, time::Duration};

use common::{
    client::Client,
    daemon::Daemon,
    frame::{self, CLOSE, FIN, TEXT},
    message::chat,
    wait_until,
};

const BODY_BYTES: usize = 1024;
/// The closing of a connection takes 10 s, and the kernel has as long again.
const SURELY_GONE: Duration = Duration::from_secs(60);

/// A client that has subscribed to `room`, and takes in little that it does not read.
fn stalled(daemon: &Daemon) -> Client {
    let mut client = Client::connect_with_small_window(daemon.port());
    client.subscribe_acked("room");
    client
}

fn message() -> String {
    chat(&["publish:room"], &" ".repeat(BODY_BYTES))
}

/// Publishes so many messages to `room`, and waits until they are carried out.
fn publish(daemon: &Daemon, messages: usize) {
    let mut publisher = Client::connect(daemon.port());
    publisher.send_raw(&frame::masked(FIN | TEXT, message().as_bytes()).repeat(messages));
    publisher.expect_nothing_before_ack();
}

/// How many of the daemon's sockets still have something to send, and how much.
fn unsent(port: u16) -> (usize, usize) {
    let table = fs::read_to_string("/proc/net/tcp").expect("this is Linux");
    let port = format!(":{port:04X}");
    let queues = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let queue = usize::from_str_radix(fields[4].split(':').next()?, 16).expect("hexadecimal");
        (fields[1].ends_with(&port) && queue > 0).then_some(queue)
    });
    queues.fold((0, 0), |(sockets, bytes), queue| (sockets + 1, bytes + queue))
}

#[track_caller]
fn assert_soon_gone(port: u16) {
    let gone = wait_until(|| unsent(port).0 == 0, SURELY_GONE);
    assert!(gone, "{:?} sockets and bytes are left after {SURELY_GONE:?}", unsent(port));
}

#[test]
fn of_readers_that_were_closed_with_1013_nothing_stays_in_the_kernel() {
    let daemon = Daemon::start(1, &["--outbox-max", "128KiB"]);
    let readers: Vec<_> = (0..5).map(|_| stalled(&daemon)).collect();
    publish(&daemon, 2000);
    let (sockets, bytes) = unsent(daemon.port());
    assert!(sockets == 5 && bytes > 5 * 100_000, "{bytes} bytes in {sockets} sockets");
    assert_soon_gone(daemon.port());
    drop(readers);
}

#[test]
fn a_client_that_has_finished_sending_gets_all_and_one_that_does_not_read_is_given_up() {
    // All of it goes into the sockets, so that the daemon itself is done with these connections at once.
    const MESSAGES: usize = 200;
    let daemon = Daemon::start(1, &[]);
    let mut reader = stalled(&daemon);
    let readers: Vec<_> = (0..5).map(|_| stalled(&daemon)).collect();
    let idle_files = daemon.open_files() - 6;
    publish(&daemon, MESSAGES);
    assert_eq!(unsent(daemon.port()).0, 6);
    readers.iter().chain([&reader]).for_each(Client::finish_sending);
    assert!(wait_until(|| daemon.open_files() == idle_files, SURELY_GONE), "they are not closed");
    (0..MESSAGES).for_each(|_| reader.expect_text(&message()));
    reader.expect_end();
    assert_soon_gone(daemon.port());
    drop(readers);
}

#[test]
fn of_a_server_that_has_stopped_nothing_stays_in_the_kernel() {
    let mut daemon = Daemon::start(1, &["--drain", "1s"]);
    let mut readers: Vec<_> = (0..5).map(|_| stalled(&daemon)).collect();
    publish(&daemon, 200);
    assert_eq!(unsent(daemon.port()).0, 5);
    daemon.terminate();
    assert!(daemon.exit_within(SURELY_GONE).is_some_and(|status| status.success()), "it does not stop");
    // Who reads now still gets what the kernel had.
    let mut reader = readers.pop().expect("five");
    (0..200).for_each(|_| reader.expect_text(&message()));
    assert_eq!(reader.recv().opcode, CLOSE);
    assert_soon_gone(daemon.port());
}
