//! The chat at a terminal, through a pseudo-terminal.

mod common;
#[path = "../../../tests/helpers/loopback.rs"]
mod loopback;

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use common::{Folder, PATIENCE, Server, body, program};
use lhttp::Message;
use loopback::free_address;
use rexpect::session::{PtySession, spawn_command};

fn spawn(command: Command) -> PtySession {
    spawn_command(command, Some(PATIENCE.as_millis() as u64)).expect("a pseudo-terminal")
}

/// The program at a terminal, with its history below `state`.
fn chat(server: &Server, state: &Folder) -> PtySession {
    let mut command = program();
    command.arg(server.url()).env("XDG_STATE_HOME", &state.0).env("TERM", "xterm");
    let mut session = spawn(command);
    session.exp_string("connected to ws://").expect("it connects");
    session
}

fn publish(server: &Server, text: &str) {
    let mut client = server.subscriber("elsewhere");
    client.publish("room", Message::new("chat").expect("a command").body(text)).expect("the server takes it");
}

#[test]
fn a_message_appears_above_the_line_that_is_being_typed() {
    let (server, state) = (Server::start(), Folder::new());
    let mut session = chat(&server, &state);
    session.send_line("/sub room").unwrap();
    session.exp_string("* subscribed to room").unwrap();
    session.exp_string("room> ").unwrap();
    session.send("half a li").unwrap();
    session.flush().unwrap();
    session.exp_string("half a li").unwrap();
    publish(&server, "in between\x1b[2J");
    session.exp_string("[room] in between\\u{1b}[2J").unwrap();
    // The line is drawn again below the message.
    session.exp_string("room> half a li").unwrap();
    let mut reader = server.subscriber("room");
    session.send_line("ne").unwrap();
    assert_eq!(body(&mut reader), "half a line");
    session.exp_string("[room] half a line").unwrap();
    session.send_line("/quit").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn the_line_can_be_edited_and_the_history_is_kept_for_its_owner() {
    let (server, state) = (Server::start(), Folder::new());
    let mut reader = server.subscriber("room");
    let mut session = chat(&server, &state);
    session.send_line("/sub room").unwrap();
    session.exp_string("* subscribed to room").unwrap();
    // Left, left, and a letter between.
    session.send("helo\x1b[D").unwrap();
    session.send_line("l").unwrap();
    assert_eq!(body(&mut reader), "hello");
    session.exp_string("[room] hello").unwrap();
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
    let file = state.0.join("lhttp/client_history");
    assert!(fs::read_to_string(&file).unwrap().contains("hello"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0);
    // Up brings back the last line of the previous session.
    let mut session = chat(&server, &state);
    session.send_line("/sub room").unwrap();
    session.exp_string("* subscribed to room").unwrap();
    session.send("\x1b[A\x1b[A").unwrap();
    session.send_line("").unwrap();
    assert_eq!(body(&mut reader), "hello");
    session.send_control('c').unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn the_help_and_errors_are_shown() {
    let (server, state) = (Server::start(), Folder::new());
    let mut session = chat(&server, &state);
    session.send_line("/help").unwrap();
    session.exp_string("/upload FILE").unwrap();
    session.send_line("hello").unwrap();
    session.exp_string("* there is no current room yet").unwrap();
    session.send_line("/sub a..b").unwrap();
    session.exp_string("empty token").unwrap();
    session.send_line("/quit").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn the_loss_and_the_return_of_the_server_are_reported() {
    let address = free_address();
    let (server, state) = (Server::start_at(address), Folder::new());
    let mut session = chat(&server, &state);
    session.send_line("/sub room").unwrap();
    session.exp_string("* subscribed to room").unwrap();
    session.exp_string("room> ").unwrap();
    session.send("half a li").unwrap();
    session.flush().unwrap();
    session.exp_string("half a li").unwrap();
    drop(server);
    session.exp_string("* not connected: ").unwrap();
    // The prompt shows the lost connection, and the typed text stays.
    session.exp_string("room! half a li").unwrap();
    let server = Server::start_at(address);
    session.exp_string("* connected again").unwrap();
    session.exp_string("room> half a li").unwrap();
    publish(&server, "still here");
    session.exp_string("[room] still here").unwrap();
    session.send_control('u').unwrap();
    session.send_line("/quit").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn many_messages_at_once_and_lines_between_them_do_not_block_each_other() {
    let (server, state) = (Server::start(), Folder::new());
    let mut session = chat(&server, &state);
    session.send_line("/sub room").unwrap();
    session.exp_string("* subscribed to room").unwrap();
    let mut writer = server.subscriber("elsewhere");
    let mut reader = server.subscriber("typed");
    for number in 0..20 {
        for _ in 0..50 {
            let message = Message::new("chat").unwrap().body("flood");
            writer.publish_unacked("room", message).unwrap();
        }
        session.send_line(&format!("/pub typed {number}")).unwrap();
    }
    for number in 0..20 {
        assert_eq!(body(&mut reader), number.to_string());
    }
    writer.publish("room", Message::new("chat").unwrap().body("the last")).unwrap();
    session.exp_string("[room] the last").unwrap();
    session.send_line("/quit").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_is_read_like_a_script() {
    let server = Server::start();
    let mut command = program();
    command.arg(server.url()).env("TERM", "dumb");
    let mut session = spawn(command);
    session.send_line("/sub room").unwrap();
    session.exp_string("subscribed to room").unwrap();
    publish(&server, "plain");
    session.exp_string("[room] plain").unwrap();
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn lines_that_are_typed_ahead_are_kept() {
    let (server, state) = (Server::start(), Folder::new());
    let mut reader = server.subscriber("typed");
    let mut session = chat(&server, &state);
    let lines: String = (0..20).map(|number| format!("/pub typed {number}\n")).collect();
    session.send(&lines).unwrap();
    session.flush().unwrap();
    for number in 0..20 {
        assert_eq!(body(&mut reader), number.to_string());
    }
    session.send_line("/quit").unwrap();
    session.exp_eof().unwrap();
}
