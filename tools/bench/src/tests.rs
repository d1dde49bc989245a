//! The generator against the relay, and against a server that drops or duplicates messages.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tungstenite::{Message, WebSocket};

use crate::{
    connection::{Connection, Entry},
    dialect::{Dialect, Role},
    failure::Failure,
    floor,
    load::{Flow, Load, Wait, Window},
    opening::Rush,
};

/// How long anything that must happen may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// If no delivery came for this long, the rest counts as missing.
const SILENCE: Duration = Duration::from_secs(2);

/// A relay on its own thread, which ends when this is dropped.
struct RelayThread {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

impl RelayThread {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (bound, listening) = mpsc::channel();
        let stop_there = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let relay = floor::Relay::listen(([127, 0, 0, 1], 0).into()).expect("a free port");
            bound.send(relay.address().expect("an address")).expect("the test waits for it");
            relay.run(&stop_there)
        });
        Self { address: listening.recv().expect("the relay listens"), stop, thread: Some(thread) }
    }

    fn load(&self) -> Load {
        Load::new(Dialect::Floor, self.address, Wait::Sleep, Arc::default()).expect("epoll")
    }
}

impl Drop for RelayThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A new connection wakes the relay.
        let _ = TcpStream::connect(self.address);
        let ended = self.thread.take().expect("dropped once").join();
        if !thread::panicking() {
            ended.expect("the relay does not panic").expect("the relay does not fail");
        }
    }
}

fn flow(dialect: Dialect, channel: &str, connection: usize, frames: usize, body_bytes: usize) -> Flow {
    let frame = dialect.publish(channel, &vec![b'x'; body_bytes], [1, 2, 3, 4]).bytes;
    Flow { connection, frame_bytes: frame.len(), block: frame.into(), frames, one_each: false }
}

#[test]
fn a_relay_delivers_everything_to_its_room_and_nothing_to_another() {
    let relay = RelayThread::start();
    let mut load = relay.load();
    let roles = [
        Role::subscriber("one"),
        Role::subscriber("one"),
        Role::subscriber("two"),
        Role::publisher("one"),
        Role::both("two"),
    ];
    load.open(&roles, 64, |_| {}).expect("the relay takes them");
    for one_each in [false, true] {
        let flows = [
            Flow { one_each, ..flow(Dialect::Floor, "one", 3, 500, 64) },
            Flow { one_each, ..flow(Dialect::Floor, "two", 4, 300, 64) },
        ];
        load.publish(&flows, 2 * 500 + 2 * 300).expect("every delivery arrives");
    }
    let counts: Vec<u64> = load.connections.iter().map(|connection| connection.counter.messages).collect();
    assert_eq!(counts, [1000, 1000, 600, 0, 600]);
}

#[test]
fn a_relay_resumes_where_a_stalled_subscriber_stopped_it() {
    let relay = RelayThread::start();
    let mut load = relay.load();
    load.open(&[Role::subscriber("one"), Role::publisher("one")], 100_000, |_| {}).expect("the relay takes them");
    load.silence = SILENCE;
    load.connections[0].paused = true;
    // Far more than socket buffers hold.
    let flow = flow(Dialect::Floor, "one", 1, 2000, 100_000);
    let total = flow.frames * flow.frame_bytes;
    let stuck = load.publish(std::slice::from_ref(&flow), 2000);
    assert!(matches!(stuck, Err(Failure::Missing { arrived: 0, expected: 2000, .. })), "{stuck:?}");
    let written = load.bytes_written;
    assert!(written < total as u64, "the relay swallowed {written} bytes for a subscriber that does not read");
    load.connections[0].paused = false;
    load.read(0, false, None);
    // The rest of the bytes that the publisher wrote, and not a byte more.
    let whole = written / flow.frame_bytes as u64;
    while load.deliveries < whole {
        load.turn(Some(PATIENCE), None).expect("the relay goes on");
    }
    assert_eq!(load.deliveries, whole);
}

#[test]
fn no_more_messages_than_the_window_are_in_flight() {
    let relay = RelayThread::start();
    let mut load = relay.load();
    load.open(&[Role::subscriber("one"), Role::publisher("one")], 64, |_| {}).expect("the relay takes them");
    load.silence = SILENCE;
    load.connections[0].paused = true;
    let flows = [flow(Dialect::Floor, "one", 1, 2000, 64)];
    let (window, before) = (100, load.bytes_written);
    let stuck = load.publish_within(&flows, 2000, Window::All(window));
    assert!(matches!(stuck, Err(Failure::Missing { arrived: 0, expected: 2000, .. })), "{stuck:?}");
    assert_eq!(load.bytes_written - before, window * flows[0].frame_bytes as u64);
    load.connections[0].paused = false;
    load.read(0, false, None);
    while load.deliveries < window {
        load.turn(Some(PATIENCE), None).expect("the relay goes on");
    }
    load.silence = PATIENCE;
    load.publish_within(&flows, 2000, Window::All(window)).expect("deliveries make room for the next");
    assert_eq!(load.deliveries, window + 2000);
}

/// Answers the upgrade of every other connection with 503, and subscribes the rest.
fn lhttpd_that_refuses_at_first(listener: &TcpListener, clients: usize) -> Result<(), tungstenite::Error> {
    let mut live = Vec::new();
    for number in 0..2 * clients {
        let (mut stream, _) = listener.accept()?;
        if number % 2 == 0 {
            let mut request = [0; 1024];
            assert!(stream.read(&mut request)? > 0, "a request");
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let accepted = tungstenite::accept(stream).map_err(|error| io::Error::other(error.to_string()))?;
        live.push(accepted);
        let client = live.last_mut().expect("pushed");
        client.read()?;
        client.send(Message::text("LHTTP/1.0 ack\r\nack:1\r\n\r\n"))?;
    }
    // Until the clients go.
    live.iter_mut().for_each(|client| assert!(client.read().is_err()));
    Ok(())
}

#[test]
fn a_rush_tries_again_where_the_server_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = thread::spawn(move || lhttpd_that_refuses_at_first(&listener, 6));
    let mut load = Load::new(Dialect::Lhttp, address, Wait::Sleep, Arc::default()).expect("epoll");
    load.silence = PATIENCE;
    load.refused = Some(Vec::new());
    let rush = Rush { at_once: 1, starts: 1, patience: Duration::from_millis(5) };
    let mut seen = Vec::new();
    let roles = vec![Role::subscriber("room"); 6];
    load.rush(&roles, 64, rush, |open| {
        seen.push(open);
        Ok(())
    })
    .expect("they get in");
    seen.dedup();
    assert_eq!(seen.last(), Some(&6));
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!((load.opened, load.refusals, load.lost), (6, 6, 0));
    drop(load);
    server.join().expect("its assertions hold").expect("it serves until then");
}

#[test]
fn a_refusal_is_an_error_with_the_servers_words() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        assert!(stream.read(&mut [0; 1024]).expect("a request") > 0);
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").expect("it reads");
    });
    let mut load = Load::new(Dialect::Lhttp, address, Wait::Sleep, Arc::default()).expect("epoll");
    let refused = load.open(&[Role::subscriber("room")], 64, |_| {});
    assert!(matches!(&refused, Err(Failure::Server(why)) if why.contains("503")), "{refused:?}");
    server.join().expect("its assertions hold");
}

#[test]
fn source_addresses_change_before_an_address_runs_out_of_ports() {
    let relay = RelayThread::start();
    let source = |index| {
        let role = Role::subscriber("room");
        let entry = Entry::default();
        let connection = Connection::start(relay.address, index, Dialect::Floor, &role, 64, entry);
        connection.expect("it connects").wire.stream().local_addr().expect("an address").ip().to_string()
    };
    assert_eq!([0, 27_999, 28_000, 56_000].map(source), ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3"]);
}

/// Serves one subscriber and one publisher of `room`. Delivers each message as often as `times` says for its number.
fn careless_lhttpd(listener: TcpListener, times: impl Fn(usize) -> usize) -> Result<(), tungstenite::Error> {
    let accept = || -> Result<WebSocket<TcpStream>, tungstenite::Error> {
        let (stream, _) = listener.accept()?;
        tungstenite::accept(stream).map_err(|error| tungstenite::Error::Io(io::Error::other(error.to_string())))
    };
    let mut subscriber = accept()?;
    let subscribe = subscriber.read()?.into_text()?;
    assert_eq!(subscribe.as_str(), "LHTTP/1.0 chat\r\nsubscribe:room\r\nack:1\r\n\r\n");
    subscriber.send(Message::text("LHTTP/1.0 ack\r\nack:1\r\n\r\n"))?;
    let mut publisher = accept()?;
    for number in 0.. {
        let message = publisher.read()?;
        if number == 0 {
            subscriber.send(Message::Ping("hm".into()))?;
        }
        for _ in 0..times(number) {
            subscriber.send(message.clone())?;
        }
        if number == 0 {
            assert_eq!(subscriber.read()?, Message::Pong("hm".into()), "a ping is answered");
        }
    }
    Ok(())
}

/// Two bursts of 200 messages. After `silence` the rest counts as missing.
fn bursts_at_careless_lhttpd(
    silence: Duration,
    times: impl Fn(usize) -> usize + Send + 'static,
) -> Result<Duration, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let sent = (0..200).map(&times).sum::<usize>() as u64;
    let server = thread::spawn(move || careless_lhttpd(listener, times));
    let mut load = Load::new(Dialect::Lhttp, address, Wait::Sleep, Arc::default()).expect("epoll");
    load.silence = silence;
    load.open(&[Role::subscriber("room")], 64, |_| {}).expect("it subscribes");
    load.open(&[Role::publisher("room")], 64, |_| {}).expect("it opens");
    let flows = [flow(Dialect::Lhttp, "room", 1, 200, 64)];
    let mut result = load.publish(&flows, 200);
    if result.is_ok() {
        // Surplus deliveries may come late.
        while load.deliveries < sent {
            load.turn(Some(PATIENCE), None).expect("it delivers");
        }
        result = load.publish(&flows, 200);
    }
    drop(load);
    // The server ends with an error when its publisher is gone.
    server.join().expect("its assertions hold").expect_err("it serves until then");
    result
}

#[test]
fn a_burst_is_measured_when_every_message_arrives() {
    bursts_at_careless_lhttpd(PATIENCE, |_| 1).expect("all arrive");
}

#[test]
fn a_single_missing_message_is_an_error_and_no_figure() {
    let result = bursts_at_careless_lhttpd(SILENCE, |number| usize::from(number != 150));
    assert!(matches!(result, Err(Failure::Missing { arrived: 199, expected: 200, .. })), "{result:?}");
}

#[test]
fn a_message_that_comes_twice_is_an_error_and_no_figure() {
    let result = bursts_at_careless_lhttpd(PATIENCE, |number| if number == 150 { 2 } else { 1 });
    assert!(matches!(result, Err(Failure::Surplus { arrived: 201, expected: 200 })), "{result:?}");
}
