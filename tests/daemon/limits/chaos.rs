//! A crowd of random hostile clients at once, beside a few well-behaved clients that must not notice them.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng};

use crate::helpers::{
    client::Client,
    daemon::Daemon,
    frame::{self, BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT},
    http::{Http, handshake, publish_request},
    message::chat,
    on_one_and_two_cores, seeded_rng, wait_until,
};

on_one_and_two_cores!(a_hostile_crowd_does_not_disturb_the_others);

const STEPS: usize = 1_500;
const CROWD_MAX: usize = 40;

/// A hostile connection, before its handshake or after it.
enum Hostile {
    Http(Http),
    Client(Client),
}

impl Hostile {
    fn new(daemon: &Daemon, rng: &mut StdRng) -> Self {
        match rng.random_range(0..4) {
            0 => Self::Http(Http::connect(daemon.port())),
            1 => {
                let mut client = Client::connect_with_small_window(daemon.port());
                client.say(&chat(&["subscribe:witness.* >", "ack:never-read"], ""));
                Self::Client(client)
            }
            _ => Self::Client(Client::connect(daemon.port())),
        }
    }

    /// Sends something, mostly invalid. The server may have ended the connection by now.
    fn act(&mut self, rng: &mut StdRng) {
        let bytes = match self {
            Self::Http(_) => hostile_request(rng),
            Self::Client(_) => hostile_frames(rng),
        };
        let cut = if rng.random_range(0..3) == 0 { rng.random_range(0..=bytes.len()) } else { bytes.len() };
        match self {
            Self::Http(http) => http.send(&bytes[..cut]),
            Self::Client(client) => {
                let _ = client.try_send_raw(&bytes[..cut]);
            }
        }
    }
}

fn noise(rng: &mut StdRng) -> Vec<u8> {
    (0..rng.random_range(0..300)).map(|_| rng.random_range(0..=255)).collect()
}

fn hostile_request(rng: &mut StdRng) -> Vec<u8> {
    let publish = publish_request(chat(&["publish:elsewhere"], "posted"), "");
    match rng.random_range(0..6) {
        0 => noise(rng),
        1 => publish.repeat(3),
        2 => b"POST /publish HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\nLHTTP".to_vec(),
        3 => [handshake("/", "").as_bytes(), &hostile_frames(rng)].concat(),
        4 => b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        _ => b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(5),
    }
}

fn hostile_frames(rng: &mut StdRng) -> Vec<u8> {
    let own = format!("own.{}", rng.random_range(0..5));
    let publish = chat(&[&format!("subscribe:{own} own.>"), &format!("publish:{own}"), "ack:x"], &"o".repeat(1000));
    match rng.random_range(0..13) {
        0 => noise(rng),
        1 => frame::masked(FIN | TEXT, publish.as_bytes()).repeat(20),
        2 => frame::masked(FIN | PING, b"flood").repeat(500),
        3 => frame::masked_with_length(FIN | TEXT, 64, 1 << 40, b"x"),
        4 => frame::masked(FIN | TEXT, b"\xFF\xFE"),
        5 => frame::masked(BINARY, publish.as_bytes()),
        6 => frame::masked(CONTINUATION, &noise(rng)),
        7 => frame::masked(FIN | CLOSE, &frame::close_payload(1000, b"")),
        8 => frame::unmasked(FIN | TEXT, b"hi"),
        9 => frame::masked(FIN | BINARY, &noise(rng)),
        10 => frame::masked(FIN | TEXT, b"nonsense").repeat(100),
        11 => frame::masked(FIN | TEXT, chat(&["unsubscribe:own.> own.1", "publish:a..b"], "").as_bytes()),
        _ => frame::masked(FIN | TEXT, chat(&["publish:own.1 own.2 elsewhere"], &"o".repeat(9000)).as_bytes()),
    }
}

fn a_hostile_crowd_does_not_disturb_the_others(cores: usize) {
    let mut rng = seeded_rng();
    let mut daemon = Daemon::start(cores, &["--outbox-max", "128KiB", "--handshake-timeout", "2s"]);
    let mut witnesses: Vec<_> = (0..4).map(|_| Client::connect(daemon.port())).collect();
    witnesses.iter_mut().for_each(|witness| witness.subscribe_acked("witness.all"));
    let before = daemon.open_files();
    let mut crowd: Vec<Hostile> = Vec::new();
    for step in 0..STEPS {
        if crowd.len() < CROWD_MAX {
            crowd.push(Hostile::new(&daemon, &mut rng));
        }
        let chosen = rng.random_range(0..crowd.len());
        if rng.random_range(0..8) == 0 {
            // The client leaves without a close frame, and mostly with unread data.
            crowd.swap_remove(chosen);
        } else {
            crowd[chosen].act(&mut rng);
        }
        let message = chat(&["publish:witness.all"], &format!("step {step} {}", "w".repeat(step % 500)));
        witnesses[step % 4].say(&message);
        witnesses.iter_mut().for_each(|witness| witness.expect_text(&message));
    }
    witnesses.iter_mut().for_each(Client::expect_nothing_before_ack);
    drop(crowd);
    let is_back = wait_until(|| daemon.open_files() <= before, Duration::from_secs(20));
    assert!(is_back, "{} files open instead of {before}", daemon.open_files());
    daemon.assert_healthy();
}
