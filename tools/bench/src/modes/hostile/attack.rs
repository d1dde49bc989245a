//! Hostile clients. Each writes its start, then one block again and again, as fast as its socket takes it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use clap::ValueEnum;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    connection::EINPROGRESS,
    dialect::websocket::{PING, TEXT, masked, upgrade},
};

/// The most bytes that one client writes in one step, so that the room beside it keeps its pace.
const STEP_BYTES: usize = 64 * 1024;
/// The number of clients that take a step at a time.
const CLIENTS_PER_STEP: usize = 4;
/// The number of clients that share a source address.
const CLIENTS_PER_ADDRESS: usize = 16;
/// The size of the kernel's buffer for a client in each direction; the kernel doubles the figure.
const BUFFER_BYTES: usize = 64 * 1024;

/// One kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// Publishes that name as many channels as a head holds
    Names,
    /// 65,000 patterns of `*` and `a`, and publishes of ever new names that they match
    Patterns,
    /// Subscribes and unsubscribes of the same thousand names
    Churn,
    /// As many subscriptions as a connection may have, with the longest names
    Hoard,
    /// Subscribes, each with an acknowledgement
    Acks,
    /// Messages with thousands of parts
    Multipart,
    /// Messages that are refused, and answers that the clients do not read
    Errors,
    /// Messages that come byte by byte
    Drip,
    /// Messages that end before their last byte
    Partial,
    /// Fragments without content
    Fragments,
    /// Pings, and pongs that the clients do not read
    Pings,
    /// A flood for hundreds of subscribers, half of which do not read
    Flood,
    /// HTTP request heads that come byte by byte
    Heads,
    /// Requests to /publish, in pipelines
    Posts,
    /// Connections that end once they are open
    Connects,
}

/// The actions of an attack's clients.
struct Script {
    clients: usize,
    /// The first bytes of the client with this number.
    start: Box<dyn Fn(usize) -> Vec<u8>>,
    /// The bytes that follow, repeated. Empty: the client then does nothing.
    block: Vec<u8>,
    /// Whether this client reads the answers.
    reads: fn(usize) -> bool,
    step_bytes: usize,
    /// Whether the client ends its connection after the start and opens another.
    reconnects: bool,
}

/// The clients of a running attack.
pub(super) struct Attackers {
    address: SocketAddr,
    script: Script,
    clients: Vec<Attacker>,
    next: usize,
    buffer: Vec<u8>,
    /// Bytes that the server took.
    pub(super) bytes: u64,
    /// Connections made.
    pub(super) connects: u64,
}

#[derive(Default)]
struct Attacker {
    stream: Option<TcpStream>,
    start: Vec<u8>,
    /// Bytes written so far: of the start, then of blocks.
    at: usize,
}

impl Attackers {
    pub(super) fn new(attack: Attack, address: SocketAddr) -> Self {
        let script = attack.script();
        // Connect before the attack, because the room's clients run on this thread, too.
        let clients = (0..script.clients)
            .map(|number| Attacker { start: (script.start)(number), ..Attacker::default() })
            .collect();
        Self { address, script, clients, next: 0, buffer: vec![0; STEP_BYTES], bytes: 0, connects: 0 }
    }

    /// Lets some of the clients continue, without waiting for the server. A closed client reconnects.
    pub(super) fn step(&mut self) {
        for _ in 0..CLIENTS_PER_STEP.min(self.clients.len()) {
            let number = self.next;
            self.next = (number + 1) % self.clients.len();
            if !self.go_on(number) {
                (self.clients[number].stream, self.clients[number].at) = (None, 0);
            }
        }
    }

    /// Returns false when the connection has ended.
    fn go_on(&mut self, number: usize) -> bool {
        let Self { address, script, clients, buffer, .. } = self;
        let client = &mut clients[number];
        if client.stream.is_none() {
            client.stream = connect(*address, number, script.reconnects);
            self.connects += u64::from(client.stream.is_some());
        }
        let Some(stream) = &mut client.stream else { return false };
        if (script.reads)(number) {
            match stream.read(buffer) {
                Ok(0) => return false,
                Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return false,
                _ => {}
            }
        }
        let rest = match client.start.get(client.at..) {
            Some(rest @ [_, ..]) => rest,
            _ if script.reconnects => return false,
            _ if script.block.is_empty() => return is_open(stream),
            _ => &script.block[(client.at - client.start.len()) % script.block.len()..],
        };
        match stream.write(&rest[..rest.len().min(script.step_bytes)]) {
            Ok(taken) => {
                client.at += taken;
                self.bytes += taken as u64;
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected),
        }
    }
}

/// Whether a client that neither reads nor writes is still connected.
fn is_open(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(taken) => taken > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// A connection from one of several loopback addresses. If there are very many, the system chooses the address: the
/// more connections have just ended, the longer it searches for a free port of a given address.
fn connect(address: SocketAddr, number: usize, is_one_of_many: bool) -> Option<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).ok()?;
    if let IpAddr::V4(host) = address.ip()
        && host.is_loopback()
        && !is_one_of_many
    {
        let source = Ipv4Addr::new(127, 1, (number / CLIENTS_PER_ADDRESS) as u8, 1);
        socket.bind(&SocketAddr::from((source, 0)).into()).ok()?;
    }
    // The buffers of the attackers' own machine would count here, against the kernel's memory for the sockets of the
    // server and of the room.
    socket.set_recv_buffer_size(BUFFER_BYTES).ok()?;
    socket.set_send_buffer_size(BUFFER_BYTES).ok()?;
    if is_one_of_many {
        // A reset leaves no port in TIME_WAIT. If all ports were in TIME_WAIT, each connect would search for
        // milliseconds, on the thread of the room's clients.
        socket.set_linger(Some(Duration::ZERO)).ok()?;
    }
    socket.set_tcp_nodelay(true).ok()?;
    socket.set_nonblocking(true).ok()?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => None,
        _ => Some(socket.into()),
    }
}

fn frame(text: &str) -> Vec<u8> {
    masked(TEXT, text.as_bytes(), [0x5a, 0xa5, 0x3c, 0xc3]).bytes
}

fn message(headers: &str, body: &str) -> Vec<u8> {
    frame(&format!("LHTTP/1.0 c\r\n{headers}\r\n\r\n{body}"))
}

/// A frame with `bytes` of payload, without its last bytes.
fn unfinished(bytes: usize) -> Vec<u8> {
    let mut frame = message("k:v", &"x".repeat(bytes));
    frame.truncate(frame.len() - 10);
    frame
}

fn joined(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(" ")
}

/// A pattern that matches many names made of `a`: 3 to 32 tokens `a` or `*`, at most four of them `*`.
fn pattern(number: usize) -> String {
    let tokens = 32 - number % 30;
    let places = number / 30;
    let stars = [places, places / 32, places / 1024, places / 7].map(|place| place % tokens);
    let tokens = (0..tokens).map(|at| if stars.contains(&at) { "*" } else { "a" });
    tokens.collect::<Vec<_>>().join(".")
}

impl Attack {
    fn script(self) -> Script {
        let hello = || upgrade("attack", "/", "");
        let opened = move |_| hello();
        let base = Script {
            clients: 20,
            start: Box::new(opened),
            block: Vec::new(),
            reads: |_| true,
            step_bytes: STEP_BYTES,
            reconnects: false,
        };
        let subscribed = move |headers: &str| {
            let start = [hello(), message(headers, "")].concat();
            Box::new(move |_| start.clone())
        };
        match self {
            Self::Names => Script {
                start: subscribed("subscribe:n"),
                block: message(&format!("publish:{}", "n ".repeat(4000).trim_end()), "x"),
                ..base
            },
            Self::Patterns => Script {
                clients: 70,
                start: Box::new(move |number| {
                    let batch = |at| message(&format!("subscribe:{}", joined((at..at + 31).map(pattern))), "");
                    [hello(), (0..30).flat_map(|part| batch(number * 930 + part * 31)).collect()].concat()
                }),
                block: (0..2000)
                    .flat_map(|number| message(&format!("publish:{}.{number}", ["a"; 28].join(".")), "x"))
                    .collect(),
                ..base
            },
            Self::Churn => {
                let names = joined((0..990).map(|number| format!("churn{number}")));
                Script { block: message(&format!("subscribe:{names}\r\nunsubscribe:{names}"), ""), ..base }
            }
            Self::Hoard => Script {
                clients: 200,
                start: Box::new(move |number| {
                    let name = |at: usize| format!("{}{number:05}.{at:05}", "x".repeat(200));
                    let batch = |at| message(&format!("subscribe:{}", joined((at..at + 30).map(name))), "");
                    [hello(), (0..33).flat_map(|part| batch(part * 30)).collect()].concat()
                }),
                ..base
            },
            Self::Acks => Script {
                block: (0..1000)
                    .flat_map(|n| message(&format!("subscribe:a{n}\r\nack:{n}\r\nunsubscribe:a{n}"), ""))
                    .collect(),
                reads: |number| number % 2 == 0,
                ..base
            },
            Self::Multipart => {
                let offsets = joined((0..1500).map(|part| (part * 2).to_string()));
                Script { block: message(&format!("multipart:{offsets}"), &"\r\n".repeat(25_000)), ..base }
            }
            Self::Errors => Script { block: message("publish:a..b", "").repeat(500), reads: |_| false, ..base },
            Self::Drip => Script { clients: 200, block: message("k:v", &"x".repeat(60_000)), step_bytes: 1, ..base },
            Self::Partial => Script {
                clients: 300,
                start: Box::new(move |number| [hello(), unfinished(60_000 - number)].concat()),
                ..base
            },
            // A text frame that is not final, then empty continuations.
            Self::Fragments => Script {
                start: Box::new(move |_| [hello(), vec![0x01, 0x80, 0, 0, 0, 0]].concat()),
                block: [0x00, 0x80, 0, 0, 0, 0].repeat(10_000),
                ..base
            },
            Self::Pings => Script {
                block: masked(PING, &[b'x'; 125], [1, 2, 3, 4]).bytes.repeat(500),
                reads: |number| number % 2 == 0,
                ..base
            },
            Self::Flood => Script {
                clients: 400,
                start: subscribed("subscribe:flood"),
                block: message("publish:flood", &"x".repeat(10_000)),
                reads: |number| number % 2 == 0,
                ..base
            },
            Self::Heads => {
                let lines = "x-header: value\r\n".repeat(1500);
                let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{lines}").into_bytes();
                Script { clients: 200, start: Box::new(move |_| head.clone()), step_bytes: 1, ..base }
            }
            Self::Posts => {
                let body = "LHTTP/1.0 c\r\npublish:posts\r\n\r\nx";
                let length = body.len();
                let request =
                    format!("POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
                Script { start: Box::new(|_| Vec::new()), block: request.into_bytes().repeat(500), ..base }
            }
            Self::Connects => Script { reconnects: true, ..base },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_has_a_script_that_writes_something() {
        for attack in Attack::value_variants() {
            let script = attack.script();
            assert!(script.clients > 0 && script.step_bytes > 0, "{attack:?}");
            assert!(!(script.start)(0).is_empty() || !script.block.is_empty(), "{attack:?}");
        }
    }

    #[test]
    fn the_patterns_are_many_and_have_four_stars_at_most() {
        let patterns: Vec<String> = (0..65_000).map(pattern).collect();
        assert!(patterns.iter().all(|pattern| (1..=4).contains(&pattern.matches('*').count())));
        let distinct: std::collections::HashSet<_> = patterns.iter().collect();
        assert!(distinct.len() > 20_000, "{}", distinct.len());
    }
}
