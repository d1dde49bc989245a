//! Runs `examples/cluster/run.sh`, which must show one message.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use crate::helpers::nats::{REQUIRED, free_port, has_nats_server};

#[test]
fn a_message_published_on_one_node_of_the_example_arrives_on_the_other() {
    if !has_nats_server() {
        return;
    }
    let binaries = Path::new(env!("CARGO_BIN_EXE_lhttpd")).parent().expect("it is in a folder");
    if !binaries.join("lhttp").exists() {
        assert!(env::var_os(REQUIRED).is_none(), "the command line is missing: `cargo test --workspace` builds it");
        eprintln!("SKIPPED: the command line is not built");
        return;
    }
    let one = free_port();
    let output = Command::new("examples/cluster/run.sh")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("BIN", binaries)
        .envs([("ONE", one), ("TWO", free_port()), ("NATS", free_port())].map(|(name, port)| (name, port.to_string())))
        .stdin(Stdio::null())
        .output()
        .expect("bash runs it");
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out == format!("[room] hello from {one}\n"), "{}: {out}\n{log}", output.status);
}
