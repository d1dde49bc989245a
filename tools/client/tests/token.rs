//! Where the program takes its token from, and that it prints none.

mod common;

use std::{net::TcpListener, thread};

use common::{Folder, expect_code, program, run};
use lhttp::Message;
use tungstenite::{
    handshake::server::{ErrorResponse, Request, Response},
    http::StatusCode,
};

/// A server that answers each handshake with 401 if it has another `authorization` than this, and else reads on.
fn doorkeeper(expected: &'static str, connections: usize) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        for _ in 0..connections {
            let (stream, _) = listener.accept().expect("the client connects");
            #[allow(clippy::result_large_err, reason = "tungstenite decides this type")]
            let check = |request: &Request, response: Response| {
                let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
                if given == Some(expected) {
                    return Ok(response);
                }
                let mut refusal = ErrorResponse::new(Some("who are you?".to_owned()));
                *refusal.status_mut() = StatusCode::UNAUTHORIZED;
                Err(refusal)
            };
            let Ok(mut socket) = tungstenite::accept_hdr(stream, check) else { continue };
            while let Ok(message) = socket.read() {
                let Ok(message) = Message::parse(&message.into_data()) else { continue };
                let token = message.header_value("ack").expect("the program wants to know");
                socket.send(tungstenite::Message::text(format!("LHTTP/1.0 ack\r\nack:{token}\r\n\r\n"))).unwrap();
            }
        }
    });
    (url, server)
}

#[test]
fn a_token_comes_from_a_file_the_environment_or_the_command_line() {
    const TOKEN: &str = "e30.e30.c2lnbmVk";
    let folder = Folder::new();
    let file = folder.file("token", format!("{TOKEN}\n").as_bytes());
    let (url, server) = doorkeeper("Bearer e30.e30.c2lnbmVk", 6);
    let publish = |variable: &str, args: &[&str]| {
        let mut command = program();
        command.args([&url, "pub", "room", "hi"]).args(args).env("LHTTP_TOKEN", variable);
        run(command, b"")
    };
    for (variable, args) in [
        (TOKEN, &[][..]),
        ("", &["--token", TOKEN]),
        ("", &["--token-file", &file]),
        // What stands in the command line is meant.
        ("e30.e30.b3RoZXI", &["--token", TOKEN]),
    ] {
        expect_code(&publish(variable, args), 0);
    }
    for variable in ["", "e30.e30.b3RoZXI"] {
        let (_, err) = expect_code(&publish(variable, &[]), 1);
        assert_eq!(err, "lhttp: the server refused it: 401 unauthorized: who are you?\n");
    }
    server.join().unwrap();
    let empty = folder.file("empty", b" \n");
    for (variable, args, sentence) in [
        ("a secret", &[][..], "the token is not a JWT"),
        ("", &["--token", "a secret"], "the token is not a JWT"),
        ("", &["--token-file", "/does/not/exist"], "/does/not/exist"),
        ("", &["--token-file", &empty], "there is no token in it"),
        ("", &["--token", "a secret", "--token-file", &empty], "cannot be used with"),
    ] {
        let (_, err) = expect_code(&publish(variable, args), 2);
        assert!(err.contains(sentence) && !err.contains("a secret"), "{sentence}: {err}");
    }
    let mut command = program();
    command.arg("--help").env("LHTTP_TOKEN", "a secret");
    let (help, _) = expect_code(&run(command, b""), 0);
    assert!(help.contains("LHTTP_TOKEN") && !help.contains("a secret"), "{help}");
}
