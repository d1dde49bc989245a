//! Processes that a test has started.

use std::{
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use super::wait_until;

/// Sends the signal with this name (without "SIG"). It uses the shell's own `kill`, which needs no package.
pub(crate) fn signal(process: &Child, name: &str) {
    let kill = format!("kill -{name} {}", process.id());
    assert!(Command::new("sh").arg("-c").arg(&kill).status().expect("sh runs").success(), "{kill}");
}

/// The exit status, if the process ended within `timeout`.
pub(crate) fn exit_within(process: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let mut status = None;
    let _ = wait_until(
        || {
            status = process.try_wait().expect("the child can be waited for");
            status.is_some()
        },
        timeout,
    );
    status
}
