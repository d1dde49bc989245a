//! RFC 6455: everything that a peer must not send, and the close code for each.

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    frame::{self, BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT},
    message::chat,
    on_one_and_two_cores,
};

on_one_and_two_cores!(
    an_unmasked_frame_gets_1002,
    reserved_bits_and_opcodes_get_1002,
    fragmented_and_long_control_frames_get_1002,
    lengths_that_are_not_minimal_or_have_bit_63_get_1002,
    fragments_out_of_place_get_1002,
    close_codes_that_are_not_allowed_get_1002,
    text_that_is_not_utf8_gets_1007,
    a_close_reason_that_is_not_utf8_gets_1007,
    a_header_that_announces_a_terabyte_gets_1009_at_once_and_no_memory,
    a_last_fragment_that_goes_over_the_limit_gets_1009_before_its_payload,
    a_violation_does_not_undo_earlier_messages,
    a_violation_ends_only_its_own_connection,
    a_sender_of_far_too_much_still_reads_why_it_was_closed,
);

/// Sends these bytes on a fresh connection. The server must close it with `code`.
#[track_caller]
fn assert_closed(daemon: &Daemon, bytes: &[u8], code: u16) {
    let mut client = Client::connect(daemon.port());
    client.subscribe_acked("room");
    client.send_raw(bytes);
    client.expect_closed_with(code);
}

fn an_unmasked_frame_gets_1002(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let message = chat(&["publish:room"], "unmasked");
    for bytes in [
        frame::unmasked(FIN | TEXT, message.as_bytes()),
        frame::unmasked(FIN | TEXT, b""),
        frame::unmasked(FIN | PING, b""),
        frame::unmasked(FIN | CLOSE, &1000_u16.to_be_bytes()),
    ] {
        assert_closed(&daemon, &bytes, 1002);
    }
}

fn reserved_bits_and_opcodes_get_1002(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for bit in [0x10, 0x20, 0x40, 0x70] {
        for opcode in [TEXT, BINARY, PING, CLOSE] {
            assert_closed(&daemon, &frame::masked(FIN | bit | opcode, b""), 1002);
        }
    }
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        assert_closed(&daemon, &frame::masked(FIN | opcode, b""), 1002);
        assert_closed(&daemon, &frame::masked(FIN | opcode, b"LHTTP/1.0 chat\r\n\r\n"), 1002);
    }
}

fn fragmented_and_long_control_frames_get_1002(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for opcode in [PING, PONG, CLOSE] {
        assert_closed(&daemon, &frame::masked(opcode, b""), 1002);
        assert_closed(&daemon, &frame::masked(FIN | opcode, &[b'x'; 126]), 1002);
        assert_closed(&daemon, &frame::masked_with_length(FIN | opcode, 16, 60_000, b""), 1002);
    }
}

fn lengths_that_are_not_minimal_or_have_bit_63_get_1002(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for (bits, length) in [(16, 0), (16, 5), (16, 125), (64, 0), (64, 125), (64, 126), (64, 0xFFFF)] {
        let payload = vec![b' '; length as usize];
        assert_closed(&daemon, &frame::masked_with_length(FIN | TEXT, bits, length, &payload), 1002);
    }
    for length in [1 << 63, u64::MAX, (1 << 63) | 5] {
        assert_closed(&daemon, &frame::masked_with_length(FIN | TEXT, 64, length, b"hello"), 1002);
    }
}

fn fragments_out_of_place_get_1002(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    assert_closed(&daemon, &frame::masked(FIN | CONTINUATION, b"of what?"), 1002);
    assert_closed(&daemon, &frame::masked(CONTINUATION, b"of what?"), 1002);
    for second in [FIN | TEXT, FIN | BINARY, TEXT, BINARY] {
        let frames = [frame::masked(TEXT, b"LHTTP/1.0 "), frame::masked(second, b"chat\r\n\r\n")];
        assert_closed(&daemon, &frames.concat(), 1002);
    }
    let frames = [
        frame::masked(TEXT, b"LHTTP/1.0 "),
        frame::masked(FIN | CONTINUATION, b"chat\r\n\r\n"),
        frame::masked(FIN | CONTINUATION, b"more"),
    ];
    assert_closed(&daemon, &frames.concat(), 1002);
}

fn close_codes_that_are_not_allowed_get_1002(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert_closed(&daemon, &frame::masked(FIN | CLOSE, &frame::close_payload(code, b"why")), 1002);
    }
    assert_closed(&daemon, &frame::masked(FIN | CLOSE, b"\x03"), 1002);
}

/// Invalid UTF-8, each for a different reason (RFC 3629 §3): stray continuation, bytes that never occur, overlong
/// forms, surrogates, beyond U+10FFFF, cut off.
const NOT_UTF8: [&[u8]; 11] = [
    b"\x80",
    b"\xFF",
    b"\xC0\xAF",
    b"\xE0\x80\xAF",
    b"\xF0\x80\x80\xAF",
    b"\xED\xA0\x80",
    b"\xED\xBF\xBF",
    b"\xF4\x90\x80\x80",
    b"\xF8\x88\x80\x80\x80",
    b"\xC3(",
    b"\xE2\x82",
];

fn text_that_is_not_utf8_gets_1007(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for wrong in NOT_UTF8 {
        // In the body, in the head, and in a payload that is not LHTTP.
        for around in ["LHTTP/1.0 chat\r\npublish:room\r\n\r\nbody ", "LHTTP/1.0 chat\r\npublish:room\r\nx:", ""] {
            let payload = [around.as_bytes(), wrong].concat();
            assert_closed(&daemon, &frame::masked(FIN | TEXT, &payload), 1007);

            let (first, second) = payload.split_at(payload.len() - 1);
            let fragments = [frame::masked(TEXT, first), frame::masked(FIN | CONTINUATION, second)];
            assert_closed(&daemon, &fragments.concat(), 1007);
        }
    }
    // Another character between the two halves of one.
    let fragments = [frame::masked(TEXT, b"\xE2\x82"), frame::masked(CONTINUATION, b"a"), frame::masked(FIN, b"\xAC")];
    assert_closed(&daemon, &fragments.concat(), 1007);
}

fn a_close_reason_that_is_not_utf8_gets_1007(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for wrong in NOT_UTF8 {
        assert_closed(&daemon, &frame::masked(FIN | CLOSE, &frame::close_payload(1000, wrong)), 1007);
    }
}

fn a_header_that_announces_a_terabyte_gets_1009_at_once_and_no_memory(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut warm = Client::connect(daemon.port());
    warm.expect_nothing_before_ack();
    let before = daemon.memory();
    for announced in [65_537, 1 << 20, 1 << 32, 1 << 40, (1 << 63) - 1] {
        for opcode in [FIN | TEXT, FIN | BINARY, TEXT] {
            // 14 bytes of header, and up to 26 bytes of a payload that would have been a terabyte.
            assert_closed(&daemon, &frame::masked_with_length(opcode, 64, announced, b""), 1009);
            assert_closed(&daemon, &frame::masked_with_length(opcode, 64, announced, &[b'x'; 26]), 1009);
        }
    }
    let grown = daemon.memory().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more than before");
}

fn a_last_fragment_that_goes_over_the_limit_gets_1009_before_its_payload(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let last = frame::masked_with_length(FIN | CONTINUATION, 16, 25_537, b"");
    assert_closed(&daemon, &[frame::masked(TEXT, &[b'x'; 40_000]), last].concat(), 1009);
    let unfinished = frame::masked_with_length(CONTINUATION, 16, 65_535, b"");
    assert_closed(&daemon, &[frame::masked(BINARY, b"xy"), unfinished].concat(), 1009);
}

fn a_violation_does_not_undo_earlier_messages(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    let mut witness = Client::connect(daemon.port());
    witness.subscribe_acked("room");
    let mut client = Client::connect(daemon.port());
    let message = chat(&["publish:room"], "good");
    let frames = [
        frame::masked(FIN | TEXT, message.as_bytes()),
        frame::masked(FIN | PING, b"p"),
        frame::masked(FIN | CONTINUATION, b"bad"),
        frame::masked(FIN | TEXT, chat(&["publish:room"], "behind the violation").as_bytes()),
    ];
    client.send_raw(&frames.concat());
    assert_eq!(client.recv().opcode, PONG);
    client.expect_closed_with(1002);
    witness.expect_text(&message);
    witness.say(&chat(&["publish:room"], "sentinel"));
    witness.expect_text(&chat(&["publish:room"], "sentinel"));
}

fn a_violation_ends_only_its_own_connection(cores: usize) {
    let mut daemon = Daemon::start(cores, &[]);
    let mut others: Vec<_> = (0..8).map(|_| Client::connect(daemon.port())).collect();
    others.iter_mut().for_each(|client| client.subscribe_acked("room"));
    for _ in 0..20 {
        assert_closed(&daemon, &frame::unmasked(FIN | TEXT, b"bad"), 1002);
    }
    others[0].say(&chat(&["publish:room"], "hi"));
    others.iter_mut().for_each(|client| client.expect_text(&chat(&["publish:room"], "hi")));
    daemon.assert_healthy();
}

fn a_sender_of_far_too_much_still_reads_why_it_was_closed(cores: usize) {
    let daemon = Daemon::start(cores, &[]);
    for _ in 0..10 {
        let mut client = Client::connect(daemon.port());
        // The server may stop reading at any time, but the error that it sent before must not be lost.
        let _ = client.try_send_raw(&frame::masked(FIN | TEXT, &vec![b'x'; 4 << 20]));
        assert_eq!(client.expect_close(), (1009, "65536".to_owned()), "the reason is the limit");
    }
}
