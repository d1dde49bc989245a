//! The notifications to systemd of a service of `Type=notify` or `Type=notify-reload`: sd_notify(3).

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
};

use crate::helpers::{PATIENCE, client::Client, daemon::Daemon, scratch::Scratch, wait_until};

/// The next notification of the daemon.
fn told(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let len = socket.recv(&mut bytes).expect("the daemon tells something");
    String::from_utf8(bytes[..len].to_vec()).expect("it is text")
}

/// Runs a service from start to stop. Its notifications arrive at `socket`, which has this name.
fn live(socket: &UnixDatagram, name: &str) {
    let scratch = Scratch::new();
    let path = scratch.write("lhttpd.toml", "");
    let mut daemon = Daemon::start_with_variable(1, "NOTIFY_SOCKET", name, &["--config", &path]);
    assert_eq!(told(socket), "READY=1");
    Client::connect(daemon.port()).expect_nothing_before_ack();

    daemon.signal("HUP");
    let reloading = told(socket);
    let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|micros| micros.parse::<u64>().ok());
    assert!(micros.is_some_and(|micros| micros > 0), "{reloading:?}");
    assert_eq!(told(socket), "READY=1");

    daemon.terminate();
    // For 10 s, and 5 s for NATS and upstream servers.
    assert_eq!(told(socket), "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000");
    assert_eq!(daemon.exit_within(PATIENCE).and_then(|status| status.code()), Some(0));
}

#[test]
fn a_service_notifies_when_it_is_ready_reloads_and_stops() {
    let scratch = Scratch::new();
    let path = scratch.path().join("notify");
    live(&UnixDatagram::bind(&path).expect("a socket in a folder of ours"), path.to_str().expect("it is UTF-8"));
}

#[test]
fn the_socket_may_be_abstract() {
    let name = format!("lhttp-notify-{}", process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("the name is short");
    live(&UnixDatagram::bind_addr(&address).expect("the name is ours"), &format!("@{name}"));
}

#[test]
fn a_notify_socket_without_a_listener_is_a_warning() {
    let daemon = Daemon::start_with_variable(1, "NOTIFY_SOCKET", "/nowhere/notify", &[]);
    assert!(
        wait_until(|| daemon.stderr().contains("cannot tell systemd \"READY=1\""), PATIENCE),
        "{}",
        daemon.stderr()
    );
    Client::connect(daemon.port()).expect_nothing_before_ack();
}
