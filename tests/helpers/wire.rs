//! A TCP connection with a buffer of received but unused bytes.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    ops::Range,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// Bytes in both directions. Every read and write fails after [`PATIENCE`].
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    unread: Range<usize>,
}

impl Wire {
    pub(crate) fn connect(port: u16) -> Self {
        Self::from_stream(TcpStream::connect(("127.0.0.1", port)).expect("the daemon accepts"))
    }

    /// A connection from one of this machine's addresses.
    pub(crate) fn connect_from(source: Ipv4Addr, port: u16) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("an address of this machine");
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("the daemon accepts");
        Self::from_stream(socket.into())
    }

    /// A connection whose two ends together buffer only some hundred KiB of unread data.
    ///
    /// On the loopback the sender's buffer would hold 2.6 MB: 20 segments of 64 KiB and their overhead. Segments of
    /// Ethernet size keep that small too. A receive buffer of a few segments would be smaller still, but then TCP drops
    /// some segments and waits seconds for its persist timer.
    pub(crate) fn connect_with_small_window(port: u16) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(32 << 10).expect("a small receive buffer");
        socket.set_tcp_mss(1448).expect("small segments");
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("the daemon accepts");
        Self::from_stream(socket.into())
    }

    fn from_stream(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        Self { stream, buffer: Vec::new(), unread: 0..0 }
    }

    /// The address of this end.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("it is connected")
    }

    pub(crate) fn set_timeout(&self, timeout: Duration) {
        self.stream.set_read_timeout(Some(timeout)).expect("a read timeout");
        self.stream.set_write_timeout(Some(timeout)).expect("a write timeout");
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends the sending side (FIN).
    pub(crate) fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// The received bytes that are not used yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    /// Marks this many bytes as used.
    pub(crate) fn consume(&mut self, length: usize) {
        self.unread.start += length;
        assert!(self.unread.start <= self.unread.end, "more consumed than received");
    }

    /// Reads once. Returns 0 at the end, also after a reset.
    pub(crate) fn fill(&mut self) -> io::Result<usize> {
        const CHUNK: usize = 64 * 1024;
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        // An idle client among thousands must stay small, so the buffer is only as long as necessary.
        self.buffer.resize(self.unread.end + CHUNK, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[self.unread.end..]) {
                // A read with a timeout ends so when this process was stopped and goes on, see signal(7).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break Ok(0),
                other => break other,
            }
        };
        self.unread.end += *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(self.unread.end);
        if self.unread.is_empty() {
            self.buffer = Vec::new();
            self.unread = 0..0;
        }
        read
    }

    /// Takes the next `length` bytes. Fails the test if they do not come.
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        while self.unread().len() < length {
            let read = self.fill().expect("the server sends in time");
            assert!(read > 0, "the server ended after {:?}", String::from_utf8_lossy(self.unread()));
        }
        let taken = self.unread()[..length].to_vec();
        self.consume(length);
        taken
    }

    /// Fails the test unless the server ends the connection without sending anything more.
    pub(crate) fn expect_end(&mut self) {
        let read = if self.unread().is_empty() { self.fill().expect("the server ends in time") } else { 1 };
        assert_eq!(read, 0, "more came: {:?}", String::from_utf8_lossy(self.unread()));
    }
}
