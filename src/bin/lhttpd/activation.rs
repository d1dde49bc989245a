//! Listening sockets that systemd hands over to a service with a socket unit (sd_listen_fds(3)).

use std::{env, os::fd::OwnedFd};

/// The most sockets that are taken.
const SOCKETS_MAX: u32 = 1024;

/// The sockets that were handed over to this process; none without systemd. Their names are not needed, because each has
/// an address. Call this once: it owns the descriptors from 3 on, if the environment says that they are ours.
///
/// # Errors
/// One sentence for people.
pub(crate) fn handed_over() -> Result<Vec<OwnedFd>, String> {
    let count = env::var("LISTEN_FDS").unwrap_or_default();
    if count.parse().is_ok_and(|count: u32| count > SOCKETS_MAX) {
        return Err(format!("LISTEN_FDS: {count} sockets are more than {SOCKETS_MAX}"));
    }
    let handed = sd_listen_fds::get().map_err(|error| format!("LISTEN_FDS, LISTEN_PID: {error}"))?;
    Ok(handed.into_iter().map(|(_, descriptor)| descriptor.into_std()).collect())
}
