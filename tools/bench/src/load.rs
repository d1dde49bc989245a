//! The generator: one thread and one epoll for all connections to the server under test.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::ValueEnum;
use mio::{Events, Poll};
use serde::Serialize;

use crate::{
    connection::{Connection, Phase},
    dialect::Dialect,
    failure::Failure,
    jwt::Tokens,
    tls::{Tls, TlsClient},
};

/// The most bytes of one read.
const READ_BYTES: usize = 256 * 1024;
/// The most events of a turn.
const EVENTS_MAX: usize = 1024;
/// The initial [`Load::silence`].
const SILENCE: Duration = Duration::from_secs(10);
/// With one write for each message, the most messages that are written before the deliveries are read.
const WRITES_PER_TURN: usize = 32;

/// What the generator does while it has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wait {
    /// Polls all the time. The server never pays for waking the generator's CPU, as with clients on other machines.
    Spin,
    /// Sleeps in epoll, as an idle client does.
    Sleep,
}

impl Wait {
    /// How long a poll with nothing else to do may wait.
    pub(crate) fn patience(self) -> Option<Duration> {
        Some(if self == Self::Spin { Duration::ZERO } else { Duration::from_millis(100) })
    }
}

/// How many messages of [`Load::publish_within`] may be in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Window {
    /// As many as the sockets take.
    Unlimited,
    /// So many of all flows together. Each message must cause one delivery.
    All(u64),
    /// So many of each flow. Each message must cause one delivery to the flow's own connection, as confirmed ones do.
    Each(u64),
}

/// All connections to one server.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) connections: Vec<Connection>,
    /// Deliveries to all subscribers so far.
    pub(crate) deliveries: u64,
    /// Connections of subscribers, and of others whose messages count, that the server has ended.
    pub(crate) lost: usize,
    /// Connections that have become usable so far.
    pub(crate) opened: usize,
    /// If set, a connection that the server refuses is no fault: its index is noted here.
    pub(crate) refused: Option<Vec<usize>>,
    /// How often the server refused one.
    pub(crate) refusals: usize,
    /// The next connections speak TLS.
    pub(crate) tls: Option<Arc<TlsClient>>,
    /// TLS connections whose first message is made already; the next connections use them first.
    pub(crate) prepared: Vec<Tls>,
    /// The next connections show a token.
    pub(crate) tokens: Option<Arc<Tokens>>,
    /// Added to the number of the next connections: an offset to source addresses whose ports are free.
    pub(crate) source: usize,
    /// Bytes of flows written so far.
    pub(crate) bytes_written: u64,
    /// If no delivery came for this long, the rest counts as missing.
    pub(crate) silence: Duration,
    pub(crate) dialect: Dialect,
    pub(crate) address: SocketAddr,
    wait: Wait,
    pub(crate) poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    interrupted: Arc<AtomicBool>,
    /// The first violation by a server.
    fault: Option<String>,
}

/// The publishes of one connection: complete frames, written over and over from one block.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// The connection's index.
    pub(crate) connection: usize,
    /// Complete frames, each of `frame_bytes`.
    pub(crate) block: Arc<[u8]>,
    pub(crate) frame_bytes: usize,
    /// How many frames to write.
    pub(crate) frames: usize,
    /// One write for each frame, instead of writes as large as possible.
    pub(crate) one_each: bool,
}

impl Load {
    /// A generator without connections.
    pub(crate) fn new(
        dialect: Dialect,
        address: SocketAddr,
        wait: Wait,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            connections: Vec::new(),
            deliveries: 0,
            lost: 0,
            opened: 0,
            refused: None,
            refusals: 0,
            tls: None,
            prepared: Vec::new(),
            tokens: None,
            source: 0,
            bytes_written: 0,
            silence: SILENCE,
            dialect,
            address,
            wait,
            poll: Poll::new().map_err(Failure::io("epoll"))?,
            events: Events::with_capacity(EVENTS_MAX),
            buffer: vec![0; READ_BYTES],
            interrupted,
            fault: None,
        })
    }

    /// Opens the next connections to another server of the same kind.
    pub(crate) fn turn_to(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Writes all `flows` and counts until `expected` more deliveries have arrived. Returns the time from the first
    /// byte written to the last delivery.
    ///
    /// # Errors
    /// Fewer or more deliveries than expected (also late surplus of an earlier publish), and any other failure.
    pub(crate) fn publish(&mut self, flows: &[Flow], expected: u64) -> Result<Duration, Failure> {
        self.publish_within(flows, expected, Window::Unlimited)
    }

    /// The same with a limit to the messages in flight, for servers that drop or refuse messages when they have too many.
    /// A flow's block must be smaller than the window.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub(crate) fn publish_within(
        &mut self,
        flows: &[Flow],
        expected: u64,
        window: Window,
    ) -> Result<Duration, Failure> {
        let (before, lost) = (self.deliveries, self.lost);
        self.turn(Some(Duration::ZERO), None)?;
        if self.deliveries != before {
            return Err(Failure::Surplus { arrived: self.deliveries, expected: before });
        }
        let mut written = vec![0; flows.len()];
        let answered = |load: &Self, flow: &Flow| load.connections[flow.connection].counter.messages;
        let answers_before: Vec<u64> = flows.iter().map(|flow| answered(self, flow)).collect();
        let mut unfinished = flows.len();
        let mut frames = 0;
        let mut progress = (Instant::now(), before);
        let start = Instant::now();
        loop {
            let mut blocked = true;
            if unfinished > 0 {
                unfinished = 0;
                for ((flow, written), answers_before) in flows.iter().zip(&mut written).zip(&answers_before) {
                    let total = flow.frames * flow.frame_bytes;
                    if *written < total {
                        let block = (flow.block.len() / flow.frame_bytes) as u64;
                        let has_room = match window {
                            Window::Unlimited => true,
                            Window::All(window) => frames + block <= window + (self.deliveries - before),
                            Window::Each(window) => {
                                let own = written.div_ceil(flow.frame_bytes) as u64;
                                own + block <= window + (answered(self, flow) - answers_before)
                            }
                        };
                        if has_room {
                            let had = *written;
                            blocked &= !self.push(flow, written)?;
                            frames += (*written / flow.frame_bytes - had / flow.frame_bytes) as u64;
                        }
                        unfinished += usize::from(*written < total);
                    }
                }
            }
            self.turn(if unfinished > 0 && !blocked { Some(Duration::ZERO) } else { self.patience() }, None)?;
            let arrived = self.deliveries - before;
            if arrived >= expected && unfinished == 0 {
                let time = start.elapsed();
                return if arrived == expected { Ok(time) } else { Err(Failure::Surplus { arrived, expected }) };
            }
            if self.deliveries != progress.1 {
                progress = (Instant::now(), self.deliveries);
            } else if self.lost > lost || progress.0.elapsed() > self.silence {
                return Err(self.missing(arrived, expected));
            }
        }
    }

    /// Writes as much of a flow as the socket takes, within a turn's share. Returns whether the socket took all of it.
    fn push(&mut self, flow: &Flow, written: &mut usize) -> Result<bool, Failure> {
        let connection = &mut self.connections[flow.connection];
        if connection.phase != Phase::Ready {
            return Err(Failure::Server("it closed a publisher's connection".into()));
        }
        if !connection.writable {
            return Ok(false);
        }
        let total = flow.frames * flow.frame_bytes;
        for _ in 0..if flow.one_each { WRITES_PER_TURN } else { 1 } {
            let at = *written % flow.block.len();
            let end = if flow.one_each { at - at % flow.frame_bytes + flow.frame_bytes } else { flow.block.len() };
            let end = end.min(at + total - *written);
            if at == end {
                break;
            }
            match connection.wire.write(&flow.block[at..end]) {
                Ok(taken) => {
                    *written += taken;
                    self.bytes_written += taken as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.writable = false;
                    return Ok(false);
                }
                Err(error) => return Err(Failure::io("writing to the server")(error)),
            }
        }
        Ok(true)
    }

    /// Writes one prepared message completely. `on_stamp` receives the deliveries that arrive while the socket makes
    /// the write wait.
    pub(crate) fn write(
        &mut self,
        index: usize,
        bytes: &[u8],
        mut on_stamp: Option<&mut dyn FnMut(u64)>,
    ) -> Result<(), Failure> {
        let mut at = 0;
        let deadline = Instant::now() + self.silence;
        while at < bytes.len() {
            match self.connections[index].wire.write(&bytes[at..]) {
                Ok(taken) => at += taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                    self.turn(Some(Duration::ZERO), on_stamp.as_mut().map(|on_stamp| &mut **on_stamp as _))?;
                }
                Err(error) => return Err(Failure::io("writing to the server")(error)),
            }
        }
        Ok(())
    }

    /// The longest wait of a turn with nothing else to do.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.wait.patience()
    }

    /// One turn: waits up to `timeout` for events, reads everything, and counts it.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        mut on_stamp: Option<&mut dyn FnMut(u64)>,
    ) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result.map_err(Failure::io("epoll"))?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let index = event.token().0;
            let connection = &mut self.connections[index];
            if event.is_writable() && connection.phase != Phase::Closed {
                connection.writable = true;
                if let Err(error) = connection.flush()
                    && connection.phase != Phase::Ready
                {
                    self.fail(index, format!("a connection to {} failed: {error}", self.address));
                }
            }
            let connection = &self.connections[index];
            if event.is_readable() && !connection.paused && connection.phase != Phase::Closed {
                let ended = event.is_read_closed();
                // Borrow the option anew for each connection.
                self.read(index, ended, on_stamp.as_mut().map(|on_stamp| &mut **on_stamp as _));
            }
        }
        self.events = events;
        match self.fault.take() {
            Some(fault) => Err(Failure::Server(fault)),
            None => Ok(()),
        }
    }

    /// At most this many events in the next turns, so that each is short.
    pub(crate) fn limit_turns(&mut self, events: Option<usize>) {
        self.events = Events::with_capacity(events.unwrap_or(EVENTS_MAX));
    }

    /// Reads until the socket is empty. A short read proves that without another system call, unless the end has been
    /// announced.
    pub(crate) fn read(&mut self, index: usize, ended: bool, mut on_stamp: Option<&mut dyn FnMut(u64)>) {
        let connection = &mut self.connections[index];
        let was_ready = connection.phase == Phase::Ready;
        let mut fault = None;
        while connection.phase != Phase::Closed && fault.is_none() {
            match connection.wire.read(&mut self.buffer) {
                Ok(received) => {
                    let stamps = on_stamp.as_mut().map(|on_stamp| &mut **on_stamp as _);
                    match connection.received(&self.buffer[..received.bytes], stamps) {
                        Ok(deliveries) => self.deliveries += deliveries,
                        Err(why) => fault = Some(why),
                    }
                    if received.is_closed {
                        connection.phase = Phase::Closed;
                    }
                    if !received.may_have_more && !ended {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    if !was_ready || error.kind() == ErrorKind::InvalidData {
                        fault = Some(format!("a connection to {} failed: {error}", self.address));
                    }
                    connection.phase = Phase::Closed;
                }
            }
        }
        let (is_closed, is_ready) = (connection.phase == Phase::Closed, connection.phase == Phase::Ready);
        self.lost += usize::from(was_ready && is_closed && connection.counts);
        self.opened += usize::from(!was_ready && is_ready);
        if !was_ready && is_closed {
            fault.get_or_insert("it closed a connection that was opening".into());
        }
        if let Some(fault) = fault {
            self.fail(index, fault);
        }
    }

    /// A connection cannot be used as it should. Where refusals are allowed, one that is not usable yet is only noted.
    fn fail(&mut self, index: usize, fault: String) {
        let connection = &mut self.connections[index];
        match &mut self.refused {
            Some(refused) if !connection.was_ready => {
                connection.phase = Phase::Closed;
                refused.push(index);
                self.refusals += 1;
            }
            _ => self.fault = Some(fault),
        }
    }

    /// The error for missing deliveries, with the server's close frames and messages that may explain it.
    pub(crate) fn missing(&self, arrived: u64, expected: u64) -> Failure {
        let closed = self.connections.iter().filter(|connection| connection.phase == Phase::Closed);
        let codes: Vec<Option<u16>> = closed.map(|connection| connection.counter.close_code).collect();
        let mut why = match codes.first() {
            Some(Some(code)) => format!("the server closed {} connections, the first with code {code}", codes.len()),
            Some(None) => format!("the server cut off {} connections", codes.len()),
            None => format!("then nothing came for {:?}", self.silence),
        };
        if let Some(connection) = self.connections.iter().find(|connection| !connection.words.is_empty()) {
            why += &format!("; it said to a publisher: {:?}", String::from_utf8_lossy(&connection.words));
        }
        Failure::Missing { arrived, expected, why }
    }
}
