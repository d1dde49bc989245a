//! PROTOCOL.md §1: the syntax of an LHTTP message, to the byte.

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    frame::{BINARY, CONTINUATION, FIN, TEXT},
    message::chat,
    on_one_and_two_cores,
};

on_one_and_two_cores!(
    a_message_reaches_its_subscribers_byte_for_byte,
    a_head_is_refused_unless_its_lines_end_in_crlf_and_an_empty_one_follows,
    a_start_line_is_the_version_one_space_and_a_command,
    a_command_is_1_to_64_visible_ascii_bytes,
    a_payload_that_does_not_start_with_the_version_is_not_lhttp,
    header_names_are_1_to_64_token_characters_compared_without_case,
    header_values_are_trimmed_when_read_and_forwarded_as_written,
    control_characters_in_a_value_are_refused,
    the_head_is_utf8_in_a_binary_message_too,
    a_head_of_8_kib_is_accepted_and_one_byte_more_is_refused,
    a_message_of_64_headers_is_accepted_and_one_of_65_is_refused,
    a_message_of_64_kib_is_accepted_and_one_byte_more_closes_the_connection,
    text_stays_text_and_binary_stays_binary,
    a_fragmented_message_is_one_message,
    a_refused_message_leaves_the_connection_usable,
);

/// A client that receives its own publishes in `room`.
fn echo_client(daemon: &Daemon) -> Client {
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    client
}

#[track_caller]
fn assert_accepted(client: &mut Client, message: &str) {
    client.say(message);
    client.expect_text(message);
}

/// Sends `message`, which must be refused for this reason without any effect.
#[track_caller]
fn assert_refused(client: &mut Client, message: &str, code: u16, reason: &str) {
    client.say(message);
    let error = client.any_error();
    let code = code.to_string();
    assert_eq!((error.header("code"), error.header("reason")), (Some(&*code), Some(reason)), "{message:?}: {error:?}");
    client.expect_nothing_before_ack();
}

fn a_message_reaches_its_subscribers_byte_for_byte(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    for body in
        ["", "hi", "\r\n", "\r\n\r\n", "a\r\n\r\nb:c\r\n\r\n", "LHTTP/1.0 x\r\npublish:room\r\n\r\n", "zwölf\0€"]
    {
        assert_accepted(&mut client, &chat(&["publish:room"], body));
        assert_accepted(&mut client, &chat(&["content-type:json", "publish:room", "X-a: b:c ", "x-A:\t2"], body));
    }
}

fn a_head_is_refused_unless_its_lines_end_in_crlf_and_an_empty_one_follows(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    for message in ["LHTTP/1.0 chat", "LHTTP/1.0", "LHTTP/1.0 chat\npublish:room\n\nhi", "LHTTP/1.0 chat\r"] {
        assert_refused(&mut client, message, 400, "bad-start-line");
    }
    for message in [
        "LHTTP/1.0 chat\r\n",
        "LHTTP/1.0 chat\r\npublish:room",
        "LHTTP/1.0 chat\r\npublish:room\r\n",
        "LHTTP/1.0 chat\r\npublish:room\r\n\r",
        "LHTTP/1.0 chat\r\npublish:room\n\nhi",
        "LHTTP/1.0 chat\r\npublish:room\n\r\n\r\nhi",
    ] {
        assert_refused(&mut client, message, 400, "bad-header");
    }
    assert_accepted(&mut client, "LHTTP/1.0 chat\r\npublish:room\r\n\r\n");
}

fn a_start_line_is_the_version_one_space_and_a_command(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    for start in [
        "LHTTP/1.0",
        "LHTTP/1.0 ",
        "LHTTP/1.0chat",
        "LHTTP/1.0  chat",
        "LHTTP/1.0\tchat",
        "LHTTP/1.0 ch at",
        "LHTTP/1.0 chat ",
        "LHTTP/1.00 chat",
    ] {
        assert_refused(&mut client, &format!("{start}\r\npublish:room\r\n\r\n"), 400, "bad-start-line");
    }
    client.say("LHTTP/1.0 chat\r\n\r\nno header and so no effect");
    client.expect_nothing_before_ack();
}

fn a_command_is_1_to_64_visible_ascii_bytes(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    let longest = "c".repeat(64);
    for command in ["c", "!~", "SUBSCRIBE", "error", "ack", &longest] {
        assert_accepted(&mut client, &format!("LHTTP/1.0 {command}\r\npublish:room\r\n\r\nhi"));
    }
    for command in [&*"c".repeat(65), "zwölf", "a\u{7f}", "a\0", "a\tb"] {
        let message = format!("LHTTP/1.0 {command}\r\npublish:room\r\n\r\nhi");
        assert_refused(&mut client, &message, 400, "bad-start-line");
    }
}

fn a_payload_that_does_not_start_with_the_version_is_not_lhttp(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    for message in ["", "hi", "LHTTP/1.", "LHTTP/1.1 chat\r\n\r\n", "lhttp/1.0 chat\r\n\r\n", " LHTTP/1.0 chat\r\n\r\n"]
    {
        assert_refused(&mut client, message, 400, "not-lhttp");
    }
    client.send_binary(&[0xFF; 20]);
    client.expect_error(400, "not-lhttp", None);
}

fn header_names_are_1_to_64_token_characters_compared_without_case(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.say("LHTTP/1.0 chat\r\nSubScribe:room\r\nACK:1\r\n\r\n");
    client.expect_ack("1");
    assert_accepted(&mut client, &chat(&["PUBLISH:room", "!#$%&'*+-.^_`|~09azAZ:v"], ""));
    let longest = "n".repeat(64);
    assert_accepted(&mut client, &chat(&["publish:room", &format!("{longest}:v")], ""));

    for line in [&*format!("{longest}n:v"), ":v", "no colon", "na me:v", "name :v", " name:v", "n\u{e4}me:v", "n(:v"] {
        assert_refused(&mut client, &chat(&["publish:room", line], ""), 400, "bad-header");
    }
}

fn header_values_are_trimmed_when_read_and_forwarded_as_written(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.say("LHTTP/1.0 chat\r\nsubscribe: \t room\t \r\nack: 1 \r\n\r\n");
    client.expect_ack("1");
    assert_accepted(&mut client, &chat(&["publish:\troom  ", "x:  ", "y:", "z: a:b : c\td "], "hi"));
}

fn control_characters_in_a_value_are_refused(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    for control in ["\0", "\u{1}", "\u{8}", "\n", "\u{b}", "\r", "\u{1f}", "\u{7f}"] {
        for value in [format!("a{control}b"), format!("{control}b"), format!("a{control}")] {
            assert_refused(&mut client, &chat(&["publish:room", &format!("x:{value}")], ""), 400, "bad-header");
        }
    }
}

fn the_head_is_utf8_in_a_binary_message_too(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    let good = chat(&["publish:room", "name:Jürgen €"], "");
    client.send_binary(good.as_bytes());
    client.expect_binary(good.as_bytes());

    client.send_binary(b"LHTTP/1.0 chat\r\npublish:room\r\nx:\xFF\r\n\r\nhi");
    client.expect_error(400, "bad-header", None);
    client.expect_nothing_before_ack();
}

fn a_head_of_8_kib_is_accepted_and_one_byte_more_is_refused(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    let rest = chat(&["publish:room", "x:"], "").len();
    let message =
        |head: usize| chat(&["publish:room", &format!("x:{}", "v".repeat(head - rest))], "the body counts not");
    assert_accepted(&mut client, &message(8192));
    assert_refused(&mut client, &message(8193), 431, "head-too-big");
    assert_refused(&mut client, &message(20_000), 431, "head-too-big");
}

fn a_message_of_64_headers_is_accepted_and_one_of_65_is_refused(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    let message = |headers: usize| chat(&[&["x:y"].repeat(headers - 1)[..], &["publish:room"]].concat(), "hi");
    assert_accepted(&mut client, &message(64));
    assert_refused(&mut client, &message(65), 431, "head-too-big");
}

fn a_message_of_64_kib_is_accepted_and_one_byte_more_closes_the_connection(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let message = |length: usize| {
        let head = chat(&["publish:room"], "");
        let body = "b".repeat(length - head.len());
        head + &body
    };
    assert_accepted(&mut echo_client(&daemon), &message(65_536));

    let mut client = echo_client(&daemon);
    client.say(&message(65_537));
    client.expect_closed_with(1009);

    // In fragments that are each allowed: the limit applies to the message.
    let mut client = echo_client(&daemon);
    let whole = message(65_537);
    let (first, second) = whole.as_bytes().split_at(40_000);
    client.send_frame(TEXT, first);
    client.send_frame(FIN | CONTINUATION, second);
    client.expect_closed_with(1009);
}

fn text_stays_text_and_binary_stays_binary(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    let mut bytes = chat(&["publish:room"], "").into_bytes();
    bytes.extend(0..=255);
    client.send_binary(&bytes);
    client.expect_binary(&bytes);
    assert_accepted(&mut client, &chat(&["publish:room"], "text"));
    let utf8 = chat(&["publish:room"], "binary, although it is UTF-8");
    client.send_binary(utf8.as_bytes());
    client.expect_binary(utf8.as_bytes());
}

fn a_fragmented_message_is_one_message(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    let message = chat(&["publish:room"], "ä fragmented message");
    for opcode in [TEXT, BINARY] {
        for size in [1, 2, 7, message.len() - 1] {
            client.send_frame(opcode, b"");
            for fragment in message.as_bytes().chunks(size) {
                client.send_frame(CONTINUATION, fragment);
            }
            client.send_frame(FIN | CONTINUATION, b"");
            if opcode == TEXT { client.expect_text(&message) } else { client.expect_binary(message.as_bytes()) }
        }
    }
}

fn a_refused_message_leaves_the_connection_usable(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = echo_client(&daemon);
    for _ in 0..100 {
        client.say("nonsense");
        client.say(&chat(&["publish:room"], "sense"));
    }
    for _ in 0..100 {
        client.expect_error(400, "not-lhttp", None);
        client.expect_text(&chat(&["publish:room"], "sense"));
    }
}
