//! The chat through pipes: a script instead of a person.

mod common;

use std::{net::TcpListener, thread};

use common::{Folder, Running, Server, body, expect_code, message, program, run};
use lhttp::Message;

#[test]
fn a_script_chats() {
    let server = Server::start();
    let mut reader = server.subscriber("room");
    let folder = Folder::new();
    let (text, data) = (folder.file("a text.txt", b"text"), folder.file("b", &[0xff]));
    let script = format!(
        "/sub room\nhello\n\n//slash\n/pub room other words\n/upload \"{text}\" {data}\n\
         /raw LHTTP/1.0 chat\\r\\npublish:room\\r\\n\\r\\n\\x1b\n/unsub\n/pub room unheard\n/wait 300ms\n"
    );
    let (out, err) = expect_code(&server.run(&[], script), 0);
    let expected = ["hello", "/slash", "other words", "a text.txt (4 bytes), b (1 byte)", "\\u{1b}"];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected.map(|text| format!("[room] {text}")));
    assert!(err.contains("subscribed to room") && err.contains("unsubscribed from room"), "{err}");
    for text in ["hello", "/slash", "other words"] {
        assert_eq!(body(&mut reader), text);
    }
    let upload = message(&mut reader);
    let parts: Vec<_> = upload.parts().map(Result::unwrap).collect();
    assert_eq!((upload.command(), parts.len()), ("upload", 2));
    assert_eq!(
        [parts[0].header("filename"), parts[0].header("content-type")],
        [Some("a text.txt"), Some("text/plain")]
    );
    assert_eq!(parts[1].header("content-type"), Some("application/octet-stream"));
    assert_eq!((parts[0].body(), parts[1].body()), (&b"text"[..], &[0xff][..]));
}

#[test]
fn a_script_that_ends_shows_all_messages_that_came_before() {
    let server = Server::start();
    let lines: String =
        (0..500).map(|number| format!("/raw LHTTP/1.0 c\\r\\npublish:room\\r\\n\\r\\n{number}\n")).collect();
    let (out, _) = expect_code(&server.run(&[], format!("/sub room\n{lines}the last\n")), 0);
    let numbers = (0..500).map(|number| number.to_string());
    let expected: Vec<_> = numbers.chain(["the last".to_owned()]).map(|text| format!("[room] {text}")).collect();
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_chat_takes_a_file_named_like_standard_input_as_a_file() {
    let server = Server::start();
    let mut reader = server.subscriber("room");
    let folder = Folder::new();
    folder.file("-", b"a file");
    let mut command = server.program(&[]);
    command.current_dir(&folder.0);
    expect_code(&run(command, b"/sub room\n/upload -\n"), 0);
    let upload = message(&mut reader);
    let parts: Vec<_> = upload.parts().map(Result::unwrap).collect();
    assert_eq!((parts[0].header("filename"), parts[0].body()), (Some("-"), &b"a file"[..]));
    let (_, err) = expect_code(&server.run(&[], "/sub room\n/upload -\n"), 2);
    assert!(err.contains("-: No such file"), "{err}");
}

#[test]
fn a_script_goes_on_after_a_failure_and_ends_with_the_first_one() {
    let server = Server::start();
    let script = "hello\n/sub a..b\n/nope\n/sub room\nhi\n/raw nonsense\n/upstream GET http://127.0.0.1/\n/sub end\n";
    let (out, err) = expect_code(&server.run(&[], script), 2);
    assert_eq!(out, "[room] hi\n");
    for sentence in
        ["line 1: there is no current room", "empty token", "line 3: there is no /nope", "not-lhttp", "upstream"]
    {
        assert!(err.contains(sentence), "{sentence}: {err}");
    }
}

#[test]
fn the_answer_of_an_upstream_is_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut socket = tungstenite::accept(listener.accept().expect("the client connects").0).expect("a handshake");
        let asked = Message::parse(&socket.read().expect("a message").into_data()).expect("LHTTP");
        let answer = "LHTTP/1.0 upstream\r\nupstream-status:404\r\ncontent-type:text/plain\r\n\r\nnot\there\x07";
        socket.send(answer.into()).expect("the client reads");
        while socket.read().is_ok() {}
        asked
    });
    let mut command = program();
    command.arg(url);
    let mut running = Running::start(command);
    running.say("/upstream GET http://127.0.0.1:8000/a?b=c");
    assert_eq!(running.line(), "(upstream 404) not\there\\u{7}");
    running.say("/quit");
    assert_eq!(running.wait(), Some(0));
    let asked = server.join().unwrap();
    assert_eq!(asked.header_value("upstream"), Some("GET http://127.0.0.1:8000/a?b=c"));
    assert_eq!(asked.header_value("upstream-reply"), Some("true"));
}

#[test]
fn the_chat_answers_lines_while_its_input_is_open() {
    let server = Server::start();
    let mut reader = server.subscriber("room");
    let mut running = Running::start(server.program(&[]));
    running.say("/sub room");
    running.say("one");
    assert_eq!(body(&mut reader), "one");
    assert_eq!(running.line(), "[room] one");
    reader.publish("room", Message::new("chat").unwrap().body("two")).unwrap();
    assert_eq!(running.line(), "[room] two");
    running.say("/quit");
    assert_eq!(running.wait(), Some(0));
}
