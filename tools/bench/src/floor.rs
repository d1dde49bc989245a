//! `floor`: a relay of raw bytes. It forwards the bytes of a room's publishers unread to all of the room's subscribers.
//! It makes the system calls that every server needs, so its time is the kernel's share of any server's time.
//!
//! A connection's first line is `S room`, `P room` or `B room` (subscriber, publisher, both). The relay answers with
//! one byte.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;
use socket2::{Domain, Socket, Type};

use crate::failure::Failure;

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 256 * 1024;
const FIRST_LINE_BYTES_MAX: usize = 300;

/// The relay: one thread, one epoll.
pub(crate) struct Relay {
    poll: Poll,
    listener: TcpListener,
    connections: Slab<RelayConnection>,
    rooms: Vec<Room>,
    names: HashMap<Arc<[u8]>, usize>,
    buffer: Vec<u8>,
}

struct RelayConnection {
    stream: TcpStream,
    /// `None` until the first line has come.
    room: Option<usize>,
    first_line: Vec<u8>,
    publishes: bool,
    /// There may be more to read, but the room must finish a chunk first.
    unread: bool,
    /// How much of the room's unfinished chunk the connection still needs.
    owed: usize,
}

/// The relay reads a room's publishers again once all its subscribers have the last chunk, so it keeps at most one
/// chunk.
#[derive(Default)]
struct Room {
    subscribers: Vec<usize>,
    publishers: Vec<usize>,
    chunk: Vec<u8>,
    /// Subscribers that still need a part of `chunk`.
    behind: usize,
}

impl Relay {
    /// Listens on `address`.
    pub(crate) fn listen(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit this option.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        let mut listener = TcpListener::from_std(socket.into());
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (connections, rooms, names) = (Slab::new(), Vec::new(), HashMap::new());
        Ok(Self { poll, listener, connections, rooms, names, buffer: vec![0; READ_BYTES] })
    }

    /// The listening address.
    #[cfg(test)]
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Relays until interrupted.
    pub(crate) fn run(mut self, interrupted: &AtomicBool) -> Result<(), Failure> {
        let mut events = Events::with_capacity(1024);
        while !interrupted.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(Duration::from_secs(1))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.map_err(Failure::io("epoll"))?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept().map_err(Failure::io("accepting a connection"))?;
                    continue;
                }
                let key = event.token().0;
                if event.is_writable() {
                    self.resume_writing(key);
                }
                if event.is_readable() {
                    self.read(key, event.is_read_closed());
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let entry = self.connections.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(entry.key()), interest)?;
            let first_line = Vec::new();
            entry.insert(RelayConnection { stream, room: None, first_line, publishes: false, unread: false, owed: 0 });
        }
    }

    /// Relays the bytes that a connection sent. `ended`: its end has been announced, and no further event will announce
    /// it.
    fn read(&mut self, key: usize, ended: bool) {
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return };
            if let Some(room) = connection.room
                && self.rooms[room].behind > 0
            {
                connection.unread = true;
                return;
            }
            connection.unread = false;
            let length = match connection.stream.read(&mut self.buffer) {
                Ok(length @ 1..) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => return self.close(key),
            };
            match connection.room {
                None => self.join(key, length),
                Some(room) if connection.publishes => self.relay(room, length),
                Some(_) => {}
            }
            // A short read emptied the socket. A later end has its own event.
            if length < READ_BYTES && !ended {
                return;
            }
        }
    }

    /// Processes a part of the first line.
    fn join(&mut self, key: usize, length: usize) {
        let connection = &mut self.connections[key];
        connection.first_line.extend_from_slice(&self.buffer[..length]);
        let line = match connection.first_line.split_last() {
            Some((b'\n', line)) if line.len() > 2 => line,
            _ if connection.first_line.len() > FIRST_LINE_BYTES_MAX => return self.close(key),
            _ => return,
        };
        let rooms = &mut self.rooms;
        let room = *self.names.entry(Arc::from(&line[2..])).or_insert_with(|| {
            rooms.push(Room::default());
            rooms.len() - 1
        });
        connection.room = Some(room);
        connection.publishes = matches!(line[0], b'P' | b'B');
        if connection.publishes {
            rooms[room].publishers.push(key);
        }
        if matches!(line[0], b'S' | b'B') {
            rooms[room].subscribers.push(key);
        }
        connection.first_line = Vec::new();
        if connection.stream.write(b"\n").is_err() {
            self.close(key);
        }
    }

    /// Writes the first `length` bytes of the buffer to all of a room's subscribers, with one write each.
    fn relay(&mut self, room: usize, length: usize) {
        let room = &mut self.rooms[room];
        let bytes = &self.buffer[..length];
        for key in &room.subscribers {
            let connection = &mut self.connections[*key];
            // A broken connection takes nothing; its own event closes it.
            let taken = connection.stream.write(bytes).unwrap_or(0);
            if taken < length {
                if room.behind == 0 {
                    room.chunk.clear();
                    room.chunk.extend_from_slice(bytes);
                }
                room.behind += 1;
                connection.owed = length - taken;
            }
        }
    }

    /// Writes the rest of a chunk to a subscriber.
    fn resume_writing(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(room) = connection.room.filter(|_| connection.owed > 0) else { return };
        let chunk = &self.rooms[room].chunk;
        while connection.owed > 0 {
            match connection.stream.write(&chunk[chunk.len() - connection.owed..]) {
                Ok(taken) => connection.owed -= taken,
                _ => return,
            }
        }
        self.caught_up(room);
    }

    /// A subscriber has caught up. If it was the last one, the publishers are read again.
    fn caught_up(&mut self, room: usize) {
        self.rooms[room].behind -= 1;
        if self.rooms[room].behind > 0 {
            return;
        }
        for index in 0..self.rooms[room].publishers.len() {
            // A read can close a publisher, which shortens the list.
            let Some(&key) = self.rooms[room].publishers.get(index) else { break };
            if self.connections[key].unread {
                // Read up to `WouldBlock` or the end, because an end may have been announced in between.
                self.read(key, true);
            }
        }
    }

    fn close(&mut self, key: usize) {
        let mut connection = self.connections.remove(key);
        let _ = self.poll.registry().deregister(&mut connection.stream);
        let Some(room) = connection.room else { return };
        self.rooms[room].subscribers.retain(|subscriber| *subscriber != key);
        self.rooms[room].publishers.retain(|publisher| *publisher != key);
        if connection.owed > 0 {
            self.caught_up(room);
        }
    }
}
