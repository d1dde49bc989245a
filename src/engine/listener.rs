//! Listening sockets. A TCP address has one socket for each core, and the kernel spreads new connections over them. A
//! path has a single socket, from which all cores accept, and so has a socket that was handed over.

mod inherited;
mod unix;

use std::{
    io,
    net::{Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use mio::{
    Interest, Registry, Token,
    event::Source,
    net::{TcpListener, TcpStream, UnixListener},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    config::{Config, Listen},
    engine::arrival::{Role, Transport},
    error::StartError,
};

pub(crate) use self::{inherited::Inherited, unix::SocketFile};

/// The most connections that the kernel keeps until a core accepts them. `net.core.somaxconn` may lower it.
const BACKLOG: i32 = 4096;

/// A core's socket of one listening place.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) role: Role,
    /// What carries the bytes of its connections.
    pub(crate) transport: Transport,
    /// Its address is this machine's alone.
    pub(crate) is_loopback: bool,
    /// Another process takes the socket over when this server ends.
    pub(crate) is_inherited: bool,
    socket: ListeningSocket,
}

#[derive(Debug)]
enum ListeningSocket {
    /// Its connections inherit the size of the send buffer.
    Tcp(TcpListener),
    /// Its connections do not.
    Unix { listener: UnixListener, send_buffer_bytes: usize },
}

/// An address or path that the server listens on.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The address or path. If the port was 0, the port that the system has chosen.
    pub(crate) at: Listen,
    /// One listener for each core.
    pub(crate) listeners: Vec<Listener>,
    /// The socket's file, which is removed at the end.
    pub(crate) file: Option<SocketFile>,
}

/// The sockets of a listening place, one for each core.
struct Bound {
    at: Listen,
    sockets: Vec<ListeningSocket>,
    file: Option<SocketFile>,
}

impl Bound {
    fn into_listening(self, role: Role, is_inherited: bool) -> Listening {
        let Self { at, sockets, file } = self;
        let transport = match &at {
            Listen::Tcp(_) => Transport::Tcp,
            Listen::Tls(_) => Transport::Tls,
            Listen::Unix(_) => Transport::Unix,
        };
        let is_loopback = at.tcp().is_some_and(|address| address.ip().to_canonical().is_loopback());
        let listener = |socket| Listener { role, transport, is_loopback, is_inherited, socket };
        let listeners = sockets.into_iter().map(listener).collect();
        Listening { at, listeners, file }
    }
}

/// The sizes of the kernel's buffers of an accepted socket; 0 lets the kernel decide.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) send_bytes: usize,
    pub(crate) receive_bytes: usize,
}

/// What a socket has not sent yet is at most this in bytes. The rest waits in the connection's outbox, where all share it,
/// instead of in a copy that the kernel keeps for each.
const UNSENT_BYTES: u32 = 64 * 1024;

impl Buffers {
    /// Sets up a listening socket: accepted ones inherit all this. By default Linux lets the send buffer grow to 4 MiB if
    /// the peer does not read, and the receive buffer to 6 MiB or more if the peer sends more than the server reads.
    fn set_on(self, listening: &Socket) -> io::Result<()> {
        if self.send_bytes > 0 {
            listening.set_send_buffer_size(self.send_bytes)?;
        }
        if self.receive_bytes > 0 {
            listening.set_recv_buffer_size(self.receive_bytes)?;
        }
        // A system without it takes more memory for peers that do not read, and works.
        #[cfg(target_os = "linux")]
        let _ = listening.set_tcp_notsent_lowat(UNSENT_BYTES);
        listening.set_tcp_nodelay(true)
    }
}

impl From<&Config> for Buffers {
    fn from(config: &Config) -> Self {
        Self { send_bytes: config.send_buffer_bytes, receive_bytes: config.receive_buffer_bytes }
    }
}

/// Listens on `all[index]` with a listener of this role for each of `cores`.
///
/// # Errors
/// [`StartError::Listen`] if the place is in use, even if another server would share it.
pub(crate) fn listen(
    all: &[Listen],
    index: usize,
    role: Role,
    cores: usize,
    buffers: Buffers,
) -> Result<Listening, StartError> {
    let at = &all[index];
    let bound = match at {
        Listen::Tcp(address) | Listen::Tls(address) => {
            let is_v6_only = shares_its_port(*address, all);
            listen_on_address(*address, is_v6_only, cores, buffers).map(|(address, sockets)| Bound {
                at: if at.is_tls() { Listen::Tls(address) } else { Listen::Tcp(address) },
                sockets,
                file: None,
            })
        }
        Listen::Unix(path) => unix::listen(path, cores, buffers.send_bytes),
    };
    bound.map(|bound| bound.into_listening(role, false)).map_err(|source| StartError::Listen { at: at.clone(), source })
}

/// Accepts from a socket that was handed over, with a listener of this role for each of `cores`.
///
/// # Errors
/// [`StartError::Listen`] if the system refuses to set up the socket.
pub(crate) fn take_over(
    inherited: Inherited,
    role: Role,
    cores: usize,
    buffers: Buffers,
) -> Result<Listening, StartError> {
    let at = inherited.at.clone();
    let bound = inherited.share(cores, buffers);
    bound.map(|bound| bound.into_listening(role, true)).map_err(|source| StartError::Listen { at, source })
}

/// Whether `[::]` must leave IPv4 to another listening address. Otherwise it accepts both families.
fn shares_its_port(address: SocketAddr, all: &[Listen]) -> bool {
    let has_port = |other: SocketAddr| other.is_ipv4() && other.port() == address.port();
    address.ip() == Ipv6Addr::UNSPECIFIED && address.port() != 0 && all.iter().filter_map(Listen::tcp).any(has_port)
}

/// The sockets, and the address with the port that was taken for 0.
fn listen_on_address(
    mut address: SocketAddr,
    is_v6_only: bool,
    cores: usize,
    buffers: Buffers,
) -> io::Result<(SocketAddr, Vec<ListeningSocket>)> {
    let is_shared = cores > 1;
    if is_shared && address.port() != 0 {
        // SO_REUSEPORT would let a second server of the same user take half of the connections. Without it the bind
        // fails if another server listens.
        bind(address, is_v6_only, false)?;
    }
    let mut sockets = Vec::with_capacity(cores);
    for _ in 0..cores {
        let socket = bind(address, is_v6_only, is_shared)?;
        buffers.set_on(&socket)?;
        socket.listen(BACKLOG)?;
        let listener = std::net::TcpListener::from(socket);
        address = listener.local_addr()?; // the chosen port, if it was 0
        sockets.push(ListeningSocket::Tcp(TcpListener::from_std(listener)));
    }
    Ok((address, sockets))
}

fn bind(address: SocketAddr, is_v6_only: bool, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    if is_v6_only {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

impl Listener {
    /// The next connection, with its peer's address if it has one. A unix socket's connection is returned as a TCP
    /// stream.
    pub(crate) fn accept(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => listener.accept().map(|(stream, peer)| (stream, Some(peer))),
            ListeningSocket::Unix { listener, send_buffer_bytes } => {
                let (stream, _) = listener.accept()?;
                if *send_buffer_bytes > 0 {
                    // If this fails, the socket works with the system's size.
                    let _ = SockRef::from(&stream).set_send_buffer_size(*send_buffer_bytes);
                }
                let descriptor = OwnedFd::from(stream);
                Ok((TcpStream::from_std(std::net::TcpStream::from(descriptor)), None))
            }
        }
    }
}

impl Listener {
    fn source(&mut self) -> &mut dyn Source {
        match &mut self.socket {
            ListeningSocket::Tcp(listener) => listener,
            ListeningSocket::Unix { listener, .. } => listener,
        }
    }
}

impl Source for Listener {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net;

    use super::*;

    /// What the kernel keeps for a connection to this listener: bytes that are not sent, and all of them.
    fn kept(listening: &Listening) -> (u32, usize) {
        let address = listening.at.tcp().expect("TCP");
        let _client = net::TcpStream::connect(address).expect("it listens");
        let (accepted, _) = loop {
            match listening.listeners[0].accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                result => break result.expect("the client has connected"),
            }
        };
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().expect("an option"));
        (socket.tcp_notsent_lowat().expect("an option"), socket.send_buffer_size().expect("an option"))
    }

    #[test]
    fn accepted_sockets_keep_little_that_is_not_sent() {
        let buffers = Buffers { send_bytes: 128 * 1024, receive_bytes: 0 };
        let anywhere: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let own = listen(&[Listen::Tcp(anywhere)], 0, Role::Public, 1, buffers).expect("a free port");
        let given = net::TcpListener::bind(anywhere).expect("a free port");
        let given = Inherited::new(given.into()).expect("it listens");
        let given = take_over(given, Role::Public, 1, buffers).expect("it listens");
        for listening in [own, given] {
            assert_eq!(kept(&listening), (UNSENT_BYTES, 2 * buffers.send_bytes)); // the kernel takes twice the size
        }
    }
}
