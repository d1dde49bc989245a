//! A socket whose reads and writes end at a deadline, with or without TLS.

use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use super::wait::Wait;

/// A socket that waits until its deadline and no longer; then it returns `WouldBlock`. It also returns `WouldBlock`
/// when a signal or a [`Waker`](super::Waker) has ended a wait, so that a program's call can return early and the
/// program can check its flag.
#[derive(Debug)]
pub(super) struct Socket {
    /// Non-blocking.
    tcp: TcpStream,
    wait: Wait,
    deadline: Instant,
    /// A read also ends once the socket may have become writable.
    watches_room: bool,
    /// A signal or a waker has ended a wait since the last check.
    interrupted: bool,
}

impl Socket {
    /// Connects to the first address of `host` that accepts before the deadline. Each address gets an equal share of
    /// the time that the earlier ones left, so that an address that never answers does not use it all. The system
    /// resolves the name, and takes as long as it needs.
    pub(super) fn connect(host: &str, port: u16, wait: &Wait, deadline: Instant) -> Result<Self, String> {
        let addresses = (host, port).to_socket_addrs().map_err(|error| format!("cannot resolve {host}: {error}"))?;
        let addresses: Vec<_> = addresses.collect();
        Self::connect_to_one(&addresses, wait, deadline)?.ok_or_else(|| format!("{host} has no address"))
    }

    fn connect_to_one(addresses: &[SocketAddr], wait: &Wait, deadline: Instant) -> Result<Option<Self>, String> {
        let mut failure = None;
        for (number, &address) in addresses.iter().enumerate() {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let share = remaining / u32::try_from(addresses.len() - number).unwrap_or(u32::MAX);
            if share.is_zero() && failure.is_some() {
                // The earlier error says more.
                break;
            }
            match Self::connect_to(address, wait, share) {
                Ok(tcp) => {
                    let wait = wait.clone();
                    return Ok(Some(Self { tcp, wait, deadline, watches_room: false, interrupted: false }));
                }
                Err(error) => failure = Some(format!("cannot connect to {address}: {error}")),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    fn connect_to(address: SocketAddr, wait: &Wait, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let tcp = TcpStream::connect_timeout(&address, timeout)?;
        // A message is one write; waiting for more data would only delay it.
        tcp.set_nodelay(true)?;
        tcp.set_nonblocking(true)?;
        wait.add(&tcp)?;
        Ok(tcp)
    }

    /// Sets the time at which the next reads and writes give up.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Sets whether a read ends early when the socket may take more of the bytes to be written.
    pub(super) fn watch_room(&mut self, watches: bool) {
        self.watches_room = watches;
    }

    /// Whether a signal or a waker has ended a wait since the last call. The clock cannot tell: the system waits for
    /// whole milliseconds, so a wait that was ended early may still end after its deadline.
    pub(super) fn take_interrupted(&mut self) -> bool {
        mem::take(&mut self.interrupted)
    }

    /// Does one read or write that ends at the deadline. After the deadline it transfers what the socket takes or has,
    /// without waiting.
    fn until_deadline<T>(
        &mut self,
        ends_ready: bool,
        mut transfer: impl FnMut(&mut TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut is_over = false;
        loop {
            match transfer(&mut self.tcp) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && !is_over && Instant::now() < self.deadline => {}
                result => return result,
            }
            match self.wait.until(self.deadline) {
                Ok(()) => is_over = ends_ready,
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    self.interrupted = true;
                    return Err(ErrorKind::WouldBlock.into());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.until_deadline(self.watches_room, |tcp| tcp.read(buffer))
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until_deadline(false, |tcp| tcp.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The stream below the WebSocket.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Socket),
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, Socket>>),
}

impl Stream {
    /// The socket below either kind of stream.
    pub(super) fn socket(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => &mut tls.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// The address of a listener whose queue is full, so that one more connection is never answered; and the sockets
    /// that keep it full.
    fn deaf() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        (address, (listener, std::iter::from_fn(connect).collect()))
    }

    #[test]
    fn an_address_that_never_answers_leaves_time_for_the_next_one() {
        let ((first, _kept), (second, _also)) = (deaf(), deaf());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let wait = Wait::new().unwrap();
        let connect = |addresses: &[SocketAddr], timeout| {
            Socket::connect_to_one(addresses, &wait, Instant::now() + Duration::from_millis(timeout))
        };
        let socket = connect(&[first, second, good], 3000).unwrap().unwrap();
        assert_eq!(socket.tcp.peer_addr().unwrap(), good);
        let why = connect(&[first, second], 600).unwrap_err();
        assert!(why.contains(&second.to_string()), "both were tried: {why}");
        assert!(connect(&[], 600).unwrap().is_none());
    }
}
