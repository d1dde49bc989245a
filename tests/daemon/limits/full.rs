//! A full server still answers health checks and accepts posts, and clients over its limit do not affect the others.

use std::time::{Duration, Instant};

use crate::helpers::{
    self,
    client::Client,
    daemon::Daemon,
    http::{Http, handshake, publish_request},
    message::chat,
    on_one_and_two_cores, wait_until,
};

on_one_and_two_cores!(
    a_full_server_is_healthy_and_accepts_posts,
    a_full_server_serves_one_request_a_connection,
    a_post_that_comes_in_pieces_is_served_by_a_full_server,
    a_full_server_still_requires_its_key,
    whatever_a_crowd_over_the_limit_does_the_server_stays_healthy,
    a_crowd_over_the_limit_takes_a_bounded_number_of_descriptors,
    a_silent_client_of_a_full_server_gets_five_seconds,
);

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Places for connections over the limit, on each core.
const RESERVED: usize = 32;

/// A daemon with as many clients as allowed, and these clients. The first is subscribed to `room`.
fn full(cores: usize, args: &[&str]) -> (Daemon, Vec<Client>) {
    let daemon = Daemon::start(cores, &[&["--max-connections", "3"], args].concat());
    let mut inside: Vec<_> = (0..3).map(|_| Client::connect(daemon.port())).collect();
    inside[0].subscribe_acked("room");
    (daemon, inside)
}

fn ask(daemon: &Daemon, request: impl AsRef<[u8]>) -> helpers::http::Response {
    Http::connect(daemon.port()).ask(request)
}

fn a_full_server_is_healthy_and_accepts_posts(cores: usize) {
    let (mut daemon, mut inside) = full(cores, &[]);
    let message = chat(&["publish:room"], "from outside");
    for _ in 0..2 * RESERVED {
        assert_eq!(ask(&daemon, HEALTH).status, 200);
        assert_eq!(ask(&daemon, publish_request(&message, "")).status, 200);
        inside[0].expect_text(&message);
    }
    for refused in [&handshake("/", ""), &handshake("/publish", ""), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let response = ask(&daemon, refused);
        assert_eq!(response.status, 503, "{refused:?}");
        assert!(response.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{response:?}");
    }
    assert_eq!(ask(&daemon, "POST /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 405);
    daemon.assert_healthy();
}

fn a_full_server_serves_one_request_a_connection(cores: usize) {
    let (daemon, _inside) = full(cores, &[]);
    let mut http = Http::connect(daemon.port());
    let response = http.ask(HEALTH.repeat(3));
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    http.expect_end();
}

fn a_post_that_comes_in_pieces_is_served_by_a_full_server(cores: usize) {
    let (daemon, mut inside) = full(cores, &[]);
    let message = chat(&["publish:room"], "in pieces");
    let mut http = Http::connect(daemon.port());
    for piece in publish_request(&message, "").chunks(20) {
        http.send(piece);
        assert_eq!(ask(&daemon, HEALTH).status, 200, "nobody waits for the rest");
    }
    assert_eq!(http.response().status, 200);
    inside[0].expect_text(&message);
}

fn a_full_server_still_requires_its_key(cores: usize) {
    let (daemon, _inside) = full(cores, &["--publish-key", "s3cret"]);
    let publish =
        |authorization: &str| ask(&daemon, publish_request(chat(&["publish:room"], ""), authorization)).status;
    assert_eq!(publish(""), 401);
    assert_eq!(publish("Authorization: Bearer s3cret\r\n"), 200);
}

/// The ways to hold a place.
const CROWDS: [&str; 5] = [
    "",
    "GET /heal",
    "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf",
    "POST /publish HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nLHTTP",
    // Refused clients that do not leave.
    "GET /chat HTTP/1.1\r\nHost: localhost\r\n\r\n",
];

fn whatever_a_crowd_over_the_limit_does_the_server_stays_healthy(cores: usize) {
    for does in CROWDS {
        let (mut daemon, mut inside) = full(cores, &[]);
        let message = chat(&["publish:room"], "as ever");
        let mut crowd: Vec<Http> = Vec::new();
        for _ in 0..10 {
            for _ in 0..cores * RESERVED {
                let mut http = Http::connect(daemon.port());
                http.send(does);
                crowd.push(http);
            }
            assert_eq!(ask(&daemon, HEALTH).status, 200, "beside a crowd of {} with {does:?}", crowd.len());
            assert_eq!(ask(&daemon, publish_request(&message, "")).status, 200, "beside a crowd with {does:?}");
            inside[0].expect_text(&message);
        }
        inside.iter_mut().for_each(Client::expect_nothing_before_ack);
        daemon.assert_healthy();
    }
}

fn a_crowd_over_the_limit_takes_a_bounded_number_of_descriptors(cores: usize) {
    let (daemon, _inside) = full(cores, &[]);
    let before = daemon.open_files();
    let _crowd: Vec<_> = (0..20 * cores * RESERVED).map(|_| Http::connect(daemon.port())).collect();
    assert_eq!(ask(&daemon, HEALTH).status, 200);
    // Connections that give way are closed at the end of the turn; they are at most a quarter of the places.
    let most = before + cores * RESERVED * 5 / 4;
    assert!(daemon.open_files() <= most, "{} files, {most} at most", daemon.open_files());
}

fn a_silent_client_of_a_full_server_gets_five_seconds(cores: usize) {
    let (daemon, _inside) = full(cores, &["--handshake-timeout", "60s"]);
    let start = Instant::now();
    let mut silent = Http::connect(daemon.port());
    silent.wire().set_timeout(Duration::from_secs(20));
    assert_eq!(silent.response().status, 503);
    silent.expect_end();
    let taken = start.elapsed();
    assert!(taken > Duration::from_secs(4) && taken < Duration::from_secs(15), "{taken:?}");
    let before = daemon.open_files();
    assert!(wait_until(|| daemon.open_files() <= before, helpers::PATIENCE));
}
