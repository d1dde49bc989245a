//! A C program whose client gets what it has missed on channels with a history, from a real `lhttpd`.

mod common;

#[allow(dead_code, reason = "tests/library uses the rest")]
#[path = "../../../tests/helpers/proxy.rs"]
mod proxy;

use std::process::Command;

use common::{Lhttpd, Linkage, Process, compile, libraries, valgrind};
use proxy::CuttableProxy;

const SOURCE: &str = "tools/c/tests/c/history.c";

const RULES: &str = "
    [[channel]]
    match = \"kept.*\"
    history = 100
    [[channel]]
    match = \"short\"
    history = 3
";

#[test]
fn a_c_client_gets_what_it_has_missed() {
    for linkage in [Linkage::Shared, Linkage::Static] {
        talk(Command::new(compile(SOURCE, linkage)));
    }
}

#[test]
fn and_valgrind_finds_nothing_wrong() {
    if let Some(command) = valgrind(&compile(SOURCE, Linkage::Shared)) {
        talk(command);
    }
}

/// Runs the program, and cuts and restores its connection when it asks for that.
fn talk(mut command: Command) {
    let daemon = Lhttpd::start(libraries(), RULES);
    let proxy = CuttableProxy::to(daemon.address);
    command.args([format!("ws://{}", daemon.address), format!("ws://127.0.0.1:{}", proxy.port())]);
    let mut program = Process::start(command);
    loop {
        match program.line().as_str() {
            "cut" => proxy.cut(),
            "restore" => proxy.restore(),
            "done" => break,
            other => panic!("{other:?}"),
        }
        program.say("done");
    }
    program.finish();
}
