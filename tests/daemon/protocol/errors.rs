//! PROTOCOL.md §6: errors, to the byte.

use crate::helpers::{client::Client, daemon::Daemon, frame::FIN, frame::TEXT, message::chat, on_one_and_two_cores};

on_one_and_two_cores!(
    the_protocols_example_comes_to_the_byte,
    an_error_carries_the_messages_ack_token_and_no_other,
    an_error_is_valid_text_whatever_was_sent,
    an_upstream_that_is_not_allowed_is_forbidden_and_the_option_named,
    an_upstream_header_without_a_method_and_a_url_is_refused,
    an_unknown_command_is_no_error,
);

fn the_protocols_example_comes_to_the_byte(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    for header in ["subscribe", "publish", "unsubscribe"] {
        client.say(&chat(&[&format!("{header}:a..b"), "ack:7"], ""));
        client.expect_text(
            "LHTTP/1.0 error\r\ncode:400\r\nreason:bad-channel\r\nack:7\r\n\r\nchannel \"a..b\" has an empty token",
        );
        client.say(&chat(&[&format!("{header}:a..b")], ""));
        client.expect_text(
            "LHTTP/1.0 error\r\ncode:400\r\nreason:bad-channel\r\n\r\nchannel \"a..b\" has an empty token",
        );
    }
}

fn an_error_carries_the_messages_ack_token_and_no_other(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    let longest = "t".repeat(64);
    for token in ["1", "a b", "ä", &longest] {
        client.say(&chat(&["publish:.", &format!("Ack: {token} ")], ""));
        client.expect_error(400, "bad-channel", Some(token));
        client.say(&chat(&["publish:."], &format!("ack:{token}")));
        client.expect_error(400, "bad-channel", None);
    }
    // A failed message gets no acknowledgement in addition.
    client.expect_nothing_before_ack();
}

fn an_error_is_valid_text_whatever_was_sent(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    let longest = "€".repeat(2000);
    for bad in ["\r\n\r\n", "\u{1}", "\u{7f}", "\"quoted\"..", "a..\u{85}\u{2028}", &format!("a..{longest}")] {
        for header in [format!("subscribe:{bad}"), format!("multipart:{bad}"), format!("upstream:{bad}"), bad.into()] {
            client.say(&format!("LHTTP/1.0 chat\r\n{header}\r\nx:y\r\n\r\n"));
            if bad == "\r\n\r\n" {
                // The head ends there. An empty list of channels may be an error or have no effect; the connection
                // still works.
                client.say(&chat(&["ack:end"], ""));
                while client.recv().payload != b"LHTTP/1.0 ack\r\nack:end\r\n\r\n" {}
            } else {
                let error = client.any_error();
                assert!(error.body.len() < 1000, "an error is no echo of all that was sent");
            }
        }
    }
    client.send_binary(b"LHTTP/1.0 \xFF\r\n\r\n");
    client.expect_error(400, "bad-start-line", None);
    client.send_binary(b"LHTTP/1.0 chat\r\n\xFF:\r\n\r\n");
    client.expect_error(400, "bad-header", None);
}

fn an_upstream_that_is_not_allowed_is_forbidden_and_the_option_named(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    for upstream in [
        "GET http://127.0.0.1:1/",
        "POST http://www.xxx.com",
        "PUT https://example.org/a?b=c&d=e",
        "DELETE http://[::1]:80/",
    ] {
        let upstream = format!("upstream:{upstream}");
        client.say(&chat(&[&upstream, "publish:room", "subscribe:new", "unsubscribe:room", "ack:t"], "body"));
        let sentence = client.expect_error(403, "forbidden", Some("t"));
        assert!(sentence.contains("--upstream-allow"), "{sentence}");
        client.say(&chat(&["publish:new"], ""));
        client.say(&chat(&["publish:room"], "still subscribed"));
        client.expect_text(&chat(&["publish:room"], "still subscribed"));
    }
}

fn an_upstream_header_without_a_method_and_a_url_is_refused(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    for upstream in
        ["", "GET", "http://localhost/", "GET nonsense", "GET http://", "G@T http://localhost/", "GET /path"]
    {
        client.say(&chat(&[&format!("upstream:{upstream}"), "publish:room", "ack:t"], "body"));
        client.expect_error(400, "bad-upstream", Some("t"));
        client.expect_nothing_before_ack();
    }
}

fn an_unknown_command_is_no_error(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = Client::connect(daemon.port());
    for command in ["anything", "subscribe", "publish", "ack", "error"] {
        let message = format!("LHTTP/1.0 {command}\r\nsubscribe:room\r\npublish:room\r\n\r\nhi");
        client.send_frame(FIN | TEXT, message.as_bytes());
        client.expect_text(&message);
        client.expect_nothing_before_ack();
    }
}
