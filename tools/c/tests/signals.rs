//! Signals belong to the host program: neither a peer that has left nor the server's threads end it.

mod common;

use std::process::Command;

use common::{Client, Linkage, Process, compile};

#[test]
fn a_peer_that_has_left_does_not_kill_a_program_that_does_not_ignore_sigpipe() {
    // A program that Rust starts has the system's default for SIGPIPE: it kills.
    let mut program = Process::start(Command::new(compile("tools/c/tests/c/abrupt.c", Linkage::Shared)));
    let address = program.address();
    let (mut gone, mut client) = (Client::connect(address), Client::connect(address));
    gone.subscribe("room");
    client.subscribe("other");
    client.say("LHTTP/1.0 hold-up\r\n\r\n");
    assert_eq!(program.line(), "held up");
    // The client has read everything, so this is a plain end. A reset answers the first write to it; the next write
    // raises SIGPIPE.
    drop(gone);
    program.say("");
    for _ in 0..16 {
        client.expect("LHTTP/1.0 news\r\npublish:other\r\n\r\nsmall");
    }
    client.expect_nothing();
    program.say("");
    assert_eq!(program.line(), "blocked");
    program.signal("TERM"); // for any thread that does not block it
    program.say("");
    program.finish();
}
