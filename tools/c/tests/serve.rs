//! A C program that serves: every callback, and everything that can be done in one, over WebSocket.

mod common;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
};

use common::{Client, Linkage, Process, compile, valgrind};

const SOURCE: &str = "tools/c/tests/c/serve.c";

#[test]
fn a_c_program_serves_with_the_shared_library() {
    talk(Command::new(compile(SOURCE, Linkage::Shared)));
}

#[test]
fn a_c_program_serves_with_the_static_library() {
    talk(Command::new(compile(SOURCE, Linkage::Static)));
}

#[test]
fn and_valgrind_finds_nothing_wrong() {
    if let Some(command) = valgrind(&compile(SOURCE, Linkage::Shared)) {
        talk(command);
    }
}

/// The whole conversation, so that valgrind sees all of it.
fn talk(program: Command) {
    let mut program = Process::start(program);
    let address = program.address();
    processors(&mut program, &mut Client::connect_to(address, "/path?a=b", &[("agent", "test")]));
    let mut client = Client::connect(address);
    channels(&mut program, &mut client, &mut Client::connect(address));
    refusals(&mut Client::connect(address));
    let mut stranger = Client::connect_to(address, "/?token=wrong", &[]);
    stranger.expect_error(401, "unauthorized", None);
    stranger.expect_close(1008);
    posts(address);
    let mut waiting = Client::connect(address);
    waiting.say("LHTTP/1.0 later\r\nid:7\r\n\r\nquestion");
    waiting.expect("LHTTP/1.0 later\r\nid:7\r\n\r\nlater");
    waiting.expect("LHTTP/1.0 own\r\nby:thread\r\n\r\nmuch later");
    waiting.expect_close(1000);
    assert_eq!(program.line(), "close /path");
    program.say("stop 5000");
    client.expect_close(1001);
    assert_eq!(program.line(), "stopped, with a log");
    program.finish();
}

/// The program has a filter and no key.
fn posts(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let message = "LHTTP/1.0 chat\r\npublish:room\r\n\r\n";
    let head =
        format!("POST /publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}", message.len());
    stream.write_all(format!("{head}\r\n\r\n{message}").as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

fn processors(program: &mut Process, client: &mut Client) {
    client.say("LHTTP/1.0 echo\r\na:b\r\n\r\nhello");
    client.expect("LHTTP/1.0 echo\r\na:b\r\n\r\nhello");
    assert_eq!(program.line(), "open /path");
    assert_eq!(program.line(), "after echo");
    client.say("LHTTP/1.0 echo\r\n\r\n");
    client.expect("LHTTP/1.0 echo\r\n\r\n");
    assert_eq!(program.line(), "after echo", "a command is opened once");
    client.say("LHTTP/1.0 show\r\nx: 1 \r\ny:µ\r\n\r\n");
    client.expect("LHTTP/1.0 seen\r\nshown:yes\r\n\r\nx=1;y=µ;x:1 path:/path query:a=b agent:test text:1");
    client.say("LHTTP/1.0 upload\r\nmultipart:0 14\r\n\r\nk1:v1\r\n\r\nbody1k2:v2\r\n\r\nbody2");
    client.expect("LHTTP/1.0 upload\r\n\r\n[v1 body1][v2 body2]");
    client.say("not LHTTP");
    client.expect("not LHTTP");
    client.say_binary(b"\x00\xff");
    client.expect_binary(b"\x00\xff");
    for _ in 0..2 {
        client.say("LHTTP/1.0 misuse\r\n\r\n");
        client.expect("LHTTP/1.0 misuse\r\n\r\nmisused");
    }
}

fn channels(program: &mut Process, client: &mut Client, other: &mut Client) {
    client.subscribe("room news.>");
    other.say("LHTTP/1.0 join\r\nroom:room\r\n\r\n");
    for client in [&mut *client, &mut *other] {
        client.expect("LHTTP/1.0 joined\r\npublish:room\r\n\r\nroom");
    }
    client.say("LHTTP/1.0 change\r\npublish:room\r\nx:1\r\nsecret:s\r\n\r\nold");
    for client in [&mut *client, &mut *other] {
        client.expect("LHTTP/1.0 changed\r\npublish:room\r\nx:2\r\nmore:1\r\n\r\nnew");
    }
    program.say("publish news.today it rains");
    client.expect("LHTTP/1.0 news\r\npublish:news.today\r\nfrom:C\r\n\r\nit rains");
    other.say("LHTTP/1.0 join\r\nroom:room\r\n\r\n");
    assert_eq!(other.expect_close(4000), "bye");
}

fn refusals(client: &mut Client) {
    client.say("LHTTP/1.0 any\r\nforbidden:1\r\npublish:room\r\nack:1\r\n\r\n");
    assert_eq!(client.expect_error(403, "forbidden", Some("1")), "not this");
    client.say("LHTTP/1.0 join\r\nroom:a..b\r\n\r\n");
    assert!(client.expect_error(400, "no-room", None).contains("a..b"));
    client.expect_nothing();
}

#[test]
fn valgrind_detects_a_leak() {
    let Some(mut command) = valgrind(&compile("tools/c/tests/c/leaks.c", Linkage::Shared)) else { return };
    let output = command.output().expect("valgrind runs");
    assert_eq!(output.status.code(), Some(99), "{output:?}");
}
