//! A socket whose every read and write ends at a deadline, with TLS over it or not.

use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Instant,
};

use super::wait::Wait;

/// A socket that waits until its deadline and no longer; then it says `WouldBlock`. It says so too when a signal or a
/// [`Waker`](super::Waker) has ended a wait, so that a program's call can come back early to look at its flag.
#[derive(Debug)]
pub(super) struct Socket {
    /// Does not block.
    tcp: TcpStream,
    wait: Wait,
    deadline: Instant,
    /// A read ends, too, once the socket may have become ready to write.
    watches_room: bool,
    /// A signal or a waker has ended a wait since this was looked at last.
    interrupted: bool,
}

impl Socket {
    /// Connects to the first address of `host` that accepts before the deadline. Name resolution is the system's and
    /// takes as long as that takes.
    pub(super) fn connect(host: &str, port: u16, wait: &Wait, deadline: Instant) -> Result<Self, String> {
        let addresses = (host, port).to_socket_addrs().map_err(|error| format!("cannot resolve {host}: {error}"))?;
        let mut failure = format!("{host} has no address");
        for address in addresses {
            match Self::connect_to(address, wait, deadline) {
                Ok(tcp) => {
                    let wait = wait.clone();
                    return Ok(Self { tcp, wait, deadline, watches_room: false, interrupted: false });
                }
                Err(error) => failure = format!("cannot connect to {address}: {error}"),
            }
        }
        Err(failure)
    }

    fn connect_to(address: SocketAddr, wait: &Wait, deadline: Instant) -> io::Result<TcpStream> {
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let tcp = TcpStream::connect_timeout(&address, remaining)?;
        // A message is one write; waiting for more would only delay it.
        tcp.set_nodelay(true)?;
        tcp.set_nonblocking(true)?;
        wait.add(&tcp)?;
        Ok(tcp)
    }

    /// When the next reads and writes give up.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Whether a read ends early when the socket may take more of what is to be written.
    pub(super) fn watch_room(&mut self, watches: bool) {
        self.watches_room = watches;
    }

    /// Whether a signal or a waker has ended a wait since this was asked last. The time does not tell: the system waits for
    /// whole milliseconds, and so a wait that was ended early may still end behind its deadline.
    pub(super) fn take_interrupted(&mut self) -> bool {
        mem::take(&mut self.interrupted)
    }

    /// Does one read or write that ends at the deadline. One past it takes what there is, without waiting.
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

/// What the WebSocket runs over.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Socket),
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, Socket>>),
}

impl Stream {
    /// What all of it goes through.
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
