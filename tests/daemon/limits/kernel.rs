//! Connections that are over leave nothing in the kernel.

use std::{fs, time::Duration};

use crate::helpers::{
    PATIENCE,
    client::Client,
    daemon::Daemon,
    frame::{self, CLOSE, FIN, TEXT},
    message::chat,
    wait_until,
};

const BODY_BYTES: usize = 1024;
/// The daemon takes 10 s to close a connection, and the kernel as long again.
const SURELY_GONE: Duration = Duration::from_secs(60);

/// A client that is subscribed to `room` and buffers little unread data.
fn stalled(daemon: &Daemon) -> Client {
    let mut client = Client::connect_with_small_window(daemon.port());
    client.subscribe_acked("room");
    client
}

fn message() -> String {
    chat(&["publish:room"], &" ".repeat(BODY_BYTES))
}

/// Publishes this many messages to `room`, and waits until they are carried out.
fn publish(daemon: &Daemon, messages: usize) {
    let mut publisher = Client::connect(daemon.port());
    publisher.send_raw(&frame::masked(FIN | TEXT, message().as_bytes()).repeat(messages));
    publisher.expect_nothing_before_ack();
}

/// For each of the daemon's sockets: the bytes still to send, and the bytes still to be read.
fn queues(port: u16) -> Vec<(usize, usize)> {
    let table = fs::read_to_string("/proc/net/tcp").expect("this is Linux");
    let port = format!(":{port:04X}");
    let hex = |digits| usize::from_str_radix(digits, 16).expect("hexadecimal");
    let queues = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (unsent, unread) = fields[4].split_once(':').expect("two queues");
        fields[1].ends_with(&port).then(|| (hex(unsent), hex(unread)))
    });
    queues.collect()
}

/// How many of the daemon's sockets still have bytes to send, and how many bytes.
fn unsent(port: u16) -> (usize, usize) {
    let unsent = queues(port).into_iter().map(|(unsent, _)| unsent).filter(|&bytes| bytes > 0);
    unsent.fold((0, 0), |(sockets, bytes), queue| (sockets + 1, bytes + queue))
}

/// Waits until so many of the daemon's sockets have bytes to send, and returns the bytes. The kernel may still wait for
/// the acknowledgement of what another client has read.
#[track_caller]
fn unsent_of(port: u16, sockets: usize) -> usize {
    let is_so = wait_until(|| unsent(port).0 == sockets, PATIENCE);
    assert!(is_so, "{:?} sockets and bytes, not {sockets} sockets", unsent(port));
    unsent(port).1
}

#[track_caller]
fn assert_soon_gone(port: u16) {
    let gone = wait_until(|| unsent(port).0 == 0, SURELY_GONE);
    assert!(gone, "{:?} sockets and bytes are left after {SURELY_GONE:?}", unsent(port));
}

#[test]
fn readers_that_were_closed_with_1013_leave_nothing_in_the_kernel() {
    let daemon = Daemon::start(1, &["--outbox-max", "128KiB"]);
    let readers: Vec<_> = (0..5).map(|_| stalled(&daemon)).collect();
    publish(&daemon, 2000);
    let bytes = unsent_of(daemon.port(), 5);
    assert!(bytes > 5 * 10_000, "{bytes} bytes");
    assert_soon_gone(daemon.port());
    drop(readers);
}

#[test]
fn a_client_that_has_finished_sending_gets_all_and_one_that_does_not_read_is_given_up() {
    // All messages fit into the sockets, so the daemon itself finishes with these connections at once.
    const MESSAGES: usize = 200;
    let daemon = Daemon::start(1, &[]);
    let mut reader = stalled(&daemon);
    let readers: Vec<_> = (0..5).map(|_| stalled(&daemon)).collect();
    let idle_files = daemon.open_files() - 6;
    publish(&daemon, MESSAGES);
    unsent_of(daemon.port(), 6);
    readers.iter().chain([&reader]).for_each(Client::finish_sending);
    assert!(wait_until(|| daemon.open_files() == idle_files, SURELY_GONE), "they are not closed");
    (0..MESSAGES).for_each(|_| reader.expect_text(&message()));
    reader.expect_end();
    assert_soon_gone(daemon.port());
    drop(readers);
}

#[test]
fn a_stopped_server_leaves_nothing_in_the_kernel() {
    let mut daemon = Daemon::start(1, &["--drain", "1s"]);
    let mut readers: Vec<_> = (0..5).map(|_| stalled(&daemon)).collect();
    publish(&daemon, 200);
    unsent_of(daemon.port(), 5);
    daemon.terminate();
    assert!(daemon.exit_within(SURELY_GONE).is_some_and(|status| status.success()), "it does not stop");
    // A client that reads now still receives the kernel's bytes.
    let mut reader = readers.pop().expect("five");
    (0..200).for_each(|_| reader.expect_text(&message()));
    assert_eq!(reader.recv().opcode, CLOSE);
    assert_soon_gone(daemon.port());
}

#[test]
fn unread_bytes_of_a_fast_client_take_no_more_than_the_receive_buffer() {
    let unread = ["64KiB", "0"].map(|receive_buffer| {
        let daemon = Daemon::start(1, &["--receive-buffer", receive_buffer]);
        let mut client = Client::connect(daemon.port());
        let messages = frame::masked(FIN | TEXT, message().as_bytes()).repeat(1000);
        // The kernel enlarges the buffers of a socket that is read fast.
        (0..64).for_each(|_| client.send_raw(&messages));
        daemon.signal("STOP");
        client.set_timeout(Duration::from_millis(200));
        while client.try_send_raw(&messages).is_ok() {}
        let unread = queues(daemon.port()).into_iter().map(|(_, unread)| unread).max();
        daemon.signal("CONT");
        unread.expect("the daemon has a socket")
    });
    println!("{unread:?} bytes wait");
    assert!(unread[0] <= 2 * 64 * 1024 && unread[0] < unread[1], "{unread:?} bytes wait");
}
