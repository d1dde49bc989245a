//! Runs each example as a process and checks what it promises.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::helpers::{self, websocket::Client};

/// A running example. Dropping it kills the process.
struct Example {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Example {
    /// Starts an example on a free port, which its first line names.
    fn start(name: &str) -> Self {
        let mut child = Command::new(path(name))
            .arg("127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot run the example {name}; `cargo build --examples` makes it: {error}")
            });
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("stdout is text");
        let address = line.trim_end().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            panic!("the example {name} does not say where it listens first, but {line:?}; {:?}", child.wait());
        };
        Self { child, stdout, address }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// The next line that the example prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("stdout is text");
        line.trim_end().to_owned()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Both fail only if the example has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cargo builds the examples before it runs all tests, but not before it runs one with `--test`. They are in
/// `target/PROFILE/examples`, beside this test's `deps`.
fn path(name: &str) -> PathBuf {
    let test = env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("it lies in target/PROFILE/deps");
    profile.join("examples").join(name)
}

#[test]
fn echo_answers_chat_with_its_body_and_other_messages_as_they_are() {
    let example = Example::start("echo");
    let mut client = example.connect();
    for text in ["LHTTP/1.0 chat\r\ncontent-type:json\r\n\r\n{}", "not LHTTP", ""] {
        client.say(text);
        client.expect(text);
    }
    client.say_binary(b"\x00\xff");
    client.expect_binary(b"\x00\xff");
    client.say("LHTTP/1.0 other\r\n\r\nnot for the processor");
    client.expect_nothing();
}

#[test]
fn echo_takes_messages_of_many_megabytes() {
    let example = Example::start("echo");
    let mut client = example.connect();
    let large = "a".repeat(16 << 20);
    client.say(&large);
    client.expect(&large);
}

#[test]
fn chat_tells_a_room_who_joins_speaks_and_leaves() {
    let example = Example::start("chat");
    let (mut mike, mut jack) = (example.connect(), example.connect());
    mike.say("LHTTP/1.0 join\r\nroom:hall\r\nname:mike\r\n\r\n");
    mike.expect("LHTTP/1.0 joined\r\npublish:room.hall\r\nname:mike\r\n\r\n");
    jack.say("LHTTP/1.0 join\r\nroom:hall\r\nname:jack\r\n\r\n");
    for client in [&mut mike, &mut jack] {
        client.expect("LHTTP/1.0 joined\r\npublish:room.hall\r\nname:jack\r\n\r\n");
    }
    mike.say("LHTTP/1.0 say\r\n\r\nhello jack");
    for client in [&mut mike, &mut jack] {
        client.expect("LHTTP/1.0 said\r\npublish:room.hall\r\nname:mike\r\n\r\nhello jack");
    }
    jack.close();
    mike.expect("LHTTP/1.0 left\r\npublish:room.hall\r\nname:jack\r\n\r\n");
}

#[test]
fn chat_moves_a_client_that_joins_another_room_and_refuses_one_that_joined_none() {
    let example = Example::start("chat");
    let (mut mike, mut jack) = (example.connect(), example.connect());
    mike.say("LHTTP/1.0 say\r\nack:1\r\n\r\nis anybody here?");
    mike.expect_error(403, "forbidden", Some("1"));
    mike.say("LHTTP/1.0 join\r\nroom:hall\r\n\r\n");
    mike.expect_error(400, "who-and-where", None);
    mike.say("LHTTP/1.0 join\r\nroom:a..b\r\nname:mike\r\n\r\n");
    mike.expect_error(400, "bad-channel", None);
    for (client, name) in [(&mut mike, "mike"), (&mut jack, "jack")] {
        client.say(&format!("LHTTP/1.0 join\r\nroom:hall\r\nname:{name}\r\n\r\n"));
        client.expect(&format!("LHTTP/1.0 joined\r\npublish:room.hall\r\nname:{name}\r\n\r\n"));
    }
    mike.expect("LHTTP/1.0 joined\r\npublish:room.hall\r\nname:jack\r\n\r\n");
    mike.say("LHTTP/1.0 join\r\nroom:attic\r\nname:mike\r\n\r\n");
    jack.expect("LHTTP/1.0 left\r\npublish:room.hall\r\nname:mike\r\n\r\n");
    mike.expect("LHTTP/1.0 left\r\npublish:room.hall\r\nname:mike\r\n\r\n");
    mike.expect("LHTTP/1.0 joined\r\npublish:room.attic\r\nname:mike\r\n\r\n");
    jack.say("LHTTP/1.0 say\r\n\r\nalone");
    jack.expect("LHTTP/1.0 said\r\npublish:room.hall\r\nname:jack\r\n\r\nalone");
    mike.expect_nothing();
}

#[test]
fn upload_prints_each_part_and_answers_with_a_summary() {
    let mut example = Example::start("upload");
    let mut client = example.connect();
    let body = "content-type:text/json\r\n\r\n{filename:file.txt,fileLen:5}content-type:text/plain\r\n\r\nhello";
    client.say(&format!("LHTTP/1.0 upload\r\nmultipart:0 55\r\n\r\n{body}"));
    client.expect("LHTTP/1.0 upload\r\n\r\n2 parts, 34 bytes");
    assert_eq!(example.line(), "part 0: headers [content-type:text/json], 29 bytes");
    assert_eq!(example.line(), "part 1: headers [content-type:text/plain], 5 bytes");
    client.say("LHTTP/1.0 upload\r\nmultipart:999\r\n\r\n");
    client.expect_error(400, "bad-multipart", None);
}

#[test]
fn auth_filter_rejects_clients_without_a_token() {
    let example = Example::start("auth_filter");
    for target in ["/", "/?token=guess", "/?nottoken=secret-of-mike"] {
        let mut client = Client::connect_to(example.address, target, &[]);
        client.expect_error(401, "unauthorized", None);
        assert_eq!(client.expect_close(1008), "unauthorized", "{target}");
    }
}

#[test]
fn auth_filter_adds_the_sender_and_protects_foreign_channels() {
    let example = Example::start("auth_filter");
    let mut mike = Client::connect_to(example.address, "/chat?lang=en&token=secret-of-mike", &[]);
    let bearer = [("authorization", "Bearer secret-of-jack")];
    let mut jack = Client::connect_to(example.address, "/", &bearer);
    jack.subscribe("public mike.news");
    mike.say("LHTTP/1.0 chat\r\npublish:public mike.news\r\nfrom:jack\r\n\r\nhello");
    for _ in ["public", "mike.news"] {
        jack.expect("LHTTP/1.0 chat\r\npublish:public mike.news\r\nfrom:mike\r\n\r\nhello");
    }
    for foreign in ["jack.news", "public jack.news", "mikes.news"] {
        mike.say(&format!("LHTTP/1.0 chat\r\npublish:{foreign}\r\nack:7\r\n\r\n"));
        mike.expect_error(403, "forbidden", Some("7"));
    }
    jack.expect_nothing();
}

/// The answer to `curl --data-binary MESSAGE http://ADDRESS/publish` with further options.
fn post(example: &Example, target: &str, headers: &str, message: &str) -> String {
    let mut stream = TcpStream::connect(example.address).expect("the example listens");
    stream.set_read_timeout(Some(helpers::PATIENCE)).expect("a timeout");
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}", message.len());
    stream.write_all(format!("{head}\r\n{headers}\r\n{message}").as_bytes()).expect("the example reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the example answers");
    answer
}

#[test]
fn auth_filter_holds_against_curl() {
    let example = Example::start("auth_filter");
    let mut jack = Client::connect_to(example.address, "/?token=secret-of-jack", &[]);
    jack.subscribe("public jack.news");
    let message = "LHTTP/1.0 chat\r\npublish:public jack.news\r\nfrom:mike\r\n\r\nforged";
    for (target, headers) in [
        ("/publish", ""),
        ("/publish?token=secret-of-mike", ""),
        ("/publish", "Authorization: Bearer secret-of-mike\r\n"),
        ("http://x/publish", ""),
        ("/publish", "Connection: upgrade\r\nUpgrade: h2c\r\n"),
    ] {
        let answer = post(&example, target, headers, message);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target} {headers:?}: {answer}");
    }
    // A stranger that is turned away can neither publish nor receive anything before.
    let mut stranger = Client::connect_to(example.address, "/", &[]);
    stranger.say(message);
    stranger.say("LHTTP/1.0 chat\r\nsubscribe:public\r\nack:1\r\n\r\n");
    stranger.expect_error(401, "unauthorized", None);
    stranger.expect_close(1008);
    jack.expect_nothing();
}
