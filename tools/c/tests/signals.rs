//! Signals belong to the host: neither a peer that is gone nor a server's threads take the program away.

mod common;

use std::process::Command;

use common::{Client, Linkage, Process, compile};

#[test]
fn a_peer_that_is_gone_does_not_kill_a_program_that_does_not_ignore_sigpipe() {
    // What is started by a Rust program has SIGPIPE as the system sets it: it kills.
    let mut program = Process::start(Command::new(compile("tools/c/tests/c/abrupt.c", Linkage::Shared)));
    let address = program.address();
    let (mut gone, mut client) = (Client::connect(address), Client::connect(address));
    gone.subscribe("room");
    client.subscribe("other");
    client.say("LHTTP/1.0 hold-up\r\n\r\n");
    assert_eq!(program.line(), "held up");
    // It has read all, so this is a plain end. The first write to it is answered by a reset; the next one raises SIGPIPE.
    drop(gone);
    program.say("");
    for _ in 0..16 {
        client.expect("LHTTP/1.0 news\r\npublish:other\r\n\r\nsmall");
    }
    client.expect_nothing();
    program.say("");
    assert_eq!(program.line(), "blocked");
    program.signal("TERM"); // to whichever thread does not block it
    program.say("");
    program.finish();
}
