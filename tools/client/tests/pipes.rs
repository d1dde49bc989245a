//! `sub` and `pub` through pipes, as scripts use them.

mod common;
#[path = "../../../tests/helpers/loopback.rs"]
mod loopback;
#[allow(dead_code, reason = "tests/library uses the rest")]
#[path = "../../../tests/helpers/tls.rs"]
mod tls;

use std::{
    fs, io::Write, net::TcpListener, os::unix::process::ExitStatusExt, process::Command, sync::mpsc, thread,
    time::Instant,
};

use common::{Folder, PATIENCE, Running, Server, body, expect_code, message, program, run};
use lhttp::{Message, client::Client};
use loopback::free_address;

/// Starts `sub` on `ready` and these channels, and waits until it is subscribed, that is, until it prints a message.
fn subscribed(server: &Server, args: &[&str]) -> (Running, Client) {
    let mut running = Running::start(server.program(&[&["sub", "ready"], args].concat()));
    let mut writer = Client::builder(server.url()).timeout(PATIENCE).connect().expect("the server listens");
    let mut watcher = server.subscriber("ready");
    // Messages before the subscription reach nobody, so the test publishes until one arrives.
    thread::scope(|scope| {
        let heard = scope.spawn(|| running.line());
        while !heard.is_finished() {
            writer.publish("ready", chat("ready")).expect("the server takes it");
            assert_eq!(body(&mut watcher), "ready");
        }
        assert!(heard.join().expect("a line").contains("ready"));
    });
    (running, writer)
}

/// The next line that is not about `ready`.
fn line(running: &mut Running) -> String {
    loop {
        let line = running.line();
        if !line.contains("ready") {
            return line;
        }
    }
}

fn chat(body: impl Into<Vec<u8>>) -> Message {
    Message::new("chat").expect("a command").body(body)
}

#[test]
fn sub_prints_a_line_for_each_message() {
    let server = Server::start();
    let (mut running, mut writer) = subscribed(&server, &["room", "logs.>"]);
    writer.publish("room", chat("hi\x1b[2J\nyou")).unwrap();
    writer.publish("logs.web", chat([0xff, 0])).unwrap();
    writer.publish("elsewhere", chat("unheard")).unwrap();
    writer.publish("room logs.web", chat("twice")).unwrap();
    let lines: Vec<_> = (0..4).map(|_| line(&mut running)).collect();
    assert_eq!(
        lines,
        ["[room] hi\\u{1b}[2J\\nyou", "[logs.web] (2 bytes)", "[room logs.web] twice", "[room logs.web] twice"]
    );
    assert_eq!(running.stop_reading_after(&mut writer), Some(141));
}

impl Running {
    /// Closes the output and makes the program write.
    fn stop_reading_after(self, writer: &mut Client) -> Option<i32> {
        thread::scope(|scope| {
            let ended = scope.spawn(|| self.stop_reading());
            while !ended.is_finished() {
                writer.publish("room", chat("who reads this?")).expect("the server takes it");
            }
            ended.join().expect("a code")
        })
    }
}

#[test]
fn sub_prints_json_objects() {
    let server = Server::start();
    let (mut running, mut writer) = subscribed(&server, &["room", "--json"]);
    writer.publish_unacked("room", chat("hi").header("author", "me").unwrap()).unwrap();
    writer.publish_unacked("room", chat([0xff])).unwrap();
    writer.send_acked(chat("")).unwrap();
    let headers = r#""headers":[["author","me"],["publish","room"]]"#;
    assert_eq!(line(&mut running), format!(r#"{{"body":"hi","channels":["room"],"command":"chat",{headers}}}"#));
    let binary = r#"{"body_base64":"/w==","channels":["room"],"command":"chat","headers":[["publish","room"]]}"#;
    assert_eq!(line(&mut running), binary);
    running.end_input();
    assert_eq!(running.stop_reading_after(&mut writer), Some(141));
}

#[test]
fn sub_ends_after_a_number_of_messages_or_after_a_time() {
    let server = Server::start();
    let (mut running, mut writer) = subscribed(&server, &["room", "--count", "100"]);
    let mut seen = 1;
    writer.publish("room", chat("x")).unwrap();
    while line(&mut running) != "[room] x" {}
    // The number of "ready" lines is not known; the lines after them are enough.
    while seen < 100 {
        writer.publish("room", chat("y")).unwrap();
        seen += 1;
    }
    assert_eq!(running.wait(), Some(0));
    let start = Instant::now();
    let (out, err) = expect_code(&server.run(&["sub", "quiet", "--count", "1", "--timeout", "200ms"], ""), 4);
    assert!(out.is_empty() && err.contains("0 of 1 messages"), "{err}");
    expect_code(&server.run(&["sub", "quiet", "--timeout", "200ms"], ""), 0);
    assert!(start.elapsed() < PATIENCE);
}

/// A server that acknowledges everything and, after the first request, sends `busy` without a pause. Returns its URL.
fn busy_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    let frame = |text: &str| [&[0x81, u8::try_from(text.len()).expect("below 126")], text.as_bytes()].concat();
    // The thread ends with its clients.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut socket = tungstenite::accept(stream.expect("the client connects")).expect("a handshake");
            let mut output = socket.get_ref().try_clone().expect("a second handle");
            let (ask, asked) = mpsc::channel();
            thread::spawn(move || {
                let busy = frame("busy").repeat(1000);
                let mut ack: String = asked.recv().expect("it asks");
                loop {
                    let answer = frame(&format!("LHTTP/1.0 ack\r\nack:{ack}\r\n\r\n"));
                    if output.write_all(&answer).is_err() {
                        return;
                    }
                    ack = loop {
                        if output.write_all(&busy).is_err() {
                            return;
                        }
                        match asked.try_recv() {
                            Ok(next) => break next,
                            Err(mpsc::TryRecvError::Empty) => {}
                            Err(mpsc::TryRecvError::Disconnected) => return,
                        }
                    };
                }
            });
            while let Ok(tungstenite::Message::Text(text)) = socket.read() {
                let message = Message::parse(text.as_bytes()).expect("LHTTP");
                let _ = ask.send(message.header_value("ack").expect("it waits").to_owned());
            }
        }
    });
    url
}

#[test]
fn the_timeout_and_the_commands_work_in_a_room_that_is_never_silent() {
    let start = |url: &str, args: &[&str]| {
        let mut command = program();
        command.arg(url).args(args);
        Running::start(command)
    };
    let mut timed = start(&busy_server(), &["sub", "room", "--timeout", "200ms"]);
    timed.read_to_end();
    assert_eq!(timed.wait(), Some(0));
    let mut chat = start(&busy_server(), &[]);
    chat.say("/sub room");
    assert_eq!(chat.line(), "(raw) busy");
    chat.say("/wait 200ms");
    chat.say("/quit");
    chat.read_to_end();
    assert_eq!(chat.wait(), Some(0));
}

#[test]
fn pub_sends_a_text_a_file_or_lines() {
    let server = Server::start();
    let mut reader = server.subscriber("room other");
    let args = ["pub", "room", "hello", "--header", "author: me:too", "--command", "greet"];
    expect_code(&server.run(&args, ""), 0);
    let greeting = message(&mut reader);
    assert_eq!((greeting.command(), greeting.header_value("author")), ("greet", Some("me:too")));
    assert_eq!(greeting.body_bytes(), b"hello");
    // Each channel of the argument receives the message, an empty line is a message, and the last line needs no end.
    expect_code(&server.run(&["pub", "room other"], "one\n\nthree\r\nfour"), 0);
    for text in ["one", "", "three\r", "four"] {
        assert_eq!([body(&mut reader), body(&mut reader)], [text, text]);
    }
    let folder = Folder::new();
    let file = folder.file("data", &[0xff, b'\n', 0]);
    expect_code(&server.run(&["pub", "room", "--file", &file], ""), 0);
    expect_code(&server.run(&["pub", "room", "--file", "-"], [0xff, b'\n', 0]), 0);
    for _ in 0..2 {
        assert_eq!(message(&mut reader).body_bytes(), [0xff, b'\n', 0]);
    }
}

#[test]
fn thousands_of_lines_arrive_in_order() {
    let server = Server::start();
    let mut reader = server.subscriber("room");
    let input: String = (0..3000).map(|number| format!("{number}\n")).collect();
    // Read at the same time: a client that does not answer for a minute is closed as idle.
    let output = thread::scope(|scope| {
        let publishing = scope.spawn(|| server.run(&["pub", "room"], input));
        for number in 0..3000 {
            assert_eq!(body(&mut reader), number.to_string());
        }
        publishing.join().expect("it ends")
    });
    expect_code(&output, 0);
}

#[test]
fn the_exit_code_says_what_went_wrong() {
    let server = Server::start();
    let gone = format!("ws://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let run_at = |url: &str, args: &[&str]| {
        let mut command = program();
        command.arg(url).args(args);
        run(command, b"")
    };
    let big = Folder::new();
    let big = big.file("big", &vec![b'x'; 100_000]);
    // Too many headers for the server, which are otherwise valid.
    let headers: Vec<String> = (0..70).flat_map(|number| ["--header".to_owned(), format!("h{number}:x")]).collect();
    let refused: Vec<&str> = ["pub", "room", "x"].into_iter().chain(headers.iter().map(String::as_str)).collect();
    for (output, code, sentence) in [
        (server.run(&refused, ""), 1, "431 head-too-big"),
        (server.run(&["pub", "a..b", "x"], ""), 2, "empty token"),
        (server.run(&["pub", "a.*", "x"], ""), 2, "wildcard"),
        (server.run(&["sub", "a.>.b"], ""), 2, "last token"),
        (server.run(&["sub"], ""), 2, "CHANNEL"),
        (server.run(&["sub", "a", "--count", "0"], ""), 2, "--count"),
        (server.run(&["pub", "a", "x", "--file", "y"], ""), 2, "--file"),
        (server.run(&["pub", "a", "x", "--header", "y"], ""), 2, "NAME:VALUE"),
        (server.run(&["pub", "a", "x", "--header", "y z:1"], ""), 2, "bad-header"),
        (server.run(&["pub", "a", "x", "--command", "y z"], ""), 2, "bad-start-line"),
        (server.run(&["pub", "a", "--file", "/does/not/exist"], ""), 2, "/does/not/exist"),
        (server.run(&["pub", "a", "--file", &big], ""), 3, "1009"),
        (run_at("nonsense", &[]), 2, "not a URL"),
        (run_at("wss://127.0.0.1:1", &["--ca", "/does/not/exist", "sub", "a"]), 2, "/does/not/exist"),
        (run_at(&gone, &["pub", "a", "x"]), 3, "refused"),
        (run_at(&gone, &["sub", "a"]), 3, "refused"),
        (run_at(&gone, &[]), 3, "refused"),
    ] {
        let (out, err) = expect_code(&output, code);
        assert!(out.is_empty() && err.contains(sentence), "{sentence}: {err}");
    }
    // The program ends at a refused line, and standard error says which.
    let output = run(server.program(&refused[..2]), b"fine\n");
    expect_code(&output, 0);
    let mut command = server.program(&["pub", "room"]);
    command.args(&headers);
    let (_, err) = expect_code(&run(command, b"one\ntwo\n"), 1);
    assert!(err.contains("line 1: "), "{err}");
}

#[test]
fn a_server_that_does_not_answer_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client connects");
        // The server shakes hands, and then reads and sends nothing.
        let mut socket = tungstenite::accept(stream).expect("a handshake");
        while socket.read().is_ok() {}
    });
    let mut command = program();
    command.args([&url, "pub", "room", "x", "--timeout", "200ms"]);
    let (_, err) = expect_code(&run(command, b""), 4);
    assert!(err.contains("not known"), "{err}");
    server.join().unwrap();
}

#[test]
fn the_help_and_the_readme_list_the_same_exit_codes() {
    let mut command = program();
    command.arg("--help");
    command.env("LHTTP_URL", "ws://127.0.0.1/?token=secret");
    let (help, _) = expect_code(&run(command, b""), 0);
    assert!(help.contains("LHTTP_URL") && !help.contains("secret"), "{help}");
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for (code, words) in [
        (0, "done"),
        (1, "the server refused it, or wants another key"),
        (2, "the command line, a command or a file is wrong"),
        (3, "there was no connection, or it was lost before the answer, or the answer is broken"),
        (4, "timed out"),
        (141, "nobody reads the output"),
    ] {
        assert!(help.lines().any(|line| line.trim().starts_with(&code.to_string()) && line.ends_with(words)), "{code}");
        assert!(readme.contains(&format!("| {code} | {words} |")), "{code}");
    }
}

#[test]
fn an_interrupt_ends_the_program_as_usual_and_with_complete_lines() {
    let server = Server::start();
    let (mut running, mut writer) = subscribed(&server, &["room"]);
    writer.publish("room", chat("the last")).unwrap();
    assert_eq!(line(&mut running), "[room] the last");
    let status = running.interrupt();
    assert_eq!((status.code(), status.signal()), (None, Some(2)));
}

#[test]
fn sub_goes_on_after_its_server_was_restarted() {
    let address = free_address();
    let server = Server::start_at(address);
    let (mut running, writer) = subscribed(&server, &["room"]);
    drop((writer, server));
    let server = Server::start_at(address);
    thread::scope(|scope| {
        let heard = scope.spawn(|| while line(&mut running) != "[room] here again" {});
        let mut writer = server.subscriber("elsewhere");
        // The client reconnects at its own time; until then it receives nothing.
        while !heard.is_finished() {
            writer.publish("room", chat("here again")).expect("the server takes it");
        }
    });
}

#[test]
fn a_server_with_a_trusted_certificate_is_accepted() {
    let (authority, other) = (tls::Authority::new("tool"), tls::Authority::new("tool-other"));
    for (trusted, code) in [(&authority, 0), (&other, 3)] {
        let port = tls::serve(authority.server_config("127.0.0.1"));
        let mut command = program();
        command.arg(format!("wss://127.0.0.1:{port}")).arg("--ca").arg(&trusted.file).args(["pub", "room", "hi"]);
        let (_, err) = expect_code(&run(command, b""), code);
        assert_eq!(err.contains("certificate"), code != 0, "{err}");
    }
}

#[test]
fn lines_and_files_that_cannot_be_read_are_reported() {
    let server = Server::start();
    let mut long = vec![b'x'; (1 << 20) + 2];
    long.splice(0..0, *b"fine\n");
    let (_, err) = expect_code(&server.run(&["pub", "room"], &long), 2);
    assert!(err.contains("line 2: it has more than 1048576 bytes"), "{err}");
    let (_, err) = expect_code(&server.run(&[], b"\xff\n/sub room\r\n"), 2);
    assert!(err.contains("line 1: it is not UTF-8") && err.contains("subscribed to room"), "{err}");
    for args in [&["pub", "room"][..], &[]] {
        let mut command = server.program(args);
        command.stdin(fs::File::open("/").unwrap());
        let (_, err) = expect_code(&command.output().unwrap(), 2);
        assert!(err.contains("line 1: it cannot be read"), "{err}");
    }
}

#[test]
fn the_first_name_of_the_program_still_works() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lhttp-client"));
    command.arg("--version");
    let (out, _) = expect_code(&run(command, b""), 0);
    assert!(out.starts_with("lhttp "), "{out}");
}
