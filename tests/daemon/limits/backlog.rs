//! Readers that fall behind and catch up receive every byte, in order, however the socket takes it.

use std::{collections::VecDeque, thread};

use rand::{RngExt, rngs::StdRng};

use crate::helpers::{
    client::{Client, assert_same},
    daemon::Daemon,
    frame::{BINARY, FIN, Frame, TEXT},
    message::chat,
    on_one_and_two_cores, seeded_rng,
};

on_one_and_two_cores!(
    random_readers_that_fall_behind_get_what_a_naive_queue_holds,
    readers_at_their_own_pace_get_every_byte_of_a_long_stream,
    a_large_message_reaches_many_slow_readers_whole,
    a_reader_that_catches_up_again_and_again_is_never_a_slow_consumer,
);

const CHANNELS: [&str; 4] = ["a", "b", "c", "d"];

/// Well below the outbox's 1 MiB, even with frame headers and bytes in flight from another core.
const BACKLOG_BYTES_MAX: usize = 800_000;

/// A slow client, its subscription, and the next message that it must receive.
struct Reader {
    client: Client,
    channels: Vec<&'static str>,
    expected: VecDeque<Frame>,
    expected_bytes: usize,
}

impl Reader {
    fn new(daemon: &Daemon, rng: &mut StdRng) -> Self {
        let mut client = Client::connect_with_small_window(daemon.port());
        let channels: Vec<_> = CHANNELS.into_iter().filter(|_| rng.random_range(0..2) == 0).collect();
        client.subscribe_acked(&format!("{} e", channels.join(" ")));
        Self { client, channels, expected: VecDeque::new(), expected_bytes: 0 }
    }

    fn read(&mut self, frames: usize) {
        for _ in 0..frames.min(self.expected.len()) {
            let expected = self.expected.pop_front().expect("counted");
            self.expected_bytes -= expected.payload.len();
            let got = self.client.recv();
            assert_eq!((got.fin, got.opcode), (true, expected.opcode));
            assert_same(&got.payload, &expected.payload, "a message");
        }
    }
}

fn random_message(rng: &mut StdRng) -> (u8, &'static str, Vec<u8>) {
    let channel = CHANNELS[rng.random_range(0..CHANNELS.len())];
    let longest = [100, 2_000, 20_000, 60_000][rng.random_range(0..4)];
    let mut message = chat(&[&format!("publish:{channel}")], "").into_bytes();
    let letter = rng.random_range(b'a'..=b'z');
    message.extend((0..rng.random_range(0..longest)).map(|place: u32| letter ^ (place >> 4) as u8 & 0x1F));
    (if rng.random_range(0..2) == 0 { TEXT } else { BINARY }, channel, message)
}

fn random_readers_that_fall_behind_get_what_a_naive_queue_holds(cores: usize) {
    let mut rng = seeded_rng();
    let daemon = Daemon::start(cores, &[]);
    let mut publisher = Client::connect(daemon.port());
    let mut readers: Vec<_> = (0..12).map(|_| Reader::new(&daemon, &mut rng)).collect();
    let mut on_every_core: Vec<_> = (0..8).map(|_| Client::connect(daemon.port())).collect();
    on_every_core.iter_mut().for_each(|client| client.subscribe_acked("sync"));
    for _ in 0..600 {
        let (opcode, channel, message) = random_message(&mut rng);
        publisher.send_frame(FIN | opcode, &message);
        for reader in &mut readers {
            if reader.channels.contains(&channel) {
                reader.expected_bytes += message.len();
                reader.expected.push_back(Frame { fin: true, opcode, payload: message.clone() });
            }
            while reader.expected_bytes > BACKLOG_BYTES_MAX {
                reader.read(1);
            }
        }
        let chosen = rng.random_range(0..readers.len());
        match rng.random_range(0..40) {
            // The reader leaves with its whole backlog. Another one comes when earlier messages can no longer reach it.
            0 => {
                publisher.say(&chat(&["publish:sync"], ""));
                on_every_core.iter_mut().for_each(|client| client.expect_text(&chat(&["publish:sync"], "")));
                readers[chosen] = Reader::new(&daemon, &mut rng);
            }
            1..20 => readers[chosen].read(rng.random_range(0..20)),
            _ => {}
        }
    }
    let end = chat(&["publish:e"], "the end");
    publisher.say(&end);
    for reader in &mut readers {
        reader.read(usize::MAX);
        reader.client.expect_text(&end);
    }
}

/// Message `number` of a stream that the publisher and the readers know. Neighbours differ in length and content.
fn streamed(number: usize, pattern: &str) -> String {
    let (start, length) = (number * 37 % 20_000, [0, 30, 700, 5_000, 20_000][number * number % 7 % 5]);
    chat(&["publish:room"], &format!("{number} {}", &pattern[start..start + length]))
}

fn readers_at_their_own_pace_get_every_byte_of_a_long_stream(cores: usize) {
    const MESSAGES: usize = 4_000;
    // All published messages fit into each outbox, so no reader can be too slow.
    let daemon = Daemon::start(cores, &["--outbox-max", "256MiB", "--memory-budget", "1GiB"]);
    let pattern: String =
        (0..40_000).map(|place: u32| char::from(b'a' + (place.wrapping_mul(place) >> 7) as u8 % 26)).collect();
    let mut readers: Vec<_> = (0..6).map(|_| Client::connect_with_small_window(daemon.port())).collect();
    readers.iter_mut().for_each(|client| client.subscribe_acked("room"));
    thread::scope(|scope| {
        for mut client in readers {
            let pattern = &pattern;
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    assert_same(
                        &client.recv().payload,
                        streamed(number, pattern).as_bytes(),
                        &format!("message {number}"),
                    );
                }
            });
        }
        let mut publisher = Client::connect(daemon.port());
        (0..MESSAGES).for_each(|number| publisher.say(&streamed(number, &pattern)));
        publisher.expect_nothing_before_ack();
    });
}

fn a_large_message_reaches_many_slow_readers_whole(cores: usize) {
    let daemon = Daemon::start(cores, &["--max-message", "4MiB", "--outbox-max", "16MiB"]);
    let mut readers: Vec<_> = (0..8).map(|_| Client::connect_with_small_window(daemon.port())).collect();
    readers.iter_mut().for_each(|client| client.subscribe_acked("room"));
    let mut publisher = Client::connect(daemon.port());
    let messages: Vec<_> = (0..3).map(|round| chat(&["publish:room"], &round.to_string().repeat(3_900_000))).collect();
    for message in &messages {
        publisher.say(message);
        publisher.say(&chat(&["publish:room"], "and a short one"));
    }
    publisher.expect_nothing_before_ack();
    for reader in &mut readers {
        for message in &messages {
            assert!(reader.recv().payload == message.as_bytes(), "the long message is whole");
            reader.expect_text(&chat(&["publish:room"], "and a short one"));
        }
    }
}

fn a_reader_that_catches_up_again_and_again_is_never_a_slow_consumer(cores: usize) {
    let daemon = Daemon::start(cores, &["--outbox-max", "100KiB"]);
    let mut reader = Client::connect_with_small_window(daemon.port());
    reader.subscribe_acked("room");
    let mut publisher = Client::connect(daemon.port());
    for round in 0..50 {
        let message = chat(&["publish:room"], &format!("{round:08000}"));
        // Ten of them fit into the outbox; all rounds together are far too many.
        (0..10).for_each(|_| publisher.say(&message));
        (0..10).for_each(|_| reader.expect_text(&message));
    }
}
