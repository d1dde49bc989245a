//! A C program whose clients ask who is in a channel, and are told who comes and goes, from a real `lhttpd`.

mod common;

#[allow(dead_code, reason = "tests/library uses the rest")]
#[path = "../../../tests/helpers/proxy.rs"]
mod proxy;

use std::process::Command;

use common::{Client, Lhttpd, Linkage, Process, compile, libraries, valgrind};
use proxy::CuttableProxy;

const SOURCE: &str = "tools/c/tests/c/presence.c";

const RULES: &str = "
    [presence]
    grace = \"50ms\"
    [[channel]]
    match = \"asked\"
    presence = true
    [[channel]]
    match = \"told\"
    presence = \"events\"
    [[channel]]
    match = \"secret\"
    subscribe = \"nobody\"
    presence = true
";

#[test]
fn a_c_client_knows_who_is_in_a_channel() {
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

#[test]
fn client_c_prints_who_comes_and_goes() {
    let daemon = Lhttpd::start(libraries(), RULES);
    let mut command = Command::new(compile("examples/client.c", Linkage::Shared));
    command.args([format!("ws://{}", daemon.address), "told".to_owned()]);
    let mut program = Process::start(command);
    assert_eq!(program.line(), "subscribed");
    let own = program.line();
    let mut other = Client::connect(daemon.address);
    other.say("LHTTP/1.0 here\r\nsubscribe:told\r\n\r\n");
    let come = program.line();
    assert!(own != come && own.ends_with(" is in told") && come.ends_with(" is in told"), "{own}, {come}");
    drop(other);
    assert_eq!(program.line(), come.replace(" is in ", " has left "));
    program.signal("TERM");
    assert_eq!(program.line(), "closed");
    program.finish();
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
