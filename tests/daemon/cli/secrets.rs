//! Secrets: the daemon shows none, and warns if everybody can read one.

use std::{fs, os::unix::fs::PermissionsExt};

use super::process::{DaemonProcess, publish, run, text};
use crate::helpers::scratch::Scratch;

#[test]
fn the_publish_key_comes_from_the_environment_and_is_never_shown() {
    let mut server = DaemonProcess::start_with(&["--log", "trace"], &[("LHTTP_PUBLISH_KEY", "hunter2")]);
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
fn a_secret_that_everybody_can_read_causes_a_warning() {
    let scratch = Scratch::new();
    let path = scratch.write("lhttpd.toml", "publish-key = \"hunter2\"\n");
    for (mode, is_warned) in [(0o644, true), (0o604, true), (0o640, false), (0o600, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let mut server = DaemonProcess::start(&["--config", &path]);
        server.signal("TERM");
        server.wait();
        let log = server.rest();
        assert_eq!(log.contains(&format!("everybody on this machine can read {path}")), is_warned, "{mode:o}: {log}");
        assert_eq!(log.contains("which has publish-key"), is_warned, "{mode:o}: {log}");
        assert!(!log.contains("hunter2"), "{log}");
        let checked = run(&["--check", "--config", &path]);
        assert!(checked.status.success() && text(&checked.stderr).contains(&path) == is_warned, "{checked:?}");
    }
    // A file without a secret may be readable, and a key from the environment is not in the file.
    let plain = scratch.write("plain.toml", "cores = 1\n");
    let mut server = DaemonProcess::start_with(&["--config", &plain], &[("LHTTP_PUBLISH_KEY", "hunter2")]);
    server.signal("TERM");
    server.wait();
    let log = server.rest();
    assert!(!log.contains("everybody"), "{log}");
}

#[test]
#[cfg(feature = "nats")]
fn a_nats_secret_that_everybody_can_read_causes_a_warning() {
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
