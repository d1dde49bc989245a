//! Notifies systemd of the state of a service of `Type=notify` or `Type=notify-reload` (sd_notify(3)). Without systemd,
//! that is without `NOTIFY_SOCKET`, these functions do nothing.
//!
//! We have our own, because the `sd-notify` crate does not support abstract sockets, which systemd may use. It also
//! brings much that a daemon without a watchdog does not need.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use log::warn;
use rustix::time::{ClockId, clock_gettime};

/// Where systemd listens: a path, or behind an `@` the name of an abstract socket.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// The time after `drain` in which the server sends its last messages to NATS and to upstream servers.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

/// The server listens, or has reloaded.
pub(crate) fn ready() {
    tell("READY=1");
}

/// The server drains, which may take this long. systemd then waits for longer than `TimeoutStopSec=` says, if it must.
pub(crate) fn stopping(time: Duration) {
    let micros = time.saturating_add(AFTER_DRAIN).as_micros();
    tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}"));
}

/// The configuration is being read again; [`ready`] follows.
pub(crate) fn reloading() {
    // The time tells systemd this reload from an earlier one.
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

fn tell(state: &str) {
    let Some(name) = env::var_os(SOCKET_VARIABLE) else { return };
    if let Err(error) = send(&name, state) {
        warn!("cannot tell systemd {state:?} at {SOCKET_VARIABLE}={}: {error}", name.display());
    }
}

fn send(name: &OsStr, state: &str) -> io::Result<()> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?; // a manager that does not read must not delay a signal
    // A datagram goes whole or not at all.
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}
