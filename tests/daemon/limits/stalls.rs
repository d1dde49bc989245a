//! A server or one of its cores stands still: no client is closed for a time in which the server did not listen.

use std::{
    io::ErrorKind,
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use lhttp::{Context, Processor, Server, config::Config};
use rand::RngExt;

use crate::helpers::{
    self,
    client::{Client, close_parts},
    daemon::Daemon,
    enough_cpus,
    frame::{CLOSE, FIN, PING, PONG, TEXT},
    http::{Http, handshake},
    let_pass,
    message::chat,
    on_one_and_two_cores, seeded_rng, wait_until,
};

on_one_and_two_cores!(
    after_a_pause_longer_than_the_idle_timeout_clients_that_answer_stay_and_others_are_closed_later,
    many_pauses_of_any_length_close_no_client_that_answers,
    handshakes_that_wait_during_a_pause_are_served_after_it,
);

const TIMES: [&str; 4] = ["--idle-timeout", "2s", "--ping-interval", "500ms"];

/// Answers the pings of these clients for this long. Returns the close codes and reasons.
fn attend(clients: &mut [Client], duration: Duration) -> Vec<(u16, String)> {
    let start = Instant::now();
    let mut closed = Vec::new();
    clients.iter_mut().for_each(|client| client.set_timeout(Duration::from_millis(1)));
    while start.elapsed() < duration {
        for client in &mut *clients {
            match client.try_recv() {
                Ok(Some(frame)) if frame.opcode == PING => client.send_frame(FIN | PONG, &frame.payload),
                Ok(Some(frame)) if frame.opcode == CLOSE => closed.push(close_parts(&frame)),
                Ok(Some(_)) => {}
                Ok(None) => closed.push((0, "the end".to_owned())),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => closed.push((0, error.to_string())),
            }
        }
        if !closed.is_empty() {
            break;
        }
    }
    clients.iter_mut().for_each(|client| client.set_timeout(helpers::PATIENCE));
    closed
}

fn after_a_pause_longer_than_the_idle_timeout_clients_that_answer_stay_and_others_are_closed_later(cores: usize) {
    let daemon = Daemon::start(cores, &TIMES);
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(daemon.port())).collect();
    clients.iter_mut().for_each(|client| client.subscribe_acked("room"));
    for speaks in [false, true] {
        assert_eq!(attend(&mut clients, Duration::from_millis(700)), []);
        daemon.signal("STOP");
        let_pass(Duration::from_millis(1500));
        if speaks {
            clients.iter_mut().for_each(|client| client.send_frame(FIN | PING, b""));
        }
        let_pass(Duration::from_millis(1500));
        daemon.signal("CONT");
        assert_eq!(attend(&mut clients, Duration::from_secs(3)), []);
    }
    // A client that does not answer gets a ping after the pause, and is closed.
    let mut dead = Client::connect(daemon.port());
    daemon.signal("STOP");
    let_pass(Duration::from_secs(1));
    daemon.signal("CONT");
    assert_eq!(attend(&mut clients, Duration::from_secs(4)), []);
    let close = std::iter::repeat_with(|| dead.recv()).find(|frame| frame.opcode != PING).expect("a close");
    assert_eq!(close_parts(&close), (1008, "idle".to_owned()));
    clients[0].say(&chat(&["publish:room"], "still here"));
    for client in &mut clients {
        let mut frames = std::iter::repeat_with(|| client.recv());
        assert_eq!(
            frames.find(|frame| frame.opcode == TEXT).expect("a text").payload,
            chat(&["publish:room"], "still here").as_bytes()
        );
    }
}

fn many_pauses_of_any_length_close_no_client_that_answers(cores: usize) {
    let daemon = Daemon::start(cores, &["--idle-timeout", "800ms", "--ping-interval", "300ms"]);
    let mut clients: Vec<_> = (0..10).map(|_| Client::connect(daemon.port())).collect();
    let mut rng = seeded_rng();
    for _ in 0..8 {
        assert_eq!(attend(&mut clients, Duration::from_millis(rng.random_range(50..500))), []);
        daemon.signal("STOP");
        let_pass(Duration::from_millis(rng.random_range(50..1500)));
        daemon.signal("CONT");
    }
    assert_eq!(attend(&mut clients, Duration::from_secs(1)), []);
}

fn handshakes_that_wait_during_a_pause_are_served_after_it(cores: usize) {
    let daemon = Daemon::start(cores, &["--handshake-timeout", "1s"]);
    let request = handshake("/", "");
    let (first, rest) = request.split_at(30);
    let mut begun: Vec<_> = (0..10).map(|_| Http::connect(daemon.port())).collect();
    begun.iter_mut().for_each(|http| http.send(first));
    daemon.signal("STOP");
    // The kernel accepts connections during the pause.
    let mut waiting: Vec<_> = (0..10).map(|_| Http::connect(daemon.port())).collect();
    begun.iter_mut().for_each(|http| http.send(rest));
    waiting.iter_mut().for_each(|http| http.send(&request));
    let_pass(Duration::from_millis(2500));
    daemon.signal("CONT");
    for http in begun.iter_mut().chain(&mut waiting) {
        assert_eq!(http.response_head().status, 101);
    }
}

/// Blocks its core until the test lets it go on.
struct Block(Mutex<mpsc::Receiver<()>>);

impl Processor for Block {
    fn on_message(&self, context: &mut Context<'_>) {
        self.0.lock().expect("no test panics while it has it").recv().expect("the test goes on");
        context.send("done");
    }
}

#[test]
fn a_core_that_stalls_alone_closes_no_client_that_answers() {
    if !enough_cpus(2) {
        return;
    }
    let (go_on, blocked) = mpsc::channel();
    let config =
        Config { idle_timeout: Duration::from_secs(1), ping_interval: Duration::from_millis(300), ..Config::default() };
    let server = Server::builder()
        .config(config)
        .listen(([127, 0, 0, 1], 0).into())
        .cores(2)
        .processor("block", Block(Mutex::new(blocked)))
        .start()
        .expect("it starts");
    let port = server.local_addrs()[0].port();
    // Enough clients for both cores to have some.
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(port)).collect();
    let mut blocker = Client::connect(port);
    blocker.say("LHTTP/1.0 block\r\n\r\n");
    assert_eq!(attend(&mut clients, Duration::from_millis(2500)), [], "one core runs, the other does not");
    go_on.send(()).expect("the processor waits");
    assert_eq!(attend(&mut clients, Duration::from_secs(2)), []);
    assert!(server.stats().stalls > 0, "{}", server.stats());
    // The blocker now gets pings and does not answer them.
    assert!(wait_until(|| server.stats().timed_out == 1, helpers::PATIENCE), "{}", server.stats());
    server.stop(Duration::ZERO);
}
