//! PROTOCOL.md §4: offsets into the body, which the server checks before it carries anything out.

use rand::RngExt;

use crate::helpers::{
    client::Client, daemon::Daemon, frame::FIN, frame::TEXT, message::chat, on_one_and_two_cores, seeded_rng,
};

on_one_and_two_cores!(
    the_protocols_examples_are_forwarded_unchanged,
    parts_may_have_no_headers_and_need_not_start_at_0,
    offsets_count_bytes,
    wrong_offsets_are_refused,
    a_part_without_an_empty_line_is_refused,
    random_offsets_get_the_same_verdict_as_from_a_naive_reader,
);

fn subscriber(daemon: &Daemon) -> Client {
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    client
}

#[track_caller]
fn assert_accepted(client: &mut Client, offsets: &str, body: &str) {
    let message = chat(&[&format!("multipart:{offsets}"), "publish:room"], body);
    client.say(&message);
    client.expect_text(&message);
}

#[track_caller]
fn assert_refused(client: &mut Client, offsets: &str, body: &str) {
    client.say(&chat(&[&format!("multipart:{offsets}"), "publish:room", "subscribe:new", "ack:t"], body));
    client.expect_error(400, "bad-multipart", Some("t"));
    client.say(&chat(&["publish:new"], ""));
    client.expect_nothing_before_ack();
}

const FIRST: &str = "content-type:text/json\r\n\r\n{filename:file.txt,fileLen:5}content-type:text/plain\r\n\r\nhello";
const SECOND: &str = "k1:v1\r\n\r\nbody1k2:v2\r\n\r\nbody2";

fn the_protocols_examples_are_forwarded_unchanged(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = subscriber(&daemon);
    assert_accepted(&mut client, "0 55", FIRST);
    assert_accepted(&mut client, "0 14", SECOND);
    // An offset that is one too large. No server can detect it: `ontent-type` is a valid header too.
    assert_accepted(&mut client, "0 56", FIRST);
}

fn parts_may_have_no_headers_and_need_not_start_at_0(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = subscriber(&daemon);
    assert_accepted(&mut client, "0", "\r\n");
    assert_accepted(&mut client, "0 5", "\r\nabc\r\ndef");
    assert_accepted(&mut client, "14", SECOND);
    assert_accepted(&mut client, "4", "junk\r\nabc");
    assert_accepted(&mut client, "0", "a:1\r\nb:2\r\nc:\r\n\r\n\r\n\r\nbody");

    let binary = [chat(&["multipart:0 4", "publish:room"], "\r\n").as_bytes(), b"\xFF\xFEk:v\r\n\r\n\xFF"].concat();
    client.send_binary(&binary);
    client.expect_binary(&binary);
}

fn offsets_count_bytes(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = subscriber(&daemon);
    assert_accepted(&mut client, "4", "éé\r\nx");
    assert_accepted(&mut client, "0 8", "\r\néééa:b\r\n\r\n");
    assert_refused(&mut client, "2", "éé\r\n");
    // These offsets would fit if they counted characters.
    assert_refused(&mut client, "0 5", "\r\néééa:b\r\n\r\n");
}

fn wrong_offsets_are_refused(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = subscriber(&daemon);
    let length = SECOND.len();
    for offsets in
        ["14 0", "0 0", "14 14", "0 x", "0 -14", "+0 14", "0 0x0e", "0 14.0", "0,14", "0 99999999999999999999999999"]
    {
        assert_refused(&mut client, offsets, SECOND);
    }
    for beyond in [length, length + 1, 1_000_000] {
        assert_refused(&mut client, &format!("0 {beyond}"), SECOND);
    }
    assert_refused(&mut client, "1", "");
}

fn a_part_without_an_empty_line_is_refused(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut client = subscriber(&daemon);
    for (offsets, body) in [
        ("0", ""),
        ("0", "no empty line"),
        ("0", "a:b\r\n"),
        ("0", "a:b\n\n"),
        ("0 4", "a:b\r\n\r\n"),
        ("0 15", SECOND.trim_end_matches("\r\n\r\nbody2")),
        ("0", "no colon\r\n\r\nbody"),
        ("0", ":v\r\n\r\nbody"),
    ] {
        assert_refused(&mut client, offsets, body);
    }
}

/// PROTOCOL.md §4 in the plainest code. Bodies here have only one kind of header, `k:v`.
fn is_right(offsets: &[usize], body: &str) -> bool {
    let ascending = offsets.windows(2).all(|pair| pair[0] < pair[1]);
    let ends = offsets.iter().skip(1).copied().chain([body.len()]);
    ascending
        && offsets.iter().all(|&offset| offset <= body.len())
        && offsets.iter().zip(ends).all(|(&start, end)| {
            let mut part = &body[start..end];
            while let Some(rest) = part.strip_prefix("k:v\r\n") {
                part = rest;
            }
            part.starts_with("\r\n")
        })
}

fn random_offsets_get_the_same_verdict_as_from_a_naive_reader(cores: usize) {
    let mut rng = seeded_rng();
    let daemon = Daemon::start(cores, &[]);
    let mut client = subscriber(&daemon);
    let mut right = 0;
    for _ in 0..1000 {
        let mut body = String::new();
        let mut offsets = Vec::new();
        for _ in 0..rng.random_range(1..5) {
            offsets.push(body.len());
            body += &"k:v\r\n".repeat(rng.random_range(0..3));
            body += ["\r\n", "\r\nbody", "\r\n\r\n", ""][rng.random_range(0..4)];
        }
        if rng.random_range(0..4) == 0 {
            // Whole headers are cut off or added, so that the rest never begins with half a header's name.
            let moved = rng.random_range(0..offsets.len());
            offsets[moved] += 5;
        }
        // A part that starts inside another line is a matter of header syntax, which this oracle does not know.
        let boundary = |&offset: &usize| {
            offset >= body.len() || ["k:v\r\n", "\r\n"].iter().any(|start| body[offset..].starts_with(start))
        };
        if !offsets.iter().all(boundary) {
            continue;
        }
        let list: Vec<_> = offsets.iter().map(usize::to_string).collect();
        let message = chat(&[&format!("multipart:{}", list.join(" ")), "publish:room"], &body);
        client.send_frame(FIN | TEXT, message.as_bytes());
        if is_right(&offsets, &body) {
            right += 1;
            client.expect_text(&message);
        } else {
            client.expect_error(400, "bad-multipart", None);
        }
    }
    assert!((50..950).contains(&right), "the generator makes right and wrong offsets, not {right} of 1000 right");
}
