//! RFC 6455 after the handshake: everything that a peer may send, in any pieces.

use rand::RngExt;

use crate::helpers::{
    client::{Client, close_parts},
    daemon::Daemon,
    frame::{self, BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT},
    message::chat,
    on_one_and_two_cores, seeded_rng,
};

on_one_and_two_cores!(
    a_ping_is_answered_with_its_payload,
    control_frames_between_fragments_are_answered_at_once,
    a_close_is_echoed_with_its_code_and_the_connection_ends,
    nothing_is_carried_out_after_a_close,
    a_peer_that_leaves_without_a_close_frame_is_removed,
    messages_before_the_end_of_input_are_carried_out,
    bytes_that_come_one_by_one_are_served,
    a_frame_is_the_same_wherever_it_is_cut,
    random_cuts_of_one_stream_give_the_same_deliveries,
    text_that_is_cut_inside_a_character_is_still_text,
);

fn echo_client(daemon: &Daemon) -> Client {
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    client
}

fn a_ping_is_answered_with_its_payload(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    for payload in [&b""[..], b"p", b"\xFF\x00 any bytes", &[b'x'; 125]] {
        client.send_frame(FIN | PING, payload);
        let pong = client.recv();
        assert!(pong.fin && pong.opcode == PONG && pong.payload == payload, "{pong:?}");
        client.send_frame(FIN | PONG, payload);
        client.expect_nothing_before_ack();
    }
}

fn control_frames_between_fragments_are_answered_at_once(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    let message = chat(&["publish:room"], "in pieces");
    let last = message.len() / 10;
    for (number, piece) in message.as_bytes().chunks(10).enumerate() {
        let fin = if number == last { FIN } else { 0 };
        client.send_frame(fin | if number == 0 { TEXT } else { CONTINUATION }, piece);
        if number < last {
            client.send_frame(FIN | PONG, b"unasked");
            client.send_frame(FIN | PING, piece);
            let pong = client.recv();
            assert!(pong.opcode == PONG && pong.payload == piece, "{pong:?}");
        }
    }
    client.expect_text(&message);
}

fn a_close_is_echoed_with_its_code_and_the_connection_ends(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let longest = vec![b'r'; 123];
    for (code, reason) in [(1000, &b""[..]), (1001, b"bye"), (1003, "tschüß".as_bytes()), (3000, b""), (4999, &longest)]
    {
        let mut client = echo_client(&daemon);
        client.send_frame(FIN | CLOSE, &frame::close_payload(code, reason));
        assert_eq!(client.expect_close().0, code);
        client.expect_end();
    }
    for code in [1002, 1007, 1008, 1009, 1010, 1011, 3999, 4000] {
        let mut client = Client::connect(daemon.port());
        client.send_frame(FIN | CLOSE, &frame::close_payload(code, b""));
        assert_eq!(client.expect_close().0, code);
        client.expect_end();
    }
    let mut client = Client::connect(daemon.port());
    client.send_frame(FIN | CLOSE, b"");
    let close = client.recv();
    assert_eq!(close.opcode, CLOSE, "{close:?}");
    assert!(close.payload.is_empty() || close_parts(&close).0 == 1000, "{close:?}");
    client.expect_end();
}

fn nothing_is_carried_out_after_a_close(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut witness = echo_client(&daemon);
    let mut client = echo_client(&daemon);
    let late = chat(&["publish:room"], "after the close");
    let frames = [
        frame::masked(FIN | CLOSE, &frame::close_payload(1000, b"")),
        frame::masked(FIN | TEXT, late.as_bytes()),
        frame::masked(FIN | PING, b"late"),
    ];
    client.send_raw(&frames.concat());
    assert_eq!(client.expect_close().0, 1000);
    client.expect_end();
    witness.say(&chat(&["publish:room"], "sentinel"));
    witness.expect_text(&chat(&["publish:room"], "sentinel"));
}

fn a_peer_that_leaves_without_a_close_frame_is_removed(cores: usize) {
    let mut daemon = Daemon::start(cores, &[]);
    let mut witness = echo_client(&daemon);
    for round in 0..50 {
        let mut client = echo_client(&daemon);
        // Sometimes the client leaves inside a frame, and with its own echo unread.
        client.say(&chat(&["publish:room"], "unread"));
        client.send_raw(&frame::masked(FIN | TEXT, b"LHTTP/1.0 chat\r\n\r\ncut off")[..round % 20]);
        witness.expect_text(&chat(&["publish:room"], "unread"));
    }
    witness.say(&chat(&["publish:room"], "still here"));
    witness.expect_text(&chat(&["publish:room"], "still here"));
    daemon.assert_healthy();
}

fn messages_before_the_end_of_input_are_carried_out(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut witness = echo_client(&daemon);
    for round in 0..100 {
        let mut client = Client::connect(daemon.port());
        let message = |number| chat(&["publish:room"], &format!("{round} {number}"));
        let frames = (0..20).map(|number| frame::masked(FIN | TEXT, message(number).as_bytes()));
        client.send_raw(&frames.collect::<Vec<_>>().concat());
        if round % 2 == 0 {
            client.send_frame(FIN | CLOSE, &frame::close_payload(1000, b""));
        }
        drop(client);
        (0..20).for_each(|number| witness.expect_text(&message(number)));
    }
}

/// A stream of valid frames of every kind, and the answers that an echo client gets.
fn stream_and_answers() -> (Vec<u8>, Vec<frame::Frame>) {
    let mut bytes = Vec::new();
    let mut answers = Vec::new();
    let mut answer = |opcode, payload: &[u8]| {
        answers.push(frame::Frame { fin: true, opcode, payload: payload.to_vec() });
    };
    for length in [0, 1, 60, 124, 125, 126, 127, 300, 60_000] {
        let message = chat(&["publish:room"], &"ü".repeat(length / 2));
        bytes.extend(frame::masked(FIN | TEXT, message.as_bytes()));
        answer(TEXT, message.as_bytes());
        bytes.extend(frame::masked(FIN | PING, &message.as_bytes()[..20]));
        answer(PONG, &message.as_bytes()[..20]);
        let (first, rest) = message.as_bytes().split_at(message.len() - 1);
        bytes.extend(frame::masked(BINARY, first));
        bytes.extend(frame::masked(FIN | PONG, b"unasked"));
        bytes.extend(frame::masked(FIN | CONTINUATION, rest));
        answer(BINARY, message.as_bytes());
    }
    (bytes, answers)
}

fn bytes_that_come_one_by_one_are_served(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    let (bytes, answers) = stream_and_answers();
    // The last three frames are long; a few thousand single bytes are enough.
    let (dripped, rest) = bytes.split_at(4000);
    dripped.chunks(1).for_each(|byte| client.send_raw(byte));
    client.send_raw(rest);
    answers.iter().for_each(|expected| assert_eq!(client.recv(), *expected));
    client.expect_nothing_before_ack();
}

fn a_frame_is_the_same_wherever_it_is_cut(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    let message = chat(&["publish:room"], &"cüt ".repeat(40));
    let frame = frame::masked(FIN | TEXT, message.as_bytes());
    for cut in 1..frame.len() {
        client.send_raw(&frame[..cut]);
        client.send_raw(&frame[cut..]);
        client.expect_text(&message);
    }
}

fn random_cuts_of_one_stream_give_the_same_deliveries(cores: usize) {
    let mut rng = seeded_rng();
    let daemon = Daemon::start(cores, &[]);
    let (bytes, answers) = stream_and_answers();
    for _ in 0..20 {
        let mut client = echo_client(&daemon);
        let longest = *[3, 50, 1000, 100_000].get(rng.random_range(0..4)).expect("four");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            // Long frames in tiny pieces would only take long.
            let longest = if rest.len() < bytes.len() - 5000 { longest.max(1000) } else { longest };
            let (piece, after) = rest.split_at(rng.random_range(1..=longest).min(rest.len()));
            client.send_raw(piece);
            rest = after;
        }
        answers.iter().for_each(|expected| assert_eq!(client.recv(), *expected));
        client.expect_nothing_before_ack();
    }
}

fn text_that_is_cut_inside_a_character_is_still_text(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    let message = chat(&["publish:room"], "ä€😀");
    for cut in 1..message.len() {
        client.send_frame(TEXT, &message.as_bytes()[..cut]);
        client.send_frame(CONTINUATION, b"");
        client.send_frame(FIN | CONTINUATION, &message.as_bytes()[cut..]);
        client.expect_text(&message);
    }
}
