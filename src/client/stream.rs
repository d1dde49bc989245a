//! A socket whose every read and write ends at a deadline, with TLS over it or not.

use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
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
    /// Connects to the first address of `host` that accepts before the deadline; each has an equal share of the time that the
    /// others before it have left over, so that one that never answers does not take it all. Name resolution is the system's
    /// and takes as long as that takes.
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
                // What went wrong before tells more.
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// The address of a listener that takes no more connections, so that one more is never answered; and what keeps it so.
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
